package api

import "github.com/homing/homing/hub"

// What one unit of a key's rate buys. A request costs one unit, and one more
// for every full step of what it has the hub do.
const (
	unitBody    = 16 << 10 // bytes of a body to read and decode
	unitUsers   = 100      // users to look up
	unitWritten = 8 << 10  // bytes to write to players: users times data
	unitStored  = 10       // users for whom it is stored
	unitNamed   = 100      // users named in a report

	costBroadcast  = 10 // before it is known how many connections hear it
	costDisconnect = 2  // it looks at the masters
)

// costOf is what a notification costs whose body has so many bytes, in units
// beyond the first, which the request has paid for being looked at.
func costOf(n *hub.Notification, body int) int {
	users := len(n.Users)
	written := users * len(n.Data)
	cost := body/unitBody + users/unitUsers + written/unitWritten
	if n.Store > 0 {
		cost += users/unitStored + written/unitWritten
	}
	if n.PerUser {
		cost += users / unitNamed
	}
	return cost
}

// costOfBroadcast is what it costs that so many connections heard n.
func costOfBroadcast(n *hub.Notification, connections int) int {
	return connections/unitUsers + connections*len(n.Data)/unitWritten
}

// costOfQuery is what it costs to ask where users are, beyond the first unit.
func costOfQuery(users, body int) int { return users/unitUsers + body/unitBody }
