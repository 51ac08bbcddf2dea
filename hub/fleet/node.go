// Package fleet is what the rest of Homing calls a fleet: nodes, what they say of
// themselves, and pictures of all of them at one time. It does no I/O.
package fleet

import "time"

// State is what a node may be used for.
type State string

// States of a node. Players are sent to one that is ready, only.
const (
	Starting State = "starting" // it is on its way, and serves nobody yet
	Ready    State = "ready"
	Draining State = "draining" // those that it has stay, for a while; nobody new comes
	Red      State = "red"      // it does not answer as it should
)

// Node is one front: a machine or a pod, with all of its workers.
type Node struct {
	ID       string            `json:"id"`
	Endpoint string            `json:"endpoint"` // where players connect: a name or an address, with the port
	Cluster  string            `json:"cluster"`
	Region   string            `json:"region,omitempty"`
	Version  string            `json:"version,omitempty"`
	Labels   map[string]string `json:"labels,omitempty"`
	State    State             `json:"state"`
	Load     Load              `json:"load"`

	Why       string    `json:"why,omitempty"`       // it is red or starting, and for what reason
	Capacity  int       `json:"capacity,omitempty"`  // how many players it carries; 0: no bound is known
	Reserved  int       `json:"reserved,omitempty"`  // players who were assigned to it and have not come yet
	Processes int       `json:"processes,omitempty"` // its workers that report
	Workers   int       `json:"workers,omitempty"`   // its workers, when all are there
	Drain     *Drain    `json:"drain,omitempty"`     // nil: it has no such order
	Progress  *Progress `json:"progress,omitempty"`  // of all its workers; only with Drain
	Conflict  string    `json:"conflict,omitempty"`  // another front reports under the same ID
}

// Load is how much a node has to do. Counts are of what is there, never sums of
// changes.
type Load struct {
	Connections int     `json:"connections"`
	Rooms       int     `json:"rooms"`
	Seats       int     `json:"seats"`  // taken or reserved in its rooms
	CPU         float64 `json:"cpu"`    // of all its cores, 0 to 1
	Memory      int64   `json:"memory"` // bytes
	LagMillis   float64 `json:"lag_ms"` // how late its busiest event loop runs
}

// Empty reports whether a node with that load serves nobody.
func (l *Load) Empty() bool { return l.Connections == 0 && l.Rooms == 0 && l.Seats == 0 }

// Snapshot is a fleet at one time.
type Snapshot struct {
	At    time.Time `json:"at"`
	Nodes []Node    `json:"nodes"` // each ID once, in any order
}
