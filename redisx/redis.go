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

	shards []*Shard // each once
	log    *slog.Logger
}

// New prepares to follow the shards of cfg, which it validates. It does no
// network I/O: Run does. reg may be nil; then there are no metrics to read.
func New(cfg Config, log *slog.Logger, reg prometheus.Registerer) (*Redis, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	roles, err := cfg.targets()
	if err != nil {
		return nil, err
	}
	r := &Redis{log: log}
	m := newMetrics(reg)
	base := dialect{
		timeouts: timeouts{dial: cfg.DialTimeout, read: cfg.ReadTimeout, write: cfg.WriteTimeout},
		poolSize: cfg.PoolSize,
	}
	shards := map[*target]*Shard{}
	names := map[string]bool{}
	for i, role := range []**Role{&r.Data, &r.PubSub, &r.Inbox} {
		*role = &Role{}
		for _, t := range roles[i] {
			if shards[t] == nil {
				d := base
				d.target = t.named(names)
				shards[t] = newShard(&d, m)
				r.shards = append(r.shards, shards[t])
			}
			(*role).shards = append((*role).shards, shards[t])
		}
		if len((*role).shards) == 0 {
			*role = r.Data
		}
	}
	return r, register(reg, &nodeCollector{shards: r.shards})
}

// named returns t with a name that is not in names yet, and adds it: two sets
// of Sentinels may call their masters alike.
func (t *target) named(names map[string]bool) *target {
	c := *t
	for i := 0; names[c.name]; i++ {
		c.name = t.name + "@" + t.addrs[0]
		if i > 0 {
			c.name += fmt.Sprintf("#%d", i)
		}
	}
	names[c.name] = true
	return &c
}

// Run follows every shard until ctx ends, then closes all clients and returns
// nil. It may be called once.
func (r *Redis) Run(ctx context.Context) error {
	var all sync.WaitGroup
	for _, s := range r.shards {
		all.Go(func() { newFollower(s, r.log).run(ctx) })
	}
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

// notReady says what the shard lacks.
func (s *Shard) notReady(ctx context.Context) error {
	st := s.state.Load()
	if st.err != nil {
		return fmt.Errorf("%w: %w", st.err, ctx.Err())
	}
	return fmt.Errorf("redis %s: %d nodes not asked yet: %w", s.Name(), st.waiting, ctx.Err())
}
