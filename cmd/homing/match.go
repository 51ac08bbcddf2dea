package main

import (
	"fmt"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/match"
	"github.com/homing/homing/redisx"
)

// matchParts is what matchmaking of an API server stands on.
type matchParts struct {
	redis  *redisx.Redis
	keys   hub.Keys
	notify match.Notifier
	hooks  match.Hooks // nil: no backend is told
	rooms  match.Rooms // nil: no matches are made, and tickets are refused
}

// newMatch puts matchmaking together. Without a file of queues there is none: both
// are nil. The matcher is nil where no room could be opened.
func newMatch(c match.Config, p matchParts, log *slog.Logger, reg prometheus.Registerer) (*match.Tickets, *match.Matcher, error) {
	if c.Queues == "" {
		return nil, nil, nil
	}
	queues, err := match.LoadQueues(c.Queues)
	if err != nil {
		return nil, nil, fmt.Errorf("match.queues: %w", err)
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
