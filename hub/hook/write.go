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
	for _, it := range batch {
		w.p.bytes -= it.size()
	}
	clear(w.q.items[:len(batch)])
	w.q.items = w.q.items[len(batch):]
	if len(w.q.items) == 0 {
		w.q.items = nil // so that a queue that was long once is not kept
	}
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
			w.p.lose(len(batch), lostRefused, "events", len(batch), "err", err)
			return true
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

// try writes batch once, and again when Redis did not know the script.
func (w *writer) try(ctx context.Context, batch []*item) error {
	return w.shard.WithScript(ctx, addScript, func() error {
		cmds, err := w.shard.WriteCopied(ctx, copyWait, func(pipe redis.Pipeliner) {
			for _, args := range w.calls(batch) {
				pipe.Do(ctx, args...)
			}
		})
		if _, reply := errors.AsType[redis.Error](err); reply && !slices.ContainsFunc(cmds, failed) {
			// The scripts ran, and the waiting was refused: a master that is being
			// demoted lets go of everybody who waits.
			err = errors.Join(redisx.ErrNotCopied, err)
		}
		w.count(cmds)
		return err
	})
}

func failed(c redis.Cmder) bool { return c.Err() != nil }

// calls returns a call of the script for each partition that batch has events of.
func (w *writer) calls(batch []*item) [][]any {
	var parts [Partitions][]any
	for _, it := range batch {
		args := parts[it.partition]
		if args == nil {
			args = w.head(it.partition)
		}
		parts[it.partition] = append(args, it.number, it.id, it.subject, it.kind, it.at.UnixMilli(), it.body)
	}
	return slices.DeleteFunc(parts[:], func(args []any) bool { return args == nil })
}

func (w *writer) head(n int) []any {
	p := w.p
	return []any{
		"EVALSHA", addScript.Hash(), 3, p.keys.HookStream(n), p.keys.HookBook(n), p.keys.HookWritten(n, p.self),
		p.cfg.StreamBytes / Partitions, streamKept.Milliseconds(), writtenKept.Milliseconds(),
	}
}

// count takes what the script has given up, also where not all replicas have it:
// the same events are not given up again.
func (w *writer) count(cmds []redis.Cmder) {
	for _, c := range cmds {
		call, ok := c.(*redis.Cmd)
		if !ok {
			continue
		}
		did, err := call.Slice()
		if err != nil || len(did) != 3 || number(did[1]) == 0 {
			continue
		}
		w.p.lose(int(number(did[1])), lostStreamFull, "events", number(did[1]), "last", did[2])
	}
}
