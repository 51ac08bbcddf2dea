package drill

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/homing/homing/bench/proc"
	hubfleet "github.com/homing/homing/hub/fleet"
	"github.com/homing/homing/hub/fleet/control"
	"github.com/homing/homing/hub/fleet/roster"
)

func controlScenarios() []scenario {
	return []scenario{
		{
			name: "fleet-leader-kill", about: "of two controllers of a fleet the one that leads is killed, and later another one stands still (SIGSTOP) past its lease and goes on",
			fault: killLeaders, check: checkUndisturbed, setup: threeNodes,
		},
		{
			name: "node-hang", about: "one node of three hangs as a whole (SIGSTOP) and comes back",
			fault: hangNode, check: checkSentAway, setup: threeNodes, gap: nodeHangs + 5*time.Second,
		},
	}
}

const (
	// takeOverWithin is how soon another controller must lead.
	takeOverWithin = 5 * time.Second
	// askAgain is how long rules wait for what they have ordered, twice the start_up of
	// wantFour: before that, the same must not be ordered again.
	askAgain = 6 * time.Second
	// leaderStall is how long a leader stands still.
	leaderStall = 10 * time.Second
)

// wantFour asks for one node more than there is. The driver says yes and does nothing,
// so that it is ordered again and again, each time for a reason of its own.
const wantFour = `
clusters:
- cluster: game
  min_ready: 4
  max: 8
  node: {players: 20000}
  start_up: 3s
  trend: -1s
  out: {every: 1s}
`

// noNodes asks for nothing.
const noNodes = `
clusters:
- cluster: game
  min_ready: 0
  max: 8
  node: {players: 20000}
  trend: -1s
`

// controllers are those of a drill. Close them.
type controllers struct {
	*nodes

	store *control.Store
	rules string // their file
	flags []string
	all   []*proc.Process
}

func (n *nodes) newControllers(rules string, flags ...string) (*controllers, error) {
	c := &controllers{nodes: n, store: control.NewStore(n.redis, n.stack.Keys()), rules: n.stack.File("rules.yaml"), flags: flags}
	return c, os.WriteFile(c.rules, []byte(rules), 0o600)
}

// start starts one more.
func (c *controllers) start(ctx context.Context) error {
	p, _, err := c.stack.Controller(ctx, fmt.Sprintf("controller-%d", len(c.all)), c.rules, c.flags...)
	if err == nil {
		c.all = append(c.all, p)
	}
	return err
}

func (c *controllers) close() {
	for _, p := range c.all {
		_ = p.Signal(syscall.SIGCONT) // one that has ended does not mind
		_ = p.Stop(5 * time.Second)
	}
}

// entries is the journal; read again after a failure, since Redis may be busy.
func (c *controllers) entries(ctx context.Context) (all []control.Noted, err error) {
	for range 3 {
		if all, err = c.store.Journal(ctx, "", 10_000); err == nil {
			return all, nil
		}
		if e := pause(ctx, 100*time.Millisecond); e != nil {
			return nil, e
		}
	}
	return nil, fmt.Errorf("read the journal of the fleet: %w", err)
}

// leader waits for a leader after a term, and returns its number and term.
func (c *controllers) leader(ctx context.Context, after int64) (number int, term int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, nodeTimeout)
	defer cancel()
	for {
		all, err := c.entries(ctx)
		if err != nil {
			return 0, 0, err
		}
		for _, e := range slices.Backward(all) {
			if e.Kind != control.KindLeader || e.Term <= after {
				continue
			}
			number := slices.IndexFunc(c.all, func(p *proc.Process) bool { return strings.Contains(e.Leader, "/"+strconv.Itoa(p.PID())+"/") })
			if number < 0 {
				return 0, 0, fmt.Errorf("%s leads, which is none of ours", e.Leader)
			}
			return number, e.Term, nil
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return 0, 0, fmt.Errorf("wait for a controller to lead after term %d: %w", after, err)
		}
	}
}

// killLeaders kills a leader and stalls another, while nodes are ordered.
func killLeaders(ctx context.Context, d *drill) error {
	n, err := newNodes(ctx, d.journal, d.stack)
	if err != nil {
		return err
	}
	defer n.close()
	orders := d.stack.File("orders")
	c, err := n.newControllers(wantFour, "--driver-command", "echo $(date +%s%N) $HOMING_ORDER $HOMING_NODES >> "+orders)
	if err != nil {
		return err
	}
	defer c.close()
	if err := n.ready(ctx); err != nil {
		return err
	}
	for range 2 {
		if err := c.start(ctx); err != nil {
			return err
		}
	}
	first, term, err := c.leader(ctx, 0)
	if err != nil {
		return err
	}
	d.say("controller %d leads", first)
	if err := pause(ctx, askAgain+2*time.Second); err != nil {
		return err
	}
	d.faultAt = time.Now()
	if err := c.all[first].Kill(); err != nil {
		return err
	}
	second, term, err := c.takeOver(ctx, d, "was killed", first, term)
	if err != nil {
		return err
	}
	if err := c.start(ctx); err != nil {
		return err
	}
	if err := pause(ctx, 2*askAgain); err != nil {
		return err
	}
	d.say("controller %d, which leads, stands still for %v", second, leaderStall)
	stalled := c.all[second].PID()
	going := make(chan error, 1)
	go func() { going <- standStill(ctx, leaderStall, stalled) }()
	_, _, err = c.takeOver(ctx, d, "stood still", second, term)
	if err = errors.Join(err, <-going); err != nil {
		return err
	}
	if err := pause(ctx, 2*askAgain); err != nil { // it goes on: nothing may come of that
		return err
	}
	return c.judge(ctx, d, orders)
}

// takeOver waits for another leader than controller old of a term.
func (c *controllers) takeOver(ctx context.Context, d *drill, what string, old int, term int64) (int, int64, error) {
	began := time.Now()
	next, nextTerm, err := c.leader(ctx, term)
	if err != nil {
		return 0, 0, err
	}
	took := time.Since(began)
	d.say("controller %d leads %.1fs after controller %d %s", next, took.Seconds(), old, what)
	if took > takeOverWithin+d.stalls.longest() {
		d.result.breaks("another controller leads after %v, want %v", took.Round(time.Millisecond), takeOverWithin)
	}
	return next, nextTerm, nil
}

// judge wants no order twice: the driver was never called for one while the one before
// was still waited for, each order once, and terms in the journal never go back.
func (c *controllers) judge(ctx context.Context, d *drill, file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read what the driver was told: %w", err)
	}
	var last time.Time
	seen := make(map[string]bool)
	for line := range bytes.Lines(text) {
		var nanos int64
		var order string
		var count int
		if _, err := fmt.Sscan(string(line), &nanos, &order, &count); err != nil {
			return fmt.Errorf("what the driver was told: %q: %w", line, err)
		}
		at := time.Unix(0, nanos)
		if count != 1 || seen[order] {
			d.result.breaks("order %s for %d nodes: want each once, for 1", order, count)
		}
		if !last.IsZero() && at.Sub(last) < askAgain-time.Second {
			d.result.breaks("order %s came %v after the one before: both are for one reason", order, at.Sub(last).Round(time.Millisecond))
		}
		seen[order], last = true, at
	}
	all, err := c.entries(ctx)
	if err != nil {
		return err
	}
	term, unknown := int64(0), 0
	for i := range all {
		e := &all[i]
		if e.Term < term {
			d.result.breaks("the journal has an entry of term %d after one of term %d: %s", e.Term, term, e.String())
		}
		if term = e.Term; e.Result == control.Unknown {
			unknown++
		}
	}
	d.say("the driver was called %d times, for %d orders; of %d actions nobody knows what became", len(seen), len(seen), unknown)
	if len(seen) < 4 {
		d.result.breaks("%d orders are too few to see anything", len(seen))
	}
	return nil
}

const (
	// nodeHangs is how long a node hangs: less than makes its workers be declared dead.
	nodeHangs = 8 * time.Second
	// redWithin is how soon it must be red.
	redWithin = 3 * time.Second
	// greenWithin is how soon it must be used again.
	greenWithin = 5 * time.Second
)

// hangNode stops all processes of a node for a while.
func hangNode(ctx context.Context, d *drill) error {
	n, err := newNodes(ctx, d.journal, d.stack)
	if err != nil {
		return err
	}
	defer n.close()
	c, err := n.newControllers(noNodes)
	if err != nil {
		return err
	}
	defer c.close()
	if err := c.start(ctx); err != nil {
		return err
	}
	if _, _, err := c.leader(ctx, 0); err != nil {
		return err
	}
	if err := pause(ctx, 3*time.Second); err != nil { // some probes
		return err
	}
	if err := n.ready(ctx); err != nil {
		return err
	}
	pids, err := d.stack.Fronts[0].PIDs()
	if err != nil {
		return err
	}
	d.faultAt = time.Now()
	d.audit.sendsAway(d.faultAt, nodeHangs+sentAwayWithin)
	d.say("node %s, master %d and workers %v, hangs for %v", n.id(0), pids[0], pids[1:], nodeHangs)
	going := make(chan error, 1)
	go func() { going <- standStill(ctx, nodeHangs, pids...) }()
	err = n.watchHang(ctx, d)
	if err = errors.Join(err, <-going); err != nil {
		return err
	}
	began := time.Now()
	if err := n.until(ctx, 0, "ready again", nodeTimeout, isReady); err != nil {
		return err
	}
	if took := time.Since(began); took > greenWithin+d.stalls.longest() {
		d.result.breaks("the node is used again after %v, want %v", took.Round(time.Millisecond), greenWithin)
	} else {
		d.say("the node is used again %.1fs after it went on", took.Seconds())
	}
	return d.attendance.regroup(ctx)
}

// watchHang asks for places while node 0 hangs: none may be there once it is red.
func (n *nodes) watchHang(ctx context.Context, d *drill) error {
	asking, stop := context.WithTimeout(ctx, nodeHangs-time.Second)
	defer stop()
	var running sync.WaitGroup
	running.Go(func() { _ = n.roster.Run(asking) })
	defer running.Wait()
	defer stop()
	redAfter, before, there, elsewhere := time.Duration(0), 0, 0, 0
	for i := 0; asking.Err() == nil; i++ {
		if redAfter == 0 {
			if node, _, err := n.roster.Find(asking, n.id(0)); err == nil && node.State == hubfleet.Red {
				redAfter = time.Since(d.faultAt)
				d.say("it is red after %.1fs: %s", redAfter.Seconds(), node.Why)
			}
		}
		red := redAfter > 0
		a, err := n.roster.Assign(asking, hubfleet.Request{ID: fmt.Sprintf("hang-%d", i), Players: 1})
		switch {
		case asking.Err() != nil:
		case errors.Is(err, roster.ErrNoCapacity):
			d.result.breaks("no node has room, though two are well: %v", err)
		case err != nil:
			return fmt.Errorf("ask for a place: %w", err)
		case a.Node != n.id(0):
			elsewhere++
		case red:
			there++
		default:
			before++
		}
		_ = pause(asking, 10*time.Millisecond)
	}
	d.say("%d were assigned to it before that, %d after; %d elsewhere", before, there, elsewhere)
	switch {
	case redAfter == 0 || redAfter > redWithin+d.stalls.longest():
		d.result.breaks("the node that hangs is red after %v, want %v", redAfter.Round(time.Millisecond), redWithin)
	case there > 0 || elsewhere == 0:
		d.result.breaks("%d players were assigned to a node that is red, %d elsewhere", there, elsewhere)
	}
	return nil
}
