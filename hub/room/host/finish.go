package host

import (
	"context"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/room"
	"github.com/homing/homing/hub/room/asks"
	"github.com/homing/homing/hub/room/directory"
)

const (
	// endTimeout is how long a process tries to tell the directory that a room has
	// ended. After that the record goes when the process finds that it is not true.
	endTimeout = time.Minute
	endPause   = 500 * time.Millisecond
)

// Ended is the data of the event room.ended.
type Ended struct {
	Room    string         `json:"room"`
	Class   string         `json:"class"`
	Reason  string         `json:"reason"`
	Result  jsontext.Value `json:"result,omitzero"`
	Binary  []byte         `json:"result_base64,omitzero"` // of a room whose result is no JSON
	TooLong bool           `json:"result_too_long,omitzero"`
	Members []hub.UserID   `json:"members"`
	Seconds float64        `json:"seconds"`
}

// finish takes leave of the room: its members, its record, its backend.
func (r *running) finish() {
	left := r.close()
	if r.isAbandoned() {
		r.h.met.stuck.Dec()
		return
	}
	r.answerLast(left)
	r.sendLast()
	r.depart(&r.end)
}

// close has the room take nothing more, and returns what has waited. Of a room that
// has moved, messages and leaves go after it, from the same moment on: else somebody
// would be told in between that it has ended.
func (r *running) close() (left []input) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	left, r.inputs = r.inputs, nil
	if !r.abandoned && r.move != nil && r.move.moved != nil {
		r.follower.Store(r.h.follow(r.id, r.move.moved, lateOf(left)))
	}
	return left
}

// lateOf is what is to follow a room of what it has not read.
func lateOf(left []input) (said []asks.Said) {
	for _, in := range left {
		switch in.kind {
		case inputSay:
			said = append(said, asks.Said{User: in.seat.user, Data: in.data})
		case inputLeave:
			said = append(said, asks.Said{User: in.seat.user, Left: true})
		case inputJoin, inputGone, inputCommand:
		}
	}
	return said
}

// answerLast answers who came too late to join. r.gone tells those who wait for
// something else.
func (r *running) answerLast(left []input) {
	for _, in := range left {
		if in.kind == inputJoin {
			r.h.redirect(in.seat, r.id)
		}
	}
}

// sendLast tells what is left to tell, after all that was told before.
func (r *running) sendLast() {
	if r.end.silent {
		return
	}
	for r.h.deps.Standing() == hub.StandingDoubt {
		time.Sleep(doubtPause)
	}
	if len(r.batch) > 0 {
		r.hand()
	}
}

// depart takes the room out of the host and the directory, and tells the backend.
func (r *running) depart(end *ending) {
	h := r.h
	h.met.ended.WithLabelValues(string(end.why)).Inc()
	if end.why != room.EndMoved && !end.silent {
		r.conclude(end)
	}
	h.remove(r)
	if r.record != nil {
		r.record.close()
	}
	close(r.gone)
}

// remove takes r out of the host, unless another room of that id is there.
func (h *Host) remove(r *running) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.rooms[r.id] == r {
		delete(h.rooms, r.id)
	}
	h.taken.Add(-int64(r.shown.Load().taken)) // it is closed: that changes no more
	h.met.rooms.Set(float64(len(h.rooms)))
}

// conclude notes the end in the directory and, unless another process has done that
// in the room's name, tells the backend.
func (r *running) conclude(end *ending) {
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	rec := r.rec()
	e := endedEvent(r, end)
	for {
		ended, err := r.h.deps.Directory.End(ctx, rec, string(end.why), e.Result, false)
		switch {
		case err == nil && ended:
			r.h.event("room.ended", r.id, e)
			r.h.dropCheckpoint(ctx, r.class, r.id)
			return
		case err == nil:
			return
		case !r.h.pause(ctx, endPause) || r.h.deps.Standing() == hub.StandingLost:
			r.h.deps.Log.Warn("room: its end was not noted", "room", r.id, "err", err)
			return
		}
	}
}

// pause is the function pause, and ends when the host does.
func (h *Host) pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-h.drained:
		return false
	default:
		return pause(ctx, d)
	}
}

// pause waits, and reports false when ctx has ended.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

func endedEvent(r *running, end *ending) Ended {
	e := Ended{
		Room: r.id, Class: r.class.Name, Reason: string(end.why), Members: end.members,
		Seconds: time.Since(r.made).Seconds(),
	}
	if end.why == room.EndFailed || end.why == room.EndStuck { // what it panicked with is for the log
		r.h.deps.Log.Error("room: its logic has failed", "room", r.id, "class", r.class.Name, "reason", end.why, "failure", string(end.result))
		return e
	}
	switch {
	case len(end.result) == 0:
	case len(end.result) > room.MaxResult:
		e.TooLong = true
	case jsontext.Value(end.result).IsValid():
		e.Result = end.result
	default:
		e.Binary = end.result
	}
	return e
}

func (h *Host) event(kind, id string, data any) {
	if h.deps.Event != nil {
		h.deps.Event(kind, id, data)
	}
}

// rec is the record of the room as its owner knows it.
func (r *running) rec() *directory.Record {
	s := r.shown.Load()
	return &directory.Record{
		Room: r.id, Class: r.class.Name, Owner: r.h.deps.Process, Epoch: r.epoch.Load(), URL: r.h.cfg.URL, Made: r.made,
		Seats: r.class.Seats, Taken: s.taken, Metadata: s.metadata,
	}
}
