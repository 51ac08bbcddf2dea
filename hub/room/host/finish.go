package host

import (
	"context"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/room"
	"github.com/homing/homing/hub/room/asks"
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
	left := r.inputs.close(r.following())
	if r.inputs.isAbandoned() {
		r.met.stuck.Dec()
		return
	}
	r.answerLast(left)
	r.sendLast()
	r.depart(&r.end)
}

// following has what comes too late follow the room; nil: it has not moved.
func (r *running) following() func(left []input) *follower {
	if r.move == nil || r.move.moved == nil {
		return nil
	}
	return func(left []input) *follower { return r.mover.follow(r.id, r.move.moved, lateOf(left)) }
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
			r.guide.redirect(in.seat, r.id)
		}
	}
}

// sendLast tells what is left to tell, after all that was told before.
func (r *running) sendLast() {
	if r.end.silent {
		return
	}
	for r.Standing() == hub.StandingDoubt {
		time.Sleep(doubtPause)
	}
	if len(r.telling.batch) > 0 {
		r.hand()
	}
}

// depart takes the room out of the host and the directory, and tells the backend.
func (r *running) depart(end *ending) {
	r.met.ended.WithLabelValues(string(end.why)).Inc()
	if end.why != room.EndMoved && !end.silent {
		r.conclude(end)
	}
	r.table.remove(r)
	r.record.close()
	close(r.gone)
}

// conclude notes the end in the directory and, unless another process has done that
// in the room's name, tells the backend.
func (r *running) conclude(end *ending) {
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	rec := r.rec()
	e := endedEvent(r, end)
	for {
		ended, err := r.Directory.End(ctx, rec, string(end.why), e.Result, false)
		switch {
		case err == nil && ended:
			r.event("room.ended", r.id, e)
			r.saver.drop(ctx, r.class, r.id, r.made, rec.Epoch)
			return
		case err == nil:
			return
		case !r.pause(ctx, endPause) || r.Standing() == hub.StandingLost:
			r.Log.Warn("room: its end was not noted", "room", r.id, "err", err)
			return
		}
	}
}

func endedEvent(r *running, end *ending) Ended {
	e := Ended{
		Room: r.id, Class: r.class.Name, Reason: string(end.why), Members: end.members,
		Seconds: time.Since(r.made).Seconds(),
	}
	if end.why == room.EndFailed || end.why == room.EndStuck { // what it panicked with is for the log
		r.Log.Error("room: its logic has failed", "room", r.id, "class", r.class.Name, "reason", end.why, "failure", string(end.result))
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

// abandon ends a room whose logic has not returned. Its goroutine ends when that
// does.
func (r *running) abandon() {
	if !r.inputs.abandon() {
		return
	}
	b := &Batch{}
	end := &ending{why: room.EndStuck}
	for _, s := range r.seats.connected() {
		b.Told = append(b.Told, Told{Seat: s, Kind: KindLeft, Note: &Note{
			Room: r.id, Why: string(room.LeftClosed), Reason: string(room.EndStuck),
		}})
		end.members = append(end.members, s.user)
	}
	r.met.stuck.Inc()
	r.outbox.Tell(b)
	r.routines.Go(func() { r.depart(end) })
}

// fence ends a room here that is another process's, without a word in its name,
// unless it has a newer epoch. Its members are told where it is.
func (r *running) fence(epoch uint64) {
	r.inputs.control(input{kind: inputCommand, do: func() {
		if r.move != nil || r.end.why != "" || r.epoch.Load() != epoch {
			return
		}
		for number, s := range r.seats.all {
			if s != nil {
				r.seats.put(number, nil)
				r.guide.redirect(s, r.id)
			}
		}
		r.end = ending{why: room.EndMoved, silent: true}
	}})
}
