package api

import (
	"context"
	"crypto/sha256"
	"errors"
	"time"

	"github.com/homing/homing/hub"
)

// rememberLimit is the largest reply, in bytes, that is remembered whole under
// an id.
const rememberLimit = 4 << 10

// remembered is what a repeat of the request with this reply is told: the reply
// itself, or, when that is large, one that leaves out what became of each user.
func remembered(summary *hub.Summary, reply []byte) []byte {
	if len(reply) <= rememberLimit || summary.Report == nil {
		return reply
	}
	short, report := *summary, *summary.Report
	report.PerUser, report.UsersOmitted = nil, true
	short.Report = &report
	return mustJSON(short)
}

// fingerprint tells whether two requests with one id are the same: the same
// body, sent in the same way, with a reply of the same form.
func fingerprint(kind string, perUser bool, body []byte) [32]byte {
	h := sha256.New()
	h.Write([]byte(kind))
	if perUser {
		h.Write([]byte("?per_user=1"))
	}
	h.Write([]byte("\n"))
	h.Write(body)
	return [32]byte(h.Sum(nil))
}

// claim is one request's hold on its idempotency key. Keys of different
// callers do not meet.
type claim struct {
	scope       string
	id          string
	fingerprint [32]byte
}

// doOnce dispatches j unless a request with its id was accepted before; then
// the reply is the one given to that request.
func (s *sender) doOnce(ctx context.Context, j *job) (reply []byte, replayed bool, err error) {
	c := &j.claim
	state, reply, err := s.claims.Begin(ctx, c.scope, c.id, c.fingerprint)
	if err != nil {
		return nil, false, err
	}
	switch state {
	case hub.OnceDone:
		s.responder.metrics.replayed.Inc()
		return reply, true, nil
	case hub.OnceInFlight:
		return nil, false, &Error{Code: CodeIdempotencyInFlight, Field: "id", RetryAfter: time.Second}
	case hub.OnceMismatch:
		return nil, false, &Error{Code: CodeIdempotencyMismatch, Field: "id", Detail: "the id stands for a request with another body, or another per_user"}
	case hub.OnceFresh:
	}
	reply, err = s.dispatchOnce(ctx, j)
	return reply, false, err
}

// dispatchOnce dispatches j, whose claim is held, and ends the claim, also
// when the hub panics.
func (s *sender) dispatchOnce(ctx context.Context, j *job) (reply []byte, err error) {
	err = errPanicked
	var remember []byte
	defer func() { s.settle(ctx, j.claim, remember, err) }()
	summary, err := s.dispatch(ctx, j)
	if err != nil {
		return nil, err
	}
	reply = mustJSON(summary)
	remember = remembered(summary, reply)
	return reply, nil
}

// errPanicked is how a request ended that has not returned.
var errPanicked = errors.New("panic")

// settleTimeout bounds the write that ends a claim, which must be tried even
// when the request's own time is over or its caller has gone.
const settleTimeout = 2 * time.Second

// settle ends a claim: what was sent is remembered, what failed may be tried
// again.
func (s *sender) settle(ctx context.Context, c claim, reply []byte, failed error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	var err error
	if failed == nil {
		err = s.claims.Finish(ctx, c.scope, c.id, c.fingerprint, reply)
	} else {
		err = s.claims.Abort(ctx, c.scope, c.id, c.fingerprint)
	}
	if err != nil {
		s.responder.trouble.Do(func() { s.responder.log.WarnContext(ctx, "idempotency key not settled", "id", c.id, "err", err) })
	}
}
