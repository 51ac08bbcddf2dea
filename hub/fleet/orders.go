package fleet

import "time"

// Drain is an order to a node: it sends its players away. The same ID is the same drain.
type Drain struct {
	ID       string    `json:"id"`
	Rate     int       `json:"rate,omitempty"` // connections told per second, of the whole node; 0: evenly until Deadline
	Deadline time.Time `json:"deadline"`       // those who are left then are closed
	Why      string    `json:"why,omitempty"`
	Since    time.Time `json:"since"`
}

// Progress is how far a process, or all of a node, has come with a drain.
type Progress struct {
	ID    string `json:"id"`    // of the drain
	Told  int    `json:"told"`  // connections told to leave
	Left  int    `json:"left"`  // connections still there
	Rooms int    `json:"rooms"` // rooms still there
}

// Target is a node where those who are sent away may go.
type Target struct {
	Endpoint string `json:"endpoint"`
	Free     int    `json:"free"` // a weight: how many more it takes
}

// Orders is what a process of a node is told in answer to its report.
type Orders struct {
	Red     string   // why the node is marked red; empty: it is not
	Drain   *Drain   // nil: it stays
	Share   float64  // this process's part of the node's connections, 0 to 1
	Targets []Target // only with Drain
}

// Strategy is how a node is chosen for players.
type Strategy string

// Strategies. The empty one is the cluster's own.
const (
	Spread Strategy = "spread" // the node with the least load, so that all have alike
	Pack   Strategy = "pack"   // the fullest that has room, so that others get empty
)

// Request asks for a place at a node. The same ID is the same request: it is answered
// with the same assignment for as long as that is kept.
type Request struct {
	ID       string
	Cluster  string   // empty: DefaultCluster
	Region   string   // is preferred; empty: any
	Version  string   // only nodes of that version; empty: as the cluster's shares say
	Players  int      // who all come to one node, each under the one ticket; 0 counts as 1
	Strategy Strategy // empty: the cluster's
}

// DefaultCluster is the cluster of nodes and requests that name none.
const DefaultCluster = "game"

// Assignment is the node that players are to connect to.
type Assignment struct {
	Node     string
	Endpoint string
	Ticket   string    // what each of them shows there
	Expires  time.Time // until when the places are kept free for them
}
