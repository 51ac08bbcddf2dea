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
	unitQueues  = 10       // queues to tell of
	unitMembers = 20       // users to join or to leave: the master is asked for them
	unitTopics  = 10       // topics to look up
	unitNodes   = 20       // nodes to tell of

	costBroadcast  = 10 // before it is known how many connections hear it
	costDisconnect = 2  // it looks at the masters
	costOfRoom     = 5  // to open one, or to move it
	costTicket     = 2  // it waits for replicas
	costOrder      = 2  // it waits for replicas
	costEndpoint   = 2  // of events, to look at: 18 commands
	costOfList     = 2  // likewise, and the list is kept
	costOfTopic    = 2  // every process with members is asked
)

// costOfBody is what it costs to read and decode so many bytes, whatever they turn
// out to say, in units beyond the first, which every request has paid.
func costOfBody(bytes int) int { return bytes / unitBody }

// costOf is what a notification costs beside its body, in units.
func costOf(n *hub.Notification) int {
	users := len(n.Users)
	written := users * len(n.Data)
	cost := users/unitUsers + written/unitWritten + len(n.Topics)/unitTopics
	if n.Store > 0 {
		cost += users/unitStored + written/unitWritten
	}
	if !n.Keep.Zero() {
		cost += len(n.Topics)/unitStored + len(n.Topics)*len(n.Data)/unitWritten
	}
	if n.PerUser {
		cost += users / unitNamed
	}
	return cost
}

// costOfBroadcast is what it costs that so many connections heard n, of which it is
// known afterwards only.
func costOfBroadcast(n *hub.Notification, connections int) int {
	return connections/unitUsers + connections*len(n.Data)/unitWritten
}

// costOfFriends is what it costs to store a list of so many friends.
func costOfFriends(n int) int { return costOfList + n/unitUsers }

// costOfQuery is what it costs to ask where users are, beside the body.
func costOfQuery(users int) int { return users / unitUsers }
