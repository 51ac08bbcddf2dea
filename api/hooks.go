package api

import (
	"context"
	"net/http"
	"time"

	"github.com/homing/homing/hub/hook"
)

// Hooks says how it stands with the endpoints that events are sent to. It is a
// *hook.Board.
type Hooks interface {
	Status(ctx context.Context) ([]hook.Status, error)
}

// hooks answers what is asked of events for game backends.
type hooks struct {
	board Hooks // nil: there are none
}

type hooksReply struct {
	Endpoints []endpointState `json:"endpoints"`
}

// endpointState is an endpoint as callers see it.
type endpointState struct {
	Endpoint    string         `json:"endpoint"`
	State       hook.State     `json:"state"`
	Senders     int            `json:"senders"`
	Lag         lagState       `json:"lag"`
	LastSuccess time.Time      `json:"last_success,omitzero"`
	LastFailure time.Time      `json:"last_failure,omitzero"`
	LastError   string         `json:"last_error,omitempty"`
	GivenUp     givenUpCounter `json:"given_up"`
}

// lagState is what waits for an endpoint.
type lagState struct {
	Events   int64 `json:"events"`
	Bytes    int64 `json:"bytes"`
	OldestMs int64 `json:"oldest_ms"`
}

type givenUpCounter struct {
	Expired    int64 `json:"expired"`
	StreamFull int64 `json:"stream_full"`
}

func endpointOf(s *hook.Status, now time.Time) endpointState {
	e := endpointState{
		Endpoint: s.Endpoint, State: s.State, Senders: s.Senders, Lag: lagState{Events: s.Events, Bytes: s.Bytes},
		LastSuccess: s.LastSuccess.UTC(), LastFailure: s.LastFailure.UTC(), LastError: s.LastError,
		GivenUp: givenUpCounter{Expired: s.Expired, StreamFull: s.StreamFull},
	}
	if !s.Oldest.IsZero() {
		e.Lag.OldestMs = max(0, now.Sub(s.Oldest).Milliseconds())
	}
	return e
}

func (h *hooks) getHooks(w http.ResponseWriter, r *http.Request) error {
	if h.board == nil {
		return refuse(CodeNotFound, "this server has no hooks")
	}
	all, err := h.board.Status(r.Context())
	if err != nil {
		return err
	}
	now := time.Now()
	caller(r.Context()).Owe(now, len(all)*costEndpoint)
	reply := hooksReply{Endpoints: make([]endpointState, len(all))}
	for i := range all {
		reply.Endpoints[i] = endpointOf(&all[i], now)
	}
	writeJSON(w, reply)
	return nil
}
