package relay

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/redisx"
)

const (
	// maxQueued bounds the bytes that wait for one shard. At 1 KB an envelope
	// it is a third of a second of what one shard can carry.
	maxQueued = 32 << 20
	// maxPipeline bounds the publishes of one round trip, so that the first
	// of them does not wait for thousands behind it.
	maxPipeline = 256
	// laneRest is how long a lane whose master did not answer is passed over
	// while another lane is there.
	laneRest = time.Second
)

// batch is what one Send waits for: the first publish of every one of its
// items, on any lane.
type batch struct {
	pending atomic.Int64
	failed  atomic.Int64
	done    chan struct{}
}

func newBatch(n int) *batch {
	b := &batch{done: make(chan struct{})}
	b.pending.Store(int64(n))
	return b
}

func (b *batch) finish(sent bool) {
	if b == nil {
		return
	}
	if !sent {
		b.failed.Add(1)
	}
	if b.pending.Add(-1) == 0 {
		close(b.done)
	}
}

func (b *batch) failures() int { return int(b.failed.Load()) }

// item is one publish on its way through the lanes.
type item struct {
	channel string
	payload []byte
	order   []int  // lanes by preference
	turn    int    // where in order to begin
	tried   uint64 // the lanes that had their turn, as a bit set
	batch   *batch // nil when nobody waits
}

// lane publishes to one shard: a bounded queue and one goroutine that sends
// all that waits as one pipeline. A lone message leaves at once; under load
// messages share round trips.
//
//bound:relay-lane
type lane struct {
	name      string // of the shard
	shard     *redisx.Shard
	published prometheus.Counter
	errors    prometheus.Counter
	wake      chan struct{} // holds one token when queue is not empty
	born      time.Time
	rests     atomic.Int64 // until when the lane is passed over, in nanoseconds since born

	mu     sync.Mutex
	queue  []*item
	bytes  int
	closed bool
}

func newLane(name string, shard *redisx.Shard, m metrics) *lane {
	return &lane{
		name:      name,
		shard:     shard,
		published: m.published.WithLabelValues(name),
		errors:    m.publishErrors.WithLabelValues(name),
		wake:      make(chan struct{}, 1),
		born:      time.Now(),
	}
}

// resting reports whether the shard failed a moment ago.
func (l *lane) resting(now time.Time) bool { return int64(now.Sub(l.born)) < l.rests.Load() }

// rest has the lane passed over for a while.
func (l *lane) rest() { l.rests.Store(int64(time.Since(l.born) + laneRest)) }

// push queues it, or reports false when the lane is full or has stopped.
func (l *lane) push(it *item) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.bytes+len(it.payload) > maxQueued {
		return false
	}
	l.queue = append(l.queue, it)
	l.bytes += len(it.payload)
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return true
}

// take returns up to maxPipeline waiting items, or none.
func (l *lane) take() []*item {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := min(len(l.queue), maxPipeline)
	items := l.queue[:n:n]
	l.queue = l.queue[n:]
	if len(l.queue) == 0 {
		l.queue = nil
	}
	for _, it := range items {
		l.bytes -= len(it.payload)
	}
	return items
}

// run publishes until ctx ends, then what waits still; failed gets every item
// that the shard's master did not take.
func (l *lane) run(ctx context.Context, failed func(*item)) error {
	for {
		select {
		case <-ctx.Done():
			l.close()
			l.drain(context.WithoutCancel(ctx), failed)
			return nil
		case <-l.wake:
			l.drain(context.WithoutCancel(ctx), failed)
		}
	}
}

func (l *lane) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
}

func (l *lane) drain(ctx context.Context, failed func(*item)) {
	for items := l.take(); len(items) > 0; items = l.take() {
		l.publish(ctx, items, failed)
	}
}

// publish sends items to the shard's master as one pipeline. The client's
// own timeouts bound it.
func (l *lane) publish(ctx context.Context, items []*item, failed func(*item)) {
	cmds := make([]*redis.IntCmd, len(items))
	err := l.shard.Write(ctx, func(ctx context.Context, c *redis.Client) error {
		_, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
			for i, it := range items {
				cmds[i] = p.Publish(ctx, it.channel, it.payload)
			}
			return nil
		})
		return err
	})
	if err != nil {
		l.rest()
	}
	sent := 0
	for i, it := range items {
		if cmds[i] == nil || (err != nil && cmds[i].Err() != nil) {
			failed(it)
			continue
		}
		sent++
		it.batch.finish(true)
	}
	l.published.Add(float64(sent))
	l.errors.Add(float64(len(items) - sent))
}
