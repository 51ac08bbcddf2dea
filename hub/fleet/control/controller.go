package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/homing/homing/hub/fleet"
	"github.com/homing/homing/hub/fleet/driver"
	"github.com/homing/homing/hub/fleet/leader"
	"github.com/homing/homing/hub/fleet/probe"
	"github.com/homing/homing/hub/fleet/roster"
	"github.com/homing/homing/hub/fleet/scale"
)

// Config is what an operator can choose about a controller.
type Config struct {
	DrainDeadline time.Duration `help:"How long a node that is to be taken away may keep its players. Those who are left then are closed." default:"10m"`
	DrainRate     int           `help:"Players that such a node sends away per second. 0: evenly until the deadline." default:"0" placeholder:"N"`
	ActionTimeout time.Duration `help:"How long a driver may take to start nodes, or to take one away." default:"10m"`
}

// Validate reports the first option that cannot work.
func (c *Config) Validate() error {
	switch {
	case c.DrainDeadline <= 0 || c.DrainDeadline > 24*time.Hour:
		return fmt.Errorf("--drain-deadline: %v: want a day at most", c.DrainDeadline)
	case c.DrainRate < 0:
		return fmt.Errorf("--drain-rate: %d: want 0 or more", c.DrainRate)
	case c.ActionTimeout < time.Second || c.ActionTimeout > 24*time.Hour:
		return fmt.Errorf("--action-timeout: %v: want 1s to a day", c.ActionTimeout)
	}
	return nil
}

// Roster is what the controller knows of nodes and orders them; see roster.Roster.
type Roster interface {
	Snapshot(ctx context.Context) (fleet.Snapshot, error)
	Drain(ctx context.Context, by roster.Fence, node string, d fleet.Drain) error
	Undrain(ctx context.Context, by roster.Fence, node string) error
	Mark(ctx context.Context, by roster.Fence, node, red string) error
	Probing(ctx context.Context, by roster.Fence) error
}

// Prober says which nodes answer; see probe.Prober.
type Prober interface {
	Watch(nodes []fleet.Node)
	Marks() (marks map[string]probe.Mark, doubt bool)
}

// Deps is what a Controller stands on.
type Deps struct {
	ID     string // of this process
	Rules  []*scale.Rules
	Shadow []Shadow
	Roster Roster
	Lease  *leader.Lease
	Store  *Store
	Prober Prober        // nil: reports alone say which nodes are well
	Driver driver.Driver // nil: nothing is carried out, and it is told how many nodes are wanted
	Epoch  func() uint64 // changes when Redis may have forgotten reports
	Record func(*Step)   // is given each step; nil: nothing is recorded
	Tell   func(Entry)   // is given each entry once it is kept; nil: nobody is told. It does not block
	Log    *slog.Logger
	Reg    prometheus.Registerer
}

// Controller runs a fleet while it leads.
type Controller struct {
	Deps

	cfg     Config
	met     *metrics
	actions *actions

	// What follows is Run's own.
	term    int64                  // that it leads in; 0: it does not
	rules   map[string]scale.State // what they remember, by cluster and region
	fresh   bool                   // that is from Redis, and not from the last step
	marked  map[string]string      // what the roster was told of nodes: why they are red, or ""
	shades  map[string]shade       // of the rules in the shadow, by file, cluster and region
	wanted  map[string]int         // how many nodes it was told that rules want; only without a driver
	saved   time.Time              // when what the rules remember was kept last
	last    time.Time              // of the last snapshot
	epoch   uint64                 // of Redis
	settles time.Time              // until when nodes may be missing because Redis has forgotten them
}

// New returns a controller. cfg must be valid.
func New(cfg Config, d Deps) *Controller {
	c := &Controller{Deps: d, cfg: cfg, met: newMetrics(d.Reg)}
	c.actions = newActions(cfg.ActionTimeout, d.Driver, d.Log, c.met)
	return c
}

const (
	// turnEvery is how often the fleet is looked at.
	turnEvery = time.Second
	// turnTime bounds one look.
	turnTime = 3 * time.Second
	// saveEvery is how old what is kept of the rules' memory may be while they decide
	// nothing: the next leader goes on from there.
	saveEvery = 10 * time.Second
	// settle is how long after a failover of Redis nothing is decided: reports of the
	// nodes may be lost with the old master, and come again.
	settle = 5 * time.Second
)

// Run looks at the fleet until ctx ends, and then waits until actions under way have come
// to their end. It returns nil.
func (c *Controller) Run(ctx context.Context) error {
	c.epoch = c.Epoch()
	var under sync.WaitGroup
	defer under.Wait()
	under.Go(func() { c.actions.run(ctx) })
	tick := time.NewTicker(turnEvery)
	defer tick.Stop()
	failing := false
	for {
		err := c.turn(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			c.met.faults.Inc()
			c.Log.Warn("fleet: this look at the nodes came to nothing", "err", err)
			failing = true
		case failing && err == nil:
			c.Log.Info("fleet: the nodes are looked at again")
			failing = false
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-c.Lease.Changed():
		}
	}
}

// turn is one look at the fleet. What cannot be kept is not done: then the next turn
// begins with what is in Redis.
func (c *Controller) turn(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, turnTime)
	defer cancel()
	term := c.Lease.Term()
	if term != c.term {
		c.forget()
		if term == 0 {
			return nil
		}
		if err := c.takeOver(ctx, term); err != nil {
			return err
		}
	}
	if term == 0 {
		return nil
	}
	if err := c.act(ctx); err != nil {
		c.forget()
		return err
	}
	return nil
}

// forget has the next turn begin anew.
func (c *Controller) forget() {
	c.term, c.rules, c.marked, c.shades, c.wanted, c.saved = 0, nil, nil, nil, nil, time.Time{}
	if c.Prober != nil {
		c.Prober.Watch(nil) // the leader's are enough
	}
	c.met.forget()
}

// takeOver goes on from what the last leader has left.
func (c *Controller) takeOver(ctx context.Context, term int64) error {
	m, err := c.Store.load(ctx)
	if err != nil {
		return err
	}
	entries := []Entry{{Kind: KindLeader}}
	for _, id := range slices.Sorted(maps.Keys(m.Running)) {
		if r := m.Running[id]; !c.actions.has(id) {
			entries = append(entries, Entry{Kind: KindOutcome, Action: id, By: r.By, Decision: r.Decision, Result: Unknown, Why: "it was decided, and then its leader was gone"})
			delete(m.Running, id)
		}
	}
	c.actions.adopt(m.Running)
	if err := c.keep(ctx, term, &m, entries); err != nil {
		return err
	}
	c.term, c.rules, c.fresh, c.marked, c.shades = term, m.Rules, true, make(map[string]string), make(map[string]shade)
	return nil
}

// act looks at the nodes, has the rules decide, keeps what they have decided, and begins
// to carry it out.
func (c *Controller) act(ctx context.Context) error {
	snap, err := c.look(ctx)
	if err != nil || snap == nil {
		return err
	}
	entries, err := c.mark(ctx, snap)
	if err != nil {
		return err
	}
	if c.Driver == nil {
		return c.advise(ctx, snap, entries)
	}
	step := &Step{At: snap.At, Nodes: snap.Nodes, Term: c.term, Fresh: c.fresh}
	if c.fresh {
		step.Before = c.rules
	}
	after, wanted := make(map[string]scale.State, len(c.Rules)), make(map[string]int, len(c.Rules))
	for _, r := range c.Rules {
		name := nameOf(r)
		_, plan := r.Plan(c.rules[name], snap)
		wanted[name] = plan.Wanted
		c.met.desired.WithLabelValues(r.Cluster, r.Region).Set(float64(plan.Wanted))
		var decisions []scale.Decision
		after[name], decisions = r.Step(c.rules[name], snap)
		step.Decisions = append(step.Decisions, decisions...)
	}
	c.met.see(snap)
	decided, begin := c.decided(step, snap)
	outcomes := c.actions.outcomes()
	entries = slices.Concat(entries, outcomes, decided, c.shade(snap, wanted))
	if err := c.keepStep(ctx, after, begin, entries, len(step.Decisions)+len(outcomes) > 0); err != nil {
		c.actions.drop(begin)
		return err
	}
	c.rules, c.fresh = after, false
	if c.Record != nil {
		c.Record(step)
	}
	return c.begin(ctx, begin)
}

// advise tells how many nodes the rules want, and has nothing done.
func (c *Controller) advise(ctx context.Context, snap *fleet.Snapshot, entries []Entry) error {
	wanted, after := make(map[string]int, len(c.Rules)), make(map[string]scale.State, len(c.Rules))
	for _, r := range c.Rules {
		name := nameOf(r)
		state, plan := r.Plan(c.rules[name], snap)
		after[name], wanted[name] = state, plan.Wanted
		c.met.desired.WithLabelValues(r.Cluster, r.Region).Set(float64(plan.Wanted))
		if was, told := c.wanted[name]; !told || was != plan.Wanted {
			entries = append(entries, Entry{Kind: KindDecision, Decision: &scale.Decision{
				At: snap.At, Cluster: r.Cluster, Region: r.Region, Action: scale.Hold, Nodes: plan.Wanted,
				Why: fmt.Sprintf("%d nodes are wanted: %s; there is no driver", plan.Wanted, plan.Why()),
			}})
		}
	}
	c.met.see(snap)
	entries = append(entries, c.shade(snap, wanted)...)
	if err := c.keepStep(ctx, after, nil, entries, false); err != nil {
		return err
	}
	c.rules, c.wanted = after, wanted
	return nil
}

// look returns the nodes as they are, or nil while Redis may have forgotten some.
func (c *Controller) look(ctx context.Context) (*fleet.Snapshot, error) {
	if e := c.Epoch(); e != c.epoch {
		c.epoch, c.settles = e, time.Now().Add(settle)
		c.Log.Info("fleet: Redis has another master; nothing is decided for a while", "for", settle)
	}
	if time.Now().Before(c.settles) {
		return nil, nil //nolint:nilnil // there is nothing to look at
	}
	snap, err := c.Roster.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	snap.At = snap.At.UTC().Round(0)
	if snap.At.Before(c.last) { // the clock of another Redis
		snap.At = c.last
	}
	c.last = snap.At
	return &snap, nil
}

// decided are the entries of what a step has decided, and the actions among that.
func (c *Controller) decided(step *Step, snap *fleet.Snapshot) (entries []Entry, begin []action) {
	for i := range step.Decisions {
		d := &step.Decisions[i]
		e := Entry{Kind: KindDecision, Decision: d}
		if a, is := c.actions.of(c.term, d); is {
			if at := slices.IndexFunc(snap.Nodes, func(n fleet.Node) bool { return n.ID == d.Node }); at >= 0 {
				a.node = snap.Nodes[at]
			}
			e.Action, e.By = a.id, a.by
			begin = append(begin, a)
		}
		entries = append(entries, e)
	}
	return entries, begin
}

// keepStep keeps what came of a step. What the rules remember is among that when it
// matters, and now and then.
func (c *Controller) keepStep(ctx context.Context, after map[string]scale.State, begin []action, entries []Entry, matters bool) error {
	switch {
	case matters || time.Since(c.saved) > saveEvery:
		if err := c.keep(ctx, c.term, &memory{after, c.actions.under(begin)}, entries); err != nil {
			return err
		}
		c.saved = time.Now()
	case len(entries) > 0:
		return c.keep(ctx, c.term, nil, entries)
	}
	return nil
}

// nameOf is the name of rules in what is kept.
func nameOf(r *scale.Rules) string { return r.Cluster + "/" + r.Region }

// mark tells the roster which nodes answer. In doubt it tells nothing: then the prober
// may be what is cut off.
func (c *Controller) mark(ctx context.Context, snap *fleet.Snapshot) (entries []Entry, err error) {
	if c.Prober == nil {
		return nil, nil
	}
	c.Prober.Watch(snap.Nodes)
	marks, doubt := c.Prober.Marks()
	if doubt { // new nodes are not to wait for probes either
		return nil, nil
	}
	if err := c.Roster.Probing(ctx, roster.Fence{Term: c.term}); err != nil {
		return nil, err
	}
	here := make(map[string]bool, len(snap.Nodes))
	orders := 0
	for i := range snap.Nodes {
		n := &snap.Nodes[i]
		here[n.ID] = true
		if m := marks[n.ID]; m.State != probe.Unknown && orders < maxMarks {
			red := bounded(m.Why)
			if m.State == probe.Green {
				red = ""
			}
			news, ordered, err := c.markNode(ctx, n, red)
			if err != nil {
				return nil, err
			}
			if ordered {
				orders++
			}
			if news {
				entries = append(entries, Entry{Kind: KindMark, Node: n.ID, Why: red})
			}
		}
	}
	maps.DeleteFunc(c.marked, func(id string, _ string) bool { return !here[id] })
	return entries, nil
}

// maxMarks bounds the nodes that are marked in one turn: each takes a round trip. The next
// turn goes on with the others.
const maxMarks = 100

// stands reports whether the roster shows a node as its probes say. One that was started
// again under its name is to be marked again.
func stands(n *fleet.Node, red string) bool {
	if red != "" {
		return n.State == fleet.Red
	}
	return n.State == fleet.Ready
}

// markNode tells the roster why n is red, or with an empty red that it answers, unless it
// stands there. news says that this is to be told.
func (c *Controller) markNode(ctx context.Context, n *fleet.Node, red string) (news, ordered bool, err error) {
	was, told := c.marked[n.ID]
	news = told && (was == "") != (red == "") || !told && red != ""
	c.marked[n.ID] = red
	if stands(n, red) && !news {
		return false, false, nil
	}
	if err := c.Roster.Mark(ctx, roster.Fence{Term: c.term}, n.ID, red); err != nil && !errors.Is(err, roster.ErrNoNode) {
		return false, true, err
	}
	return news, true, nil
}

// bounded is text, or its beginning where it is too long.
func bounded(text string) string { return text[:min(len(text), maxWhy)] }

// keep writes entries, and what is remembered, and tells of them once Redis has them.
func (c *Controller) keep(ctx context.Context, term int64, m *memory, entries []Entry) error {
	for i := range entries {
		e := &entries[i]
		e.At, e.Term, e.Leader = time.Now().UTC(), term, c.ID
	}
	if err := c.Store.save(ctx, term, m, entries); err != nil {
		return err
	}
	for i := range entries {
		c.Log.Info("fleet", "says", entries[i].String(), "kind", entries[i].Kind, "action", entries[i].Action)
		c.met.entry(&entries[i])
		if c.Tell != nil {
			c.Tell(entries[i])
		}
	}
	return nil
}

// begin has actions carried out. The lease is looked at before each: a process that stood
// still meanwhile begins nothing.
func (c *Controller) begin(ctx context.Context, all []action) error {
	for i, a := range all {
		if c.Lease.Term() != c.term {
			c.actions.drop(all[i:])
			return fmt.Errorf("%w: %s is not begun", ErrFenced, a.id)
		}
		var err error
		switch a.Action {
		case scale.Drain:
			err = c.Roster.Drain(ctx, roster.Fence{Term: c.term}, a.Node, fleet.Drain{
				ID: a.id, Rate: c.cfg.DrainRate, Deadline: time.Now().Add(c.cfg.DrainDeadline), Why: a.Why,
			})
		case scale.Undrain:
			err = c.Roster.Undrain(ctx, roster.Fence{Term: c.term}, a.Node)
		default: // the driver's
			c.actions.begin(a) //nolint:contextcheck // it goes on when this turn is over
			continue
		}
		if errors.Is(err, roster.ErrFenced) {
			c.actions.drop(all[i:])
			return err
		}
		c.actions.ended(a, err, 0)
	}
	return nil
}
