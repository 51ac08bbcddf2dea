package rig

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/homing/homing/bench/clients"
	"github.com/homing/homing/bench/load"
	"github.com/homing/homing/hub"
)

const (
	postTimeout = 15 * time.Second
	underWay    = 256 // calls at a time
)

// backend is the game backends: it makes the calls of the plan, each once.
type backend struct {
	plan      clients.Plan
	broadcast bool
	payload   int
	posters   []*load.Poster

	// Owned by the schedule.
	picker *clients.Picker
	users  []hub.UserID // scratch

	mu      sync.Mutex
	next    uint32   // number of the next notification
	refused []uint32 // not accepted
	reason  error    // why, of the last of them
}

func newBackend(o Options) *backend {
	b := &backend{plan: o.Plan, broadcast: o.Broadcast, payload: o.Payload, picker: clients.NewPicker(o.Plan)}
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
	s.Run(ctx, func(_ int, due time.Time) func(context.Context) { return b.prepare(due) })
	return ctx.Err()
}

// prepare writes the request of the next notification of the plan and returns
// the call that sends it. It is made unless the run has ended.
func (b *backend) prepare(due time.Time) func(context.Context) {
	b.mu.Lock()
	n := b.next
	b.next++
	b.mu.Unlock()
	body, err := b.render(n, due)
	return func(ctx context.Context) { b.call(ctx, n, body, err) }
}

func (b *backend) call(ctx context.Context, n uint32, body []byte, err error) {
	if err == nil {
		err = b.post(ctx, n, body)
	}
	if err != nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.refused, b.reason = append(b.refused, n), err
	}
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
	var topics []hub.Topic
	b.users = b.users[:0]
	switch {
	case b.broadcast:
	case b.plan.Topics > 0:
		topics = []hub.Topic{clients.Topic(int(n), b.plan.Topics)}
	default:
		b.users = b.picker.Users(n, b.users)
	}
	body, err := json.Marshal(struct {
		Users  []hub.UserID    `json:"users,omitempty"`
		Topics []hub.Topic     `json:"topics,omitempty"`
		Type   string          `json:"type"`
		Data   json.RawMessage `json:"data"`
	}{b.users, topics, "bench", clients.AppendData(nil, due.UnixNano(), n, b.payload)})
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
	if b.plan.Topics > 0 {
		return b.plan.Conns / b.plan.Topics
	}
	return b.plan.Online
}

func (b *backend) sent() clients.Sent {
	b.mu.Lock()
	defer b.mu.Unlock()
	return clients.Sent{N: b.next, Refused: b.refused}
}

func (b *backend) failures() (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.refused), b.reason
}
