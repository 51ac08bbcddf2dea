package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/homing/homing/api/apikey"
	"github.com/homing/homing/hub"
)

// operation is one way to send: how a request is read, and what the hub does
// with it.
type operation struct {
	kind    string
	perUser bool // a report names every user's fate
	decode  func(body []byte) (*hub.Notification, error)
	send    func(ctx context.Context, n *hub.Notification) (hub.Summary, error)
}

func (s *Server) notifyOperation() operation {
	return operation{kind: "notify", decode: DecodeNotify, send: s.hub.Notify}
}

func (s *Server) postNotify(w http.ResponseWriter, r *http.Request) error {
	op := s.notifyOperation()
	op.perUser = r.URL.Query().Get("per_user") == "1"
	return s.post(w, r, op)
}

func (s *Server) postBroadcast(w http.ResponseWriter, r *http.Request) error {
	return s.post(w, r, operation{kind: "broadcast", decode: DecodeBroadcast, send: s.hub.Broadcast})
}

func (s *Server) post(w http.ResponseWriter, r *http.Request, op operation) error {
	body := bodies.Get().(*bytes.Buffer)
	defer releaseBody(body)
	if err := readBody(w, r, body, s.cfg.BodyLimit); err != nil {
		return err
	}
	reply, replayed, err := s.accept(r.Context(), caller(r.Context()), op, body.Bytes())
	if err != nil {
		return err
	}
	if replayed {
		w.Header().Set("Idempotency-Replayed", "true")
	}
	writeBody(w, http.StatusOK, "application/json", reply)
	return nil
}

// accept takes one request from its bytes to the hub, and returns the reply
// in JSON. It keeps no reference to body.
func (s *Server) accept(ctx context.Context, key *apikey.Key, op operation, body []byte) (reply []byte, replayed bool, err error) {
	n, err := op.decode(body)
	if err != nil {
		return nil, false, err
	}
	n.PerUser = op.perUser && n.Wait > 0
	if !key.MaySpeakFor(n.From) {
		return nil, false, &Error{Code: CodeFromNotAllowed, Field: "from", Detail: "key " + key.Name() + " may not speak for it"}
	}
	if n.ID != "" {
		return s.acceptOnce(ctx, claim{key.Name(), n.ID, fingerprint(op.kind, n.PerUser, body)}, op, n)
	}
	n.ID = ulid.Make().String()
	reply, err = s.dispatch(ctx, op, n)
	return reply, false, err
}

func (s *Server) dispatch(ctx context.Context, op operation, n *hub.Notification) ([]byte, error) {
	summary, err := op.send(ctx, n)
	if err != nil {
		return nil, err
	}
	s.metrics.accepted.WithLabelValues(op.kind).Inc()
	s.metrics.targets.WithLabelValues(op.kind).Add(float64(summary.Targets))
	return mustJSON(summary), nil
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

// acceptOnce dispatches n unless a request with its id was accepted before;
// then the reply is the one given to that request.
func (s *Server) acceptOnce(ctx context.Context, c claim, op operation, n *hub.Notification) (reply []byte, replayed bool, err error) {
	state, reply, err := s.claims.Begin(ctx, c.scope, c.id, c.fingerprint)
	if err != nil {
		return nil, false, err
	}
	switch state {
	case hub.OnceDone:
		s.metrics.replayed.Inc()
		return reply, true, nil
	case hub.OnceInFlight:
		return nil, false, &Error{Code: CodeIdempotencyInFlight, Field: "id", RetryAfter: time.Second}
	case hub.OnceMismatch:
		return nil, false, &Error{Code: CodeIdempotencyMismatch, Field: "id", Detail: "the id stands for a request with another body, or another per_user"}
	case hub.OnceFresh:
	}
	return s.dispatchOnce(ctx, c, op, n)
}

// dispatchOnce dispatches n, for which c is held, and ends the claim, also
// when the hub panics.
func (s *Server) dispatchOnce(ctx context.Context, c claim, op operation, n *hub.Notification) (reply []byte, replayed bool, err error) {
	err = errPanicked
	defer func() { s.settle(ctx, c, reply, err) }()
	reply, err = s.dispatch(ctx, op, n)
	return reply, false, err
}

// errPanicked is how a request ended that has not returned.
var errPanicked = errors.New("panic")

// settleTimeout bounds the write that ends a claim, which must be tried even
// when the request's own time is over or its caller has gone.
const settleTimeout = 2 * time.Second

// settle ends a claim: what was sent is remembered, what failed may be tried
// again.
func (s *Server) settle(ctx context.Context, c claim, reply []byte, failed error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	var err error
	if failed == nil {
		err = s.claims.Finish(ctx, c.scope, c.id, c.fingerprint, reply)
	} else {
		err = s.claims.Abort(ctx, c.scope, c.id, c.fingerprint)
	}
	if err != nil {
		s.trouble.Do(func() { s.log.WarnContext(ctx, "idempotency key not settled", "id", c.id, "err", err) })
	}
}
