package probe

import (
	"time"
)

// Outcome is what came of one probe.
type Outcome uint8

// Outcomes.
const (
	Answered Outcome = iota // a connection was made, and a message answered
	TurnedAway
	Failed
	Void // it says nothing about the node: the prober stood still, or had no token
)

// String names the outcome as metrics do.
func (o Outcome) String() string {
	return [...]string{"answered", "turned_away", "failed", "void"}[o]
}

// Result is one probe. A node that turns clients away because it drains or is crowded
// answers as it should: it is not red.
type Result struct {
	Outcome Outcome
	Why     string    // of Failed: a sentence; of TurnedAway: the node's code
	At      time.Time // when it ended
	Took    time.Duration
}

// State is what is known of a node by its probes.
type State uint8

// States.
const (
	Unknown State = iota // it has not answered yet
	Green
	Red
)

// Mark is what probes say of a node.
type Mark struct {
	State State
	Why   string    // of Red
	Since time.Time // of this State
}

// policy is how results become states.
type policy struct {
	failures  int           // in a row make red
	successes int           // in a row make a red one green
	grace     time.Duration // how long a node that has never answered may fail
}

// judge keeps what is known of nodes. It does no I/O and reads no clock.
type judge struct {
	policy

	nodes map[string]*record
}

// record is one node.
type record struct {
	mark  Mark
	first time.Time // when it was watched first
	bad   int       // failures in a row
	good  int       // successes in a row
}

func newJudge(p policy) *judge { return &judge{p, make(map[string]*record)} }

// add has a node known from now on. One that is known stays as it is.
func (j *judge) add(id string, now time.Time) {
	if j.nodes[id] == nil {
		j.nodes[id] = &record{first: now, mark: Mark{Since: now}}
	}
}

// remove forgets a node.
func (j *judge) remove(id string) { delete(j.nodes, id) }

// note takes a result, and reports whether the node's state has changed. Results of
// nodes that are not known are passed over.
func (j *judge) note(id string, r Result) (changed bool) {
	n := j.nodes[id]
	if n == nil || r.Outcome == Void {
		return false
	}
	before := n.mark.State
	if r.Outcome == Failed {
		n.good = 0
		n.bad++
		young := before == Unknown && r.At.Sub(n.first) < j.grace
		if n.bad >= j.failures && !young {
			n.mark.State, n.mark.Why = Red, r.Why
		}
	} else {
		n.bad = 0
		n.good++
		if before == Unknown || before == Red && n.good >= j.successes {
			n.mark.State, n.mark.Why = Green, ""
		}
	}
	if n.mark.State == before {
		return false
	}
	n.mark.Since = r.At
	return true
}

// failing is how many nodes are red.
func (j *judge) failing() (red int) {
	for _, n := range j.nodes {
		if n.mark.State == Red {
			red++
		}
	}
	return red
}

// doubtful reports whether so many nodes are red that the prober is to blame rather than
// they: two at least, and more than half.
func (j *judge) doubtful() bool {
	red := j.failing()
	return red >= 2 && 2*red > len(j.nodes)
}

// marks are what is known of all nodes. In doubt none is red by its probes alone: those
// that are dead send no reports either.
func (j *judge) marks() (marks map[string]Mark, doubt bool) {
	doubt = j.doubtful()
	marks = make(map[string]Mark, len(j.nodes))
	for id, n := range j.nodes {
		m := n.mark
		if doubt && m.State == Red {
			m = Mark{State: Green, Since: m.Since}
		}
		marks[id] = m
	}
	return marks, doubt
}
