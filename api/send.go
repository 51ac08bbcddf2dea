package api

import (
	"context"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/homing/homing/api/apikey"
	"github.com/homing/homing/hub"
)

// sender takes notifications that were let in to the hub, each once.
type sender struct {
	hub       Dispatcher
	claims    Once
	responder *responder
}

// operation is one way to send: how a request is read, and what the hub does
// with it.
type operation struct {
	kind    string
	perUser bool                          // a report names every user's fate
	cost    func(n *hub.Notification) int // beside the body's
	decode  func(body []byte) (*hub.Notification, error)
	send    func(ctx context.Context, n *hub.Notification) (hub.Summary, error)
}

// notifyOperation pays for the members of topics when it is known how many heard it.
func (s *sender) notifyOperation(key *apikey.Key) operation {
	return operation{
		kind:   "notify",
		cost:   costOf,
		decode: DecodeNotify,
		send: func(ctx context.Context, n *hub.Notification) (hub.Summary, error) {
			if len(n.Topics) > 0 {
				n.Heard = func(connections int) { key.Owe(time.Now(), costOfBroadcast(n, connections)) }
			}
			return s.hub.Notify(ctx, n)
		},
	}
}

// broadcastOperation pays for who hears a broadcast when that is known.
func (s *sender) broadcastOperation(key *apikey.Key) operation {
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

// job is one request that was read, and may be done if its key can pay for it.
type job struct {
	op           operation
	notification *hub.Notification
	claim        claim // of the id that the caller chose; else without an id
	cost         int
}

// prepare reads and checks a request. What it returns does not refer to body.
func (s *sender) prepare(key *apikey.Key, op operation, body []byte) (*job, error) {
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
func (s *sender) do(ctx context.Context, j *job) (reply []byte, replayed bool, err error) {
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

func (s *sender) dispatch(ctx context.Context, j *job) (*hub.Summary, error) {
	summary, err := j.op.send(ctx, j.notification)
	if err != nil {
		return nil, err
	}
	s.responder.metrics.accepted.WithLabelValues(j.op.kind).Inc()
	s.responder.metrics.targets.WithLabelValues(j.op.kind).Add(float64(summary.Targets))
	return &summary, nil
}
