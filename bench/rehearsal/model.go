package rehearsal

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/homing/homing/hub/fleet"
	"github.com/homing/homing/hub/fleet/scale"
)

// zones are where nodes are, one after the other.
var zones = []string{"a", "b", "c"}

// model is the fleet that is played: nodes and those who wait for a place.
type model struct {
	opts   *Options
	rules  *scale.Rules
	random *rand.Rand
	now    time.Time
	nodes  []*node
	made   int
	queue  []arrivals // oldest first
}

type node struct {
	fleet.Node
	zone    string
	readyAt time.Time
	owed    float64 // players who are to leave, less than one
}

// arrivals are players who came at one time and wait.
type arrivals struct {
	at      time.Time
	players int
}

func (m *model) add(readyAt time.Time, down []string) {
	zone := zones[m.made%len(zones)]
	for slices.Contains(down, zone) && len(down) < len(zones) {
		m.made++
		zone = zones[m.made%len(zones)]
	}
	m.made++
	m.nodes = append(m.nodes, &node{
		Node: fleet.Node{ID: fmt.Sprintf("node-%04d", m.made), Cluster: m.rules.Cluster, Region: m.rules.Region, State: fleet.Starting},
		zone: zone, readyAt: readyAt,
	})
}

// pass lets one tick go by, with as many players at its end as the moment wants.
func (m *model) pass(want Moment, tick time.Duration) {
	m.now = want.At
	m.nodes = slices.DeleteFunc(m.nodes, func(n *node) bool { return slices.Contains(want.Down, n.zone) })
	for _, n := range m.nodes {
		if n.State == fleet.Starting && !n.readyAt.After(m.now) {
			n.State = fleet.Ready
		}
		stay := m.opts.Session
		if n.State == fleet.Draining {
			stay = m.opts.Drain / 3 // by the drain's end 1 of 20 is left, and leaves with the next
		}
		n.leave(float64(n.Load.Connections) * min(float64(tick)/float64(stay), 1))
		if n.State == fleet.Draining && n.Load.Connections < 20 {
			n.leave(20)
		}
	}
	m.come(want.Players)
	m.place()
	m.shareRooms(want.Rooms)
}

func (n *node) leave(players float64) {
	n.owed += players
	going := min(int(n.owed), n.Load.Connections)
	n.owed -= float64(int(n.owed))
	n.Load.Connections -= going
}

func (m *model) present() (players int) {
	for _, n := range m.nodes {
		players += n.Load.Connections
	}
	return players
}

func (m *model) waiting() (players int) {
	for _, a := range m.queue {
		players += a.players
	}
	return players
}

// come has new players come, or some go, until as many are there or wait as wanted.
func (m *model) come(wanted int) {
	missing := wanted - m.present() - m.waiting()
	if missing > 0 {
		m.queue = append(m.queue, arrivals{m.now, missing})
		return
	}
	for ; missing < 0 && len(m.queue) > 0; m.queue = m.queue[1:] {
		if left := m.queue[0].players + missing; left > 0 {
			m.queue[0].players = left
			return
		}
		missing += m.queue[0].players
	}
	present := m.present()
	for _, n := range m.nodes {
		if missing < 0 && present > 0 {
			n.leave(float64(-missing) * float64(n.Load.Connections) / float64(present))
		}
	}
}

// place gives those who wait a place, who came first the first.
func (m *model) place() {
	for len(m.queue) > 0 {
		left := m.placeSome(m.queue[0].players)
		if m.queue[0].players = left; left > 0 {
			return
		}
		m.queue = m.queue[1:]
	}
}

// placeSome places players, and returns how many found no place.
func (m *model) placeSome(players int) (left int) {
	var open []*node
	for _, n := range m.nodes {
		if n.State == fleet.Ready && n.Load.Connections < m.rules.Node.Players {
			open = append(open, n)
		}
	}
	slices.SortStableFunc(open, func(a, b *node) int { return cmp.Compare(a.Load.Connections, b.Load.Connections) })
	if m.opts.Pack {
		slices.Reverse(open)
		for _, n := range open {
			some := min(players, m.rules.Node.Players-n.Load.Connections)
			n.Load.Connections += some
			players -= some
		}
		return players
	}
	for players > 0 && len(open) > 0 {
		// The emptiest are filled up to the next one, which then is one of them.
		same := 1
		for same < len(open) && open[same].Load.Connections == open[0].Load.Connections {
			same++
		}
		level := m.rules.Node.Players
		if same < len(open) {
			level = open[same].Load.Connections
		}
		each := min(level-open[0].Load.Connections, (players+same-1)/same)
		for _, n := range open[:same] {
			some := min(each, players)
			n.Load.Connections += some
			players -= some
		}
		if open[0].Load.Connections >= m.rules.Node.Players {
			open = open[same:]
		}
	}
	return players
}

func (m *model) shareRooms(rooms int) {
	present := m.present()
	for _, n := range m.nodes {
		n.Load.Rooms = 0
		if present > 0 {
			n.Load.Rooms = (rooms*n.Load.Connections + present - 1) / present
		}
	}
}

// refuse ends the wait of those who have waited for too long.
func (m *model) refuse() (players int) {
	for len(m.queue) > 0 && m.now.Sub(m.queue[0].at) >= m.opts.Patience {
		players += m.queue[0].players
		m.queue = m.queue[1:]
	}
	return players
}

func (m *model) snapshot() *fleet.Snapshot {
	s := &fleet.Snapshot{At: m.now}
	for _, n := range m.nodes {
		s.Nodes = append(s.Nodes, n.Node)
	}
	return s
}

// carryOut does what a driver does. It reports false when that would have cost players
// their places.
func (m *model) carryOut(d *scale.Decision, down []string) bool {
	i := slices.IndexFunc(m.nodes, func(n *node) bool { return n.ID == d.Node })
	switch d.Action {
	case scale.Grow:
		for range d.Nodes {
			boot := float64(m.opts.Boot) * (0.75 + 0.5*m.random.Float64())
			m.add(m.now.Add(time.Duration(boot)), down)
		}
	case scale.Drain:
		m.nodes[i].State = fleet.Draining
	case scale.Undrain:
		m.nodes[i].State = fleet.Ready
	case scale.Remove:
		empty := m.nodes[i].Load.Empty()
		m.nodes = slices.Delete(m.nodes, i, i+1)
		return empty
	case scale.Hold, scale.Late, scale.Lost:
	}
	return true
}
