package redisx

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
)

// Trouble is a refusal that another try does not mend.
type Trouble struct {
	Shard   string
	Node    string // its address
	Command string
	Reply   string
	Class   string // "full" or "misconfigured"
	At      time.Time
	Spare   bool // Node is not the shard's master, which can be reached: others serve
}

const (
	// troubleLasts is how long after its last refusal a trouble is over.
	troubleLasts = 15 * time.Second
	// troubleSweep is how often ended troubles are looked for, to log them.
	troubleSweep = 5 * time.Second
)

// Troubles returns the refusals of the last 15 s that another try does not
// mend, the newest of each shard, node and command, in their order.
func (r *Redis) Troubles() []Trouble {
	all := r.refusals.troubles(time.Now())
	for i := range all {
		for _, s := range r.shards {
			if m := s.state.Load().master; s.Name() == all[i].Shard && m != nil {
				all[i].Spare = m.addr != all[i].Node
			}
		}
	}
	return all
}

// refusalLog keeps what servers refused: replies of every class but classReply.
// It logs when a command begins to be refused and when it has not been for a
// while.
type refusalLog struct {
	log   *slog.Logger
	total *prometheus.CounterVec // by shard, node and class

	mu      sync.Mutex
	current map[refused]*refusing
}

// refused is what a server refuses.
type refused struct {
	shard, node, command string
	class                class
}

// refusing is a refused since it began.
type refusing struct {
	reply       string
	first, last time.Time
	count       int
}

func newRefusalLog(log *slog.Logger, m *metrics) *refusalLog {
	return &refusalLog{log: log, total: m.refusals, current: map[refused]*refusing{}}
}

// note takes in an error of a command, if it is a refusal.
func (l *refusalLog) note(shard, node, command string, err error, now time.Time) {
	reply, ok := errors.AsType[redis.Error](err)
	if !ok {
		return
	}
	text := veil(reply).Error()
	what := refused{shard, node, command, classifyReply(text)}
	if what.class == classReply {
		return
	}
	l.total.WithLabelValues(shard, node, what.class.String()).Inc()
	if l.add(what, text, now) {
		l.log.Warn("redis refuses", append(what.attrs(), slog.Any("err", errors.New(text)))...)
	}
}

func (w refused) attrs() []any {
	return []any{
		slog.String("shard", w.shard), slog.String("node", w.node),
		slog.String("command", w.command), slog.String("class", w.class.String()),
	}
}

// add counts a refusal and reports whether it is the first.
func (l *refusalLog) add(what refused, reply string, now time.Time) (first bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.current[what]
	if r == nil {
		r = &refusing{first: now}
		l.current[what] = r
	}
	r.reply, r.last = reply, now
	r.count++
	return r.count == 1
}

// run logs what is refused no more, until ctx ends.
func (l *refusalLog) run(ctx context.Context) {
	tick := time.NewTicker(troubleSweep)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			l.sweep(time.Now())
		}
	}
}

func (l *refusalLog) sweep(now time.Time) {
	for what, r := range l.ended(now) {
		l.log.Warn("redis refuses no more", append(what.attrs(), slog.Any("err", errors.New(r.reply)),
			slog.Int("refusals", r.count), slog.Duration("for", r.last.Sub(r.first).Round(time.Millisecond)))...)
	}
}

// ended takes out what has not been refused for troubleLasts.
func (l *refusalLog) ended(now time.Time) map[refused]*refusing {
	l.mu.Lock()
	defer l.mu.Unlock()
	ended := map[refused]*refusing{}
	for what, r := range l.current {
		if now.Sub(r.last) >= troubleLasts {
			ended[what] = r
			delete(l.current, what)
		}
	}
	return ended
}

func (l *refusalLog) troubles(now time.Time) []Trouble {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []Trouble
	for what, r := range l.current {
		if now.Sub(r.last) >= troubleLasts || what.class != classFull && what.class != classMisconfigured {
			continue
		}
		all = append(all, Trouble{
			Shard: what.shard, Node: what.node, Command: what.command,
			Reply: r.reply, Class: what.class.String(), At: r.last,
		})
	}
	slices.SortFunc(all, func(a, b Trouble) int {
		return cmp.Or(cmp.Compare(a.Shard, b.Shard), cmp.Compare(a.Node, b.Node), cmp.Compare(a.Command, b.Command), b.At.Compare(a.At))
	})
	// The same command refused for two reasons: the newer one.
	return slices.CompactFunc(all, func(a, b Trouble) bool {
		return a.Shard == b.Shard && a.Node == b.Node && a.Command == b.Command
	})
}

// witness is a hook of a client that tells the log what its server refuses. It
// costs nothing while commands succeed.
type witness struct {
	refusals    *refusalLog
	shard, node string
}

// DialHook implements redis.Hook.
func (w *witness) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

// ProcessHook implements redis.Hook.
func (w *witness) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if err != nil {
			w.see(cmd, err)
		}
		return err
	}
}

// ProcessPipelineHook implements redis.Hook.
func (w *witness) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		if err != nil {
			for _, cmd := range cmds {
				w.see(cmd, cmd.Err())
			}
		}
		return err
	}
}

// see passes on what the server replied to cmd itself, and not what it replied
// while the connection for cmd was opened: those commands come here too.
func (w *witness) see(cmd redis.Cmder, err error) {
	reply, ok := err.(redis.Error)                                                    //nolint:errorlint // a wrapped one is checkRole's
	if !ok || cmd.Name() == "hello" && redis.HasErrorPrefix(err, "unknown command") { // before Redis 6; then it is AUTH
		return
	}
	if only := repliedTo(reply.Error()); only == "" || only == cmd.Name() {
		w.refusals.note(w.shard, w.node, cmd.FullName(), reply, time.Now())
	}
}
