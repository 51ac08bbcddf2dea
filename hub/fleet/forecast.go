package fleet

import (
	"fmt"
	"time"
)

// Forecast is what a drain does to the other nodes, if nobody else comes or goes.
type Forecast struct {
	Connections int           `json:"connections"` // that are to go
	Rooms       int           `json:"rooms"`       // that are to move or end first
	PerSecond   float64       `json:"per_second"`  // connections that come to others
	Seconds     float64       `json:"seconds"`     // until the last one was told
	Closed      int           `json:"closed"`      // who are still there at the deadline
	To          []Destination `json:"to"`
	Fits        bool          `json:"fits"` // the others have room for all
	Why         string        `json:"why"`  // in words
}

// Destination is a node where those who are sent away go.
type Destination struct {
	Node        string  `json:"node"`
	Connections int     `json:"connections"`
	PerSecond   float64 `json:"per_second"`
	Free        int     `json:"free"` // players whom it still takes; 0 with Unbounded
	Unbounded   bool    `json:"unbounded"`
	Fits        bool    `json:"fits"`
}

// Foresee is what comes of draining a node of s at a rate, in connections per second,
// within some time. The zero rate is evenly until the deadline.
func Foresee(s *Snapshot, node *Node, rate int, within time.Duration) Forecast {
	f := Forecast{Connections: node.Load.Connections, Rooms: node.Load.Rooms, PerSecond: float64(rate), To: []Destination{}}
	length := max(within.Seconds(), 1)
	if rate == 0 {
		f.PerSecond = float64(f.Connections) / length
	}
	if f.PerSecond > 0 {
		f.Seconds = min(float64(f.Connections)/f.PerSecond, length)
	}
	f.Closed = max(0, f.Connections-int(f.PerSecond*length+0.5))
	others, weights, all := destinations(s, node)
	missing := f.Connections
	for i, n := range others {
		d := Destination{Node: n.ID, Unbounded: n.Capacity == 0}
		part := float64(weights[i]) / float64(all)
		d.Connections, d.PerSecond = int(part*float64(f.Connections)+0.5), part*f.PerSecond
		if !d.Unbounded {
			d.Free = weights[i]
		}
		d.Fits = d.Unbounded || d.Connections <= d.Free
		missing -= d.Free
		if d.Unbounded {
			missing = 0
		}
		f.To = append(f.To, d)
	}
	f.Fits = missing <= 0
	f.Why = f.words(missing)
	return f
}

// destinations are the nodes to which the players of node go, and how many of all go to
// each: as many as it takes more, and where that is not known as many as it has fewer than
// the fullest such. Those of its region come first, and others only if none has room.
func destinations(s *Snapshot, node *Node) (to []*Node, weights []int, all int) {
	most := 0
	for i := range s.Nodes {
		if n := &s.Nodes[i]; n.Capacity == 0 {
			most = max(most, n.Load.Connections+n.Reserved)
		}
	}
	for _, near := range []bool{true, false} {
		for i := range s.Nodes {
			n := &s.Nodes[i]
			if n.ID == node.ID || n.Cluster != node.Cluster || n.State != Ready || (n.Region == node.Region) != near {
				continue
			}
			free := n.Capacity - n.Load.Connections - n.Reserved
			if n.Capacity == 0 {
				free = most + 100 - n.Load.Connections - n.Reserved
			}
			if free > 0 {
				to, weights, all = append(to, n), append(weights, free), all+free
			}
		}
		if len(to) > 0 {
			break
		}
	}
	return to, weights, all
}

func (f *Forecast) words(missing int) string {
	switch {
	case f.Connections == 0:
		return "nobody is there"
	case len(f.To) == 0:
		return fmt.Sprintf("%d connections have nowhere to go: no other node of the cluster takes players", f.Connections)
	case missing > 0:
		return fmt.Sprintf("%d of %d connections find no room on the %d other nodes", missing, f.Connections, len(f.To))
	case f.Closed > 0:
		return fmt.Sprintf("%d of %d connections are still there at the deadline and are closed then", f.Closed, f.Connections)
	}
	return fmt.Sprintf("%d connections go to %d nodes, %.1f a second in all", f.Connections, len(f.To), f.PerSecond)
}
