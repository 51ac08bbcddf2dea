package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/homing/homing/api/admit"
	"github.com/homing/homing/api/apikey"
	"github.com/homing/homing/hub"
)

// operation is one way to send: how a request is read, and what the hub does
// with it.
type operation struct {
	kind    string
	perUser bool                          // a report names every user's fate
	cost    func(n *hub.Notification) int // beside the body's
	decode  func(body []byte) (*hub.Notification, error)
	send    func(ctx context.Context, n *hub.Notification) (hub.Summary, error)
}

func (s *Server) notifyOperation() operation {
	return operation{kind: "notify", cost: costOf, decode: DecodeNotify, send: s.hub.Notify}
}

func (s *Server) postNotify(w http.ResponseWriter, r *http.Request) error {
	op := s.notifyOperation()
	op.perUser = r.URL.Query().Get("per_user") == "1"
	return s.post(w, r, op)
}

func (s *Server) postBroadcast(w http.ResponseWriter, r *http.Request) error {
	return s.post(w, r, s.broadcastOperation(caller(r.Context())))
}

// broadcastOperation pays for who hears a broadcast when that is known.
func (s *Server) broadcastOperation(key *apikey.Key) operation {
	return operation{
		kind:   "broadcast",
		cost:   func(n *hub.Notification) int { return costBroadcast + costOf(n) },
		decode: DecodeBroadcast,
		send: func(ctx context.Context, n *hub.Notification) (hub.Summary, error) {
			summary, err := s.hub.Broadcast(ctx, n)
			key.Owe(time.Now(), costOfBroadcast(n, summary.Targets))
			return summary, err
		},
	}
}

func (s *Server) post(w http.ResponseWriter, r *http.Request, op operation) error {
	body := bodies.Get().(*bytes.Buffer)
	defer releaseBody(body)
	key, pass := caller(r.Context()), passOf(r.Context())
	if err := s.takeBody(w, r, body); err != nil {
		return err
	}
	j, err := s.prepare(key, op, body.Bytes())
	if err != nil {
		return err
	}
	if err := s.payRest(key, body.Len(), j.cost); err != nil {
		return err
	}
	j.notification.Sent = pass.Rest
	reply, replayed, err := s.do(r.Context(), j)
	if err != nil {
		return err
	}
	if replayed {
		w.Header().Set("Idempotency-Replayed", "true")
	}
	pass.Rest() // the caller may read slowly
	writeBody(w, http.StatusOK, "application/json", reply)
	return nil
}

// takeBody reads the body into a buffer that the caller releases, has its key pay
// for it, and begins to work on it.
func (s *Server) takeBody(w http.ResponseWriter, r *http.Request, into *bytes.Buffer) error {
	key, pass := caller(r.Context()), passOf(r.Context())
	if err := readBody(w, r, into, s.cfg.BodyLimit, pass); err != nil {
		return s.limited(key, err)
	}
	if err := s.payMore(key, costOfBody(into.Len())); err != nil {
		return err
	}
	if err := s.awaitLarge(r.Context(), key, pass, into.Len()); err != nil {
		return err
	}
	return s.limited(key, pass.Work())
}

// awaitLarge has a request with a body of so many bytes wait for its turn if it
// is a large one.
func (s *Server) awaitLarge(ctx context.Context, key *apikey.Key, pass *admit.Pass, body int) error {
	if body < largeBody {
		return nil
	}
	waited, err := pass.AwaitLarge(ctx, int64(min(body, largest)))
	if waited && err == nil {
		s.metrics.limited.WithLabelValues(key.Name(), string(admit.LimitLarge)).Inc()
	}
	return s.limited(key, err)
}

// job is one request that was read, and may be done if its key can pay for it.
type job struct {
	op           operation
	notification *hub.Notification
	claim        claim // of the id that the caller chose; else without an id
	cost         int
}

// prepare reads and checks a request. What it returns does not refer to body.
func (s *Server) prepare(key *apikey.Key, op operation, body []byte) (*job, error) {
	n, err := op.decode(body)
	if err != nil {
		return nil, err
	}
	n.PerUser = op.perUser && n.Wait > 0
	n.Account = key.Account()
	if !key.MaySpeakFor(n.From) {
		return nil, &Error{Code: CodeFromNotAllowed, Field: "from", Detail: "key " + key.Name() + " may not speak for it"}
	}
	j := &job{op: op, notification: n, cost: op.cost(n)}
	if n.ID != "" {
		j.claim = claim{key.Name(), n.ID, fingerprint(op.kind, n.PerUser, body)}
	}
	return j, nil
}

// do takes a job to the hub, and returns the reply in JSON.
func (s *Server) do(ctx context.Context, j *job) (reply []byte, replayed bool, err error) {
	if j.claim.id != "" {
		return s.doOnce(ctx, j)
	}
	j.notification.ID = ulid.Make().String()
	summary, err := s.dispatch(ctx, j)
	if err != nil {
		return nil, false, err
	}
	return mustJSON(summary), false, nil
}

func (s *Server) dispatch(ctx context.Context, j *job) (*hub.Summary, error) {
	summary, err := j.op.send(ctx, j.notification)
	if err != nil {
		return nil, err
	}
	s.metrics.accepted.WithLabelValues(j.op.kind).Inc()
	s.metrics.targets.WithLabelValues(j.op.kind).Add(float64(summary.Targets))
	return &summary, nil
}

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
func (s *Server) doOnce(ctx context.Context, j *job) (reply []byte, replayed bool, err error) {
	c := &j.claim
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
	reply, err = s.dispatchOnce(ctx, j)
	return reply, false, err
}

// dispatchOnce dispatches j, whose claim is held, and ends the claim, also
// when the hub panics.
func (s *Server) dispatchOnce(ctx context.Context, j *job) (reply []byte, err error) {
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
