package room

import (
	"time"

	"github.com/homing/homing/hub"
)

// Message is what a connection says. data is the room's from now on. The errors
// are ErrClosed, ErrNoSeat, ErrStale, ErrNotSeated, ErrTooLarge, ErrNotJSON and
// ErrTooMuch.
func (r *Room) Message(seat int, generation uint64, data []byte, now time.Duration) error {
	r.note(Input{Op: opMessage, At: now, Seat: seat, Generation: generation, Data: data})
	err := r.mayTake(seat, generation, data, now)
	if err != nil {
		r.stats.Refused++
		return err
	}
	r.stats.Messages++
	m := Member{r.seats.all[seat].user, seat}
	r.run(func() { r.logic.Message(r.table(), m, data) })
	if r.class.Immediate && r.ended == "" {
		r.frames.flush(r.tick, r.out)
	}
	return nil
}

func (r *Room) mayTake(seat int, generation uint64, data []byte, now time.Duration) error {
	if r.ended != "" {
		return ErrClosed
	}
	x, err := r.seats.at(seat, generation)
	if err != nil {
		return err
	}
	return r.mayHear(x, data, now)
}

// mayHear reports whether a message of who has a seat is within its bounds, which it
// uses.
func (r *Room) mayHear(x *seat, data []byte, now time.Duration) error {
	switch {
	case len(data) > MaxMessage:
		return ErrTooLarge
	case !x.messages.spend(now, r.class.MemberRate, 1, 1),
		!x.bytes.spend(now, r.class.MemberBytes, float64(len(data)), MaxMessage),
		!r.bytes.spend(now, r.class.RoomBytes, float64(len(data)), MaxMessage):
		return ErrTooMuch
	case !r.class.fits(data):
		return ErrNotJSON
	}
	return nil
}

// Signal is what the backend says. The error is ErrClosed, ErrTooLarge, ErrNotJSON
// or the logic's.
func (r *Room) Signal(name string, data []byte) (reply []byte, err error) {
	r.note(Input{Op: opSignal, Name: name, Data: data})
	switch {
	case r.ended != "":
		return nil, ErrClosed
	case len(data) > MaxMessage:
		return nil, ErrTooLarge
	case !r.class.fits(data):
		return nil, ErrNotJSON
	}
	r.run(func() { reply, err = r.logic.Signal(r.table(), name, data) })
	if r.ended != "" && reply == nil && err == nil {
		err = ErrClosed
	}
	return reply, err
}

// Late is a message that a member sent before the room came to this process, within
// the same bounds as others. Who has no seat any more is not heard.
func (r *Room) Late(user hub.UserID, data []byte, now time.Duration) {
	r.note(Input{Op: opLate, User: user, Data: data, At: now})
	seat := r.seats.find(user)
	if r.ended != "" || seat < 0 || r.seats.all[seat].stage == seatReserved || r.mayHear(&r.seats.all[seat], data, now) != nil {
		r.stats.Refused++
		return
	}
	r.stats.Messages++
	r.run(func() { r.logic.Message(r.table(), Member{user, seat}, data) })
}

// LeaveLate is the leave of a member that it said before the room came to this
// process.
func (r *Room) LeaveLate(user hub.UserID) {
	r.note(Input{Op: opLeaveLate, User: user})
	if seat := r.seats.find(user); seat >= 0 && r.ended == "" {
		r.free(seat, LeftByItself, "")
	}
}
