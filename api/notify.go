package api

import (
	"bytes"
	"net/http"
	"sync/atomic"
)

// notifications takes what backends send.
type notifications struct {
	cfg     *Config
	gate    *gate
	sender  *sender
	closing atomic.Bool // batches take no more lines
}

func (n *notifications) postNotify(w http.ResponseWriter, r *http.Request) error {
	op := n.sender.notifyOperation(caller(r.Context()))
	op.perUser = r.URL.Query().Get("per_user") == "1"
	return n.post(w, r, op)
}

func (n *notifications) postBroadcast(w http.ResponseWriter, r *http.Request) error {
	return n.post(w, r, n.sender.broadcastOperation(caller(r.Context())))
}

func (n *notifications) post(w http.ResponseWriter, r *http.Request, op operation) error {
	body := bodies.Get().(*bytes.Buffer)
	defer releaseBody(body)
	key, pass := caller(r.Context()), passOf(r.Context())
	if err := n.gate.takeBody(w, r, body); err != nil {
		return err
	}
	j, err := n.sender.prepare(key, op, body.Bytes())
	if err != nil {
		return err
	}
	if err := n.gate.payRest(key, body.Len(), j.cost); err != nil {
		return err
	}
	j.notification.Sent = pass.Rest
	reply, replayed, err := n.sender.do(r.Context(), j)
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
