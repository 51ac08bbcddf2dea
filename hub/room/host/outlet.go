package host

import (
	"errors"
	"sync/atomic"

	"github.com/homing/homing/hub/room"
)

// outlet takes what leaves the room: it is a running as room.Outlet.
type outlet struct{ r *running }

func (o outlet) Frame(seat int, frame []byte) {
	if s := o.r.seats.all[seat]; s != nil {
		o.r.telling.add(Told{Seat: s, Kind: KindFrame, Frame: frame, Binary: o.r.class.Binary})
	}
}

func (o outlet) Left(seat int, m room.Member, why room.LeaveReason, reason string) {
	r := o.r
	if why == room.LeftClosed {
		r.end.members = append(r.end.members, m.User)
	}
	s := r.seats.all[seat]
	if s == nil {
		return
	}
	r.seats.put(seat, nil)
	if r.move != nil && r.move.moved != nil {
		r.telling.add(Told{Seat: s, Kind: KindMoved, Note: r.guide.movedTo(r.move.moved, s.user)})
		return
	}
	r.telling.add(Told{Seat: s, Kind: KindLeft, Note: &Note{Room: r.id, Why: string(why), Reason: reason}})
}

func (o outlet) Ended(why room.EndReason, result []byte) {
	o.r.end.why, o.r.end.result = why, result
}

// telling gathers what a room tells its members. The room's goroutine owns it, but
// for the flags.
type telling struct {
	batch    []Told
	refusing []*Seat // with refusals to be told
	done     func()  // of each batch

	unwritten atomic.Bool // what was told last has not been given to the connections
	waits     atomic.Bool // for that
}

func (t *telling) add(x Told) { t.batch = append(t.batch, x) }

// refuse notes that a message of s was refused, which it is told once a tick.
func (t *telling) refuse(s *Seat, code string) {
	if s.refused == nil {
		s.refused = make(map[string]int)
		t.refusing = append(t.refusing, s)
	}
	s.refused[code]++
}

// addRefusals adds those that were noted.
func (t *telling) addRefusals() {
	for _, s := range t.refusing {
		for code, n := range s.refused {
			t.add(Told{Seat: s, Kind: KindNotSaid, Note: &Note{Code: code, Count: n}})
		}
		s.refused = nil
	}
	t.refusing = t.refusing[:0]
}

// take returns the batch, which is on its way to the connections from now on.
func (t *telling) take() *Batch {
	t.unwritten.Store(true)
	b := &Batch{Told: t.batch, done: t.done}
	t.batch = make([]Told, 0, len(t.batch))
	return b
}

// held reports whether the connections have not taken what was told last; then
// they wake the room.
func (t *telling) held() bool {
	if !t.unwritten.Load() {
		return false
	}
	t.waits.Store(true)
	return t.unwritten.Load()
}

// written notes that they have, and reports whether the room waits for that.
func (t *telling) written() (wakes bool) {
	t.unwritten.Store(false)
	return t.waits.Swap(false)
}

// send gives what there is to tell to the connections. While they have not taken
// what came before, it waits: ticks are left out meanwhile.
func (r *running) send() {
	r.telling.addRefusals()
	if len(r.telling.batch) > 0 && !r.telling.held() {
		r.hand()
	}
}

// hand gives the batch to the connections, unless somebody else may speak for the
// room: then it waits, or is never heard.
func (r *running) hand() {
	if r.good() && !r.inputs.isAbandoned() {
		r.outbox.Tell(r.telling.take())
	}
}

// written is told that the connections have taken a batch.
func (r *running) written() {
	if r.telling.written() {
		r.inputs.poke()
	}
}

// codeOf is the code of a refusal of a room's.
func codeOf(err error) string {
	switch {
	case errors.Is(err, room.ErrTooMuch):
		return CodeTooMuch
	case errors.Is(err, room.ErrTooLarge):
		return CodeTooLarge
	case errors.Is(err, room.ErrNotJSON):
		return CodeNotJSON
	case errors.Is(err, room.ErrClosed):
		return CodeEnded
	case errors.Is(err, room.ErrStale), errors.Is(err, room.ErrNotSeated):
		return CodeNotSeated
	default:
		return CodeNoSeat
	}
}
