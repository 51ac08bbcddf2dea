package match

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/outage"
	"github.com/homing/homing/redisx"
)

var (
	//go:embed lua/queue.lua
	queueSource string
	//go:embed lua/put.lua
	putSource string
	//go:embed lua/get.lua
	getSource string
	//go:embed lua/cancel.lua
	cancelSource string
	//go:embed lua/claim.lua
	claimSource string
	//go:embed lua/record.lua
	recordSource string
	//go:embed lua/release.lua
	releaseSource string
	//go:embed lua/offer.lua
	offerSource string
	//go:embed lua/accept.lua
	acceptSource string
	//go:embed lua/finish.lua
	finishSource string
	//go:embed lua/due.lua
	dueSource string
	//go:embed lua/reap.lua
	reapSource string
	//go:embed lua/lease.lua
	leaseSource string
	//go:embed lua/lack.lua
	lackSource string

	putScript     = script(putSource)
	getScript     = script(getSource)
	cancelScript  = script(cancelSource)
	claimScript   = script(claimSource)
	recordScript  = script(recordSource)
	releaseScript = script(releaseSource)
	offerScript   = script(offerSource)
	acceptScript  = script(acceptSource)
	finishScript  = script(finishSource)
	dueScript     = script(dueSource)
	reapScript    = script(reapSource)
	leaseScript   = script(leaseSource)
	lackScript    = script(lackSource)
)

// script is one of a queue's, with what they share before it.
func script(source string) *redis.Script { return redis.NewScript(queueSource + source) }

// The parts of a queue in Redis, in the order of queue.lua.
const (
	bookKey = iota
	ticketsKey
	waitingKey
	playersKey
	dueKey
	claimedKey
	claimsKey
	endedKey
	endingsKey
	recentKey
	lackingKey
	fillingKey
	doneKey
	leaseKey
	matchesKey // begins the keys of matches
)

var parts = []string{
	bookKey: "book", ticketsKey: "tickets", waitingKey: "waiting", playersKey: "players", dueKey: "due",
	claimedKey: "claimed", claimsKey: "claims", endedKey: "ended", endingsKey: "endings", recentKey: "recent",
	lackingKey: "lacking", fillingKey: "filling", doneKey: "done", leaseKey: "lease", matchesKey: "match:",
}

const (
	// copyWait is how long one try of a write waits for the replicas.
	copyWait = time.Second
	// writePatience is how long a write goes on beginning another try. A failover
	// takes less.
	writePatience = 4 * time.Second
	// writePause is between the first two tries. It doubles up to four times that.
	writePause = 25 * time.Millisecond
)

// shelf is where a queue stands in Redis: all of it on one data shard.
type shelf struct {
	shard *redisx.Shard
	keys  []string
}

// newShelf finds a queue's place. While a previous list of data shards is
// configured it is that list's, which every process knows.
func newShelf(data *redisx.Role, keys hub.Keys, queue string) *shelf {
	if before := data.Previous(); before != nil {
		data = before
	}
	s := &shelf{shard: data.Shard("match:" + queue)}
	for _, part := range parts {
		s.keys = append(s.keys, keys.Match(queue, part))
	}
	return s
}

// run runs a script once. What it did may be undone by a failover.
func (s *shelf) run(ctx context.Context, sc *redis.Script, args ...any) (reply any, err error) {
	err = s.shard.WithScript(ctx, sc, func() error {
		return s.shard.Write(ctx, func(ctx context.Context, c *redis.Client) (err error) {
			reply, err = sc.EvalSha(ctx, c, s.keys, args...).Result()
			if errors.Is(err, redis.Nil) {
				err = nil
			}
			return err
		})
	})
	return reply, outage.Mark(err)
}

// runAll is run for each of calls, in one pipeline.
func (s *shelf) runAll(ctx context.Context, sc *redis.Script, calls ...[]any) (replies []any, err error) {
	err = s.shard.WithScript(ctx, sc, func() error {
		return s.shard.Write(ctx, func(ctx context.Context, c *redis.Client) error {
			pipe := c.Pipeline()
			for _, args := range calls {
				sc.EvalSha(ctx, pipe, s.keys, args...)
			}
			cmds, err := pipe.Exec(ctx)
			replies = values(cmds)
			return err
		})
	})
	return replies, outage.Mark(err)
}

// values are the replies to commands.
func values(cmds []redis.Cmder) (replies []any) {
	for _, c := range cmds {
		if c, ok := c.(*redis.Cmd); ok {
			replies = append(replies, c.Val())
		}
	}
	return replies
}

// copied runs a script for each of calls and returns their replies when all
// replicas have what it did. It tries again while a new master may mend what
// failed, so the script must bear repetition.
func (s *shelf) copied(ctx context.Context, sc *redis.Script, calls ...[]any) ([]any, error) {
	pause := writePause
	for start := time.Now(); ; {
		replies, err := s.copyOnce(ctx, sc, calls)
		if !passing(err) || time.Since(start) > writePatience {
			return replies, outage.Mark(err)
		}
		select {
		case <-ctx.Done():
			return nil, outage.Mark(err)
		case <-time.After(pause):
			pause = min(2*pause, 4*writePause)
		}
	}
}

// passing reports whether err is of a kind that a new master mends.
func passing(err error) bool {
	return errors.Is(err, redisx.ErrUnavailable) && !errors.Is(err, redisx.ErrFull) && !errors.Is(err, redisx.ErrMisconfigured)
}

func (s *shelf) copyOnce(ctx context.Context, sc *redis.Script, calls [][]any) (replies []any, err error) {
	var cmds []redis.Cmder
	err = s.shard.WithScript(ctx, sc, func() error {
		cmds, err = s.shard.WriteCopied(ctx, copyWait, func(pipe redis.Pipeliner) {
			for _, args := range calls {
				sc.EvalSha(ctx, pipe, s.keys, args...)
			}
		})
		return err
	})
	if _, refused := errors.AsType[redis.Error](err); refused && !slices.ContainsFunc(cmds, failed) {
		// The scripts ran, and the waiting was refused: a master that is being
		// demoted lets go of everybody who waits.
		err = fmt.Errorf("%w: %w", redisx.ErrNotCopied, err)
	}
	return values(cmds), err
}

func failed(c redis.Cmder) bool { return c.Err() != nil }

// list reads a reply that is an array.
func list(reply any) []any {
	l, _ := reply.([]any)
	return l
}

// text reads a part of a reply that is a text; "" when there is none.
func text(l []any, i int) string {
	if i >= len(l) {
		return ""
	}
	s, _ := l[i].(string)
	return s
}

// number reads a part of a reply that is a number; 0 when there is none.
func number(l []any, i int) int64 {
	if i >= len(l) {
		return 0
	}
	n, _ := l[i].(int64)
	return n
}
