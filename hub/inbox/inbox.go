package inbox

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/redisx"
)

var (
	//go:embed lua/store.lua
	storeSource string
	//go:embed lua/ack.lua
	ackSource string
	//go:embed lua/mark.lua
	markSource string

	storeScript = redis.NewScript(storeSource)
	ackScript   = redis.NewScript(ackSource)
	markScript  = redis.NewScript(markSource)
)

// scriptUsers is how many users one call of the store script handles: the
// payload travels once for all of them, and others wait for about a
// millisecond at most.
const scriptUsers = 50

const (
	// copyWait is how long one try of a Store waits for the replicas.
	copyWait = time.Second
	// storePatience is how long a Store goes on beginning another try. A
	// failover takes less.
	storePatience = 4 * time.Second
	// storePause is between the first two tries. It doubles up to four times that.
	storePause = 25 * time.Millisecond
)

// Inbox keeps notifications for users. It is safe for concurrent use. Run
// should be running. Everything goes through the masters: a replica may lack
// what has just been stored.
//
// While a previous list of shards is configured, the inbox of a user who moved
// is in both homes: what is stored goes to the new one, Read reads both, and
// Ack removes from both. A notification whose Store is repeated after the move
// may then stand in both; Read gives it once.
type Inbox struct {
	cfg     Config
	role    *redisx.Role
	keys    hub.Keys
	history *history
	log     *slog.Logger
	metrics metrics
}

// New returns the inboxes on r's inbox shards. cfg must be valid.
func New(cfg Config, r *redisx.Redis, keys hub.Keys, log *slog.Logger, reg prometheus.Registerer) *Inbox {
	return &Inbox{cfg: cfg, role: r.Inbox, keys: keys, history: newHistory(r), log: log, metrics: newMetrics(reg)}
}

// Store keeps m for each of users, who must be distinct, for ttl, and returns
// when it stands in all their inboxes, at the masters and at all replicas that
// one of them may be replaced by. An inbox that has had m.ID among its last
// MaxCount ids is left as it is, so a Store that failed may be repeated; Store
// does so itself, for a few seconds, when a new master may mend what failed.
//
// A ttl above Config.MaxAge, or not above zero, is an error that wraps
// hub.ErrInvalid and begins with "store:". On other errors some inboxes may
// have it; they wrap hub.ErrUnavailable when Redis was the cause.
func (in *Inbox) Store(ctx context.Context, users []hub.UserID, m *hub.Stored, ttl time.Duration) error {
	if ttl <= 0 || ttl > in.cfg.MaxAge {
		return fmt.Errorf("store: %w: %v, want more than 0 and at most %v", hub.ErrInvalid, ttl, in.cfg.MaxAge)
	}
	start := time.Now()
	tail := in.storeArgs(m, ttl)
	errs := make(chan error, len(in.role.Shards()))
	var calls sync.WaitGroup
	for shard, part := range in.byShard(users) {
		calls.Go(func() { errs <- in.storeOn(ctx, shard, part, tail) })
	}
	calls.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			return in.fail(opStore, fmt.Errorf("store notification %s: %w", m.ID, err))
		}
	}
	in.metrics.storeSeconds.Observe(time.Since(start).Seconds())
	return nil
}

// storeArgs are the arguments of the store script after its keys.
func (in *Inbox) storeArgs(m *hub.Stored, ttl time.Duration) []any {
	var services strings.Builder
	for _, s := range m.Services {
		services.WriteString(string(s) + " ")
	}
	return []any{
		m.ID, int(m.Class), services.String(), m.Payload, max(1, ttl.Milliseconds()),
		in.cfg.MaxCount, in.cfg.MaxBytes, in.cfg.MaxAge.Milliseconds(),
	}
}

func (in *Inbox) byShard(users []hub.UserID) map[*redisx.Shard][]hub.UserID {
	if shards := in.role.Shards(); len(shards) == 1 {
		return map[*redisx.Shard][]hub.UserID{shards[0]: users}
	}
	parts := make(map[*redisx.Shard][]hub.UserID)
	for _, u := range users {
		s := in.role.Shard(string(u))
		parts[s] = append(parts[s], u)
	}
	return parts
}

func (in *Inbox) storeOn(ctx context.Context, shard *redisx.Shard, users []hub.UserID, tail []any) error {
	calls := make([][]any, 0, len(users)/scriptUsers+1)
	for len(users) > 0 {
		n := min(scriptUsers, len(users))
		args := make([]any, 0, 3+3*n+len(tail))
		args = append(args, "EVALSHA", storeScript.Hash(), 3*n)
		for _, u := range users[:n] {
			args = append(args, in.keys.Inbox(u), in.keys.InboxIDs(u), in.keys.InboxBook(u))
		}
		calls = append(calls, append(args, tail...))
		users = users[n:]
	}
	pause := storePause
	for start := time.Now(); ; in.metrics.retries.Inc() {
		err := in.tryStore(ctx, shard, calls)
		if !passing(err) || time.Since(start) > storePatience {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
			pause = min(2*pause, 4*storePause)
		}
	}
}

// passing reports whether err is of a kind that a new master mends.
func passing(err error) bool {
	return errors.Is(err, redisx.ErrUnavailable) && !errors.Is(err, redisx.ErrFull) && !errors.Is(err, redisx.ErrMisconfigured)
}

// tryStore runs store scripts in one pipeline, waits until the replicas have
// what they did, and counts it.
func (in *Inbox) tryStore(ctx context.Context, shard *redisx.Shard, calls [][]any) error {
	cmds, err := in.call(ctx, shard, calls)
	if redis.HasErrorPrefix(err, "NOSCRIPT") {
		if err := shard.Write(ctx, func(ctx context.Context, c *redis.Client) error {
			return storeScript.Load(ctx, c).Err()
		}); err != nil {
			return err
		}
		cmds, err = in.call(ctx, shard, calls)
	}
	if err != nil {
		return err
	}
	for _, c := range cmds {
		if did, ok := c.(*redis.Cmd); ok {
			in.count(did)
		}
	}
	return nil
}

func (in *Inbox) call(ctx context.Context, shard *redisx.Shard, calls [][]any) ([]redis.Cmder, error) {
	cmds, err := shard.WriteCopied(ctx, copyWait, func(pipe redis.Pipeliner) {
		for _, args := range calls {
			pipe.Do(ctx, args...)
		}
	})
	if _, reply := errors.AsType[redis.Error](err); reply && !slices.ContainsFunc(cmds, failed) {
		// The scripts ran, and the waiting was refused: a master that is being
		// demoted lets go of everybody who waits.
		return cmds, fmt.Errorf("%w: %w", redisx.ErrNotCopied, err)
	}
	return cmds, err
}

func failed(c redis.Cmder) bool { return c.Err() != nil }

// count takes what one call of the store script did.
func (in *Inbox) count(call *redis.Cmd) {
	did, _ := call.Val().([]any)
	for i, c := range []prometheus.Counter{in.metrics.stored, in.metrics.expired, in.metrics.pushed} {
		if i < len(did) {
			n, _ := did[i].(int64)
			c.Add(float64(n))
		}
	}
}

// Ack removes from user's inbox what the client has acknowledged: the entries
// of class must among ids. Others stay until their time is over or the inbox
// is full. Ids that are not there are no error.
//
// Ack does not wait for replicas. One that a failover undoes brings the entry
// again, under the id that the client has seen.
func (in *Inbox) Ack(ctx context.Context, user hub.UserID, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	keys := []string{in.keys.Inbox(user), in.keys.InboxIDs(user), in.keys.InboxBook(user)}
	args := make([]any, len(ids))
	for i, id := range ids {
		args[i] = id
	}
	homes := in.homes(user)
	removed, errs := make([]int, len(homes)), make([]error, len(homes))
	in.atHomes(homes, func(i int, shard *redisx.Shard) {
		errs[i] = shard.Write(ctx, func(ctx context.Context, c *redis.Client) (err error) {
			removed[i], err = ackScript.Run(ctx, c, keys, args...).Int()
			return err
		})
	})
	for _, n := range removed {
		in.metrics.acked.Add(float64(n))
	}
	if err := errors.Join(errs...); err != nil {
		return in.fail(opAck, fmt.Errorf("acknowledge %d notifications of user %s: %w", len(ids), user, err))
	}
	return nil
}

// homes returns the shards that user's inbox is on, the present one last.
func (in *Inbox) homes(user hub.UserID) []*redisx.Shard {
	present := in.role.Shard(string(user))
	if before := in.role.ShardBefore(string(user)); before != nil {
		return []*redisx.Shard{before, present}
	}
	return []*redisx.Shard{present}
}

// atHomes calls f for every home, at once, and waits.
func (in *Inbox) atHomes(homes []*redisx.Shard, f func(i int, shard *redisx.Shard)) {
	if len(homes) == 1 {
		f(0, homes[0])
		return
	}
	var calls sync.WaitGroup
	for i, shard := range homes {
		calls.Go(func() { f(i, shard) })
	}
	calls.Wait()
}

// fail counts a failure and marks one of Redis as hub.ErrUnavailable.
func (in *Inbox) fail(operation string, err error) error {
	in.metrics.failures.WithLabelValues(operation).Inc()
	if errors.Is(err, redisx.ErrUnavailable) && !errors.Is(err, hub.ErrUnavailable) {
		return fmt.Errorf("%w: %w", hub.ErrUnavailable, err)
	}
	return err
}
