package scale

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/homing/homing/hub/fleet"
)

// State is what rules remember between two snapshots. The zero State is that of rules
// which have seen none. It is plain data: written as JSON it lets another process, or a
// replay, go on from there.
type State struct {
	LastOut time.Time `json:"last_out,omitzero"`
	LastIn  time.Time `json:"last_in,omitzero"`
	// Orders are of nodes that have not been seen yet, oldest first.
	Orders []Order `json:"orders,omitempty"`
	// Leaving are the nodes that these rules take away.
	Leaving map[string]Leave `json:"leaving,omitempty"`
	// Known are the nodes of the last snapshot, and how many players they had. nil, which
	// is not the same as none: there was no snapshot.
	Known   map[string]int `json:"known"`
	Samples []Sample       `json:"samples,omitempty"` // of the last Trend, oldest first
	// Said is the last reason for doing nothing, which is said once.
	Said string `json:"said,omitempty"`
}

// Order is of nodes that were asked for.
type Order struct {
	At    time.Time `json:"at"`
	Nodes int       `json:"nodes"`
}

// Leave is a node on its way out.
type Leave struct {
	Since   time.Time `json:"since"`            // when it was to drain
	Removed time.Time `json:"removed,omitzero"` // when it was to be taken away; zero: not yet
}

// Sample is the load at one time.
type Sample struct {
	At      time.Time `json:"at"`
	Players int       `json:"players"`
	Rooms   int       `json:"rooms"`
}

// clone has s left alone by what changes the copy.
func (s State) clone() State {
	s.Orders = slices.Clone(s.Orders)
	s.Leaving = maps.Clone(s.Leaving)
	s.Samples = slices.Clone(s.Samples)
	return s
}

// ordered is how many nodes are still to come.
func (s *State) ordered() (nodes int) {
	for _, o := range s.Orders {
		nodes += o.Nodes
	}
	return nodes
}

// sampleEvery is how far apart samples are, at least: as many as are kept make a trend.
const sampleEvery = 10 * time.Second

// sample keeps the load at a time, and what of the others is not older than window.
func (s *State) sample(now Sample, window time.Duration) {
	old := 0
	for old < len(s.Samples) && now.At.Sub(s.Samples[old].At) > window {
		old++
	}
	s.Samples = slices.Delete(s.Samples, 0, old)
	if n := len(s.Samples); n > 0 && now.At.Sub(s.Samples[n-1].At) < sampleEvery {
		return
	}
	s.Samples = append(s.Samples, now)
}

// slopes are how many players and rooms come per second, by the straight line that is
// nearest to all samples, and over what time that was seen. 0 with less than three.
func (s *State) slopes() (players, rooms float64, seen time.Duration) {
	if len(s.Samples) < 3 {
		return 0, 0, 0
	}
	n := float64(len(s.Samples))
	var at, p, r float64
	for _, x := range s.Samples {
		at += x.At.Sub(s.Samples[0].At).Seconds()
		p += float64(x.Players)
		r += float64(x.Rooms)
	}
	at, p, r = at/n, p/n, r/n
	var spread, withPlayers, withRooms float64
	for _, x := range s.Samples {
		d := x.At.Sub(s.Samples[0].At).Seconds() - at
		spread += d * d
		withPlayers += d * (float64(x.Players) - p)
		withRooms += d * (float64(x.Rooms) - r)
	}
	if spread == 0 {
		return 0, 0, 0
	}
	return withPlayers / spread, withRooms / spread, s.Samples[len(s.Samples)-1].At.Sub(s.Samples[0].At)
}

// Action is what a decision asks for.
type Action string

// Actions. Those that only tell have nothing carried out.
const (
	Grow    Action = "grow"    // Nodes more are to be started
	Drain   Action = "drain"   // nobody new is to come to Node
	Undrain Action = "undrain" // Node is needed after all
	Remove  Action = "remove"  // Node serves nobody any more, and is to be taken away
	Hold    Action = "hold"    // tells why nothing is done
	Late    Action = "late"    // tells that what was asked for has not come about
	Lost    Action = "lost"    // tells that Node went, which nobody had asked for
)

// Decision is one thing that rules ask for or tell.
type Decision struct {
	At      time.Time `json:"at"`
	Cluster string    `json:"cluster"`
	Region  string    `json:"region,omitempty"`
	Action  Action    `json:"action"`
	Nodes   int       `json:"nodes,omitempty"` // of Grow and Late
	Node    string    `json:"node,omitempty"`  // its ID
	Why     string    `json:"why"`             // a sentence
}

// census sums up what is there of a cluster, in the order of their IDs.
type census struct {
	ready, draining, red []fleet.Node
	starting             int
	players, rooms       int // of all
	seats                int
}

func (r *Rules) count(snap *fleet.Snapshot) (c census, all []fleet.Node) {
	for _, n := range snap.Nodes {
		if n.Cluster == r.Cluster && (r.Region == "" || n.Region == r.Region) {
			all = append(all, n)
		}
	}
	slices.SortFunc(all, func(a, b fleet.Node) int { return strings.Compare(a.ID, b.ID) })
	for _, n := range all {
		c.players += n.Load.Connections
		c.rooms += n.Load.Rooms
		c.seats += n.Load.Seats
		switch n.State {
		case fleet.Ready:
			c.ready = append(c.ready, n)
		case fleet.Draining:
			c.draining = append(c.draining, n)
		case fleet.Red:
			c.red = append(c.red, n)
		case fleet.Starting:
			c.starting++
		}
	}
	return c, all
}
