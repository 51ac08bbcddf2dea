package index

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/lease"
	"github.com/homing/homing/hub/outage"
	"github.com/homing/homing/redisx"
)

// sweeper removes what dead processes left. It looks for a reason often (a dead
// process that is still in the set of processes, or an entry met whose process is
// not) and sweeps without one now and then. Of all Indexes on one Redis one at a
// time takes the turn; two at once would only waste work.
type sweeper struct{ ix *Index }

// run sweeps until ctx ends.
func (w sweeper) run(ctx context.Context) {
	timer := time.NewTimer(jittered(w.ix.timing.sweep))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if err := w.sweepIfDue(ctx); err != nil && ctx.Err() == nil {
			w.ix.log.Warn("index: sweeping after dead processes", "err", err)
		}
		timer.Reset(jittered(w.ix.timing.sweep))
	}
}

func (w sweeper) sweepIfDue(ctx context.Context) error {
	ix := w.ix
	roll := ix.census.Roll()
	if roll == nil || !roll.Steady() || !ix.census.Steady() {
		return nil
	}
	job, period := "audit", ix.timing.audit
	if len(roll.Unswept()) > 0 || ix.stray.Load() {
		job, period = "sweep", ix.timing.sweep/2
	}
	mine, err := w.takeTurn(ctx, job, period)
	if err != nil || !mine {
		return err
	}
	start := time.Now()
	s := newSweep(ix, roll)
	err = s.run(ctx)
	ix.met.swept.Add(float64(s.removed))
	if err != nil {
		ix.met.sweepsFailed.Inc()
		return err
	}
	ix.met.sweepsDone.Inc()
	ix.log.Info("index: swept", "job", job, "entries", s.removed, "processes", s.forgotten, "took", time.Since(start))
	return nil
}

// takeTurn tells whether this process is to do job, which nobody else then
// does for about period.
func (w sweeper) takeTurn(ctx context.Context, job string, period time.Duration) (mine bool, err error) {
	err = w.ix.data.Lead().Write(ctx, func(ctx context.Context, c *redis.Client) error {
		mine, err = turnScript.Run(ctx, c, []string{w.ix.keys.Turn(job)}, period.Milliseconds()).Bool()
		return err
	})
	if err != nil {
		return false, outage.During("taking the turn", err)
	}
	return mine, nil
}

// sweep is one pass over all users' values.
type sweep struct {
	ix        *Index
	dead      []hub.ProcessID // that stood in the set of processes when it began
	epochs    []uint64        // the shards' when it began
	roll      *lease.Roll     // by which it judges
	undecided bool            // entries were met of processes that are in question
	removed   int64
	forgotten int64

	// Only with Index.Tell: users that are marked and to be told of, and the calls
	// that remove the marks then.
	ended []Ended
	marks []removal
}

// removal is entries of dead processes that are taken out of users' values.
type removal struct {
	shard *redisx.Shard
	keys  []string
	dead  map[hub.ProcessID]struct{}
}

func newSweep(ix *Index, roll *lease.Roll) *sweep {
	s := &sweep{ix: ix, roll: roll, dead: roll.Unswept()}
	for _, sh := range ix.shards {
		s.epochs = append(s.epochs, sh.Epoch())
	}
	return s
}

// errUnsteady ends a sweep while a missing lease proves nothing.
var errUnsteady = errors.New("a data shard is failing over")

// run removes the entries of every process without a lease, then takes those
// that were dead when it began out of the set of processes.
func (s *sweep) run(ctx context.Context) error {
	s.ix.stray.Store(false)
	err := errors.Join(s.runShards(ctx), s.tell(ctx)) // who is marked is told of whatever came after
	if err != nil || s.undecided {
		s.ix.stray.Store(true) // come back for what was left
	}
	if err != nil {
		return err
	}
	return s.forget(ctx)
}

func (s *sweep) runShards(ctx context.Context) error {
	for _, sh := range s.ix.shards {
		err := s.ix.walk(ctx, sh, func(keys, values []string) error {
			return s.page(ctx, sh, keys, values)
		})
		if err != nil {
			return outage.During(fmt.Sprintf("walking the users on %s", sh.Name()), err)
		}
	}
	return s.checkSteady()
}

// checkSteady fails when a lease missing now might be a failover's doing, or
// when a page may have come from a shard that lost what the sweep looks for.
func (s *sweep) checkSteady() error {
	if !s.ix.census.Steady() {
		return errUnsteady
	}
	for i, sh := range s.ix.shards {
		if sh.Epoch() != s.epochs[i] {
			return errUnsteady
		}
	}
	return nil
}

// judge finds out about the processes among ids that the roll does not know.
func (s *sweep) judge(ctx context.Context, ids map[hub.ProcessID]struct{}) error {
	if len(ids) == 0 {
		return nil
	}
	roll, err := s.ix.census.Meet(ctx, slices.Collect(maps.Keys(ids)))
	if err != nil {
		return err
	}
	s.roll = roll
	for id := range ids {
		s.undecided = s.undecided || !roll.Dead(id)
	}
	return s.checkSteady()
}

// page sweeps one page of users on sh.
func (s *sweep) page(ctx context.Context, sh *redisx.Shard, keys, values []string) error {
	unknown := make(map[hub.ProcessID]struct{})
	for _, v := range values {
		for pid := range entries(v) {
			if !s.roll.Known(pid) {
				unknown[pid] = struct{}{}
			}
			s.undecided = s.undecided || s.roll.Unsure(pid)
		}
	}
	if err := s.judge(ctx, unknown); err != nil {
		return err
	}
	stale, dead := s.stale(keys, values)
	if len(stale) == 0 {
		return nil
	}
	if s.ix.ended == nil {
		return s.remove(ctx, removal{sh, stale, dead}, nil)
	}
	topics, users := s.parted(stale)
	if err := s.remove(ctx, removal{sh, topics, dead}, nil); err != nil {
		return err
	}
	return s.mark(ctx, removal{sh, users, dead})
}

// parted tells keys of topics from those of users.
func (s *sweep) parted(keys []string) (topics, users []string) {
	for _, key := range keys {
		if _, isUser := s.ix.keys.UserOf(key); isUser {
			users = append(users, key)
		} else {
			topics = append(topics, key)
		}
	}
	return topics, users
}

// stale picks the keys whose values name dead processes, and these.
func (s *sweep) stale(keys, values []string) (stale []string, dead map[hub.ProcessID]struct{}) {
	dead = make(map[hub.ProcessID]struct{})
	for i, v := range values {
		names := false
		for pid := range entries(v) {
			if s.roll.Dead(pid) {
				dead[pid], names = struct{}{}, true
			}
		}
		if names {
			stale = append(stale, keys[i])
		}
	}
	return stale, dead
}

// remove does r, some users at a time. With told, users whom nobody else has are
// marked, and told is called with the keys and the reply of each call.
func (s *sweep) remove(ctx context.Context, r removal, told func(keys []string, reply []any) error) error {
	leases, argv := make([]string, 0, len(r.dead)), []any{len(r.dead)}
	for pid := range r.dead {
		leases = append(leases, s.ix.keys.Lease(pid))
		argv = append(argv, string(pid))
	}
	if told != nil {
		argv = append(argv, "tell")
	}
	for keys := range slices.Chunk(r.keys, scriptUsers) {
		if err := s.checkSteady(); err != nil {
			return err
		}
		names := append(slices.Clip(leases), keys...)
		if told != nil {
			names = append(names, s.ix.keys.Moves())
		}
		err := r.shard.Write(ctx, func(ctx context.Context, c *redis.Client) error {
			return s.count(sweepScript.Run(ctx, c, names, argv...), keys, told)
		})
		if err != nil {
			return outage.During("removing entries", err)
		}
	}
	return nil
}

// count takes the reply of one call.
func (s *sweep) count(cmd *redis.Cmd, keys []string, told func(keys []string, reply []any) error) error {
	if told == nil {
		removed, err := cmd.Int64()
		s.removed += removed
		return err
	}
	reply, err := cmd.Slice()
	if err != nil {
		return err
	}
	if len(reply) > 0 {
		removed, _ := reply[0].(int64)
		s.removed += removed
	}
	return told(keys, reply)
}

// forget takes swept processes out of the set of processes.
func (s *sweep) forget(ctx context.Context) error {
	if len(s.dead) == 0 {
		return nil
	}
	err := s.ix.data.Lead().Write(ctx, func(ctx context.Context, c *redis.Client) (err error) {
		s.forgotten, err = lease.Forget(ctx, c, s.ix.keys, s.dead)
		return err
	})
	if err != nil {
		return outage.During("forgetting swept processes", err)
	}
	return nil
}
