package room

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/homing/homing/hub"
)

// MaxSnapshot bounds a snapshot, in bytes.
const MaxSnapshot = 1 << 20

var (
	errNoSnapshot = errors.New("the logic returned no snapshot")
	errOtherClass = errors.New("the snapshot is of another class")
)

// snapshot is a room between two ticks, as JSON.
type snapshot struct {
	ID         string          `json:"id"`
	Class      string          `json:"class"`
	Tick       int64           `json:"tick"`
	Rand       []byte          `json:"rand"`
	Generation uint64          `json:"generation"`
	Seats      []seatSnapshot  `json:"seats"`
	States     []stateSnapshot `json:"states"`
	Next       uint64          `json:"next"` // number of the next event
	LostFrom   uint64          `json:"lost_from,omitempty"`
	LostUntil  uint64          `json:"lost_until,omitempty"`
	Events     []eventSnapshot `json:"events"`
	Timers     []timerSnapshot `json:"timers"`
	Metadata   []byte          `json:"metadata,omitempty"`
	Locked     bool            `json:"locked,omitempty"`
	Logic      []byte          `json:"logic"`
}

type seatSnapshot struct {
	Seat       int           `json:"seat"`
	User       hub.UserID    `json:"user"`
	Reserved   bool          `json:"reserved,omitempty"`
	Left       time.Duration `json:"left"` // until the seat is given up
	Generation uint64        `json:"generation"`
	First      uint64        `json:"first"`
}

type audienceSnapshot struct {
	All   bool         `json:"all,omitempty"`
	Users []hub.UserID `json:"users,omitempty"`
}

func snapshotOf(a Audience) audienceSnapshot { return audienceSnapshot{a.all, a.users} }

func (a audienceSnapshot) audience() Audience { return Audience{a.All, a.Users} }

type stateSnapshot struct {
	Key  string           `json:"key"`
	To   audienceSnapshot `json:"to"`
	Data []byte           `json:"data"`
}

type eventSnapshot struct {
	N    uint64           `json:"n"`
	To   audienceSnapshot `json:"to"`
	From hub.UserID       `json:"from,omitempty"`
	Data []byte           `json:"data"`
}

type timerSnapshot struct {
	At   int64  `json:"at"`
	Name string `json:"name"`
}

// Snapshot returns all that Restore needs. The room goes on. What was said since
// the last tick is told first, so that it is told once.
func (r *Room) Snapshot(now time.Duration) ([]byte, error) {
	r.note(Input{Op: opSave, At: now})
	if r.ended != "" {
		return nil, ErrClosed
	}
	r.frames.flush(r.tick, r.out)
	var logic []byte
	err := errNoSnapshot // unless it returns
	r.run(func() { logic, err = r.logic.Snapshot() })
	if _, plain := r.logic.(Plain); plain {
		logic = []byte{} // it has nothing to keep
	}
	if err == nil && logic == nil {
		err = errNoSnapshot
	}
	if err != nil {
		return nil, fmt.Errorf("snapshot of room %s: %w", r.id, err)
	}
	b, err := json.Marshal(take(r, now, logic))
	if err == nil && len(b) > MaxSnapshot {
		err = fmt.Errorf("%w: %d bytes, want at most %d", ErrTooLarge, len(b), MaxSnapshot)
	}
	if err != nil {
		return nil, fmt.Errorf("snapshot of room %s: %w", r.id, err)
	}
	return b, nil
}

// take is the snapshot of r, with that of its logic.
func take(r *Room, now time.Duration, logic []byte) *snapshot {
	source, _ := r.source.MarshalBinary() // it always does
	s := &snapshot{
		ID: r.id, Class: r.class.Name, Tick: r.tick, Rand: source, Generation: r.seats.generation,
		Next: r.events.next, LostFrom: r.events.lost.from, LostUntil: r.events.lost.until, Metadata: r.metadata, Locked: r.locked, Logic: logic,
	}
	for i := range r.seats.all {
		x := &r.seats.all[i]
		if x.stage == seatFree {
			continue
		}
		left := r.class.Grace // who is connected must come back
		if x.stage != seatTaken {
			left = x.until - now
		}
		s.Seats = append(s.Seats, seatSnapshot{i, x.user, x.stage == seatReserved, left, x.generation, x.first})
	}
	for _, key := range r.states.sorted() {
		x := r.states.keys[key]
		s.States = append(s.States, stateSnapshot{key, snapshotOf(x.to), x.data})
	}
	for _, e := range r.events.log {
		s.Events = append(s.Events, eventSnapshot{e.n, snapshotOf(e.to), e.from, e.data})
	}
	for _, t := range r.timers.all {
		s.Timers = append(s.Timers, timerSnapshot{t.at, t.name})
	}
	return s
}

// Move ends the room here, because it goes on in another process from a snapshot
// that was taken just now. Its members are told.
func (r *Room) Move() {
	if r.ended == "" {
		r.end(EndMoved, nil)
	}
}

// Restore opens the room of a snapshot, whose clock shows now. Who was connected is
// away, and has the class's grace to come back.
func Restore(b []byte, class *Class, out Outlet, now time.Duration) (*Room, error) {
	var s snapshot
	if len(b) > MaxSnapshot {
		return nil, fmt.Errorf("restore a room: %w", ErrTooLarge)
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("restore a room: %w", err)
	}
	if s.Class != class.Name {
		return nil, fmt.Errorf("restore room %s: %w: %q, want %q", s.ID, errOtherClass, s.Class, class.Name)
	}
	r := prepare(s.ID, class, silent{}, now) // nobody hears of one that fails
	r.source = &rand.PCG{}
	if err := r.source.UnmarshalBinary(s.Rand); err != nil {
		return nil, fmt.Errorf("restore room %s: %w", s.ID, err)
	}
	r.rand = rand.New(r.source)
	if err := s.fill(r, now); err != nil {
		return nil, fmt.Errorf("restore room %s: %w", s.ID, err)
	}
	var err error
	r.run(func() { err = r.logic.Restore(r.table(), s.Logic) })
	if err == nil && r.ended != "" {
		err = ErrClosed
	}
	if err != nil {
		return nil, fmt.Errorf("restore room %s: %w", s.ID, err)
	}
	r.out = out
	return r, nil
}

// Recover is Restore for a room whose process has died: its members have read what
// came after the snapshot, and are told that it is lost. epoch is the new owner's: no
// number of an event comes again, however often the room goes on from one snapshot.
func Recover(b []byte, class *Class, out Outlet, now time.Duration, epoch uint64) (*Room, error) {
	r, err := Restore(b, class, out, now)
	if err == nil {
		r.events.lose(epoch)
	}
	return r, err
}

// silent is an Outlet to nobody.
type silent struct{}

func (silent) Frame(int, []byte)                     {}
func (silent) Left(int, Member, LeaveReason, string) {}
func (silent) Ended(EndReason, []byte)               {}

var errBadSnapshot = errors.New("the snapshot contradicts itself")

// fill has r, which is new, be as s is.
func (s *snapshot) fill(r *Room, now time.Duration) error {
	if s.Tick < 0 || s.Tick > maxTicks || s.Next < 1 || s.Next > 1<<62 {
		return errBadSnapshot
	}
	if len(s.Metadata) > 0 {
		if err := r.SetMetadata(s.Metadata); err != nil {
			return err
		}
	}
	r.tick, r.locked, r.seats.generation = s.Tick, s.Locked, s.Generation
	for _, x := range s.Seats {
		if err := x.fill(r, s.Next, now); err != nil {
			return err
		}
	}
	r.states.widen(s.States)
	for _, x := range s.States {
		if !r.class.fits(x.Data) || !r.states.set(x.To.audience(), x.Key, x.Data) {
			return errBadSnapshot
		}
	}
	r.states.settle()
	return errors.Join(s.fillEvents(r), s.fillTimers(r))
}

func (s *snapshot) fillTimers(r *Room) error {
	for _, t := range s.Timers {
		if t.At < 0 || t.At > 2*maxTicks || !r.timers.set(r.tick, 1, t.Name) {
			return errBadSnapshot
		}
		r.timers.all[len(r.timers.all)-1].at = t.At
	}
	return nil
}

func (x *seatSnapshot) fill(r *Room, next uint64, now time.Duration) error {
	switch {
	case x.Seat < 0, x.Seat >= len(r.seats.all), r.seats.all[x.Seat].stage != seatFree, r.seats.find(x.User) >= 0,
		x.User.Check() != nil, x.Generation > r.seats.generation, x.First > next, !x.Reserved && x.First < 1:
		return errBadSnapshot
	}
	left := min(max(0, x.Left), max(r.class.Grace, r.class.Reserve)) // the class may have changed
	stage := seatAway
	if x.Reserved {
		stage = seatReserved
	}
	r.seats.all[x.Seat] = seat{stage: stage, user: x.User, generation: x.Generation, until: now + left, first: x.First}
	r.seats.taken++
	return nil
}

func (s *snapshot) fillEvents(r *Room) error {
	if s.LostFrom > s.LostUntil || s.LostUntil > s.Next {
		return errBadSnapshot
	}
	if uint64(len(s.Events)) >= s.Next {
		return errBadSnapshot
	}
	x := &r.events
	x.lost, x.next = lost{s.LostFrom, s.LostUntil}, s.Next-uint64(len(s.Events))
	for _, e := range s.Events {
		if e.N != x.next || !r.class.fits(e.Data) {
			return errBadSnapshot
		}
		x.add(e.To.audience(), e.From, e.Data)
	}
	x.settle()
	return nil
}
