package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/homing/homing/front"
	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/hook"
	"github.com/homing/homing/hub/match"
	"github.com/homing/homing/hub/room"
	"github.com/homing/homing/hub/room/asks"
	"github.com/homing/homing/hub/room/remote"
	"github.com/homing/homing/redisx"
)

// matchParts is what matchmaking of an API server stands on.
type matchParts struct {
	redis  *redisx.Redis
	keys   hub.Keys
	notify match.Notifier
	hooks  match.Hooks // nil: no backend is told
	rooms  match.Rooms // nil: no matches are made, and tickets are refused
	own    []*match.Queue
}

// matchQueues are those of the file, if there is one, and the program's own.
func matchQueues(c match.Config, own []*match.Queue) (all []*match.Queue, err error) {
	if c.Queues != "" {
		if all, err = match.LoadQueues(c.Queues); err != nil {
			return nil, fmt.Errorf("match.queues: %w", err)
		}
	}
	all = append(all, own...)
	if err := match.CheckQueues(all); err != nil {
		return nil, fmt.Errorf("match.queues: the file and the program together: %w", err)
	}
	return all, nil
}

// newTickets is matchmaking as a front worker sees it; nil: there is none.
func newTickets(c match.Config, p matchParts, log *slog.Logger, reg prometheus.Registerer) (*match.Tickets, error) {
	queues, err := matchQueues(c, p.own)
	if err != nil || len(queues) == 0 {
		return nil, err
	}
	return match.NewTickets(match.Deps{Queues: queues, Data: p.redis.Data, Keys: p.keys, Hooks: p.hooks, Log: log, Reg: reg}), nil
}

// newLobby is where the players of a front worker wait for matches; nil: there is
// no matchmaking.
func newLobby(back *background, tickets *match.Tickets, log *slog.Logger) front.Lobby {
	if tickets == nil {
		return nil
	}
	lobby := match.NewLobby(tickets, log)
	back.run("lobby", lobby.Run)
	return lobby
}

// lackOf has rooms tell tickets what they lack; nil: there is no matchmaking.
func lackOf(tickets *match.Tickets) func(ctx context.Context, id string, epoch uint64, queue string, l *room.Lack) error {
	if tickets == nil {
		return nil
	}
	return func(ctx context.Context, id string, epoch uint64, queue string, l *room.Lack) error {
		if l == nil {
			return tickets.Whole(ctx, queue, id, epoch)
		}
		return tickets.Lack(ctx, queue, &match.Backfill{Room: id, Epoch: epoch, Free: l.Free, Rating: l.Rating, Labels: l.Labels})
	}
}

// matchRooms opens the rooms of matches in the processes that run rooms.
type matchRooms struct{ rooms *remote.Rooms }

func (m matchRooms) Open(ctx context.Context, o *match.Opening) (*match.Opened, error) {
	opened, err := m.rooms.Open(ctx, asks.Open{Room: o.Match, Class: o.Class, Users: o.Users(), Metadata: o.Metadata, Data: o.Data})
	if err != nil {
		return nil, err
	}
	return seatsOf(opened), nil
}

func (m matchRooms) Fill(ctx context.Context, room string, epoch uint64, o *match.Opening) (*match.Opened, error) {
	opened, err := m.rooms.SeatsOf(ctx, room, epoch, o.Users())
	if err != nil {
		return nil, err
	}
	return seatsOf(opened), nil
}

func (m matchRooms) Close(ctx context.Context, room string) error {
	err := m.rooms.Close(ctx, room)
	if errors.Is(err, remote.ErrNotFound) || errors.As(err, new(*remote.EndedError)) {
		return nil
	}
	return err
}

func seatsOf(o *asks.Opened) *match.Opened {
	tickets := make(map[hub.UserID]string, len(o.Seats))
	for _, s := range o.Seats {
		tickets[s.User] = s.Ticket
	}
	return &match.Opened{Room: o.Room, URL: o.URL, Tickets: tickets}
}

// matchHooks tells backends of matches.
type matchHooks struct{ publisher *hook.Publisher }

func (h matchHooks) Publish(kind, subject string, data any) bool {
	return h.publisher.Publish(hook.Event{Type: kind, Subject: subject, Data: data})
}

// newMatch puts matchmaking together. Without a file of queues there is none: both
// are nil. The matcher is nil where no room could be opened.
func newMatch(c match.Config, p matchParts, log *slog.Logger, reg prometheus.Registerer) (*match.Tickets, *match.Matcher, error) {
	queues, err := matchQueues(c, p.own)
	if err != nil || len(queues) == 0 {
		return nil, nil, err
	}
	tickets := match.NewTickets(match.Deps{
		Queues: queues, Data: p.redis.Data, Keys: p.keys, Closed: p.rooms == nil,
		Notify: p.notify, Hooks: p.hooks, Log: log, Reg: reg,
	})
	if p.rooms == nil {
		log.Warn("nobody opens rooms: tickets for a match are refused")
		return tickets, nil, nil
	}
	return tickets, match.NewMatcher(tickets, p.rooms, match.Nearest{}, match.DefaultTiming(), log), nil
}
