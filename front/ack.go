package front

import (
	"context"
	"errors"

	"github.com/go-json-experiment/json/jsontext"
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
