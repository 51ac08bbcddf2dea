package scale

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/homing/homing/hub/fleet"
)

// Plan is how many ready nodes rules want, and why.
type Plan struct {
	Wanted int
	Needs  []Need // of which Wanted is the largest, that one first; bounded by Max
	Least  int    // the minimum at that time, which no cooldown keeps from being met
	Hold   string // why the fleet must not shrink; empty: it may
	Facts  Facts
	Faults []string // of conditions that could not be told
}

// Need is what one rule asks for.
type Need struct {
	Nodes int
	Why   string
}

// Why is the reason for the largest need.
func (p *Plan) Why() string { return p.Needs[0].Why }

// Effective is the minimum of ready nodes at a time, and which entry of the schedule it is
// from: nil for the rules' own.
func (r *Rules) Effective(at time.Time) (least int, slot *Slot) {
	least = *r.MinReady
	for i := range r.Schedule {
		if s := &r.Schedule[i]; s.MinReady > least && s.holds(at) {
			least, slot = s.MinReady, s
		}
	}
	return least, slot
}

// plan asks each rule how many nodes it wants.
func (r *Rules) plan(s *State, c *census, at time.Time) Plan {
	p := Plan{Facts: r.facts(s, c, at)}
	p.Least, _ = r.Effective(at)
	p.Needs = append(p.Needs, r.minimum(at), r.minimum(at.Add(r.StartUp)))
	p.Needs = append(p.Needs, r.byLoad(c)...)
	if r.Trend > 0 {
		p.Needs = append(p.Needs, r.ahead(s, c)...)
	}
	r.byConditions(&p)
	slices.SortStableFunc(p.Needs, func(a, b Need) int { return cmp.Compare(b.Nodes, a.Nodes) })
	p.Wanted = p.Needs[0].Nodes
	if p.Wanted > r.Max {
		p.Wanted = r.Max
		p.Needs[0].Why += fmt.Sprintf("; max allows %d of these %d", r.Max, p.Needs[0].Nodes)
	}
	return p
}

func (r *Rules) minimum(at time.Time) Need {
	least, slot := r.Effective(at)
	if slot == nil {
		return Need{least, fmt.Sprintf("min_ready is %d", least)}
	}
	return Need{least, fmt.Sprintf("the schedule asks for %d (%s)", least, slot)}
}

// byLoad are the needs of what there is now.
func (r *Rules) byLoad(c *census) (needs []Need) {
	if n := r.carriers(float64(c.players), float64(c.rooms), r.AverageLoad); n > 0 {
		needs = append(needs, Need{n, fmt.Sprintf("%s are %d nodes' at a load of %s", r.amount(c.players, c.rooms), n, percent(r.AverageLoad))})
	}
	if h := r.Headroom; h != (Capacity{}) {
		n := r.carriers(float64(c.players+h.Players), float64(c.rooms+h.Rooms), 1)
		needs = append(needs, Need{n, fmt.Sprintf("head-room for %s beside %s takes %d nodes", r.amount(h.Players, h.Rooms), r.amount(c.players, c.rooms), n)})
	}
	if r.NodeLoad > 0 {
		for _, n := range c.ready {
			if load := r.load(&n.Load, 1); load > r.NodeLoad {
				return append(needs, Need{len(c.ready) + 1, fmt.Sprintf("%s is at %s, above %s", n.ID, percent(load), percent(r.NodeLoad))})
			}
		}
	}
	return needs
}

// ahead are the needs of what there will be when a node that is ordered now is ready. It
// looks no further ahead than it has looked back: a jump is no trend.
func (r *Rules) ahead(s *State, c *census) []Need {
	players, rooms, seen := s.slopes()
	if players <= 0 && rooms <= 0 {
		return nil
	}
	reach := min(r.StartUp, seen)
	then := func(now int, slope float64) float64 { return float64(now) + max(slope, 0)*reach.Seconds() }
	p, m := then(c.players, players), then(c.rooms, rooms)
	n := r.carriers(p, m, r.AverageLoad)
	return []Need{{n, fmt.Sprintf("in %v %s are to be expected, %d nodes' at a load of %s", reach.Round(time.Second), r.amount(int(p), int(m)), n, percent(r.AverageLoad))}}
}

func (r *Rules) byConditions(p *Plan) {
	for i := range r.When {
		c := &r.When[i]
		holds, err := c.true(&p.Facts)
		if err != nil {
			p.Faults = append(p.Faults, fmt.Sprintf("the condition %q cannot be told: %v", c.If, err))
			continue
		}
		if !holds {
			continue
		}
		if c.Add > 0 {
			p.Needs = append(p.Needs, Need{p.Facts.Ready + c.Add, c.why()})
		}
		if c.AtLeast > 0 {
			p.Needs = append(p.Needs, Need{c.AtLeast, c.why()})
		}
		if c.Hold {
			p.Hold = c.why()
		}
	}
}

func (r *Rules) facts(s *State, c *census, at time.Time) Facts {
	at = at.UTC()
	slope, _, _ := s.slopes()
	f := Facts{
		Ready: len(c.ready), Starting: c.starting + s.ordered(), Draining: len(c.draining), Red: len(c.red),
		Players: c.players, Rooms: c.rooms, Seats: c.seats, Trend: slope * 60,
		Hour: at.Hour(), Weekday: int(at.Weekday()), MinuteOfDay: at.Hour()*60 + at.Minute(),
		Load: r.load(&fleet.Load{Connections: c.players, Rooms: c.rooms}, len(c.ready)),
	}
	for i := range c.ready {
		l := &c.ready[i].Load
		f.MaxLoad = max(f.MaxLoad, r.load(l, 1))
		f.CPU += l.CPU / float64(len(c.ready))
		f.MaxCPU = max(f.MaxCPU, l.CPU)
		f.LagMillis = max(f.LagMillis, l.LagMillis)
		f.FreePlayers += max(r.Node.Players-l.Connections, 0)
		f.FreeRooms += max(r.Node.Rooms-l.Rooms, 0)
	}
	return f
}

// carriers is how many nodes carry that much when each has a share of what it can.
func (r *Rules) carriers(players, rooms, share float64) int {
	return max(quotient(players, float64(r.Node.Players)*share), quotient(rooms, float64(r.Node.Rooms)*share))
}

func quotient(amount, each float64) int {
	if each == 0 {
		return 0
	}
	return int(math.Ceil(min(amount/each, maxNodes)))
}

// load is l as a share of what nodes carry; 0 with no nodes.
func (r *Rules) load(l *fleet.Load, nodes int) float64 {
	share := func(n, each int) float64 {
		if each*nodes == 0 {
			return 0
		}
		return float64(n) / float64(each*nodes)
	}
	return max(share(l.Connections, r.Node.Players), share(l.Rooms, r.Node.Rooms))
}

// amount is a number of players and rooms in words.
func (r *Rules) amount(players, rooms int) string {
	switch {
	case r.Node.Rooms == 0:
		return fmt.Sprintf("%d players", players)
	case r.Node.Players == 0:
		return fmt.Sprintf("%d rooms", rooms)
	}
	return fmt.Sprintf("%d players and %d rooms", players, rooms)
}

func percent(share float64) string { return fmt.Sprintf("%.0f%%", share*100) }
