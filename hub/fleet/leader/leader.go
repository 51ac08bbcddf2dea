package leader

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/outage"
	"github.com/homing/homing/redisx"
)

var (
	//go:embed lua/take.lua
	takeSource string
	//go:embed lua/give.lua
	giveSource string

	takeScript = redis.NewScript(takeSource)
	giveScript = redis.NewScript(giveSource)
)

// Timing is how long a lease stands. Only tests choose another than DefaultTiming.
type Timing struct {
	Period  time.Duration // how long it stands
	Refresh time.Duration // between two attempts to take or renew it
	Margin  time.Duration // how long before it lapses its holder stops acting
	Write   time.Duration // how long one attempt may take
}

// DefaultTiming has another take over within 5 seconds: after the period, an attempt's
// interval, and the attempt.
func DefaultTiming() Timing {
	return Timing{Period: 3500 * time.Millisecond, Refresh: 500 * time.Millisecond, Margin: time.Second, Write: 800 * time.Millisecond}
}

// Lease is what one process knows of who leads. It is safe for concurrent use; Run must
// be running.
type Lease struct {
	shard  *redisx.Shard
	keys   []string
	id     string
	timing Timing
	log    *slog.Logger
	leads  prometheus.Gauge
	fails  prometheus.Counter

	mu      sync.Mutex
	term    int64     // that this process leads in; 0: it does not
	until   time.Time // until when it may act, by this process's clock
	highest int64     // term that was seen
	holder  string    // who leads, as far as is known; empty: nobody
	err     error     // of the last attempt
	changed chan struct{}
}

// New returns the lease on r's data Redis for the process with an id that no other one
// has. It does no I/O.
func New(r *redisx.Redis, keys hub.Keys, id string, t Timing, log *slog.Logger, reg prometheus.Registerer) *Lease {
	return &Lease{
		shard: r.Data.Lead(), keys: []string{keys.Fleet("leader"), keys.FleetTerm()}, id: id, timing: t, log: log,
		leads: promauto.With(reg).NewGauge(prometheus.GaugeOpts{
			Name: "homing_fleet_leader", Help: "1: this process leads the fleet; 0: it watches who does.",
		}),
		fails: promauto.With(reg).NewCounter(prometheus.CounterOpts{
			Name: "homing_fleet_lease_failures_total", Help: "Attempts to take or renew the leader's lease that Redis did not answer, or did not copy.",
		}),
		err: errors.New("the leader is not known yet"), changed: make(chan struct{}),
	}
}

// Term is the term in which this process may act now, or 0: another one leads, or nobody
// does. It looks at a clock that does not stand still when the process does.
func (l *Lease) Term() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.term == 0 || !time.Now().Before(l.until) {
		return 0
	}
	return l.term
}

// Holder is who leads, as far as is known, and why that is not known now, or nil.
func (l *Lease) Holder() (id string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.holder, l.err
}

// Changed returns a channel that is closed when this process begins or ceases to lead.
func (l *Lease) Changed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

// Run takes the lease whenever nobody has it, and renews it, until ctx ends; then it
// gives it back. It returns nil.
func (l *Lease) Run(ctx context.Context) error {
	tick := time.NewTicker(l.timing.Refresh)
	defer tick.Stop()
	for {
		l.attempt(ctx)
		select {
		case <-ctx.Done():
			l.giveBack(context.WithoutCancel(ctx))
			return nil
		case <-tick.C:
		}
	}
}

// attempt takes or renews the lease, if it can.
func (l *Lease) attempt(ctx context.Context) {
	began := time.Now() // the lease stands from later on
	mine, term, holder, err := l.take(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	l.highest = max(l.highest, term)
	if l.err = err; err != nil {
		l.fails.Inc()
		if l.term != 0 && !time.Now().Before(l.until) {
			l.resign("the lease cannot be renewed", err)
		}
		return
	}
	l.holder = holder
	switch {
	case !mine && l.term != 0:
		l.resign("another one leads", nil)
	case mine && term != l.term:
		l.log.Info("this process leads the fleet", "term", term)
		l.term, l.until = term, began.Add(l.timing.Period-l.timing.Margin)
		l.leads.Set(1)
		l.tell()
	case mine:
		l.until = began.Add(l.timing.Period - l.timing.Margin)
	}
}

// resign has this process not lead any more. l.mu is held.
func (l *Lease) resign(why string, err error) {
	l.log.Warn("this process does not lead the fleet any more", "why", why, "term", l.term, "leader", l.holder, "err", err)
	l.term = 0
	l.leads.Set(0)
	l.tell()
}

func (l *Lease) tell() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// take runs the script, and waits until every replica that may be promoted has what it
// did. A lease that is there and not known to be copied counts as not held.
func (l *Lease) take(ctx context.Context) (mine bool, term int64, holder string, err error) {
	ctx, cancel := context.WithTimeout(ctx, l.timing.Write)
	defer cancel()
	l.mu.Lock()
	highest := l.highest
	l.mu.Unlock()
	var cmd *redis.Cmd
	err = l.shard.WithScript(ctx, takeScript, func() error {
		_, err := l.shard.WriteCopied(ctx, l.timing.Write, func(pipe redis.Pipeliner) {
			cmd = takeScript.EvalSha(ctx, pipe, l.keys, l.id, l.timing.Period.Milliseconds(), highest)
		})
		return err
	})
	if err != nil {
		return false, 0, "", outage.During("taking the leader's lease", err)
	}
	reply, err := cmd.Slice()
	if err != nil || len(reply) != 3 {
		return false, 0, "", fmt.Errorf("the leader's lease: an answer of %d parts: %w", len(reply), err)
	}
	held, _ := reply[0].(int64)
	term, _ = reply[1].(int64)
	holder, _ = reply[2].(string)
	return held == 1, term, holder, nil
}

// giveBack lets others lead at once.
func (l *Lease) giveBack(ctx context.Context) {
	l.mu.Lock()
	term := l.term
	if term != 0 {
		l.term = 0
		l.leads.Set(0)
		l.tell()
	}
	l.mu.Unlock()
	if term == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, l.timing.Write)
	defer cancel()
	err := l.shard.Write(ctx, func(ctx context.Context, c *redis.Client) error {
		return giveScript.Run(ctx, c, l.keys[:1], fmt.Sprintf("%d %s", term, l.id)).Err()
	})
	if err != nil {
		l.log.Warn("the leader's lease is not given back; it lapses", "err", err)
	}
}
