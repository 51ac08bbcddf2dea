package rights

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/redisx"
)

const (
	// period is between two looks at whom there is to ask, and hurry while
	// nobody has answered: a process that starts waits for the first.
	period = time.Second
	hurry  = 50 * time.Millisecond
	// again is after how long a server that lets us do all that we must is
	// asked again, and mended one that does not.
	again  = 30 * time.Second
	mended = 3 * time.Second
	// patience bounds one look at a server.
	patience = 2 * time.Second
)

// Check finds out at every server of every role whether the user that it was
// given may do what it must. It is safe for concurrent use; Run must be running.
type Check struct {
	shards []shard
	keys   hub.Keys
	log    *slog.Logger
	gauge  *prometheus.GaugeVec // by shard and node

	verdict atomic.Pointer[verdict]
	answers map[node]answer // of the servers that can be reached; owned by Run
}

// node is one server of one shard.
type node struct{ shard, addr string }

// answer is what a server refuses.
type answer struct {
	missing []string
	replica bool
	next    time.Time // when to ask again; zero: it has not answered yet
}

// verdict is the outcome of the last look.
type verdict struct {
	asked   bool // at least one server was
	missing []Missing
}

// shard is one shard and what it must let us do.
type shard struct {
	*redisx.Shard
	commands []string
}

// needs lists the commands that the shard must let us run now: nobody waits for
// replicas where there are none.
func (s *shard) needs() []string {
	if s.Copies() > 0 {
		return s.commands
	}
	return slices.DeleteFunc(slices.Clone(s.commands), func(name string) bool { return name == "wait" })
}

// Missing is what one server refuses.
type Missing struct {
	Shard    string
	Node     string // its address
	Replica  bool   // others serve in its place, until it becomes the master
	Commands []string
}

// String says it in words, for people.
func (m Missing) String() string {
	return fmt.Sprintf("redis %s: %s refuses %s: grant the user what docs/operations.md lists under Rights",
		m.Shard, m.Node, strings.ToUpper(strings.Join(m.Commands, ", ")))
}

// New returns the check of a process that uses r. It does no I/O. reg may be
// nil.
func New(r *redisx.Redis, keys hub.Keys, log *slog.Logger, reg prometheus.Registerer) *Check {
	c := &Check{
		keys: keys, log: log, answers: map[node]answer{},
		gauge: promauto.With(reg).NewGaugeVec(prometheus.GaugeOpts{
			Name: "homing_redis_missing_rights",
			Help: "Commands that a Redis server refuses to our user though the hub needs them.",
		}, []string{"shard", "node"}),
	}
	c.verdict.Store(&verdict{})
	roles := map[*redisx.Shard][]Role{}
	for role, shards := range map[Role]*redisx.Role{Data: r.Data, PubSub: r.PubSub, Inbox: r.Inbox} {
		for _, s := range shards.All() {
			roles[s] = append(roles[s], role)
		}
	}
	for s, served := range roles {
		c.shards = append(c.shards, shard{s, Commands(served...)})
	}
	return c
}

// Missing lists what servers refused when last asked, by shard and node. The
// caller must not change it.
func (c *Check) Missing() []Missing { return c.verdict.Load().missing }

// ErrNotAsked is what Err returns before the first server has answered.
var ErrNotAsked = fmt.Errorf("%w: what Redis lets us do is not known yet", redisx.ErrUnavailable)

// Err returns nil when every master lets us do what we must, as far as is
// known, and else what one refuses.
func (c *Check) Err() error {
	v := c.verdict.Load()
	if !v.asked {
		return ErrNotAsked
	}
	for _, m := range v.missing {
		if !m.Replica {
			return fmt.Errorf("%w: %v", redisx.ErrMisconfigured, m)
		}
	}
	return nil
}

// WaitGranted blocks until Err returns nil, or ctx ends.
func (c *Check) WaitGranted(ctx context.Context) error {
	tick := time.NewTicker(hurry)
	defer tick.Stop()
	for {
		err := c.Err()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		}
	}
}

// Run asks every server when it is first met, and then every half a minute,
// until ctx ends; then it returns nil.
func (c *Check) Run(ctx context.Context) error {
	for {
		c.look(ctx, time.Now())
		pause := period
		if len(c.answers) == 0 {
			pause = hurry
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// look asks the servers whose turn it is.
func (c *Check) look(ctx context.Context, now time.Time) {
	before, found := c.answers, map[node]answer{}
	for _, s := range c.shards {
		s.Visit(ctx, func(ctx context.Context, n redisx.Node, cl *redis.Client) {
			key := node{s.Name(), n.Addr}
			a, asked := before[key]
			if !asked || !now.Before(a.next) {
				a = c.ask(ctx, key, cl, s.needs(), a, now)
			}
			if a.replica = n.Role == redisx.Replica; !a.next.IsZero() {
				found[key] = a
			}
		})
	}
	if ctx.Err() == nil {
		c.conclude(found)
	}
}

// ask returns what the server refuses, or a when it does not answer.
func (c *Check) ask(ctx context.Context, key node, cl *redis.Client, commands []string, a answer, now time.Time) answer {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	missing, err := try(ctx, cl, c.keys, commands)
	if err != nil {
		return a // its own troubles are told elsewhere
	}
	if !slices.Equal(missing, a.missing) {
		c.tell(key, missing)
	}
	a.missing, a.next = missing, now.Add(again)
	if len(missing) > 0 {
		a.next = now.Add(mended)
	}
	return a
}

// tell logs a change of what a server refuses.
func (c *Check) tell(n node, missing []string) {
	if len(missing) == 0 {
		c.log.Info("redis lets us do what we must now", "shard", n.shard, "node", n.addr)
		return
	}
	c.log.Error("redis does not let us do what we must: see Rights in docs/operations.md",
		"shard", n.shard, "node", n.addr, "refused", strings.Join(missing, " "))
}

// conclude makes what was found the verdict.
func (c *Check) conclude(found map[node]answer) {
	c.answers = found
	v := &verdict{asked: len(found) > 0}
	c.gauge.Reset()
	for n, a := range found {
		c.gauge.WithLabelValues(n.shard, n.addr).Set(float64(len(a.missing)))
		if len(a.missing) > 0 {
			v.missing = append(v.missing, Missing{Shard: n.shard, Node: n.addr, Replica: a.replica, Commands: a.missing})
		}
	}
	slices.SortFunc(v.missing, func(a, b Missing) int {
		return cmp.Or(cmp.Compare(a.Shard, b.Shard), cmp.Compare(a.Node, b.Node))
	})
	c.verdict.Store(v)
}
