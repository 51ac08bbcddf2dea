package room

import "github.com/homing/homing/hub"

// Logic is what happens in a room. Its methods are called one at a time, and must
// return within a tick. One that panics ends its room, and no other. What it
// keeps must not be used after Close.
type Logic interface {
	// Start is called once, before anything else but Restore.
	Start(t *Table)
	// Join is called when a member has come, or has come back.
	Join(t *Table, m Member, back bool)
	// Away is called when a member's connection has ended: the seat waits for it.
	Away(t *Table, m Member)
	// Leave is called when a member's seat is free again. What the logic has set for
	// the member stays until it is deleted.
	Leave(t *Table, m Member, why LeaveReason)
	// Message is what a member says. data is the logic's to keep.
	Message(t *Table, m Member, data []byte)
	// Tick is called once a tick, after all that came before it.
	Tick(t *Table)
	// Timer is called at the tick for which Table.After was told name.
	Timer(t *Table, name string)
	// Signal is what the backend says; the reply goes back to it.
	Signal(t *Table, name string, data []byte) (reply []byte, err error)
	// Close is called last, unless the logic has panicked or the room has moved.
	Close(t *Table)
	// Snapshot returns all that Restore needs. It must not be nil.
	Snapshot() ([]byte, error)
	// Restore is called instead of Start, in another process.
	Restore(t *Table, snapshot []byte) error
}

// Member is who sits on a seat.
type Member struct {
	User hub.UserID
	Seat int // from 0
}

// Lack is what a room lacks. Nobody changes it.
type Lack struct {
	Queue  string   // of matchmaking
	Free   []int    // seats of each team
	Rating float64  // mean of who is there
	Labels []string // as tickets have them
}

// LeaveReason says why a member has left.
type LeaveReason string

// The reasons.
const (
	LeftByItself LeaveReason = "left"    // it said so
	LeftForGood  LeaveReason = "gone"    // it was not back within the grace
	LeftKicked   LeaveReason = "kicked"  // by the logic or the backend
	LeftClosed   LeaveReason = "closed"  // the room has ended
	LeftUnjoined LeaveReason = "expired" // it never came
)

// Plain is a Logic that relays: what a member says is an event for the others. It
// is embedded by logic that needs some of the methods only.
type Plain struct{}

// Start does nothing.
func (Plain) Start(*Table) {}

// Join does nothing.
func (Plain) Join(*Table, Member, bool) {}

// Away does nothing.
func (Plain) Away(*Table, Member) {}

// Leave does nothing.
func (Plain) Leave(*Table, Member, LeaveReason) {}

// Message relays data to all others.
func (Plain) Message(t *Table, m Member, data []byte) { t.Send(Others(m), m.User, data) }

// Tick does nothing.
func (Plain) Tick(*Table) {}

// Timer does nothing.
func (Plain) Timer(*Table, string) {}

// SignalCreate is the signal with what a room was opened with.
const SignalCreate = "create"

// Signal tells everybody, as an event of nobody; but for SignalCreate.
func (Plain) Signal(t *Table, name string, data []byte) ([]byte, error) {
	if name != SignalCreate {
		t.Send(Everyone(), "", data)
	}
	return nil, nil
}

// Close does nothing.
func (Plain) Close(*Table) {}

// Snapshot returns nothing, which is no snapshot: logic that is more than Plain and
// has none of its own cannot move to another process.
func (Plain) Snapshot() ([]byte, error) { return nil, nil }

// Restore does nothing.
func (Plain) Restore(*Table, []byte) error { return nil }

// Latest is a Logic in which what a member says is its state, under the key of its
// user: positions, for example. All members read the latest one at each tick.
type Latest struct{ Plain }

// Message sets m's state.
func (Latest) Message(t *Table, m Member, data []byte) { t.Set(Everyone(), string(m.User), data) }

// Leave deletes m's state.
func (Latest) Leave(t *Table, m Member, _ LeaveReason) { t.Delete(string(m.User)) }

// Snapshot is empty: the room keeps the states.
func (Latest) Snapshot() ([]byte, error) { return []byte{}, nil }
