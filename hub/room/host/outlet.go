package host

import (
	"errors"
	"time"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/room"
)

// outlet takes what leaves the room: it is a running as room.Outlet.
type outlet struct{ r *running }

func (o outlet) Frame(seat int, frame []byte) {
	if s := o.r.seats[seat]; s != nil {
		o.r.tell(Told{Seat: s, Kind: KindFrame, Frame: frame, Binary: o.r.class.Binary})
	}
}

func (o outlet) Left(seat int, m room.Member, why room.LeaveReason, reason string) {
	r := o.r
	if why == room.LeftClosed {
		r.end.members = append(r.end.members, m.User)
	}
	s := r.seats[seat]
	if s == nil {
		return
	}
	r.seat(seat, nil)
	if r.move != nil && r.move.moved != nil {
		r.tell(Told{Seat: s, Kind: KindMoved, Note: r.h.movedTo(r.move.moved, s.user)})
		return
	}
	r.tell(Told{Seat: s, Kind: KindLeft, Note: &Note{Room: r.id, Why: string(why), Reason: reason}})
}

func (o outlet) Ended(why room.EndReason, result []byte) {
	o.r.end.why, o.r.end.result = why, result
}

func (r *running) tell(t Told) { r.batch = append(r.batch, t) }

// refuse notes that a message of s was refused, which it is told once a tick.
func (r *running) refuse(s *Seat, code string) {
	r.h.met.refused.WithLabelValues(code).Inc()
	if s.refused == nil {
		s.refused = make(map[string]int)
		r.refusing = append(r.refusing, s)
	}
	s.refused[code]++
}

// send gives what there is to tell to the connections. While they have not taken
// what came before, it waits: ticks are left out meanwhile.
func (r *running) send() {
	for _, s := range r.refusing {
		for code, n := range s.refused {
			r.tell(Told{Seat: s, Kind: KindNotSaid, Note: &Note{Code: code, Count: n}})
		}
		s.refused = nil
	}
	r.refusing = r.refusing[:0]
	if len(r.batch) > 0 && !r.held() {
		r.hand()
	}
}

// hand gives the batch to the connections, unless somebody else may speak for the
// room: then it waits, or is never heard.
func (r *running) hand() {
	if r.h.deps.Standing() != hub.StandingGood || r.isAbandoned() {
		return
	}
	r.unwritten.Store(true)
	b := &Batch{Told: r.batch, done: r.written}
	r.batch = make([]Told, 0, len(r.batch))
	r.h.outbox.Tell(b)
}

func (r *running) isAbandoned() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.abandoned
}

// held reports whether the connections have not taken what was told last; then
// they wake the room.
func (r *running) held() bool {
	if !r.unwritten.Load() {
		return false
	}
	r.waits.Store(true)
	return r.unwritten.Load()
}

func (r *running) written() {
	r.unwritten.Store(false)
	if r.waits.Swap(false) {
		r.poke()
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

// durations are the last that were added.
type durations struct {
	ring [128]time.Duration
	n    int
}

func (d *durations) add(x time.Duration) {
	d.ring[d.n%len(d.ring)] = x
	d.n++
}
