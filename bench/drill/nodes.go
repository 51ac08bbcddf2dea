package drill

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/alecthomas/kong"

	"github.com/homing/homing/bench/stack"
	hubfleet "github.com/homing/homing/hub/fleet"
	"github.com/homing/homing/hub/fleet/roster"
	"github.com/homing/homing/redisx"
)

// nodes are the fronts of a stack as nodes of a fleet, and who orders them about. Close
// it.
type nodes struct {
	*journal

	stack  *stack.Stack
	redis  *redisx.Redis
	roster *roster.Roster

	stop    context.CancelFunc
	running sync.WaitGroup
}

// nodeTimeout is how long the roster may take to know what is so.
const nodeTimeout = 20 * time.Second

func newNodes(ctx context.Context, j *journal, s *stack.Stack) (*nodes, error) {
	var cfg redisx.Config
	if err := kong.ApplyDefaults(&cfg); err != nil {
		return nil, fmt.Errorf("configure the roster's Redis: %w", err)
	}
	cfg.Data, cfg.PubSub = s.Redis.DataURLs(), s.Redis.PubSubURLs()
	r, err := redisx.New(cfg, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		return nil, fmt.Errorf("follow the roster's Redis: %w", err)
	}
	n := &nodes{journal: j, stack: s, redis: r, roster: roster.New(roster.Config{Waiting: 1000}, r, s.Keys(), nil)}
	ctx, n.stop = context.WithCancel(ctx)
	n.running.Go(func() { _ = r.Run(ctx) })
	if err := r.WaitReady(ctx); err != nil {
		n.close()
		return nil, fmt.Errorf("follow the roster's Redis: %w", err)
	}
	return n, nil
}

func (n *nodes) close() {
	n.stop()
	n.running.Wait()
}

// id is the node of front i: its endpoint.
func (n *nodes) id(i int) string { return n.stack.Fronts[i].Addr() }

// until waits until node i is as wanted.
func (n *nodes) until(ctx context.Context, i int, what string, timeout time.Duration, is func(*hubfleet.Node) bool) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var last hubfleet.Node
	for {
		node, _, err := n.roster.Find(ctx, n.id(i))
		if err == nil && is(&node) {
			return nil
		}
		last = node
		if e := pause(ctx, 100*time.Millisecond); e != nil {
			return fmt.Errorf("wait for node %s to be %s: it is %s with %+v, %+v: %w", n.id(i), what, last.State, last.Load, last.Progress, cmp.Or(err, e))
		}
	}
}

func (n *nodes) ready(ctx context.Context) error {
	for i := range n.stack.Fronts {
		if err := n.until(ctx, i, "ready", nodeTimeout, isReady); err != nil {
			return err
		}
	}
	return nil
}

func isReady(x *hubfleet.Node) bool { return x.State == hubfleet.Ready }

// drain orders node i to drain, patiently: in a failover an order may be refused.
func (n *nodes) drain(ctx context.Context, i int, d hubfleet.Drain) error {
	n.say("node %d, %s, is ordered to drain: %d per second, until %v from now", i, n.id(i), d.Rate, time.Until(d.Deadline).Round(time.Second))
	if err := n.roster.Drain(ctx, roster.Fence{}, n.id(i), d); err != nil {
		return fmt.Errorf("order %s to drain: %w", n.id(i), err)
	}
	return nil
}

func (n *nodes) undrain(ctx context.Context, i int) error {
	if err := n.roster.Undrain(ctx, roster.Fence{}, n.id(i)); err != nil {
		return fmt.Errorf("take the order of %s back: %w", n.id(i), err)
	}
	return nil
}

// emptied waits until node i serves nobody.
func (n *nodes) emptied(ctx context.Context, i int, timeout time.Duration) error {
	return n.until(ctx, i, "empty", timeout, func(x *hubfleet.Node) bool { return x.Processes > 0 && x.Load.Empty() })
}

// replace stops front i, which has been drained, and starts it again: another front under
// a node's name has no orders, and lets players in.
func (n *nodes) replace(ctx context.Context, i int) error {
	began := time.Now()
	if err := n.stack.Fronts[i].Restart(ctx); err != nil {
		return err
	}
	n.say("front %d was stopped and started within %.1fs", i, time.Since(began).Seconds())
	return n.until(ctx, i, "ready again", nodeTimeout, func(x *hubfleet.Node) bool { return isReady(x) && x.Drain == nil && x.Processes == x.Workers })
}
