package api

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/match"
)

// Matchmaker is what the server needs of matchmaking. It is a *match.Tickets.
type Matchmaker interface {
	Put(ctx context.Context, queue string, t *match.Ticket, beats bool) (s match.State, made bool, err error)
	Get(ctx context.Context, id string) (match.State, error)
	Cancel(ctx context.Context, id string) (match.State, error)
	Accept(ctx context.Context, id string, user hub.UserID, yes bool) error
	Stats(ctx context.Context) ([]match.Stats, error)
}

// matches answers what is asked of matchmaking.
type matches struct {
	gate  *gate
	maker Matchmaker // nil: there is none
}

type ticketRequest struct {
	ID      string       `json:"id"`
	Queue   string       `json:"queue"`
	Players []hub.UserID `json:"players"`
	Rating  float64      `json:"rating"`
	Labels  []string     `json:"labels"`
}

type acceptRequest struct {
	User   string `json:"user"`
	Accept *bool  `json:"accept"`
}

type ticketReply struct {
	Ticket ticketState `json:"ticket"`
}

// ticketState is a ticket as callers see it.
type ticketState struct {
	ID          string       `json:"id"`
	Queue       string       `json:"queue"`
	Status      match.Status `json:"status"`
	Players     []hub.UserID `json:"players,omitempty"`
	Rating      float64      `json:"rating,omitzero"`
	Labels      []string     `json:"labels,omitempty"`
	WaitedMs    int64        `json:"waited_ms,omitzero"`
	EstimateMs  int64        `json:"estimate_ms,omitzero"`
	AcceptUntil time.Time    `json:"accept_until,omitzero"`
	Match       *matchState  `json:"match,omitempty"`
}

// matchState is a match as callers see it.
type matchState struct {
	Match   string         `json:"match"`
	Room    string         `json:"room"`
	URL     string         `json:"url"`
	Players []match.Seated `json:"players"`
}

func ticketOf(s match.State) ticketReply {
	t := ticketState{
		ID: s.ID, Queue: s.Queue, Status: s.Status, Players: s.Players, Rating: s.Rating, Labels: s.Labels,
		WaitedMs: s.Waited.Milliseconds(), EstimateMs: s.Estimate.Milliseconds(), AcceptUntil: s.Until.UTC(),
	}
	if f := s.Found; f != nil {
		t.Match = &matchState{Match: f.Match, Room: f.Room, URL: f.URL, Players: f.Players}
	}
	return ticketReply{t}
}

// there refuses a request where there is no matchmaking.
func (m *matches) there() error {
	if m.maker == nil {
		return refuse(CodeNotFound, "this server has no queues")
	}
	return nil
}

func (m *matches) postTicket(w http.ResponseWriter, r *http.Request) error {
	var req ticketRequest
	if err := m.read(w, r, &req, costTicket); err != nil {
		return err
	}
	id, err := match.TicketID(req.Queue, req.ID)
	if err != nil {
		return fromMatch(err)
	}
	t := &match.Ticket{ID: id, Players: req.Players, Rating: req.Rating, Labels: req.Labels}
	s, made, err := m.maker.Put(r.Context(), req.Queue, t, false)
	if err != nil {
		return fromMatch(err)
	}
	status := http.StatusOK
	if made {
		status = http.StatusCreated
	}
	writeBody(w, status, "application/json", mustJSON(ticketOf(s)))
	return nil
}

// read fills req from the body, and has the key pay for the request.
func (m *matches) read(w http.ResponseWriter, r *http.Request, req any, cost int) error {
	if err := m.there(); err != nil {
		return err
	}
	body := bodies.Get().(*bytes.Buffer)
	defer releaseBody(body)
	if err := m.gate.takeBody(w, r, body); err != nil {
		return err
	}
	if err := decode(body.Bytes(), req); err != nil {
		return err
	}
	return m.gate.payRest(caller(r.Context()), body.Len(), cost-1)
}

func (m *matches) getTicket(w http.ResponseWriter, r *http.Request) error {
	if err := m.there(); err != nil {
		return err
	}
	return m.write(w, r)
}

// write answers with the ticket that the path names.
func (m *matches) write(w http.ResponseWriter, r *http.Request) error {
	s, err := m.maker.Get(r.Context(), idParam(r))
	if err != nil {
		return fromMatch(err)
	}
	writeJSON(w, ticketOf(s))
	return nil
}

// deleteTicket answers with the ticket if it was canceled, and else refuses with how it
// has ended before.
func (m *matches) deleteTicket(w http.ResponseWriter, r *http.Request) error {
	if err := m.there(); err != nil {
		return err
	}
	if err := m.gate.payMore(caller(r.Context()), costTicket-1); err != nil {
		return err
	}
	s, err := m.maker.Cancel(r.Context(), idParam(r))
	if err != nil {
		return fromMatch(err)
	}
	if s.Status != match.Canceled {
		return refuse(CodeTicketEnded, "the ticket has ended before: %s", s.Status)
	}
	writeJSON(w, ticketOf(s))
	return nil
}

func (m *matches) postAccept(w http.ResponseWriter, r *http.Request) error {
	var req acceptRequest
	if err := m.read(w, r, &req, costTicket); err != nil {
		return err
	}
	if req.User != "" {
		if _, err := checkUser("user", req.User); err != nil {
			return err
		}
	}
	yes := req.Accept == nil || *req.Accept
	if err := m.maker.Accept(r.Context(), idParam(r), hub.UserID(req.User), yes); err != nil {
		return fromMatch(err)
	}
	return m.write(w, r)
}

// idParam is the ticket, or the node, that the path names.
func idParam(r *http.Request) string {
	id := chi.URLParam(r, "id")
	if r.URL.RawPath != "" {
		if plain, err := url.PathUnescape(id); err == nil {
			return plain
		}
	}
	return id
}

// fromMatch turns an error of matchmaking into a refusal.
func fromMatch(err error) error {
	switch {
	case errors.Is(err, match.ErrNoQueue):
		return &Error{Code: CodeInvalidField, Field: "queue", Detail: "there is no such queue"}
	case errors.Is(err, match.ErrNoTicket):
		return refuse(CodeNotFound, "no such ticket, or it ended some time ago")
	case errors.Is(err, match.ErrClosed):
		return refuse(CodeNoRooms, "matches would have no rooms")
	case errors.Is(err, match.ErrUndecided):
		return &Error{Code: CodeTicketClaimed, RetryAfter: time.Second}
	case errors.Is(err, match.ErrNotAsked):
		return refuse(CodeNotAsked, "no match waits for an answer of this ticket")
	case errors.Is(err, match.ErrStranger):
		return &Error{Code: CodeInvalidField, Field: "user", Detail: "not one of the ticket's players"}
	}
	return err
}

type queuesReply struct {
	Queues []queueState `json:"queues"`
}

// queueState is a queue as callers see it.
type queueState struct {
	Queue    string        `json:"queue"`
	Mode     string        `json:"mode,omitempty"`
	Players  int64         `json:"players"`
	Tickets  int64         `json:"tickets"`
	Created  int64         `json:"created"`
	Ended    endedState    `json:"ended"`
	Estimate int64         `json:"estimate_ms,omitzero"`
	Waits    *waitState    `json:"waits,omitempty"`
	Deciles  []decileState `json:"deciles"`
}

type endedState struct {
	Matched   int64 `json:"matched"`
	Cancelled int64 `json:"cancelled"`
	Expired   int64 `json:"expired"`
	Lost      int64 `json:"lost"`
	Declined  int64 `json:"declined"`
}

type waitState struct {
	Tickets int   `json:"tickets,omitzero"`
	P50     int64 `json:"p50_ms"`
	P90     int64 `json:"p90_ms"`
	P99     int64 `json:"p99_ms"`
}

type decileState struct {
	From float64 `json:"from"`
	To   float64 `json:"to"`
	waitState
}

func waitsOf(q match.Quantiles) waitState {
	return waitState{P50: q.P50.Milliseconds(), P90: q.P90.Milliseconds(), P99: q.P99.Milliseconds()}
}

func queueOf(s *match.Stats) queueState {
	q := queueState{
		Queue: s.Queue.Name, Mode: s.Queue.Mode, Players: s.Players, Tickets: s.Waiting, Created: s.Created,
		Ended: endedState{
			Matched: s.Ended[match.Matched], Cancelled: s.Ended[match.Canceled], Expired: s.Ended[match.Expired],
			Lost: s.Ended[match.Lost], Declined: s.Ended[match.Declined],
		},
		Deciles: []decileState{},
	}
	if s.Matched > 0 {
		waits := waitsOf(s.Waits)
		waits.Tickets = s.Matched
		q.Waits, q.Estimate = &waits, waits.P50
	}
	for _, d := range s.Deciles {
		q.Deciles = append(q.Deciles, decileState{d.From, d.To, waitsOf(d.Quantiles)})
	}
	return q
}

func (m *matches) getQueues(w http.ResponseWriter, r *http.Request) error {
	if err := m.there(); err != nil {
		return err
	}
	all, err := m.maker.Stats(r.Context())
	if err != nil {
		return err
	}
	caller(r.Context()).Owe(time.Now(), len(all)/unitQueues)
	reply := queuesReply{Queues: make([]queueState, len(all))}
	for i := range all {
		reply.Queues[i] = queueOf(&all[i])
	}
	writeJSON(w, reply)
	return nil
}
