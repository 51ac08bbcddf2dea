package front

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/homing/homing/front/loop"
	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/match"
)

// Lobby finds matches for players; see match.Lobby. Those with a ctx may block until it
// ends.
type Lobby interface {
	Wait(ctx context.Context, queue string, user hub.UserID, rating float64, labels []string) error
	Leave(ctx context.Context, queue string, user hub.UserID) error
	Accept(ctx context.Context, queue string, user hub.UserID, yes bool) error
	Waits(queue string, user hub.UserID) bool
	Gone(queue string, user hub.UserID)
}

const (
	// lobbyJobs is how many asks of players wait, and lobbyWorkers how many are
	// carried out at once.
	lobbyJobs    = 4096
	lobbyWorkers = 8
	lobbyTimeout = 3 * time.Second
	// maxQueues is how many queues one connection may wait in.
	maxQueues = 4
	// lobbyCost is what an ask takes from what a user may have done at Redis.
	lobbyCost = 50
)

// lobbies take what players ask of matchmaking. The loop owns it, but for jobs.
type lobbies struct {
	tracer

	loop     *loop.Loop[client]
	sessions *sessions
	m        *metrics
	lobby    Lobby // nil: there is no matchmaking
	jobs     chan lobbyJob
}

// lobbyJob is an ask that waits to be carried out.
//
//bound:lobby-jobs
type lobbyJob func(ctx context.Context)

// run carries asks out until ctx ends.
func (l *lobbies) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case job := <-l.jobs:
			ctx, cancel := context.WithTimeout(ctx, lobbyTimeout)
			job(ctx)
			cancel()
		}
	}
}

// take takes a message "match", "unmatch" or "accept" of c.
func (l *lobbies) take(c *conn, in *incoming) {
	of := in.kind.value
	switch {
	case l.lobby == nil:
		l.sessions.answer(c, `{"t":"error","code":"unknown_type"`, in.ref)
		return
	case c.State.stage != stageOpen:
		l.refuse(c, of, "too_early", in.ref)
		return
	case in.queue.faulty || in.queue.value == "" || in.rating.faulty || in.labels.faulty || in.yes.faulty:
		l.refuse(c, of, "bad_json", in.ref)
		return
	case of == "match" && !c.State.mayWait(in.queue.value):
		l.refuse(c, of, "too_many_queues", in.ref)
		return
	}
	if exceeded := l.sessions.charge(c, useInbox, lobbyCost); exceeded != "" {
		l.m.overBudget.WithLabelValues(exceeded).Inc()
		l.refuse(c, of, "rate_limited", in.ref)
		return
	}
	l.begin(c, of, in)
}

func (l *lobbies) begin(c *conn, of string, in *incoming) {
	queue, user, ref := in.queue.value, c.State.user, in.ref
	var ask func(ctx context.Context) error
	switch of {
	case "match":
		ask = func(ctx context.Context) error {
			return l.lobby.Wait(ctx, queue, user, in.rating.value, in.labels.ids)
		}
	case "accept":
		ask = func(ctx context.Context) error { return l.lobby.Accept(ctx, queue, user, in.yes.value) }
	default:
		ask = func(ctx context.Context) error { return l.lobby.Leave(ctx, queue, user) }
	}
	job := func(ctx context.Context) {
		err := ask(ctx)
		if !l.loop.Post(func() { l.done(c, user, of, queue, ref, err) }) { // the worker ends, or is full: the ticket is lost
			l.lobby.Gone(queue, user)
		}
	}
	select {
	case l.jobs <- job:
	default:
		l.refuse(c, of, "unavailable", ref)
	}
}

// done answers c, unless it has gone meanwhile.
func (l *lobbies) done(c *conn, user hub.UserID, of, queue string, ref jsontext.Value, err error) {
	switch {
	case c.State.stage != stageOpen:
		if of == "match" && err == nil {
			l.lobby.Gone(queue, user)
		}
		return
	case err != nil:
		l.trace(c, "matchmaking", "of", of, "err", err)
		l.refuse(c, of, matchCode(err), ref)
		return
	}
	if of == "match" {
		c.State.waits(l.lobby, queue)
	}
	l.sessions.answer(c, `{"t":"ok"`, ref)
}

func (l *lobbies) refuse(c *conn, of, code string, ref jsontext.Value) {
	l.sessions.answer(c, `{"t":"error","of":"`+of+`","code":"`+code+`"`, ref)
}

// matchCode is the code of a refusal of matchmaking.
func matchCode(err error) string {
	switch {
	case errors.Is(err, match.ErrNoQueue):
		return "no_queue"
	case errors.Is(err, match.ErrNotAllowed):
		return "not_allowed"
	case errors.Is(err, match.ErrClosed):
		return "no_rooms"
	case errors.Is(err, match.ErrNoTicket):
		return "no_ticket"
	case errors.Is(err, match.ErrUndecided):
		return "undecided"
	case errors.Is(err, match.ErrNotAsked):
		return "not_asked"
	case errors.As(err, new(*hub.RoomError)):
		return "queue_full"
	case errors.Is(err, hub.ErrInvalid):
		return "bad_json"
	}
	return "unavailable"
}

// lobbyPlace is the queues that a connection waits in.
type lobbyPlace struct {
	lobby  Lobby
	queues []string
}

// mayWait reports whether the connection may wait in one more queue. Those in which
// its wait has ended do not count.
func (s *session) mayWait(queue string) bool {
	if s.extra != nil && s.extra.lobby != nil {
		x := s.extra.lobby
		x.queues = slices.DeleteFunc(x.queues, func(q string) bool { return !x.lobby.Waits(q, s.user) })
	}
	return s.extra == nil || s.extra.lobby == nil || len(s.extra.lobby.queues) < maxQueues || slices.Contains(s.extra.lobby.queues, queue)
}

// waits notes that the connection waits in a queue.
func (s *session) waits(l Lobby, queue string) {
	x := s.more()
	if x.lobby == nil {
		x.lobby = &lobbyPlace{lobby: l}
	}
	if !slices.Contains(x.lobby.queues, queue) {
		x.lobby.queues = append(x.lobby.queues, queue)
	}
}

// leaveLobby says that the connection has ended.
func (s *session) leaveLobby() {
	if s.extra == nil || s.extra.lobby == nil {
		return
	}
	for _, queue := range s.extra.lobby.queues {
		s.extra.lobby.lobby.Gone(queue, s.user)
	}
	s.extra.lobby = nil
	s.spare()
}
