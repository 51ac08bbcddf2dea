// Package asks is what processes ask the owner of a room for: the methods of
// hub/call and the bodies that go with them, as JSON.
package asks

import (
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/homing/homing/hub"
)

// The methods.
const (
	MethodOpen    = "room.open"    // Open, answered by Opened
	MethodSeats   = "room.seats"   // Seats, answered by Opened
	MethodInfo    = "room.info"    // Room, answered by Info
	MethodSignal  = "room.signal"  // Signal, answered by Reply
	MethodFinish  = "room.finish"  // Finish, answered by nothing
	MethodMove    = "room.move"    // Move, answered by Moved
	MethodRestore = "room.restore" // Restore, answered by Moved
	MethodLate    = "room.late"    // Late, answered by nothing
)

// The codes of refusals (call.RefusalError) that these methods have of their own.
const (
	CodeNotHere = "room_not_here" // the process does not run that room
	CodeExists  = "room_exists"   // another process does
	CodeClass   = "room_class"    // there is no such class
	CodeFull    = "room_full"     // there are not enough seats, or the room takes nobody
	CodeEnded   = "room_ended"
	CodeTooMany = "room_too_many" // the process has as many rooms or seats as it may
	CodeLogic   = "room_logic"    // the room's logic has refused
	CodeMove    = "room_not_moved"
	CodeNobody  = "room_nobody" // no other process takes it
	CodeEpoch   = "room_epoch"  // the owner has another epoch
)

// Room names a room.
type Room struct {
	Room string `json:"room"`
}

// Open asks for a new room.
type Open struct {
	Room     string         `json:"room"`
	Class    string         `json:"class"`
	Users    []hub.UserID   `json:"users"`
	Metadata jsontext.Value `json:"metadata,omitzero"`
	Data     jsontext.Value `json:"data,omitzero"` // for the logic: the signal "create"
}

// Opened is a room with the seats that were asked for.
type Opened struct {
	Room    string        `json:"room"`
	Class   string        `json:"class"`
	Process hub.ProcessID `json:"process"`
	Epoch   uint64        `json:"epoch"`
	URL     string        `json:"url"`
	Seats   []Seat        `json:"seats"`
	Existed bool          `json:"existed,omitzero"` // it was open already
}

// Seat is a seat that a user may take with a ticket.
type Seat struct {
	User   hub.UserID `json:"user"`
	Seat   int        `json:"seat"`
	Ticket string     `json:"ticket"`
}

// Seats asks for seats for users. Epoch, when it is not 0, is the owner's that is
// meant.
type Seats struct {
	Room  string       `json:"room"`
	Epoch uint64       `json:"epoch,omitzero"`
	Users []hub.UserID `json:"users"`
}

// Signal is what a backend says to the logic.
type Signal struct {
	Room string `json:"room"`
	Name string `json:"name"`
	Data []byte `json:"data"`
}

// Reply is what the logic answers.
type Reply struct {
	Reply []byte `json:"reply"`
}

// Finish ends a room. Why is a room.EndReason.
type Finish struct {
	Room   string `json:"room"`
	Why    string `json:"why"`
	Result []byte `json:"result"`
}

// Move asks the owner to hand the room over to another process.
type Move struct {
	Room string        `json:"room"`
	To   hub.ProcessID `json:"to"`
}

// Moved says who owns the room now.
type Moved struct {
	Process hub.ProcessID `json:"process"`
	Epoch   uint64        `json:"epoch"`
	URL     string        `json:"url"`
}

// Restore asks a process to go on with a room, whose owner with that epoch hands
// it over.
type Restore struct {
	Room     string    `json:"room"`
	Epoch    uint64    `json:"epoch"`
	Made     time.Time `json:"made"`
	Class    string    `json:"class"`
	Snapshot []byte    `json:"snapshot"`
}

// Late is what came to the owner before while the room moved.
type Late struct {
	Room  string `json:"room"`
	Epoch uint64 `json:"epoch"`
	Said  []Said `json:"said"`
}

// Said is a message of a member, or that it leaves.
type Said struct {
	User hub.UserID `json:"user"`
	Data []byte     `json:"data,omitzero"`
	Left bool       `json:"left,omitzero"`
}

// Info is how a room is now.
type Info struct {
	Room     string         `json:"room"`
	Class    string         `json:"class"`
	Epoch    uint64         `json:"epoch"`
	Process  hub.ProcessID  `json:"process"`
	URL      string         `json:"url"`
	Made     time.Time      `json:"created"`
	Seats    []Member       `json:"seats"`
	Free     int            `json:"free"`
	Locked   bool           `json:"locked"`
	Metadata jsontext.Value `json:"metadata,omitzero"`
	Tick     int64          `json:"tick"`
	Hz       int            `json:"hz"`
	Ticks    int64          `json:"ticks"`    // that were run here
	Overruns int64          `json:"overruns"` // ticks left out because the room was late
	P50      float64        `json:"tick_p50_ms"`
	P99      float64        `json:"tick_p99_ms"`
	Messages int64          `json:"messages"`
	Refused  int64          `json:"refused"`
	Frames   int64          `json:"frames"`
}

// Member is who has a seat.
type Member struct {
	Seat  int        `json:"seat"`
	User  hub.UserID `json:"user"`
	State string     `json:"state"` // reserved, seated or away
}
