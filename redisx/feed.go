package redisx

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	feedQuiet    = 500 * time.Millisecond // of silence before the server is pinged
	feedPatience = 500 * time.Millisecond // for its answer
	feedSettle   = 2 * time.Second        // that a replica must be healthy before the master is left for it
	feedAvoid    = 3 * time.Second        // for which a server that failed us is the last choice
	feedDrain    = 500 * time.Millisecond // to read the rest from a server that is left
	feedRetry    = 50 * time.Millisecond  // first pause between attempts; doubles
	feedRetryMax = 500 * time.Millisecond
)

// Reasons for which a subscription leaves a server, as metrics name them.
const (
	moveSilent    = "silent"       // no answer to a ping
	moveClosed    = "closed"       // the server or the network ended it
	moveUnhealthy = "unhealthy"    // demoted, cut off from its master, or down for the Sentinels
	moveVanished  = "vanished"     // no Sentinel names it any more
	moveReplica   = "replica_back" // from the master, now that a replica is healthy
)

// feed is a Subscriber's subscription at one shard. While there is a link,
// one goroutine reads it and calls the handler, one watches that the server
// answers, and one looks for a better server.
type feed struct {
	index    int
	shard    *Shard
	channels []string
	handler  Handler
	log      *slog.Logger
	metrics  *metrics

	current atomic.Pointer[link] // confirmed and being read; nil while there is none
	first   chan struct{}        // closed when there has been one
	lastErr atomic.Pointer[error]

	avoid avoid
}

func newFeed(index int, shard *Shard, channels []string, h Handler, log *slog.Logger, m *metrics) *feed {
	return &feed{
		index:    index,
		shard:    shard,
		channels: channels,
		handler:  h,
		log:      log.With(slog.String("shard", shard.Name())),
		metrics:  m,
		first:    make(chan struct{}),
		avoid:    avoid{until: map[string]time.Time{}},
	}
}

// run keeps subscribed until ctx ends.
func (f *feed) run(ctx context.Context) {
	up := f.metrics.subscribed.WithLabelValues(f.shard.Name())
	defer func() {
		f.current.Store(nil)
		up.Set(0)
	}()
	var opened sync.Once
	var next *link
	for ctx.Err() == nil {
		if next == nil {
			if next = f.connect(ctx); next == nil {
				return
			}
		}
		f.current.Store(next)
		opened.Do(func() { close(f.first) })
		up.Set(1)
		f.log.Info("subscribed", slog.String("node", next.addr))
		if next = f.serve(ctx, next); next == nil {
			f.current.Store(nil)
			up.Set(0)
		}
	}
	if next != nil {
		next.close()
	}
}

// connect subscribes at the best server there is, and tries until it has or
// ctx ends; then it returns nil.
func (f *feed) connect(ctx context.Context) *link {
	for pause := feedRetry; ctx.Err() == nil; pause = min(2*pause, feedRetryMax) {
		changed := f.shard.Changed()
		if n, _ := choose(f.shard.Nodes(), "", f.avoid.has); n != nil {
			if l := f.open(ctx, n); l != nil {
				return l
			}
		}
		select {
		case <-ctx.Done():
		case <-changed:
		case <-time.After(pause):
		}
	}
	return nil
}

// open subscribes at n; nil when that failed.
func (f *feed) open(ctx context.Context, n *Node) *link {
	d := f.shard.dialect
	o := d.options(n.Addr)
	want := roleReplica
	if n.Role == Master {
		want = roleMaster
	}
	o.OnConnect = func(ctx context.Context, cn *redis.Conn) error {
		_, err := d.checkRole(ctx, cn, want)
		return err
	}
	l, err := openLink(ctx, o, f.channels)
	if err != nil {
		if ctx.Err() == nil {
			f.avoid.add(n.Addr)
			err = d.veil(err)
			f.lastErr.Store(&err)
			f.shard.refusals.note(f.shard.Name(), n.Addr, "subscribe", err, time.Now())
			f.metrics.failures.WithLabelValues(f.shard.Name()).Inc()
			f.log.Warn("cannot subscribe", slog.String("node", n.Addr), slog.Any("err", err))
		}
		return nil
	}
	return l
}

// serve reads l until it fails, ctx ends or a better link has been opened,
// which it returns. By then l is closed.
func (f *feed) serve(ctx context.Context, l *link) (next *link) {
	messages := f.metrics.messages.WithLabelValues(f.shard.Name())
	var guards sync.WaitGroup
	var silent error
	guards.Go(func() { silent = l.guard(ctx, feedQuiet, feedPatience) })
	guards.Go(func() { next = f.improve(ctx, l) })
	err := l.read(ctx, func(m *redis.Message) {
		messages.Inc()
		f.handler(f.index, m.Channel, []byte(m.Payload))
	})
	l.close()
	guards.Wait()
	if next == nil && ctx.Err() == nil {
		reason := moveClosed
		if errors.Is(silent, errSilent) {
			reason, err = moveSilent, silent
		}
		f.left(l, reason, err)
		f.avoid.add(l.addr)
	}
	return next
}

// improve looks for a better server than l's whenever the shard changes and
// each second. It returns a link to it, after l has been read to the end, or
// nil when l closes before.
func (f *feed) improve(ctx context.Context, l *link) *link {
	tick := time.NewTicker(probeInterval)
	defer tick.Stop()
	for {
		changed := f.shard.Changed()
		if n, reason := choose(f.shard.Nodes(), l.addr, f.avoid.has); n != nil {
			if next := f.open(ctx, n); next != nil {
				f.left(l, reason, nil)
				f.drain(ctx, l)
				return next
			}
		}
		select {
		case <-l.closed:
			return nil
		case <-changed:
		case <-tick.C:
		}
	}
}

// drain lets the reader finish what l's server has sent so far, for a moment.
func (f *feed) drain(ctx context.Context, l *link) {
	if l.retire(ctx) == nil {
		select {
		case <-l.closed:
		case <-time.After(feedDrain):
		}
	}
	l.close()
}

func (f *feed) left(l *link, reason string, err error) {
	f.metrics.moves.WithLabelValues(f.shard.Name(), reason).Inc()
	attrs := []any{slog.String("node", l.addr), slog.String("reason", reason)}
	if err != nil { // none when it leaves of its own accord
		attrs = append(attrs, slog.Any("err", err))
	}
	say := f.log.Warn
	if reason == moveReplica { // nothing is wrong; so begin processes that met the master first
		say = f.log.Info
	}
	say("subscription leaves", attrs...)
}

// failure is why the last attempt to subscribe failed, or why there was none.
func (f *feed) failure() error {
	if err := f.lastErr.Load(); err != nil {
		return *err
	}
	return f.shard.state.Load().err
}

// avoid remembers servers that failed us a moment ago.
type avoid struct {
	mu    sync.Mutex
	until map[string]time.Time
}

func (a *avoid) add(addr string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.until[addr] = time.Now().Add(feedAvoid)
}

func (a *avoid) has(addr string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if time.Now().Before(a.until[addr]) {
		return true
	}
	delete(a.until, addr)
	return false
}
