package redisx

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// Copies is how many replicas must have a write so that it survives whichever
// of them is promoted; 0 when the shard has had none for a while.
func (s *Shard) Copies() int { return s.state.Load().copies }

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
// carried out. So whoever tries again must bear repetition.
func (s *Shard) WriteCopied(ctx context.Context, limit time.Duration, f func(redis.Pipeliner)) ([]redis.Cmder, error) {
	st := s.state.Load()
	if st.master == nil {
		s.metrics.unavailable.WithLabelValues(s.Name(), "write").Inc()
		return nil, st.err
	}
	conn := st.master.client().Conn()
	defer conn.Close()
	cmds, err := runPipeline(ctx, conn, f)
	if err == nil {
		err = s.copied(ctx, st, conn, limit)
	}
	if err == nil || !unavailable(err) {
		return cmds, err
	}
	st.hurry()
	s.metrics.unavailable.WithLabelValues(s.Name(), "write").Inc()
	return cmds, failed(s.Name(), "write", st.master.addr, err)
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
