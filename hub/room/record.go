package room

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/homing/homing/hub"
)

// Input is one call of a room's methods, as a line of a record (NDJSON).
type Input struct {
	Op         string        `json:"op"`
	At         time.Duration `json:"at,omitempty"`
	User       hub.UserID    `json:"user,omitempty"`
	Seat       int           `json:"seat,omitempty"`
	Generation uint64        `json:"generation,omitempty"`
	After      uint64        `json:"after,omitempty"`
	Name       string        `json:"name,omitempty"`
	Data       []byte        `json:"data,omitempty"`
	Seed       uint64        `json:"seed,omitempty"`
	Epoch      uint64        `json:"epoch,omitempty"`
}

const (
	opOpen    = "open"
	opReserve = "reserve"
	opJoin    = "join"
	opGone    = "gone"
	opLeave   = "leave"
	opMessage = "message"
	opSignal  = "signal"
	opFinish  = "finish"
	opTick    = "tick"
	opSave    = "snapshot"
	opStop    = "stop"
	opLate    = "late"

	opLeaveLate = "leave-late"
	opUnreserve = "unreserve"
	opMetadata  = "metadata"
	opRestore   = "restore"
)

// Recorder writes what happens to a room from its beginning in this process on. A write that
// fails ends the record; Err says so.
type Recorder struct {
	to  *json.Encoder
	err error
}

// NewRecorder returns a Recorder that writes to w, in small pieces.
func NewRecorder(w io.Writer) *Recorder { return &Recorder{to: json.NewEncoder(w)} }

// Err is why the record has ended early; nil: it has not.
func (c *Recorder) Err() error { return c.err }

func (c *Recorder) write(in Input) {
	if c.err == nil {
		c.err = c.to.Encode(in)
	}
}

// NewRecorded is New with a record of the room, which c must not have begun yet.
func NewRecorded(id string, class *Class, seed uint64, out Outlet, now time.Duration, c *Recorder) *Room {
	c.write(Input{Op: opOpen, Name: id, At: now, Seed: seed})
	r := New(id, class, seed, out, now)
	r.record = c
	return r
}

// Restored begins the record with r, which Restore has just opened from the snapshot
// b, or Recover with an epoch; 0: it was Restore. now is what they were given.
func (c *Recorder) Restored(r *Room, b []byte, now time.Duration, epoch uint64) {
	c.write(Input{Op: opRestore, Name: r.id, At: now, Data: b, Epoch: epoch})
	r.record = c
}

// Replay does again, as fast as it goes, what was recorded of a room of class, and
// returns the room as it is at the end of the record. Logic that draws random
// numbers from its Table, and asks nothing else of the world, does the same again.
func Replay(from io.Reader, class *Class, out Outlet) (*Room, error) {
	lines := json.NewDecoder(bufio.NewReader(from))
	var r *Room
	for n := 1; ; n++ {
		var in Input
		switch err := lines.Decode(&in); {
		case err == io.EOF && r != nil:
			return r, nil
		case err != nil:
			return nil, fmt.Errorf("replay: line %d: %w", n, err)
		case in.begins() != (r == nil):
			return nil, fmt.Errorf("replay: line %d: %q where it cannot be", n, in.Op)
		}
		var err error
		if r == nil {
			r, err = in.begin(class, out)
		} else {
			err = in.apply(r)
		}
		if err != nil {
			return nil, fmt.Errorf("replay: line %d: %w", n, err)
		}
	}
}

// begins reports whether in is the first line of a record.
func (in *Input) begins() bool { return in.Op == opOpen || in.Op == opRestore }

// begin opens the room of a record.
func (in *Input) begin(class *Class, out Outlet) (*Room, error) {
	switch {
	case in.Op == opOpen:
		return New(in.Name, class, in.Seed, out, in.At), nil
	case in.Epoch == 0:
		return Restore(in.Data, class, out, in.At)
	}
	return Recover(in.Data, class, out, in.At, in.Epoch)
}

// apply does to r what in says. What the room refuses it had refused before.
func (in *Input) apply(r *Room) error {
	switch in.Op {
	case opReserve:
		_, _ = r.Reserve(in.User, in.At)
	case opJoin:
		_, _, _ = r.Join(in.User, in.After)
	case opGone:
		r.Gone(in.Seat, in.Generation, in.At)
	case opLeave:
		r.Leave(in.Seat, in.Generation)
	case opMessage:
		_ = r.Message(in.Seat, in.Generation, in.Data, in.At)
	case opSignal:
		_, _ = r.Signal(in.Name, in.Data)
	case opFinish:
		r.Finish(in.Data)
	case opTick:
		r.Tick(in.At)
	case opSave:
		_, _ = r.Snapshot(in.At)
	case opStop:
		r.stop(EndReason(in.Name))
	case opLate:
		r.Late(in.User, in.Data, in.At)
	case opLeaveLate:
		r.LeaveLate(in.User)
	case opUnreserve:
		r.Unreserve(in.Seat)
	case opMetadata:
		_ = r.SetMetadata(in.Data)
	default:
		return fmt.Errorf("%q is nothing that happens to a room", in.Op)
	}
	return nil
}
