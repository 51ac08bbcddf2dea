package api

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"time"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/fleet"
	"github.com/homing/homing/hub/fleet/roster"
)

// Nodes is what the server needs of the roster of nodes. It is a *roster.Roster.
type Nodes interface {
	AssignWithin(ctx context.Context, q fleet.Request, wait time.Duration) (fleet.Assignment, error)
	Snapshot(ctx context.Context) (fleet.Snapshot, error)
	Drain(ctx context.Context, by roster.Fence, node string, d fleet.Drain) error
	Undrain(ctx context.Context, by roster.Fence, node string) error
}

// nodes answers what is asked of a fleet's nodes.
type nodes struct {
	gate   *gate
	roster Nodes
}

const (
	// maxAssignWait bounds how long a request may wait for room.
	maxAssignWait = 10 * time.Second
	// assignMargin is what is left of the request's time when it does not wait longer.
	assignMargin = 500 * time.Millisecond

	defaultDeadline = 10 * time.Minute
	maxDeadline     = 24 * time.Hour
)

type assignRequest struct {
	ID       string         `json:"id"`
	Cluster  string         `json:"cluster"`
	Region   string         `json:"region"`
	Version  string         `json:"version"`
	Players  *int           `json:"players"`
	Strategy fleet.Strategy `json:"strategy"`
	WaitMs   int64          `json:"wait_ms"`
}

type assignReply struct {
	ID       string    `json:"id"`
	Node     string    `json:"node"`
	Endpoint string    `json:"endpoint"`
	Ticket   string    `json:"ticket"`
	Expires  time.Time `json:"expires"`
}

func (n *nodes) postAssign(w http.ResponseWriter, r *http.Request) error {
	var req assignRequest
	if err := n.read(w, r, &req, 0); err != nil {
		return err
	}
	wait := time.Duration(req.WaitMs) * time.Millisecond
	if req.WaitMs < 0 || req.WaitMs > maxAssignWait.Milliseconds() {
		return &Error{Code: CodeInvalidField, Field: "wait_ms", Detail: "want 0 to " + maxAssignWait.String() + " in milliseconds"}
	}
	if len(req.ID) > 64 {
		return &Error{Code: CodeInvalidField, Field: "id", Detail: "want at most 64 bytes"}
	}
	if req.ID == "" {
		req.ID = rand.Text()
	}
	if until, ok := r.Context().Deadline(); ok {
		wait = min(wait, time.Until(until)-assignMargin)
	}
	players := 1
	if req.Players != nil {
		players = *req.Players
	}
	if players < 1 {
		return &Error{Code: CodeInvalidField, Field: "players", Detail: "want 1 or more"}
	}
	a, err := n.roster.AssignWithin(r.Context(), fleet.Request{
		ID:      caller(r.Context()).Name() + "/" + req.ID, // apart for each key
		Cluster: req.Cluster, Region: req.Region, Version: req.Version, Players: players, Strategy: req.Strategy,
	}, wait)
	if err != nil {
		return fromNodes(err)
	}
	writeJSON(w, assignReply{req.ID, a.Node, a.Endpoint, a.Ticket, a.Expires})
	return nil
}

// read fills req from the body, and has the key pay for the request.
func (n *nodes) read(w http.ResponseWriter, r *http.Request, req any, cost int) error {
	body := bodies.Get().(*bytes.Buffer)
	defer releaseBody(body)
	if err := n.gate.takeBody(w, r, body); err != nil {
		return err
	}
	if err := decode(body.Bytes(), req); err != nil {
		return err
	}
	return n.gate.payRest(caller(r.Context()), body.Len(), cost)
}

func (n *nodes) getNodes(w http.ResponseWriter, r *http.Request) error {
	s, err := n.roster.Snapshot(r.Context())
	if err != nil {
		return fromNodes(err)
	}
	caller(r.Context()).Owe(time.Now(), len(s.Nodes)/unitNodes)
	if s.Nodes == nil {
		s.Nodes = []fleet.Node{}
	}
	writeJSON(w, s)
	return nil
}

type nodeReply struct {
	At   time.Time  `json:"at"`
	Node fleet.Node `json:"node"`
}

func (n *nodes) getNode(w http.ResponseWriter, r *http.Request) error {
	s, node, err := n.find(r)
	if err != nil {
		return err
	}
	writeJSON(w, nodeReply{s.At, *node})
	return nil
}

// find reads all nodes and finds that of the path.
func (n *nodes) find(r *http.Request) (*fleet.Snapshot, *fleet.Node, error) {
	s, err := n.roster.Snapshot(r.Context())
	if err != nil {
		return nil, nil, fromNodes(err)
	}
	id := idParam(r)
	caller(r.Context()).Owe(time.Now(), len(s.Nodes)/unitNodes)
	for i := range s.Nodes {
		if s.Nodes[i].ID == id {
			return &s, &s.Nodes[i], nil
		}
	}
	return nil, nil, fromNodes(roster.ErrNoNode)
}

type drainRequest struct {
	ID         string     `json:"id"`
	Rate       int        `json:"rate"`
	DeadlineMs int64      `json:"deadline_ms"`
	Deadline   *time.Time `json:"deadline"`
	Why        string     `json:"why"`
	DryRun     bool       `json:"dry_run"`
}

// within is how long the drain may take.
func (d *drainRequest) within() (time.Duration, error) {
	within, field := time.Duration(d.DeadlineMs)*time.Millisecond, "deadline_ms"
	switch {
	case d.Deadline != nil && d.DeadlineMs != 0:
		return 0, &Error{Code: CodeInvalidField, Field: "deadline", Detail: "want this or deadline_ms"}
	case d.Deadline != nil:
		within, field = time.Until(*d.Deadline), "deadline"
	case d.DeadlineMs == 0:
		return defaultDeadline, nil
	}
	if d.DeadlineMs < 0 || d.DeadlineMs > maxDeadline.Milliseconds() || within < 0 || within > maxDeadline {
		return 0, &Error{Code: CodeInvalidField, Field: field, Detail: "want a time within " + maxDeadline.String() + " from now"}
	}
	return within, nil
}

type drainReply struct {
	ID       string         `json:"id"`
	Node     string         `json:"node"`
	DryRun   bool           `json:"dry_run"`
	Deadline time.Time      `json:"deadline"`
	Forecast fleet.Forecast `json:"forecast"`
}

// postDrain orders a node to drain, or only says what that would do.
func (n *nodes) postDrain(w http.ResponseWriter, r *http.Request) error {
	var req drainRequest
	if err := n.read(w, r, &req, costOrder-1); err != nil {
		return err
	}
	within, err := req.within()
	if err != nil {
		return err
	}
	if req.Rate < 0 {
		return &Error{Code: CodeInvalidField, Field: "rate", Detail: "want connections per second, or 0: evenly until the deadline"}
	}
	s, node, err := n.find(r)
	if err != nil {
		return err
	}
	if req.ID == "" {
		req.ID = rand.Text()
	}
	// By the roster's clock, which the nodes' reports go by.
	d := fleet.Drain{ID: req.ID, Rate: req.Rate, Deadline: s.At.Add(within), Why: req.Why, Since: s.At}
	if !req.DryRun {
		if err := n.roster.Drain(r.Context(), roster.Fence{}, node.ID, d); err != nil {
			return fromNodes(err)
		}
	}
	writeJSON(w, drainReply{d.ID, node.ID, req.DryRun, d.Deadline, fleet.Foresee(s, node, req.Rate, within)})
	return nil
}

// deleteDrain ends a drain; who was told to leave already goes.
func (n *nodes) deleteDrain(w http.ResponseWriter, r *http.Request) error {
	if err := n.gate.payMore(caller(r.Context()), costOrder-1); err != nil {
		return err
	}
	if err := n.roster.Undrain(r.Context(), roster.Fence{}, idParam(r)); err != nil {
		return fromNodes(err)
	}
	return n.getNode(w, r)
}

// fromNodes turns an error of the roster into a refusal.
func fromNodes(err error) error {
	full, isFull := errors.AsType[*roster.NoCapacityError](err)
	switch {
	case isFull:
		return &Error{Code: CodeNoCapacity, Detail: full.Error(), RetryAfter: time.Second}
	case errors.Is(err, roster.ErrOther):
		return &Error{Code: CodeIdempotencyMismatch, Field: "id", Detail: "the id stands for another request"}
	case errors.Is(err, roster.ErrNoNode):
		return refuse(CodeNodeNotFound, "no node of that name reports")
	case errors.Is(err, hub.ErrInvalid):
		return fromHub(err)
	}
	return err
}
