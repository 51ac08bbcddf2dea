package index

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/lease"
	"github.com/homing/homing/hub/outage"
	"github.com/homing/homing/redisx"
)

// Presence says where each of users is connected, in their order. Users must
// be distinct. Errors are those of Locate.
func (ix *Index) Presence(ctx context.Context, users []hub.UserID) ([]hub.Presence, error) {
	start := time.Now()
	l := ix.scratch.Get().(*lookup)
	defer ix.release(l)
	p, err := ix.locate(ctx, l, users, nil)
	if err != nil {
		ix.met.failed.Inc()
		return nil, outage.During("index: looking users up", err)
	}
	if n := len(p.Unavailable); n > 0 {
		return nil, fmt.Errorf("index: looking users up: %w: %d of %d stand on a shard that does not answer", hub.ErrUnavailable, n, len(users))
	}
	roll := ix.census.Roll()
	out := make([]hub.Presence, len(users))
	for i, u := range users {
		out[i] = hub.Presence{User: u, Processes: holdings(roll, l.values[i])}
	}
	ix.met.answer(start, p)
	return out, nil
}

// Entry is what the index names of one user, whether the processes live or not.
type Entry struct {
	User      hub.UserID
	Processes []hub.Holding
	Since     time.Time // when the user came; zero: it has not, or moves are not told
}

// Entries says what the index names of each of users, in their order, whether the
// processes live or not: so it agrees with what Registrar.Tell and Index.Tell tell,
// and needs no census. A user who has left a moment ago and may yet come back without
// a word has a process still, with no services. It costs one MGET per data shard, on a
// replica. When some of users stand on a shard that does not answer the error wraps
// hub.ErrUnavailable.
func (ix *Index) Entries(ctx context.Context, users []hub.UserID) ([]Entry, error) {
	l := ix.scratch.Get().(*lookup)
	defer ix.release(l)
	err := ix.fetch(ctx, l, users)
	if err == nil && len(l.unavailable) > 0 {
		err = fmt.Errorf("%w: a shard does not answer", hub.ErrUnavailable)
	}
	if err != nil {
		return nil, outage.During("index: reading entries", err)
	}
	out := make([]Entry, len(users))
	for i, u := range users {
		out[i] = entryOf(u, l.values[i])
	}
	return out, nil
}

func entryOf(user hub.UserID, value string) Entry {
	e := Entry{User: user}
	for pid, holds := range entries(value) {
		if !isGone(holds) {
			e.Processes = append(e.Processes, hub.Holding{Process: pid, Services: parseHolds(holds)})
		}
	}
	if e.Processes != nil {
		e.Since = sinceOf(value)
	}
	return e
}

// holdings reads what live processes hold of one user.
func holdings(roll *lease.Roll, value string) []hub.Holding {
	var out []hub.Holding
	for pid, holds := range entries(value) {
		if roll.Lives(pid) && !holdsNone(holds) {
			out = append(out, hub.Holding{Process: pid, Services: parseHolds(holds)})
		}
	}
	return out
}

// Online lists users that live processes hold, in no order, at most limit of
// them (limit below 1: none). It walks the keys of every shard until it has
// enough, so it is for a page or a console, not for the path of a notification.
func (ix *Index) Online(ctx context.Context, limit int) ([]hub.UserID, error) {
	if ix.census.Roll() == nil {
		return nil, outage.During("index: listing users", lease.ErrNotLoaded)
	}
	seen := make(map[hub.UserID]struct{})
	var out []hub.UserID
	for _, sh := range ix.shards {
		err := ix.walk(ctx, sh, func(keys, values []string) error {
			roll := ix.census.Roll()
			for i, key := range keys {
				user, ok := ix.keys.UserOf(key)
				_, dup := seen[user]
				if len(out) >= limit {
					return errEnough
				}
				if ok && !dup && holdings(roll, values[i]) != nil {
					seen[user] = struct{}{}
					out = append(out, user)
				}
			}
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			return nil, outage.During("index: listing users", err)
		}
	}
	return out, nil
}

var errEnough = errors.New("enough")

// walkPage is about how many keys a step of a walk looks at: well under a
// millisecond of a server's time.
const walkPage = 500

// walk calls f with page after page of the users' keys on sh and their
// values, as a replica has them, until f fails; that error it returns. A user
// that is there all the time is met at least once, perhaps more often.
func (ix *Index) walk(ctx context.Context, sh *redisx.Shard, f func(keys, values []string) error) error {
	var stop error // kept from Read, which would take it for the replica's
	err := sh.Read(ctx, func(ctx context.Context, c *redis.Client) error {
		stop = nil
		for cursor := uint64(0); stop == nil; {
			keys, values, next, err := ix.page(ctx, c, cursor)
			if err != nil {
				return err
			}
			stop = f(keys, values)
			if cursor = next; cursor == 0 {
				break
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return stop
}

func (ix *Index) page(ctx context.Context, c *redis.Client, cursor uint64) (keys, values []string, next uint64, err error) {
	keys, next, err = c.Scan(ctx, cursor, ix.keys.UserPattern(), walkPage).Result()
	if err != nil {
		return nil, nil, 0, err
	}
	values, err = mget(ctx, c, keys)
	return keys, values, next, err
}

// mget reads the strings under keys, "" where there is none.
func mget(ctx context.Context, c *redis.Client, keys []string) ([]string, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	cmd := redis.NewStringSliceCmd(ctx, mgetArgs(make([]any, 0, 1+len(keys)), keys)...)
	err := c.Process(ctx, cmd)
	return cmd.Val(), err
}
