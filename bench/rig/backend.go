package rig

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/homing/homing/bench/bees"
	"github.com/homing/homing/bench/load"
	"github.com/homing/homing/hub"
)

const (
	postTimeout = 15 * time.Second
	underWay    = 256 // calls at a time
)

// backend is the game backends: it makes the calls of the plan, each once.
type backend struct {
	plan      bees.Plan
	broadcast bool
	payload   int
	posters   []*load.Poster
	scratch   sync.Pool // of *scratch

	mu      sync.Mutex
	next    uint32   // number of the next notification
	refused []uint32 // not accepted
	reason  error    // why, of the last of them
}

// scratch is a caller's own: with a picker each, drawing needs no lock.
type scratch struct {
	picker *bees.Picker
	users  []hub.UserID
}

func newBackend(o Options) *backend {
	b := &backend{plan: o.Plan, broadcast: o.Broadcast, payload: o.Payload}
	b.scratch.New = func() any { return &scratch{picker: bees.NewPicker(b.plan)} }
	for _, u := range o.System.APIs() {
		b.posters = append(b.posters, load.NewPoster(u, o.System.Key(), postTimeout))
	}
	return b
}

func (b *backend) close() {
	for _, p := range b.posters {
		p.Close()
	}
}

// run makes the calls of a schedule and returns when all are answered.
func (b *backend) run(ctx context.Context, rate float64, d time.Duration) error {
	s := load.Schedule{Rate: rate, Duration: d, Callers: underWay}
	s.Run(ctx, func(ctx context.Context, _ int, due time.Time) { b.call(ctx, due) })
	return ctx.Err()
}

// call sends the next notification of the plan.
func (b *backend) call(ctx context.Context, due time.Time) {
	n := b.number()
	body, err := b.render(n, due)
	if err == nil {
		err = b.post(ctx, n, body)
	}
	if err != nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.refused, b.reason = append(b.refused, n), err
	}
}

func (b *backend) number() uint32 {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next++
	return b.next - 1
}

func (b *backend) post(ctx context.Context, n uint32, body []byte) (err error) {
	p := b.posters[int(n)%len(b.posters)]
	if b.broadcast {
		_, err = p.Broadcast(ctx, body)
	} else {
		_, err = p.Notify(ctx, body)
	}
	return err
}

// render is the request of notification n.
func (b *backend) render(n uint32, due time.Time) ([]byte, error) {
	s := b.scratch.Get().(*scratch)
	defer b.scratch.Put(s)
	if s.users = s.users[:0]; !b.broadcast {
		s.users = s.picker.Users(n, s.users)
	}
	body, err := json.Marshal(struct {
		Users []hub.UserID    `json:"users,omitempty"`
		Type  string          `json:"type"`
		Data  json.RawMessage `json:"data"`
	}{s.users, "bench", bees.AppendData(nil, due.UnixNano(), n, b.payload)})
	if err != nil {
		return nil, fmt.Errorf("render notification %d: %w", n, err)
	}
	return body, nil
}

// perCall is how many deliveries a call makes, when all its users are online.
func (b *backend) perCall() int {
	if b.broadcast {
		return b.plan.Conns
	}
	return b.plan.Online
}

func (b *backend) sent() bees.Sent {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bees.Sent{N: b.next, Refused: b.refused}
}

func (b *backend) failures() (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.refused), b.reason
}
