package front

import (
	"bytes"
	"context"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/homing/homing/front/loop"
	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/room/host"
)

// Rooms is what a worker needs of the game rooms of its process.
type Rooms interface {
	// Join has a connection take the seat of a ticket. It does not block: what comes
	// of it is told to Worker.Tell.
	Join(line host.Line, user hub.UserID, ticket string, after uint64) *host.Seat
	// Locate returns the process that runs the room which a ticket is for. No
	// process, or an error, says that it is not known. It is called from many
	// goroutines and may block, until ctx ends.
	Locate(ctx context.Context, ticket string) (hub.ProcessID, error)
	// Evacuate has the rooms go to other processes, and takes none, until Stay. Those
	// that nobody takes go on until the deadline, and end then. Called again it changes
	// the deadline. Neither blocks.
	Evacuate(deadline time.Time)
	Stay()
	// Count is how many rooms there are, and seats in them that are reserved or taken.
	// It is called from any goroutine.
	Count() (rooms, seats int)
}

// rooms brings connections into game rooms, what members say to them, and what they
// tell to the connections. The loop owns it, but for waiting.
type rooms struct {
	tracer

	loop       *loop.Loop[client]
	sessions   *sessions
	m          *metrics
	host       Rooms       // nil: there are none
	mayDeliver func() bool // whether the worker is in good standing at this moment
	waiting    batchQueue

	batches []*host.Batch // taken from waiting
	at      int           // the next of them
	told    int           // how far that one has come
	frame   frameWire
}

// batchQueue holds what rooms tell until the loop takes it. A room gives the next
// batch once the one before is done, so it is bounded by the rooms.
type batchQueue struct {
	mu    sync.Mutex
	queue []*host.Batch
}

// put reports whether the queue was empty, so that somebody must wake the loop.
func (q *batchQueue) put(b *host.Batch) (first bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.queue = append(q.queue, b)
	return len(q.queue) == 1
}

// take returns all that waits and leaves spare, emptied, to be filled next.
func (q *batchQueue) take(spare []*host.Batch) []*host.Batch {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.queue) == 0 {
		return spare[:0]
	}
	full := q.queue
	q.queue = spare[:0]
	return full
}

// line is a connection as the rooms know it.
type line struct {
	c       *conn
	join    question
	leaving question
}

// question is something that a client waits for the answer to.
type question struct {
	asked bool
	ref   jsontext.Value
}

func ask(ref jsontext.Value) question { return question{asked: true, ref: ref} }

// answered returns the reference, once.
func (q *question) answered() jsontext.Value {
	ref := q.ref
	*q = question{}
	return ref
}

// join has c take the seat that the ticket of a message is for. A connection is in
// one room at a time.
func (r *rooms) join(c *conn, in *incoming) {
	switch {
	case r.host == nil:
		r.sessions.answer(c, `{"t":"error","code":"unknown_type"`, in.ref)
	case c.State.stage != stageOpen:
		r.sessions.answer(c, `{"t":"error","of":"join","code":"too_early"`, in.ref)
	case in.ticket.faulty || in.ticket.value == "" || in.number.faulty:
		r.sessions.answer(c, `{"t":"error","of":"join","code":"bad_json"`, in.ref)
	default:
		c.State.leaveRoom()
		seat := r.host.Join(&line{c: c, join: ask(in.ref)}, c.State.user, in.ticket.value, in.number.value)
		c.State.more().seat = seat
	}
}

// say gives a message of c to its room. data is the room's from now on.
func (r *rooms) say(c *conn, data []byte, ref jsontext.Value) {
	seat := c.State.seat()
	if seat == nil {
		r.sessions.answer(c, `{"t":"error","of":"say","code":"no_room"`, ref)
		return
	}
	if code := seat.Say(data); code != "" {
		r.sessions.answer(c, `{"t":"error","of":"say","code":"`+code+`"`, ref)
	}
}

// leave gives up the seat of c.
func (r *rooms) leave(c *conn, ref jsontext.Value) {
	seat := c.State.seat()
	if seat == nil || !seat.Leave() {
		r.refuseLeave(c, ref)
		return
	}
	seat.Line.(*line).leaving = ask(ref)
}

func (r *rooms) refuseLeave(c *conn, ref jsontext.Value) {
	r.sessions.answer(c, `{"t":"error","of":"leave","code":"no_room"`, ref)
}

// Tell takes what a room has to tell; see host.Outbox.
func (r *rooms) Tell(b *host.Batch) {
	if r.waiting.put(b) {
		r.loop.Wake()
	}
}

// turn gives the connections what rooms have told, about turnBudget of it; the rest
// in the next turn. In doubt of the worker's standing it waits: another process may
// run the rooms by now.
func (r *rooms) turn() {
	budget := turnBudget
	for r.next() {
		if !r.mayDeliver() {
			return
		}
		b := r.batches[r.at]
		for ; r.told < len(b.Told); r.told++ {
			if budget--; budget < 0 {
				r.loop.Wake()
				return
			}
			r.give(&b.Told[r.told])
		}
		r.frame.clear()
		r.batches[r.at] = nil
		r.at, r.told = r.at+1, 0
		b.Done()
	}
}

// next reports whether there is a batch.
func (r *rooms) next() bool {
	if r.at == len(r.batches) {
		r.batches, r.at = r.waiting.take(r.batches), 0
	}
	return r.at < len(r.batches)
}

// give tells a connection something, if it still is on that seat.
func (r *rooms) give(t *host.Told) {
	to := t.Seat.Line.(*line)
	c := to.c
	if c.State.stage != stageOpen || c.State.seat() != t.Seat {
		return
	}
	if t.Kind == host.KindFrame {
		r.sendFrame(c, t)
		return
	}
	body := r.tell(t, to)
	// What a member of a room that has moved says before it has read that goes after
	// the room, for a moment.
	if t.Kind == host.KindLeft || t.Kind == host.KindNotIn {
		c.State.extra.seat = nil
		c.State.spare()
	}
	r.trace(c, "room", "told", string(body))
	r.sessions.send(c, r.sessions.message(c, outgoing{kind: kindAnswer, body: body}, loop.Must))
	if to.leaving.asked && (t.Kind == host.KindNotIn || t.Kind == host.KindMoved) { // it followed a join that came to nothing
		r.refuseLeave(c, to.leaving.answered())
	}
}

// frameWire is the frame that was sent last, as each protocol has it: connections
// with equal views get it one after the other, or nearly.
type frameWire struct {
	frames [maxFrames]struct {
		frame    []byte
		protocol protocolID
		message  loop.Message
	}
	next int
}

// maxFrames is how many different frames of a batch are remembered.
const maxFrames = 4

func (w *frameWire) clear() { *w = frameWire{} }

// of is the message for a frame, nil when it was not met lately.
func (w *frameWire) of(frame []byte, p protocolID) *loop.Message {
	for i := range w.frames {
		f := &w.frames[i]
		if f.protocol == p && len(f.frame) == len(frame) && len(frame) > 0 && &f.frame[0] == &frame[0] {
			return &f.message
		}
	}
	return nil
}

func (w *frameWire) add(frame []byte, p protocolID, m loop.Message) *loop.Message {
	f := &w.frames[w.next]
	w.next = (w.next + 1) % maxFrames
	f.frame, f.protocol, f.message = frame, p, m
	return &f.message
}

func (r *rooms) sendFrame(c *conn, t *host.Told) {
	m := r.frame.of(t.Frame, c.State.protocol)
	if m == nil {
		kind := kindFrame
		if t.Binary {
			kind = kindBinaryFrame
		}
		data := r.sessions.protocols.of(c).appendMessage(nil, outgoing{kind: kind, body: t.Frame})
		m = r.frame.add(t.Frame, c.State.protocol, loop.Message{Data: data, Class: loop.Must})
	}
	r.sessions.send(c, m)
}

// tell is what a member is told that is no frame.
func (r *rooms) tell(t *host.Told, to *line) []byte {
	n := t.Note
	var message any
	switch t.Kind {
	case host.KindJoined:
		message = joined{"joined", n.Room, n.Class, n.Number, n.Hz, n.Binary, n.Epoch, n.Ticket, to.join.answered()}
	case host.KindMoved:
		q := &to.leaving // the leave goes after the room
		if to.join.asked {
			q = &to.join
		}
		message = moved{"moved", n.Room, n.URL, n.Ticket, q.answered()}
	case host.KindLeft:
		message = left{"left", n.Room, n.Why, n.Reason, to.leaving.answered()}
	case host.KindNotIn:
		message = refused{"error", "join", n.Code, n.Reason, 0, to.join.answered()}
	case host.KindNotSaid:
		message = refused{"error", "say", n.Code, "", n.Count, nil}
	case host.KindFrame: // is sent as it is
	}
	b, _ := json.Marshal(message) // strings and numbers always marshal
	return b
}

// What members are told, as docs/protocol.md has it.
type (
	joined struct {
		T      string         `json:"t"`
		Room   string         `json:"room"`
		Class  string         `json:"class"`
		Seat   int            `json:"seat"`
		Hz     int            `json:"hz"`
		Binary bool           `json:"binary,omitzero"`
		Epoch  uint64         `json:"epoch"`
		Ticket string         `json:"ticket"`
		Ref    jsontext.Value `json:"ref,omitzero"`
	}
	moved struct {
		T      string         `json:"t"`
		Room   string         `json:"room"`
		URL    string         `json:"url"`
		Ticket string         `json:"ticket"`
		Ref    jsontext.Value `json:"ref,omitzero"`
	}
	left struct {
		T      string         `json:"t"`
		Room   string         `json:"room"`
		Why    string         `json:"why"`
		Reason string         `json:"reason,omitzero"`
		Ref    jsontext.Value `json:"ref,omitzero"`
	}
	refused struct {
		T      string         `json:"t"`
		Of     string         `json:"of"`
		Code   string         `json:"code"`
		Reason string         `json:"reason,omitzero"`
		Count  int            `json:"count,omitzero"`
		Ref    jsontext.Value `json:"ref,omitzero"`
	}
)

// sayBinary takes a binary message, which is only lent. It reports false when there
// are no rooms.
func (r *rooms) sayBinary(c *conn, data []byte) bool {
	if r.host == nil {
		return false
	}
	r.say(c, bytes.Clone(data), nil)
	return true
}

// seat is what binds the connection to a game room; nil: nothing does.
func (s *session) seat() *host.Seat {
	if s.extra == nil {
		return nil
	}
	return s.extra.seat
}

// plays reports whether the connection has a seat in a room that runs here.
func (s *session) plays() bool {
	seat := s.seat()
	return seat != nil && seat.Here()
}

// leaveRoom tells the connection's room that it has ended.
func (s *session) leaveRoom() {
	if seat := s.seat(); seat != nil {
		s.extra.seat = nil
		s.spare()
		seat.Gone()
	}
}
