package redisx

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

// Copies is how many replicas must have a write so that it survives whichever
// of them is promoted; 0 when the shard has had none for ten seconds. A replica
// that lags by more than a second does not count.
func (s *Shard) Copies() int { return s.state.Load().copies }

const (
	// promotionTakes is how long a replica that says that it is a master, or
	// follows another one, still counts as one that may become the master:
	// the Sentinels name it within a second or turn it back within about ten.
	promotionTakes = 10 * time.Second
	// fedFor is how long a shard whose replicas are gone counts as one that
	// has some.
	fedFor = 10 * time.Second
)

// copies counts the servers that may be the next master: the fit replicas,
// those that may be under promotion, and those that the master feeds, if we
// know nothing worse of them. A replica that is gone, was restarted or lags is
// not counted once that was noticed: the Sentinels choose the one that has
// most.
//
// The old master of a planned failover is not counted either, although it
// answers, as a master, until the Sentinels turn it into a replica some ten
// seconds later: they hold it to be the replica that has least.
func (t *topologyWatcher) copies(master *member, now time.Time) int {
	if master == nil {
		return 0
	}
	n := 0
	for addr, m := range t.members {
		if m == master {
			m.copied = time.Time{}
			continue
		}
		if m.answersAs(roleReplica) {
			t.fed = now
		}
		fit := m.fit(master)
		if fit {
			m.copied = now
		}
		if fit || m.mayLead(master, now) || m.usable(now) && slices.Contains(master.known.replicas, addr) {
			n++
		}
	}
	n = max(n, t.feeds(master, now))
	if n == 0 && !t.fed.IsZero() && now.Sub(t.fed) < fedFor {
		return 1
	}
	return n
}

// fit reports whether the node was a replica without fault when we looked last.
// What the Sentinels say of it does not count: a replica that is being promoted
// loses its connections, and is down for them before we see what it has become.
func (m *member) fit(master *member) bool {
	return judge(m, master, false, 0) == ""
}

// usable reports whether nothing is known against the node that would keep it
// from being the next master, or others from reading there.
func (m *member) usable(now time.Time) bool {
	return !m.asked || m.alive() && (!m.lagging || now.Sub(m.lags) < lagKnown)
}

// mayLead reports whether the node may be about to be elected: it held what
// master has a moment ago, and does not follow it any more.
func (m *member) mayLead(master *member, now time.Time) bool {
	switch {
	case !m.alive() || m.known.replID == master.known.replID:
		return false
	case now.Sub(m.copied) < promotionTakes:
		return true
	default: // we came when it had been promoted already
		return m.continues(master) && now.Sub(m.met) < promotionTakes
	}
}

// feeds counts the replicas that the master names, without those that we know
// not to be usable. It may know them under other addresses than we.
func (t *topologyWatcher) feeds(master *member, now time.Time) int {
	n := 0
	for _, addr := range master.known.replicas {
		if m := t.members[addr]; m == nil || m.usable(now) {
			n++
		}
	}
	return n
}

// WriteCopied runs one pipeline on the master, which f fills, and waits until
// Copies replicas have all that the master had when the pipeline ended, at
// most for limit. When f queues nothing it is a barrier for what was written
// before, by anybody.
//
// It returns the commands and nil when they do. An error reply of a command is
// returned as it is, and nothing is waited for; redis.Nil is no error here.
// ErrNotCopied says that not enough replicas have it within limit, or that
// the master was left meanwhile: the commands were carried out and may be
// undone. Other errors that wrap ErrUnavailable leave open whether they were
// carried out. So a caller that tries again must bear repetition.
//
// At most four times Config.PoolSize such writes are under way at a time, on
// connections of their own.
func (s *Shard) WriteCopied(ctx context.Context, limit time.Duration, f func(redis.Pipeliner)) ([]redis.Cmder, error) {
	st := s.state.Load()
	if st.master == nil {
		s.metrics.unavailable.WithLabelValues(s.Name(), "write").Inc()
		return nil, st.err
	}
	cmds, err := s.writeCopied(ctx, st, limit, f)
	if err == nil || !unavailable(err) {
		return cmds, s.dialect.veil(err)
	}
	if passes(err) {
		st.hurry()
	}
	s.metrics.unavailable.WithLabelValues(s.Name(), "write").Inc()
	return cmds, s.failed("write", st.master.addr, err)
}

func (s *Shard) writeCopied(ctx context.Context, st *state, limit time.Duration, f func(redis.Pipeliner)) ([]redis.Cmder, error) {
	conn := st.master.copied().Conn()
	defer conn.Close()
	cmds, err := runPipeline(ctx, conn, f)
	if err != nil {
		return cmds, err
	}
	return cmds, s.copied(ctx, st, conn, limit)
}

// runPipeline returns the first error that is not an answer.
func runPipeline(ctx context.Context, conn *redis.Conn, f func(redis.Pipeliner)) ([]redis.Cmder, error) {
	pipe := conn.Pipeline()
	f(pipe)
	if pipe.Len() == 0 {
		pipe.Ping(ctx) // WAIT looks at what its connection saw, and a new one saw nothing
	}
	cmds, err := pipe.Exec(ctx)
	if !errors.Is(err, redis.Nil) {
		return cmds, err
	}
	for _, c := range cmds {
		if err := c.Err(); err != nil && !errors.Is(err, redis.Nil) {
			return cmds, err
		}
	}
	return cmds, nil
}

// copied waits until the replicas have what conn saw of the master of st.
func (s *Shard) copied(ctx context.Context, st *state, conn *redis.Conn, limit time.Duration) error {
	acknowledged := 0
	if want := s.Copies(); want > 0 {
		ctx, cancel := context.WithTimeout(ctx, limit+s.dialect.read)
		defer cancel()
		n, err := conn.Wait(ctx, want, max(limit, time.Millisecond)).Result() // 0 would be for ever
		if err != nil {
			return err
		}
		acknowledged = int(n)
	}
	now := s.state.Load()
	switch {
	case now.master != st.master || now.epoch != st.epoch:
		return fmt.Errorf("%w: the master was left meanwhile", ErrNotCopied)
	case acknowledged < now.copies:
		return fmt.Errorf("%w: %d of %d replicas have it after %s", ErrNotCopied, acknowledged, now.copies, limit)
	}
	return nil
}

// hurry asks for a look at every node soon.
func (st *state) hurry() {
	for _, n := range st.all {
		n.hurry()
	}
}
