package room

import (
	"fmt"
	"regexp"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Bounds of what a class may ask for, and of what goes in and out of a room.
const (
	MaxSeats    = 256
	MaxHz       = 60
	MaxMetadata = 8 << 10 // bytes of JSON
	MaxMessage  = 16 << 10
	MaxResult   = 64 << 10 // bytes of what a room ends with
	maxReason   = 123      // bytes, as in a WebSocket close frame

	maxTickBytes = 1 << 20 // of the events of one tick
	maxTimers    = 1024
	// minCheckpoint is how often a room is saved at most.
	minCheckpoint = time.Second
	maxTicks      = 1 << 52 // more than any room lives, and no sum of two overflows
)

// Class is a kind of room. Its fields do not change while rooms of it live.
type Class struct {
	Name  string
	Seats int
	// Hz is how many ticks there are in a second.
	Hz int
	// Binary has messages be any bytes, and frames in binary; else both are JSON.
	Binary bool

	Reserve time.Duration // how long a reserved seat waits for its user
	Grace   time.Duration // how long a seat waits for a user whose connection ended
	Idle    time.Duration // how long a room without a member stands

	MemberRate  float64 // messages per second of one member in the long run
	MemberBytes float64 // bytes per second of one member in the long run
	RoomBytes   float64 // bytes per second of all members together
	StateKeys   int     // keys that a room may have
	StateBytes  int     // bytes of their values together
	LogBytes    int     // bytes of events that are remembered for those who come back

	// Checkpoint is how often a room is saved, so that it goes on after the death of
	// its process, as it was then; 0: it ends with its process.
	Checkpoint time.Duration
	// Immediate has every message be told at once and not with the tick, which costs
	// a frame for each member and message. It is there for comparison.
	Immediate bool

	// New makes the logic of one room; nil: the room relays what its members say.
	New func() Logic
}

// DefaultClass returns a class with usual bounds, without a name and logic.
func DefaultClass() Class {
	return Class{
		Seats: 4, Hz: 20,
		Reserve: 15 * time.Second, Grace: 15 * time.Second, Idle: time.Minute,
		MemberRate: 60, MemberBytes: 32 << 10, RoomBytes: 512 << 10,
		StateKeys: 1024, StateBytes: 256 << 10, LogBytes: 128 << 10,
	}
}

var className = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

// Validate reports the first field that cannot work.
func (c *Class) Validate() error {
	switch {
	case !className.MatchString(c.Name):
		return fmt.Errorf("class %q: the name must match %s", c.Name, className)
	case c.Seats < 1 || c.Seats > MaxSeats:
		return fmt.Errorf("class %s: %d seats, want 1 to %d", c.Name, c.Seats, MaxSeats)
	case c.Hz < 1 || c.Hz > MaxHz:
		return fmt.Errorf("class %s: %d ticks per second, want 1 to %d", c.Name, c.Hz, MaxHz)
	case c.Reserve <= 0 || c.Grace < 0 || c.Idle <= 0:
		return fmt.Errorf("class %s: reserve %v, grace %v, idle %v: want more than 0; the grace may be 0", c.Name, c.Reserve, c.Grace, c.Idle)
	case c.Checkpoint != 0 && c.Checkpoint < minCheckpoint:
		return fmt.Errorf("class %s: checkpoint %v: want 0, or at least %v", c.Name, c.Checkpoint, minCheckpoint)
	}
	return c.checkBounds()
}

func (c *Class) checkBounds() error {
	switch {
	case !(c.MemberRate > 0 && c.MemberBytes > 0 && c.RoomBytes > 0): // NaN is not

		return fmt.Errorf("class %s: rates %v, %v, %v: want more than 0", c.Name, c.MemberRate, c.MemberBytes, c.RoomBytes)
	case c.StateKeys < 0 || c.StateBytes < 0 || c.LogBytes < 0 || c.StateBytes+c.LogBytes > MaxSnapshot/2:
		return fmt.Errorf("class %s: bounds %d, %d, %d: want 0 or more, and at most %d bytes together, so that a snapshot holds them", c.Name, c.StateKeys, c.StateBytes, c.LogBytes, MaxSnapshot/2)
	}
	return nil
}

// period is the time between two ticks.
func (c *Class) period() time.Duration { return time.Second / time.Duration(c.Hz) }

// fits reports whether data can stand in a frame of its rooms.
func (c *Class) fits(data []byte) bool { return c.Binary || jsontext.Value(data).IsValid() }
