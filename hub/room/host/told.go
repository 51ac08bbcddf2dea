package host

import (
	"github.com/homing/homing/hub"
)

// Line is a member's connection, as whoever holds it knows it. The host keeps it
// and gives it back.
type Line any

// Outbox brings to connections what rooms tell them. Tell must not block; it may be
// called from any goroutine. What is told in two calls about one seat stays in that
// order.
type Outbox interface{ Tell(b *Batch) }

// Batch is what one room has to tell at a moment.
type Batch struct {
	Told []Told
	done func() // nil: nobody waits
}

// Done says that all was given to the connections, or dropped. It is called once.
func (b *Batch) Done() {
	if b.done != nil {
		b.done()
	}
}

// Kind is what a connection is told.
type Kind uint8

// The kinds.
const (
	KindFrame   Kind = iota
	KindJoined       // the connection has its seat
	KindMoved        // the room is elsewhere; the connection is in no room any more
	KindLeft         // the connection is in no room any more
	KindNotIn        // it could not join
	KindNotSaid      // what it said was refused
)

// Told is something for one connection. Of frames only Frame is set, and nobody may
// change it: other connections may get the same.
type Told struct {
	Seat   *Seat
	Kind   Kind
	Frame  []byte
	Binary bool // the frame is
	Note   *Note
}

// Note is what a Told says that is no frame. Each kind has some of the fields.
type Note struct {
	Room   string
	Class  string // of KindJoined, with Number, Hz, Binary and Epoch
	Number int    // of the seat
	Hz     int
	Binary bool
	Epoch  uint64
	Ticket string // of KindJoined and KindMoved: to come back with
	URL    string // of KindMoved
	Why    string // of KindLeft: a room.LeaveReason, or replaced
	Reason string // of KindLeft and KindNotIn, for people
	Code   string // of KindNotIn and KindNotSaid
	Count  int    // of KindNotSaid: how many messages since the last tick
}

// The codes of KindNotIn and KindNotSaid.
const (
	CodeBadTicket     = "ticket_bad"
	CodeExpiredTicket = "ticket_expired"
	CodeOtherTicket   = "ticket_other"
	CodeEnded         = "room_ended"
	CodeNoSeat        = "no_seat"
	CodeUnavailable   = "unavailable"
	CodeTooMuch       = "too_much"
	CodeTooLarge      = "too_large"
	CodeNotJSON       = "not_json"
	CodeNotSeated     = "not_seated"
	CodeMoved         = "moved"
)

// whyReplaced is told to a connection whose user has taken the seat with a newer
// one.
const whyReplaced = "replaced"

// Seat binds one connection to a room that it has joined, or wants to. Its methods
// do not block.
type Seat struct {
	Line Line
	user hub.UserID

	// Set once the room is known; the room's goroutine owns what follows.
	in         *running
	after      uint64
	number     int
	generation uint64
	refused    map[string]int // messages since the last tick, by code; nil: none
}

// Say gives the room a message, which is the room's from now on. It returns the code
// of a refusal that is known at once; empty: none is.
func (s *Seat) Say(data []byte) (code string) {
	if s.in == nil {
		return CodeNotSeated
	}
	return s.in.say(s, data)
}

// Leave gives the seat up: KindLeft follows, or KindMoved where the room has moved
// meanwhile. Before KindJoined it follows that, and nothing follows a KindNotIn. It
// reports false when the connection is in no room here.
func (s *Seat) Leave() bool {
	return s.in != nil && s.in.inputs.control(input{kind: inputLeave, seat: s})
}

// Here reports whether the room runs in this process.
func (s *Seat) Here() bool {
	if s.in == nil {
		return false
	}
	select {
	case <-s.in.gone:
		return false
	default:
		return true
	}
}

// Gone says that the connection has ended.
func (s *Seat) Gone() {
	if s.in != nil {
		s.in.inputs.control(input{kind: inputGone, seat: s})
	}
}
