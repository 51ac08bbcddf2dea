package rehearsal

import (
	"errors"
	"math"
	"math/rand/v2"
	"time"

	"github.com/homing/homing/hub/fleet"
	"github.com/homing/homing/hub/fleet/scale"
)

// Options are of the model. A zero Duration takes its default.
type Options struct {
	Tick     time.Duration // between two looks at the fleet. Default 10 s
	Boot     time.Duration // from order to ready, a quarter more or less. Default 4/5 of the rules' start_up
	Session  time.Duration // after which as many players have left as there were. Default 25 min
	Drain    time.Duration // in which a node sends its players away. Default 10 min
	Patience time.Duration // after which who waits is refused. Default 1 min
	Pack     bool          // players are sent to the fullest node, not to the emptiest
	Seed     uint64
}

// Run is what came of one set of rules.
type Run struct {
	Name      string
	Points    []Point // one a minute
	Decisions []scale.Decision

	NodeHours         float64
	Refused           int           // players who waited for too long
	WaitedMinutes     float64       // that players waited, all together
	MostWaiting       int           // at one time
	UnderMinimum      time.Duration // with fewer nodes ready than the rules' minimum
	RemovedInUse      int           // nodes taken away with players
	MostNodes         int
	ShortestOut       time.Duration // between two orders that were not for the minimum
	ShortestIn        time.Duration
	PeakLoad          float64 // of the fullest node, as a share of what it carries
	TurnsOut, TurnsIn int
}

// Point is a fleet at one time.
type Point struct {
	At                       time.Time
	Wanted                   int // players
	Playing, Waiting         int
	Ready, Starting, Leaving int // nodes
	Refused                  int // players, in the minute before
}

// Play plays a trace against rules. It begins with as many nodes as carry the trace's
// first players.
func Play(name string, rules *scale.Rules, trace Trace, o Options) (*Run, error) {
	if rules.Node.Players == 0 {
		return nil, errors.New("the rules do not say how many players a node carries (node.players)")
	}
	o.setDefaults(rules)
	m := &model{opts: &o, rules: rules, random: rand.New(rand.NewPCG(o.Seed, 1)), now: trace[0].At}
	least, _ := rules.Effective(m.now)
	for range max(least, carriers(trace[0].Players, rules), 1) {
		m.add(m.now, nil)
	}
	run := &Run{Name: name, ShortestOut: math.MaxInt64, ShortestIn: math.MaxInt64}
	p := player{run: run, model: m, rules: rules, tick: o.Tick}
	for at := m.now; !at.After(trace[len(trace)-1].At); at = at.Add(o.Tick) {
		p.play(trace.at(at))
	}
	return run, nil
}

func (o *Options) setDefaults(r *scale.Rules) {
	for option, value := range map[*time.Duration]time.Duration{
		&o.Tick: 10 * time.Second, &o.Boot: r.StartUp * 4 / 5, &o.Session: 25 * time.Minute,
		&o.Drain: 10 * time.Minute, &o.Patience: time.Minute,
	} {
		if *option <= 0 {
			*option = value
		}
	}
}

// player plays one tick after the other, and keeps the accounts.
type player struct {
	run             *Run
	model           *model
	rules           *scale.Rules
	state           scale.State
	tick            time.Duration
	lastOut, lastIn time.Time
	refused         int // since the last point
}

func (p *player) play(want Moment) {
	m, run := p.model, p.run
	m.pass(want, p.tick)
	refused := m.refuse()
	p.refused += refused
	run.Refused += refused
	waiting := m.waiting()
	run.WaitedMinutes += float64(waiting) * p.tick.Minutes()
	run.MostWaiting = max(run.MostWaiting, waiting)
	run.NodeHours += float64(len(m.nodes)) * p.tick.Hours()
	run.MostNodes = max(run.MostNodes, len(m.nodes))

	point := Point{At: want.At, Wanted: want.Players, Playing: m.present(), Waiting: waiting}
	for _, n := range m.nodes {
		run.PeakLoad = max(run.PeakLoad, float64(n.Load.Connections)/float64(p.rules.Node.Players))
		switch n.State {
		case fleet.Ready:
			point.Ready++
		case fleet.Starting:
			point.Starting++
		case fleet.Draining, fleet.Red:
			point.Leaving++
		}
	}
	least, _ := p.rules.Effective(want.At)
	if point.Ready < least {
		run.UnderMinimum += p.tick
	}
	if n := len(run.Points); n == 0 || want.At.Sub(run.Points[n-1].At) >= time.Minute {
		point.Refused, p.refused = p.refused, 0
		run.Points = append(run.Points, point)
	}
	p.decide(want, point.Ready+point.Starting < least)
}

func (p *player) decide(want Moment, urgent bool) {
	var decisions []scale.Decision
	p.state, decisions = p.rules.Step(p.state, p.model.snapshot())
	grown, shrunk := false, false
	for i := range decisions {
		d := &decisions[i]
		grown = grown || d.Action == scale.Grow
		shrunk = shrunk || d.Action == scale.Drain
		if !p.model.carryOut(d, want.Down) {
			p.run.RemovedInUse++
		}
	}
	if grown {
		p.run.TurnsOut++
		p.run.ShortestOut = shortest(p.run.ShortestOut, &p.lastOut, want.At, urgent)
	}
	if shrunk {
		p.run.TurnsIn++
		p.run.ShortestIn = shortest(p.run.ShortestIn, &p.lastIn, want.At, false)
	}
	p.run.Decisions = append(p.run.Decisions, decisions...)
}

func shortest(so time.Duration, last *time.Time, at time.Time, urgent bool) time.Duration {
	if !last.IsZero() && !urgent {
		so = min(so, at.Sub(*last))
	}
	*last = at
	return so
}

func carriers(players int, r *scale.Rules) int {
	return int(math.Ceil(float64(players) / (float64(r.Node.Players) * r.AverageLoad)))
}

// Bounds are what a fleet of the size that a trace needs at its peak costs, all day, and
// one that is as large at any time as it must be, which nobody can have: of nodes as the
// rules load them, in node hours.
func Bounds(rules *scale.Rules, trace Trace) (static, perfect float64) {
	const tick = time.Minute
	peak := 0
	for at := trace[0].At; !at.After(trace[len(trace)-1].At); at = at.Add(tick) {
		least, _ := rules.Effective(at)
		n := max(least, carriers(trace.at(at).Players, rules))
		peak = max(peak, n)
		perfect += float64(n) * tick.Hours()
	}
	return float64(peak) * trace[len(trace)-1].At.Sub(trace[0].At).Hours(), perfect
}
