package redisx

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// Redis is every Redis that a deployment uses, by role. Roles configured with
// the same URL share the Shard.
type Redis struct {
	Data, PubSub, Inbox *Role

	shards   []*Shard // each once
	refusals *refusalLog
	log      *slog.Logger
}

// New prepares to follow the shards of cfg, which it validates. It does no
// network I/O: Run does. reg may be nil; then there are no metrics to read.
func New(cfg Config, log *slog.Logger, reg prometheus.Registerer) (*Redis, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	lists, err := cfg.targets()
	if err != nil {
		return nil, err
	}
	m := newMetrics(reg)
	r := &Redis{log: log, refusals: newRefusalLog(log, m)}
	base := dialect{
		timeouts: timeouts{dial: cfg.DialTimeout, read: cfg.ReadTimeout, write: cfg.WriteTimeout},
		poolSize: cfg.PoolSize,
	}
	r.assign(lists, func(t *target) *Shard {
		d := base
		d.target = t
		return newShard(&d, m, r.refusals)
	})
	return r, register(reg, &nodeCollector{shards: r.shards})
}

// assign makes the roles from the lists of targets, and a shard of each target.
func (r *Redis) assign(lists [listCount][]*target, open func(*target) *Shard) {
	shards := map[*target]*Shard{}
	var roles [listCount]*Role
	for i, list := range lists {
		if len(list) == 0 {
			continue
		}
		roles[i] = &Role{}
		for _, t := range list {
			if shards[t] == nil {
				shards[t] = open(t)
				r.shards = append(r.shards, shards[t])
			}
			shards[t].keeps = shards[t].keeps || i != listPubSub
			roles[i].shards = append(roles[i].shards, shards[t])
		}
	}
	r.Data, r.PubSub, r.Inbox = roles[listData], roles[listPubSub], roles[listInbox]
	r.Data.succeed(roles[listDataPrevious])
	if r.PubSub == nil {
		r.PubSub = r.Data
	}
	switch before := roles[listInboxPrevious]; {
	case r.Inbox == nil && before == nil:
		r.Inbox = r.Data
	case r.Inbox == nil:
		r.Inbox = &Role{shards: r.Data.shards}
		r.Inbox.succeed(before)
	default:
		r.Inbox.succeed(before)
	}
}

// Run follows every shard until ctx ends, then closes all clients and returns
// nil. It may be called once.
func (r *Redis) Run(ctx context.Context) error {
	var all sync.WaitGroup
	for _, s := range r.shards {
		all.Go(func() { newTopologyWatcher(s, r.log).run(ctx) })
	}
	all.Go(func() { r.refusals.run(ctx) })
	all.Wait()
	return nil
}

// WaitReady waits until every shard has a reachable master and each of its
// replicas has been asked once. When ctx ends before, the error names a shard
// and what it lacks. Run must be running.
func (r *Redis) WaitReady(ctx context.Context) error {
	for _, s := range r.shards {
		if err := s.waitReady(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Err returns nil when every shard has a reachable master, and else why one has
// not: an error that wraps ErrNoMaster.
func (r *Redis) Err() error {
	for _, s := range r.shards {
		if st := s.state.Load(); st.master == nil {
			return st.err
		}
	}
	return nil
}

// notReady says what the shard lacks.
func (s *Shard) notReady(ctx context.Context) error {
	st := s.state.Load()
	if st.err != nil {
		return fmt.Errorf("%w: %w", st.err, ctx.Err())
	}
	return fmt.Errorf("redis %s: %d nodes not asked yet: %w", s.Name(), st.waiting, ctx.Err())
}
