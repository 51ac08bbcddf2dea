package hook

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/redisx"
)

const (
	// A batch is what is written to a shard at once.
	batchEvents = 64
	batchBytes  = 512 << 10

	// copyWait is how long one try waits for the replicas.
	copyWait = time.Second
	// The pause after a try that failed doubles from the first to the last.
	writePauseFirst = 25 * time.Millisecond
	writePauseMost  = time.Second
)

// writer takes events from one queue to one shard, in order.
type writer struct {
	p     *Publisher
	shard *redisx.Shard
	q     *queue
}

// run writes until ctx ends.
func (w *writer) run(ctx context.Context) {
	for {
		for batch := w.next(); len(batch) > 0; batch = w.next() {
			if !w.write(ctx, batch) {
				return
			}
			w.done(batch)
		}
		select {
		case <-ctx.Done():
			return
		case <-w.q.wake:
		}
	}
}

// next returns the events at the front of the queue, and leaves them there.
func (w *writer) next() []*item {
	w.p.mu.Lock()
	defer w.p.mu.Unlock()
	n, bytes := 0, 0
	for n < min(batchEvents, len(w.q.items)) && (n == 0 || bytes+w.q.items[n].size() <= batchBytes) {
		bytes += w.q.items[n].size()
		n++
	}
	return slices.Clone(w.q.items[:n])
}

// done takes the events of batch out of the queue.
func (w *writer) done(batch []*item) {
	w.p.mu.Lock()
	defer w.p.mu.Unlock()
	w.q.remove(len(batch))
}

// write tries until batch stands in Redis, at every replica that may be promoted,
// or cannot: then it is lost. It returns false when ctx ended before.
func (w *writer) write(ctx context.Context, batch []*item) bool {
	pause := writePauseFirst
	for {
		err := w.try(ctx, batch)
		switch {
		case err == nil:
			w.p.met.published.Add(float64(len(batch)))
			return true
		case ctx.Err() != nil:
			return false
		case !errors.Is(err, redisx.ErrUnavailable):
			return w.refused(ctx, batch, err)
		}
		w.p.met.retries.Inc()
		w.p.log.warn("hook: events wait for Redis", "shard", w.shard.Name(), "err", err)
		select {
		case <-ctx.Done():
			return false
		case <-time.After(pause):
			pause = min(2*pause, writePauseMost)
		}
	}
}

// refused loses a batch that Redis will not ever take, but not what is for other
// streams than the one that is refused.
func (w *writer) refused(ctx context.Context, batch []*item, err error) bool {
	calls := callsOf(batch)
	if len(calls) == 1 {
		w.p.lose(len(batch), lostRefused, calls[0].target.Name, "events", len(batch), "err", err)
		return true
	}
	for _, c := range calls {
		if !w.write(ctx, c.items) {
			return false
		}
	}
	return true
}

// try writes batch once, and again when Redis did not know the script.
func (w *writer) try(ctx context.Context, batch []*item) error {
	calls := callsOf(batch)
	w.p.bound(calls)
	return w.shard.WithScript(ctx, addScript, func() error {
		cmds, err := w.shard.WriteCopied(ctx, copyWait, func(pipe redis.Pipeliner) {
			for _, c := range calls {
				pipe.Do(ctx, w.args(c)...)
			}
		})
		if _, reply := errors.AsType[redis.Error](err); reply && !slices.ContainsFunc(cmds, failed) {
			// The scripts ran, and the waiting was refused: a master that is being
			// demoted lets go of everybody who waits.
			err = errors.Join(redisx.ErrNotCopied, err)
		}
		w.count(calls, cmds)
		return err
	})
}

// bound says what the streams may have.
func (p *Publisher) bound(calls []*addCall) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range calls {
		c.most = c.target.StreamBytes / Partitions
	}
}

func failed(c redis.Cmder) bool { return c.Err() != nil }

// addCall is what is written to one stream at once.
type addCall struct {
	target    *target
	partition int
	most      int // bytes that the stream may have
	items     []*item
}

// callsOf makes a call of the script for each stream that batch has events of.
func callsOf(batch []*item) (calls []*addCall) {
	type stream struct {
		target    *target
		partition int
	}
	known := make(map[stream]*addCall)
	for _, it := range batch {
		c := known[stream{it.target, it.partition}]
		if c == nil {
			c = &addCall{target: it.target, partition: it.partition}
			known[stream{it.target, it.partition}] = c
			calls = append(calls, c)
		}
		c.items = append(c.items, it)
	}
	return calls
}

func (w *writer) args(c *addCall) []any {
	keys := c.target.keys
	args := []any{
		"EVALSHA", addScript.Hash(), 3, keys.Stream(c.partition), keys.Book(c.partition), keys.Written(c.partition, w.p.self),
		c.most, streamKept.Milliseconds(), writtenKept.Milliseconds(),
	}
	for _, it := range c.items {
		args = append(args, it.number, it.id, it.subject, it.kind, it.at.UnixMilli(), it.body)
	}
	return args
}

// count takes what the script has given up, also where not all replicas have it:
// the same events are not given up again.
func (w *writer) count(calls []*addCall, cmds []redis.Cmder) {
	for i, cmd := range cmds {
		call, ok := cmd.(*redis.Cmd)
		if !ok || i >= len(calls) {
			continue
		}
		did, err := call.Slice()
		if err != nil || len(did) != 3 || number(did[1]) == 0 {
			continue
		}
		w.p.lose(int(number(did[1])), lostStreamFull, calls[i].target.Name, "events", number(did[1]), "last", did[2])
	}
}
