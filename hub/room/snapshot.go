package room

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
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
	All   bool    `json:"all,omitempty"`
	Seats seatSet `json:"seats"`
}

func snapshotOf(a Audience) audienceSnapshot { return audienceSnapshot{a.all, a.seats} }

func (a audienceSnapshot) audience() Audience { return Audience{a.All, a.Seats} }

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
	if r.ended != "" {
		return nil, ErrClosed
	}
	r.flush()
	var logic []byte
	err := errNoSnapshot // unless it returns
	r.run(func() { logic, err = r.logic.Snapshot() })
	if err == nil && logic == nil {
		err = errNoSnapshot
	}
	if err != nil {
		return nil, fmt.Errorf("snapshot of room %s: %w", r.id, err)
	}
	b, err := json.Marshal(r.snapshot(now, logic))
	if err == nil && len(b) > MaxSnapshot {
		err = fmt.Errorf("%w: %d bytes, want at most %d", ErrTooLarge, len(b), MaxSnapshot)
	}
	if err != nil {
		return nil, fmt.Errorf("snapshot of room %s: %w", r.id, err)
	}
	return b, nil
}

func (r *Room) snapshot(now time.Duration, logic []byte) *snapshot {
	source, _ := r.source.MarshalBinary() // it always does
	s := &snapshot{
		ID: r.id, Class: r.class.Name, Tick: r.tick, Rand: source, Generation: r.seats.generation,
		Next: r.events.next, Metadata: r.metadata, Locked: r.locked, Logic: logic,
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
	for _, t := range r.timers {
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
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("restore a room: %w", err)
	}
	if s.Class != class.Name {
		return nil, fmt.Errorf("restore room %s: %w: %q, want %q", s.ID, errOtherClass, s.Class, class.Name)
	}
	r := prepare(s.ID, class, out, now)
	r.source = &rand.PCG{}
	if err := r.source.UnmarshalBinary(s.Rand); err != nil {
		return nil, fmt.Errorf("restore room %s: %w", s.ID, err)
	}
	r.rand = rand.New(r.source)
	if err := r.fill(&s, now); err != nil {
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
	return r, nil
}

var errBadSnapshot = errors.New("the snapshot contradicts itself")

func (r *Room) fill(s *snapshot, now time.Duration) error {
	r.tick, r.metadata, r.locked, r.seats.generation = s.Tick, s.Metadata, s.Locked, s.Generation
	for _, x := range s.Seats {
		if x.Seat < 0 || x.Seat >= len(r.seats.all) || r.seats.all[x.Seat].stage != seatFree || r.seats.find(x.User) >= 0 {
			return errBadSnapshot
		}
		stage := seatAway
		if x.Reserved {
			stage = seatReserved
		}
		r.seats.all[x.Seat] = seat{stage: stage, user: x.User, generation: x.Generation, until: now + x.Left, first: x.First}
		r.seats.taken++
	}
	for _, x := range s.States {
		if !r.states.set(x.To.audience(), x.Key, x.Data) {
			return errBadSnapshot
		}
	}
	r.states.settle()
	for i, e := range s.Events {
		if e.N != s.Next-uint64(len(s.Events)-i) {
			return errBadSnapshot
		}
		r.events.next = e.N
		r.events.add(e.To.audience(), e.From, e.Data)
	}
	r.events.next = max(s.Next, 1)
	r.events.settle()
	for _, t := range s.Timers {
		r.timers = append(r.timers, timer{t.At, t.Name})
	}
	r.timers = slices.Clip(r.timers)
	return nil
}
