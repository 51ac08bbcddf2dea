package scale

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/homing/homing/hub/fleet"
)

// Step looks at a snapshot and decides. It changes neither s nor snap; what it returns is
// for the next snapshot, which must not be an earlier one. Decisions come in the order in
// which they are to be carried out.
func (r *Rules) Step(s State, snap *fleet.Snapshot) (State, []Decision) {
	t := &turn{Rules: r, state: s.clone(), at: snap.At}
	var all []fleet.Node
	t.census, all = r.count(snap)
	t.compare(all)
	if r.Trend > 0 {
		t.state.sample(Sample{t.at, t.players, t.rooms}, r.Trend)
	}
	t.expireOrders()
	t.takeAway()
	p := r.plan(&t.state, &t.census, t.at)
	for _, fault := range p.Faults {
		t.decide(Decision{Action: Hold, Why: fault})
	}
	have := len(t.ready) + t.starting + t.state.ordered()
	switch {
	case p.Wanted > have:
		t.grow(&p, have)
	case p.Wanted < len(t.ready):
		t.shrink(&p)
	default:
		t.state.Said = ""
	}
	return t.state, t.decisions
}

// Plan is how many nodes r wants at a snapshot, without deciding anything: what rules in
// the shadow of others, and those with an autoscaler of their own, ask for.
func (r *Rules) Plan(s State, snap *fleet.Snapshot) (State, Plan) {
	s = s.clone()
	c, _ := r.count(snap)
	if r.Trend > 0 {
		s.sample(Sample{snap.At, c.players, c.rooms}, r.Trend)
	}
	return s, r.plan(&s, &c, snap.At)
}

// turn is one Step.
type turn struct {
	*Rules
	census
	at        time.Time
	state     State
	decisions []Decision
}

func (t *turn) decide(d Decision) {
	d.At, d.Cluster, d.Region = t.at, t.Cluster, t.Region
	t.decisions = append(t.decisions, d)
}

// compare finds who came and who went since the last snapshot.
func (t *turn) compare(all []fleet.Node) {
	known := t.state.Known
	if known == nil && t.state.LastIn.IsZero() {
		t.state.LastIn = t.at // what was done before is not known
	}
	t.state.Known = make(map[string]int, len(all))
	for _, n := range all {
		t.state.Known[n.ID] = n.Load.Connections
		if _, old := known[n.ID]; !old && known != nil {
			t.arrived()
		}
	}
	for _, id := range sorted(known) {
		if _, here := t.state.Known[id]; here {
			continue
		}
		leave, asked := t.state.Leaving[id]
		delete(t.state.Leaving, id)
		if !asked || leave.Removed.IsZero() {
			t.decide(Decision{Action: Lost, Node: id, Why: t.lost(id, known[id])})
		}
	}
}

// lost says what is known of a node that went by itself.
func (t *turn) lost(id string, players int) string {
	why := fmt.Sprintf("%s is gone with %d players, and nobody asked for that", id, players)
	for _, other := range sorted(t.state.Leaving) {
		if !t.state.Leaving[other].Removed.IsZero() {
			if _, here := t.state.Known[other]; here {
				return why + fmt.Sprintf("; %s was to go and is still there: was the wrong one taken?", other)
			}
		}
	}
	return why
}

// arrived counts a node that came on the oldest order.
func (t *turn) arrived() {
	if len(t.state.Orders) == 0 {
		return // of somebody else's
	}
	if t.state.Orders[0].Nodes--; t.state.Orders[0].Nodes == 0 {
		t.state.Orders = slices.Delete(t.state.Orders, 0, 1)
	}
}

// patience is how long what was asked for may take.
func (t *turn) patience() time.Duration { return 2 * t.StartUp }

// expireOrders gives up orders whose nodes have not come: they are not counted on any
// more, and may be ordered again.
func (t *turn) expireOrders() {
	for len(t.state.Orders) > 0 && t.at.Sub(t.state.Orders[0].At) > t.patience() {
		o := t.state.Orders[0]
		t.state.Orders = slices.Delete(t.state.Orders, 0, 1)
		t.decide(Decision{Action: Late, Nodes: o.Nodes, Why: fmt.Sprintf("%d nodes ordered %v ago have not come", o.Nodes, t.at.Sub(o.At))})
	}
}

// takeAway has nodes removed once they are empty.
func (t *turn) takeAway() {
	for _, n := range t.draining {
		leave, mine := t.state.Leaving[n.ID]
		if !mine || !n.Load.Empty() {
			continue
		}
		switch {
		case leave.Removed.IsZero():
			t.decide(Decision{Action: Remove, Node: n.ID, Why: n.ID + " is drained: nobody is left on it"})
		case t.at.Sub(leave.Removed) > t.patience():
			t.decide(Decision{Action: Late, Node: n.ID, Why: fmt.Sprintf("%s was to be removed %v ago and is still there", n.ID, t.at.Sub(leave.Removed))})
			t.decide(Decision{Action: Remove, Node: n.ID, Why: n.ID + " is still there"})
		default:
			continue
		}
		leave.Removed = t.at
		t.state.Leaving[n.ID] = leave
	}
	for _, n := range t.ready { // the order to drain has not reached it
		if leave, mine := t.state.Leaving[n.ID]; mine && t.at.Sub(leave.Since) > t.patience() {
			t.state.Leaving[n.ID] = Leave{Since: t.at}
			t.decide(Decision{Action: Late, Node: n.ID, Why: fmt.Sprintf("%s was to drain %v ago and is ready", n.ID, t.at.Sub(leave.Since))})
			t.decide(Decision{Action: Drain, Node: n.ID, Why: n.ID + " does not drain yet"})
		}
	}
	// One on its way out is not counted on.
	t.ready = slices.DeleteFunc(t.ready, func(n fleet.Node) bool { return t.leaves(n.ID) })
}

func (t *turn) leaves(id string) bool { _, leaves := t.state.Leaving[id]; return leaves }

// grow gets the nodes that are missing: those on their way out first, then new ones.
func (t *turn) grow(p *Plan, have int) {
	missing := p.Wanted - have
	for _, id := range t.returning() {
		if missing == 0 {
			return
		}
		missing--
		delete(t.state.Leaving, id)
		t.decide(Decision{Action: Undrain, Node: id, Why: p.Why()})
	}
	if missing == 0 {
		return
	}
	have = p.Wanted - missing
	urgent := p.Least > have
	if wait := t.Out.Every - t.at.Sub(t.state.LastOut); wait > 0 && !urgent {
		t.hold("more nodes are wanted (%s), and some were ordered less than %v ago", p.Why(), t.Out.Every)
		return
	}
	n := min(missing, t.Out.Step)
	if urgent {
		n = max(n, p.Least-have)
	}
	// Those that leave are paid for until they are gone.
	n = min(n, t.Max-have-len(t.state.Leaving)-t.others())
	if n <= 0 {
		t.hold("more nodes are wanted (%s), and max is reached by those that leave or are red", p.Why())
		return
	}
	t.state.Said = ""
	t.state.LastOut = t.at
	t.state.Orders = append(t.state.Orders, Order{t.at, n})
	t.decide(Decision{Action: Grow, Nodes: n, Why: fmt.Sprintf("%d nodes are there or ordered, %d are wanted: %s", have, p.Wanted, p.Why())})
}

// others is how many nodes are there and count for nothing.
func (t *turn) others() (n int) {
	for _, d := range t.draining {
		if !t.leaves(d.ID) {
			n++
		}
	}
	return n + len(t.red)
}

// returning are the nodes on their way out that can still be used, fullest first.
func (t *turn) returning() (ids []string) {
	var nodes []fleet.Node
	for _, n := range t.draining {
		if leave, mine := t.state.Leaving[n.ID]; mine && leave.Removed.IsZero() {
			nodes = append(nodes, n)
		}
	}
	slices.SortStableFunc(nodes, func(a, b fleet.Node) int { return -byLoad(a, b) })
	for _, n := range nodes {
		ids = append(ids, n.ID)
	}
	return ids
}

// shrink has the emptiest nodes drained.
func (t *turn) shrink(p *Plan) {
	surplus := len(t.ready) - p.Wanted
	last := t.state.LastIn
	if t.state.LastOut.After(last) {
		last = t.state.LastOut
	}
	switch {
	case p.Hold != "":
		t.hold("%d nodes are too many, and a rule holds them: %s", surplus, p.Hold)
		return
	case t.starting+t.state.ordered() > 0:
		t.hold("%d nodes are too many, and more are on their way", surplus)
		return
	case t.at.Sub(last) < t.In.Every:
		t.hold("%d nodes are too many, and the last change was less than %v ago", surplus, t.In.Every)
		return
	}
	victims := slices.Clone(t.ready)
	slices.SortStableFunc(victims, byLoad)
	t.state.Said = ""
	t.state.LastIn = t.at
	for _, n := range victims[:min(surplus, t.In.Step)] {
		if t.state.Leaving == nil {
			t.state.Leaving = make(map[string]Leave)
		}
		t.state.Leaving[n.ID] = Leave{Since: t.at}
		t.decide(Decision{Action: Drain, Node: n.ID, Why: fmt.Sprintf("%d nodes are ready, %d are wanted (%s), and %s has the fewest players: %d", len(t.ready), p.Wanted, p.Why(), n.ID, n.Load.Connections)})
	}
}

// hold tells once why nothing is done.
func (t *turn) hold(format string, args ...any) {
	if t.state.Said != format {
		t.state.Said = format
		t.decide(Decision{Action: Hold, Why: fmt.Sprintf(format, args...)})
	}
}

// byLoad puts the node that is the least to take away first.
func byLoad(a, b fleet.Node) int {
	return cmp.Or(
		cmp.Compare(a.Load.Connections+a.Load.Seats, b.Load.Connections+b.Load.Seats),
		cmp.Compare(a.Load.Rooms, b.Load.Rooms),
		cmp.Compare(b.ID, a.ID), // the newest, where IDs are made in order
	)
}

func sorted[V any](m map[string]V) []string {
	ids := make([]string, 0, len(m))
	for id := range m {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}
