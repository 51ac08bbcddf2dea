// Package drop is the one list of the reasons for which something accepted is
// given up. Each reason is counted under its name, and docs/operations.md lists
// all of them.
package drop

// Reason says why something was given up. Its String is a metric's label.
type Reason uint8

// The reasons for which a front does not write a message.
const (
	Replaced     Reason = iota // a message of class latest: a newer one with its key took its place
	Evicted                    // a message of class droppable: a newer message needed its room
	QueueFull                  // a message of class droppable: no room, and nothing older to give up
	SlowConsumer               // the connection was closed because too much waited for it
	WriteTimeout               // the connection took nothing for the write timeout
	Lost                       // the connection broke
	Disowned                   // the connection was sent away: others thought the worker dead, and tell its users
	Closed                     // the connection was closed for another reason
	FrontReasons               // how many a front has
)

// The reasons for which an API server does not reach a user.
const (
	NotBack Reason = FrontReasons + iota // the user was not back anywhere within half a minute
	TooMany                              // more hand-overs were under way than there is room for
	Stopped                              // the server stopped during the hand-over
	Window                               // the user's process lives, and did not confirm within the relay's window
	Reasons                              // how many there are in all
)

var names = [Reasons]string{
	Replaced:     "replaced",
	Evicted:      "evicted",
	QueueFull:    "outbox_full",
	SlowConsumer: "slow_consumer",
	WriteTimeout: "write_timeout",
	Lost:         "connection_lost",
	Disowned:     "disowned",
	Closed:       "connection_closed",
	NotBack:      "not_back",
	TooMany:      "too_many",
	Stopped:      "stopped",
	Window:       "window",
}

// String is the reason's name, as metrics and logs have it.
func (r Reason) String() string { return names[r] }
