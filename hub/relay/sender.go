package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/redisx"
)

// Outgoing is one message to send: Body to the process To. The sender keeps
// Body until the publish has ended and does not change it.
type Outgoing struct {
	To   hub.ProcessID
	Body []byte
}

// ErrUnsent marks messages that no shard's master took.
var ErrUnsent = errors.New("no pub/sub shard took the message")

// pairIdle is how long a receiver goes unaddressed before the sender forgets
// the sequence it had reached. Long beside any pause of a live pair, short
// beside the life of an API server that outlives many rolling deploys.
const pairIdle = time.Hour

// Sender publishes messages to other processes. It is safe for concurrent
// use; the messages of concurrent Sends share pipelines.
type Sender struct {
	self    hub.ProcessID
	keys    hub.Keys
	log     *slog.Logger
	metrics senderMetrics
	lanes   []*lane // one per shard, in the role's order

	mu    sync.Mutex // taken before a lane's
	pairs map[hub.ProcessID]*pair
}

// pair is what a sender knows of one receiver.
type pair struct {
	seq   uint64 // of the last message
	order []int  // lanes from the most to the least preferred
	used  time.Time
}

// NewSender returns a sender for process self over the pub/sub shards of r.
// It sends once Run runs.
func NewSender(r *redisx.Redis, keys hub.Keys, self hub.ProcessID, log *slog.Logger, reg prometheus.Registerer) *Sender {
	s := &Sender{
		self:    self,
		keys:    keys,
		log:     log,
		metrics: newSenderMetrics(reg),
		pairs:   make(map[hub.ProcessID]*pair),
	}
	for _, shard := range r.PubSub.Shards() {
		s.lanes = append(s.lanes, newLane(shard, s.metrics))
	}
	return s
}

// Run publishes what Send hands over until ctx ends. Messages that wait then
// are published still, or fail.
func (s *Sender) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, l := range s.lanes {
		g.Go(func() error { return l.run(ctx, s.failOver) })
	}
	g.Go(func() error { return s.forgetIdle(ctx) })
	return g.Wait()
}

// Send publishes every message and returns when each was taken by a master or
// refused by all of them. It blocks for about one round trip to Redis, or
// until ctx ends. The error says how many messages were not sent and wraps
// ErrUnsent and hub.ErrUnavailable, or ctx's error; the others were sent.
//
// Two Sends to one receiver that do not overlap in time arrive in order.
func (s *Sender) Send(ctx context.Context, out []Outgoing) error {
	if len(out) == 0 {
		return nil
	}
	b := newBatch(len(out))
	now := time.Now()
	s.mu.Lock()
	for _, o := range out {
		s.enqueueLocked(o, b, now)
	}
	s.mu.Unlock()
	select {
	case <-b.done:
	case <-ctx.Done():
		return fmt.Errorf("publish to %d processes: %w", len(out), ctx.Err())
	}
	if n := b.failures(); n > 0 {
		return fmt.Errorf("publish to %d of %d processes: %w: %w", n, len(out), hub.ErrUnavailable, ErrUnsent)
	}
	return nil
}

// Ready returns nil when at least one shard has a master to publish to, else
// an error that wraps hub.ErrUnavailable.
func (s *Sender) Ready() error {
	var last error
	for _, l := range s.lanes {
		if _, last = l.shard.Master(); last == nil {
			return nil
		}
	}
	return fmt.Errorf("no pub/sub shard has a master: %w: %w", hub.ErrUnavailable, last)
}

// enqueueLocked gives o its sequence number and its place in the queue of the
// pair's lane, in one step, so that the queue's order is the sequence's.
func (s *Sender) enqueueLocked(o Outgoing, b *batch, now time.Time) {
	p := s.pairs[o.To]
	if p == nil {
		p = &pair{order: s.preference(o.To)}
		s.pairs[o.To] = p
	}
	p.seq++
	p.used = now
	m := Message{From: s.self, Seq: p.seq, Sent: now, Body: o.Body}
	it := &item{
		channel: s.keys.Channel(o.To),
		payload: m.Append(make([]byte, 0, maxHeader+len(o.Body))),
		order:   p.order,
		batch:   b,
	}
	s.failOver(it)
}

// failOver hands it to the next lane that has room, and fails it after the last.
func (s *Sender) failOver(it *item) {
	for it.tried < len(it.order) {
		l := s.lanes[it.order[it.tried]]
		it.tried++
		if l.push(it) {
			return
		}
	}
	s.metrics.unsent.Inc()
	it.batch.finish(false)
}

// preference ranks the lanes for receiver to by rendezvous hashing, so that a
// pair keeps its shard for as long as the shard exists.
func (s *Sender) preference(to hub.ProcessID) []int {
	order := make([]int, len(s.lanes))
	score := make([]uint64, len(s.lanes))
	for i, l := range s.lanes {
		order[i] = i
		score[i] = xxhash.Sum64String(string(s.self) + string(to) + l.shard.Name())
	}
	slices.SortFunc(order, func(a, b int) int {
		if score[a] > score[b] {
			return -1
		}
		return 1
	})
	return order
}

func (s *Sender) forgetIdle(ctx context.Context) error {
	tick := time.NewTicker(pairIdle / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			s.mu.Lock()
			for id, p := range s.pairs {
				if now.Sub(p.used) > pairIdle {
					delete(s.pairs, id)
				}
			}
			s.mu.Unlock()
		}
	}
}
