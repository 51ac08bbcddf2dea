package room

import (
	"errors"
	"time"

	"github.com/homing/homing/hub"
)

// Refusals.
var (
	ErrFull      = errors.New("the room is full")
	ErrLocked    = errors.New("the room is locked")
	ErrClosed    = errors.New("the room has ended")
	ErrNoSeat    = errors.New("the user has no seat")
	ErrStale     = errors.New("the user has a newer connection")
	ErrTooMuch   = errors.New("more than the member may send")
	ErrNotJSON   = errors.New("not JSON")
	ErrTooLarge  = errors.New("too large")
	ErrNotSeated = errors.New("the user has not joined")
)

type seatStage uint8

const (
	seatFree     seatStage = iota
	seatReserved           // for a user who has not come
	seatTaken              // the user is connected
	seatAway               // the user was connected, and may come back
)

// String is the stage as others read it.
func (s seatStage) String() string {
	switch s {
	case seatReserved:
		return "reserved"
	case seatTaken:
		return "seated"
	case seatAway:
		return "away"
	default:
		return "free"
	}
}

// SeatInfo is who has a seat.
type SeatInfo struct {
	Seat  int
	User  hub.UserID
	State string // reserved, seated or away
}

// seat is one place. It is counted once, whatever its stage is.
type seat struct {
	stage      seatStage
	user       hub.UserID
	generation uint64        // of its latest connection; grows over the life of the room
	until      time.Duration // when a reserved seat, or one whose user is away, is given up
	first      uint64        // number of the first event that its user may read
	messages   budget
	bytes      budget
}

// seats are all of a room.
type seats struct {
	all        []seat
	generation uint64
	taken      int // those that are not free
}

func newSeats(n int) seats { return seats{all: make([]seat, n)} }

// find returns the number of user's seat, -1 when it has none.
func (s *seats) find(user hub.UserID) int {
	for i := range s.all {
		if s.all[i].stage != seatFree && s.all[i].user == user {
			return i
		}
	}
	return -1
}

// reserve gives user a seat until the time given, or prolongs the one that waits
// for it. A user who is connected keeps its seat as it is.
func (s *seats) reserve(user hub.UserID, until time.Duration) (int, error) {
	if i := s.find(user); i >= 0 {
		if x := &s.all[i]; x.stage != seatTaken {
			x.until = max(x.until, until)
		}
		return i, nil
	}
	for i := range s.all {
		if x := &s.all[i]; x.stage == seatFree {
			*x = seat{stage: seatReserved, user: user, until: until}
			s.taken++
			return i, nil
		}
	}
	return -1, ErrFull
}

// join has a new connection of user take its seat. back is whether it was there
// before.
func (s *seats) join(user hub.UserID) (i int, back bool, err error) {
	i = s.find(user)
	if i < 0 {
		return -1, false, ErrNoSeat
	}
	x := &s.all[i]
	back = x.stage != seatReserved
	s.generation++
	x.stage, x.generation, x.until = seatTaken, s.generation, 0
	return i, back, nil
}

// at returns the seat that a connection of a generation speaks for.
func (s *seats) at(i int, generation uint64) (*seat, error) {
	switch {
	case i < 0 || i >= len(s.all) || s.all[i].stage == seatFree:
		return nil, ErrNoSeat
	case s.all[i].generation != generation:
		return nil, ErrStale
	case s.all[i].stage != seatTaken:
		return nil, ErrNotSeated
	}
	return &s.all[i], nil
}

// free gives a seat up.
func (s *seats) free(i int) {
	s.all[i] = seat{}
	s.taken--
}

// members lists those who have joined and not left.
func (s *seats) members() (all []Member) {
	for i := range s.all {
		if x := &s.all[i]; x.stage == seatTaken || x.stage == seatAway {
			all = append(all, Member{x.user, i})
		}
	}
	return all
}

func (s *seats) infos() (all []SeatInfo) {
	for i := range s.all {
		if x := &s.all[i]; x.stage != seatFree {
			all = append(all, SeatInfo{i, x.user, x.stage.String()})
		}
	}
	return all
}

// due reports whether the seat's time is over.
func (x *seat) due(now time.Duration) bool {
	return (x.stage == seatReserved || x.stage == seatAway) && now >= x.until
}

// due lists the seats whose time is over.
func (s *seats) due(now time.Duration) (all []int) {
	for i := range s.all {
		if s.all[i].due(now) {
			all = append(all, i)
		}
	}
	return all
}
