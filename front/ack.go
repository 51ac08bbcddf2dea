package front

import (
	"context"
	"errors"

	"github.com/go-json-experiment/json/jsontext"
)

// ack takes a client's acknowledgement. One without a reference is answered
// only when it failed.
func (w *Worker) ack(c *conn, in *incoming) {
	switch {
	case w.deps.Inbox == nil:
		w.answer(c, `{"t":"error","code":"unknown_type"`, in.ref)
	case in.ack.faulty || len(in.ack.ids) == 0:
		w.answer(c, `{"t":"error","code":"bad_json"`, in.ref)
	default:
		w.beginAck(c, in.ack.ids, in.ref)
	}
}

var (
	// errAckQueue is why an acknowledgement was not even tried.
	errAckQueue = errors.New("too many acknowledgements wait")
	// errInboxBudget is why it was not because of its user.
	errInboxBudget = errors.New("too much work at the inbox for this user")
)

func (w *Worker) beginAck(c *conn, ids []string, ref jsontext.Value) {
	if exceeded := w.charge(c, useInbox, ackCost+len(ids)); exceeded != "" {
		w.m.overBudget.WithLabelValues(exceeded).Inc()
		w.acked(c, len(ids), ref, errInboxBudget)
		return
	}
	user := c.user
	job := func(ctx context.Context) {
		err := w.deps.Inbox.Ack(ctx, user, ids)
		w.Post(func() { w.acked(c, len(ids), ref, err) })
	}
	select {
	case w.ackJobs <- job:
	default:
		w.acked(c, len(ids), ref, errAckQueue)
	}
}

// acked answers an acknowledgement of n ids.
func (w *Worker) acked(c *conn, n int, ref jsontext.Value, err error) {
	result, answer := "ok", `{"t":"ok"`
	switch {
	case errors.Is(err, errInboxBudget):
		result, answer = "rate_limited", `{"t":"error","of":"ack","code":"rate_limited"`
	case errors.Is(err, errAckQueue):
		result, answer = "busy", `{"t":"error","of":"ack","code":"unavailable"`
	case err != nil:
		result, answer = "unavailable", `{"t":"error","of":"ack","code":"unavailable"`
		w.trace(c, "acknowledge failed", "err", err)
	}
	w.m.acks.WithLabelValues(result).Add(float64(n))
	if c.state < stateClosing && (err != nil || len(ref) > 0) {
		w.answer(c, answer, ref)
	}
}
