package hook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/redisx"
)

// Publisher takes events of this process and writes them to Redis, once for each
// endpoint of the roster that wants them. While it is not known which there are, it
// keeps events. It is safe for concurrent use. A nil Publisher takes everything and
// does nothing: that is a process without hooks.
type Publisher struct {
	cfg    Config
	roster *Roster
	keys   hub.Keys
	self   hub.ProcessID // of this Publisher's life
	role   *redisx.Role
	queues map[*redisx.Shard]*queue
	log    *complaints
	met    publisherMetrics

	mu      sync.Mutex
	seen    *roster            // that targets are of
	targets []*target          // those of seen
	every   map[string]*target // that there ever were, by name: the numbers of one that comes back go on
	early   queue              // events of which it is not known who wants them
	stopped bool
}

// target is an endpoint that events are written for.
type target struct {
	Target

	wanted  patterns
	keys    hub.HookKeys
	numbers [Partitions]uint64 // of the last event of each; guarded by Publisher.mu
}

// queue is what waits for one shard, in order. Its goroutine alone takes from
// the front.
type queue struct {
	wake chan struct{} // one word that there is something

	// Guarded by Publisher.mu.
	items []*item
	bytes int
	taken uint64 // items that ever came
	done  uint64 // items that ever went
}

// add puts it at the end.
func (q *queue) add(it *item) {
	//bound:hook-queue
	q.items = append(q.items, it)
	q.taken++
	q.bytes += it.size()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// remove takes the first n items out.
func (q *queue) remove(n int) {
	for _, it := range q.items[:n] {
		q.bytes -= it.size()
	}
	q.done += uint64(n)
	clear(q.items[:n])
	if q.items = q.items[n:]; len(q.items) == 0 {
		q.items = nil // so that a queue that was long once is not kept
	}
}

// NewPublisher returns a Publisher, nil when cfg is not on. cfg must be valid.
// Run should be running, and so should the roster.
func NewPublisher(cfg Config, roster *Roster, r *redisx.Redis, keys hub.Keys, log *slog.Logger, reg prometheus.Registerer) *Publisher {
	if !cfg.On {
		return nil
	}
	p := &Publisher{
		cfg: cfg, roster: roster, keys: keys, self: hub.NewProcessID(), role: r.Inbox,
		queues: make(map[*redisx.Shard]*queue), log: newComplaints(log), every: make(map[string]*target),
	}
	p.met = newPublisherMetrics(reg, p.waiting)
	for _, shard := range r.Inbox.Shards() {
		p.queues[shard] = &queue{wake: make(chan struct{}, 1)}
	}
	return p
}

// Wants reports whether an endpoint wants events of a type, as far as it is known which
// there are.
func (p *Publisher) Wants(kind string) bool {
	if p == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.followLocked()
	return !p.seen.known || len(p.wanting(kind)) > 0
}

// Publish hands e over to be delivered to every endpoint that wants it, and never
// blocks. It returns false when the event is lost for all of them: Redis has been
// away for so long that as much waits as may, the process stops, or the event is not
// one that can be sent. For whom it is lost is counted and logged. An event of a type
// that nobody wants is true.
//
// Data is marshaled before Publish returns.
func (p *Publisher) Publish(e Event) bool {
	if p == nil || !p.Wants(e.Type) {
		return true
	}
	it, err := encode(&e, time.Now())
	if err != nil {
		p.lose(1, reasonOf(err), "", "event", clip(e.Type), "err", err)
		return false
	}
	p.mu.Lock()
	taken, lost := p.enqueueLocked(it)
	p.mu.Unlock()
	for _, l := range lost {
		p.lose(1, l.why, l.endpoint, "event", it.kind, "subject", it.subject)
	}
	return taken > 0 || len(lost) == 0
}

// wanting lists the endpoints that want events of a type.
func (p *Publisher) wanting(kind string) (all []*target) {
	for _, t := range p.targets {
		if t.wanted.match(kind) {
			all = append(all, t)
		}
	}
	return all
}

// loss is that an event is lost for an endpoint; "": for all.
type loss struct{ why, endpoint string }

// enqueueLocked puts an event into a queue for each endpoint that wants it and has room
// there, and returns how many these are, and for whom it has none. The body is counted
// for each, though they share it.
func (p *Publisher) enqueueLocked(it *item) (taken int, lost []loss) {
	p.followLocked()
	switch {
	case p.stopped:
		return 0, []loss{{lostStopped, ""}}
	case !p.seen.known && p.early.bytes+it.size() > p.cfg.QueueBytes:
		return 0, []loss{{lostQueueFull, ""}}
	case !p.seen.known:
		p.early.add(it)
		return 1, nil
	}
	for _, t := range p.wanting(it.kind) {
		q := p.queueOf(t, it.partition)
		if q.bytes+it.size() > p.cfg.QueueBytes {
			lost = append(lost, loss{lostQueueFull, t.Name})
			continue
		}
		one := *it
		t.numbers[it.partition]++
		one.target, one.number = t, t.numbers[it.partition]
		q.add(&one)
		taken++
	}
	return taken, lost
}

func (p *Publisher) queueOf(t *target, partition int) *queue {
	return p.queues[p.role.Shard(t.keys.Stream(partition))]
}

// followLocked takes over what has changed in the roster. What was published before it
// was known is for those who want it now.
func (p *Publisher) followLocked() {
	now := p.roster.current()
	if now == p.seen {
		return
	}
	p.seen, p.targets = now, nil
	for i := range now.targets {
		p.targets = append(p.targets, p.targetLocked(&now.targets[i]))
	}
	if now.known && !p.stopped {
		early := slices.Clone(p.early.items)
		p.early.remove(len(early))
		for _, it := range early {
			_, lost := p.enqueueLocked(it)
			for _, l := range lost {
				p.lose(1, l.why, l.endpoint, "event", it.kind, "subject", it.subject)
			}
		}
	}
}

// targetLocked is what events are written with for t.
func (p *Publisher) targetLocked(t *Target) *target {
	x := p.every[t.Name]
	if x == nil {
		x = &target{keys: t.keys(p.keys)}
		p.every[t.Name] = x
		p.met.know(t.Name)
	}
	x.Target, x.wanted = *t, t.Events
	return x
}

func (p *Publisher) waiting() float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	sum := p.early.bytes
	for _, q := range p.queues {
		sum += q.bytes
	}
	return float64(sum)
}

// lose counts events that are lost, for one endpoint or, when it has no name, for all,
// and says so.
func (p *Publisher) lose(n int, why, endpoint string, about ...any) {
	if endpoint != "" {
		about = append(about, "endpoint", endpoint)
	}
	p.met.lost.WithLabelValues(why, endpoint).Add(float64(n))
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
	writers.Go(func() { p.follow(ctx) })
	writers.Wait()
	p.mu.Lock()
	left := len(p.early.items)
	p.early.remove(left)
	for _, q := range p.queues {
		left += len(q.items)
		q.remove(len(q.items))
	}
	p.stopped = true
	p.mu.Unlock()
	if left > 0 {
		p.lose(left, lostStopped, "", "events", left)
	}
	return nil
}

// follow takes over changes of the roster until ctx ends.
func (p *Publisher) follow(ctx context.Context) {
	for {
		p.mu.Lock()
		p.followLocked()
		over := p.seen.over
		p.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-over:
		}
	}
}

// flushGrain is how often Flush looks.
const flushGrain = 5 * time.Millisecond

// Flush waits until Redis has every event that was published before, or ctx ends.
func (p *Publisher) Flush(ctx context.Context) error {
	if p == nil {
		return nil
	}
	written := p.mark(allPartitions)
	for !written() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%.0f bytes of events wait for Redis: %w", p.waiting(), ctx.Err())
		case <-time.After(flushGrain):
		}
	}
	return nil
}

// Written returns what reports whether Redis has every event about a subject that was
// published before, for every endpoint, or has lost it.
func (p *Publisher) Written(subject string) func() bool {
	if p == nil {
		return func() bool { return true }
	}
	return p.mark(partitionOf(subject))
}

// allPartitions stands for every partition.
const allPartitions = -1

// mark is Written for what stands in a partition.
func (p *Publisher) mark(partition int) (written func() bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	early := p.early.taken
	var marks map[*queue]uint64 // nil: some is in early, and may go into any queue
	if len(p.early.items) == 0 {
		marks = p.marksLocked(partition)
	}
	return func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.early.done < early {
			return false
		}
		if marks == nil {
			marks = p.marksLocked(partition)
		}
		for q, mark := range marks {
			if q.done < mark {
				return false
			}
		}
		return true
	}
}

// marksLocked is how much each queue has taken that events of a partition go into.
func (p *Publisher) marksLocked(partition int) map[*queue]uint64 {
	marks := make(map[*queue]uint64, len(p.queues))
	if partition == allPartitions {
		for _, q := range p.queues {
			marks[q] = q.taken
		}
		return marks
	}
	for _, t := range p.every {
		q := p.queueOf(t, partition)
		marks[q] = q.taken
	}
	return marks
}
