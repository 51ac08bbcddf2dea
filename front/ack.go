package front

import (
	"context"
	"errors"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/homing/homing/front/loop"
	"github.com/homing/homing/hub"
)

// ack takes a client's acknowledgement. One without a reference is answered
// only when it failed.
func (r *resumes) ack(c *conn, in *incoming) {
	switch {
	case r.inbox == nil:
		r.sessions.answer(c, `{"t":"error","code":"unknown_type"`, in.ref)
	case in.ack.faulty || len(in.ack.ids) == 0:
		r.sessions.answer(c, `{"t":"error","code":"bad_json"`, in.ref)
	default:
		r.beginAck(c, in.ack.ids, in.ref)
	}
}

var (
	// errAckQueue is why an acknowledgement was not even tried.
	errAckQueue = errors.New("too many acknowledgements wait")
	// errInboxBudget is why it was not because of its user.
	errInboxBudget = errors.New("too much work at the inbox for this user")
)

func (r *resumes) beginAck(c *conn, ids []string, ref jsontext.Value) {
	if exceeded := r.sessions.charge(c, useInbox, ackCost+len(ids)); exceeded != "" {
		r.m.overBudget.WithLabelValues(exceeded).Inc()
		r.acked(c, len(ids), ref, errInboxBudget)
		return
	}
	user := c.State.user
	job := func(ctx context.Context) {
		err := r.inbox.Ack(ctx, user, ids)
		r.loop.Post(func() { r.acked(c, len(ids), ref, err) }) // refused: the client is not answered, and may ask again
	}
	select {
	case r.acks <- job:
	default:
		r.acked(c, len(ids), ref, errAckQueue)
	}
}

// anchor tells c, which begins and can name no place, one to recover from. Without it,
// all that the inbox holds is what c has missed when it comes back.
func (r *resumes) anchor(c *conn) {
	user := c.State.user
	job := func(ctx context.Context) {
		id, err := r.inbox.Anchor(ctx, user)
		r.loop.Post(func() { r.anchored(c, user, id, err) }) // refused: it is told none
	}
	select {
	case r.acks <- job:
	default:
		r.m.anchors.WithLabelValues("busy").Inc()
	}
}

// anchored goes on with a connection for which a place was looked for.
func (r *resumes) anchored(c *conn, user hub.UserID, id string, err error) {
	result := "ok"
	switch t := c.State.trail(); {
	case err != nil:
		result = "unavailable"
		r.trace(c, "no place to recover from", "err", err)
	case c.State.stage != stageOpen || c.State.user != user:
		result = "abandoned"
	case id == "" || t != nil && t.place != "" || c.State.resuming() != nil: // it has a better one, or gets it
		result = "none"
	default:
		m := r.sessions.message(c, outgoing{kind: kindPlace, id: []byte(id), to: c}, loop.Must)
		if !c.State.catching() { // else it would overtake what is being replayed: what follows that has it
			r.sessions.send(c, m)
		}
	}
	r.m.anchors.WithLabelValues(result).Inc()
}

// acked answers an acknowledgement of n ids.
func (r *resumes) acked(c *conn, n int, ref jsontext.Value, err error) {
	result, answer := "ok", `{"t":"ok"`
	switch {
	case errors.Is(err, errInboxBudget):
		result, answer = "rate_limited", `{"t":"error","of":"ack","code":"rate_limited"`
	case errors.Is(err, errAckQueue):
		result, answer = "busy", `{"t":"error","of":"ack","code":"unavailable"`
	case err != nil:
		result, answer = "unavailable", `{"t":"error","of":"ack","code":"unavailable"`
		r.trace(c, "acknowledge failed", "err", err)
	}
	r.m.acks.WithLabelValues(result).Add(float64(n))
	if c.State.stage < stageClosing && (err != nil || len(ref) > 0) {
		r.sessions.answer(c, answer, ref)
	}
}
