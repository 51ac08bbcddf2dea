package hook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/redisx"
)

// Publisher takes events of this process and writes them to Redis. It is safe
// for concurrent use. A nil Publisher takes everything and does nothing: that is
// a process without hooks.
type Publisher struct {
	cfg    Config
	wanted patterns
	self   hub.ProcessID // of this Publisher's life
	keys   hub.Keys
	role   *redisx.Role
	queues map[*redisx.Shard]*queue
	log    *complaints
	met    publisherMetrics

	mu      sync.Mutex
	bytes   int // of all queues
	numbers [Partitions]uint64
	stopped bool
}

// queue is what waits for one shard, in order. Its goroutine alone takes from
// the front.
type queue struct {
	wake  chan struct{} // one word that there is something
	items []*item       // guarded by Publisher.mu
}

// NewPublisher returns a Publisher, nil when cfg is not on. cfg must be valid.
// Run should be running.
func NewPublisher(cfg Config, r *redisx.Redis, keys hub.Keys, log *slog.Logger, reg prometheus.Registerer) *Publisher {
	if !cfg.On {
		return nil
	}
	p := &Publisher{
		cfg: cfg, wanted: cfg.Events, self: hub.NewProcessID(), keys: keys, role: r.Inbox,
		queues: make(map[*redisx.Shard]*queue), log: newComplaints(log),
	}
	p.met = newPublisherMetrics(reg, p.waiting)
	for _, shard := range r.Inbox.Shards() {
		p.queues[shard] = &queue{wake: make(chan struct{}, 1)}
	}
	return p
}

// Publish hands e over to be delivered, and never blocks. It returns false when
// the event is lost: Redis has been away for so long that as much waits as may,
// the process stops, or the event is not one that can be sent. That is counted
// and logged. An event of a type that nobody wants is true.
//
// Data is marshaled before Publish returns.
func (p *Publisher) Publish(e Event) bool {
	if p == nil || !p.wanted.match(e.Type) {
		return true
	}
	it, err := encode(&e, time.Now())
	if err != nil {
		p.lose(1, reasonOf(err), "event", clip(e.Type), "err", err)
		return false
	}
	if why := p.enqueue(it); why != "" {
		p.lose(1, why, "event", it.kind, "subject", it.subject)
		return false
	}
	return true
}

// enqueue returns why the event found no place.
func (p *Publisher) enqueue(it *item) (why string) {
	q := p.queues[p.role.Shard(p.keys.HookStream(it.partition))]
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.stopped:
		return lostStopped
	case p.bytes+it.size() > p.cfg.QueueBytes:
		return lostQueueFull
	}
	p.numbers[it.partition]++
	it.number = p.numbers[it.partition]
	//bound:hook-queue
	q.items = append(q.items, it)
	p.bytes += it.size()
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return ""
}

func (p *Publisher) waiting() float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return float64(p.bytes)
}

// lose counts events that are lost and says so.
func (p *Publisher) lose(n int, why string, about ...any) {
	p.met.lost.WithLabelValues(why).Add(float64(n))
	p.log.warn("hook: events are lost", append([]any{"reason", why}, about...)...)
}

func reasonOf(err error) string {
	if errors.Is(err, errTooLarge) {
		return lostTooLarge
	}
	return lostInvalid
}

// Run writes events to Redis until ctx ends; what is left then is lost, and
// counted. It returns nil.
func (p *Publisher) Run(ctx context.Context) error {
	if p == nil {
		return nil
	}
	var writers sync.WaitGroup
	for shard, q := range p.queues {
		writers.Go(func() { (&writer{p: p, shard: shard, q: q}).run(ctx) })
	}
	writers.Wait()
	p.mu.Lock()
	left := 0
	for _, q := range p.queues {
		left += len(q.items)
		q.items = nil
	}
	p.stopped, p.bytes = true, 0
	p.mu.Unlock()
	if left > 0 {
		p.lose(left, lostStopped, "events", left)
	}
	return nil
}

// flushGrain is how often Flush looks.
const flushGrain = 5 * time.Millisecond

// Flush waits until Redis has every event that was published before, or ctx ends.
func (p *Publisher) Flush(ctx context.Context) error {
	for p != nil {
		bytes := p.waiting()
		if bytes == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%.0f bytes of events wait for Redis: %w", bytes, ctx.Err())
		case <-time.After(flushGrain):
		}
	}
	return nil
}
