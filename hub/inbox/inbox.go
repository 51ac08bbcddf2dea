package inbox

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
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

	storeScript = redis.NewScript(storeSource)
	ackScript   = redis.NewScript(ackSource)
)

// scriptUsers is how many users one call of the store script handles: the
// payload travels once for all of them, and others wait for about a
// millisecond at most.
const scriptUsers = 50

// replicaWait is how long a Store waits for a replica to have it.
const replicaWait = 200 * time.Millisecond

// errNotCopied is why a Store fails that the master took and no replica has.
var errNotCopied = fmt.Errorf("%w: no replica has confirmed the write", redisx.ErrUnavailable)

// Inbox keeps notifications for users. It is safe for concurrent use and needs
// no goroutine. Everything goes through the masters: a replica may lack what
// has just been stored.
type Inbox struct {
	cfg     Config
	role    *redisx.Role
	keys    hub.Keys
	metrics metrics
}

// New returns the inboxes on r's inbox shards. cfg must be valid.
func New(cfg Config, r *redisx.Redis, keys hub.Keys, reg prometheus.Registerer) *Inbox {
	return &Inbox{cfg: cfg, role: r.Inbox, keys: keys, metrics: newMetrics(reg)}
}

// Store keeps m for each of users, who must be distinct, for ttl, and returns
// when it stands in all their inboxes. An inbox that has had m.ID among its
// last MaxCount ids is left as it is, so a Store that failed may be repeated.
// Where there are replicas it waits for one to have it, so that a failover
// keeps it.
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
	if replicated(shard) {
		calls = append(calls, []any{"WAIT", 1, replicaWait.Milliseconds()})
	}
	return shard.Write(ctx, func(ctx context.Context, c *redis.Client) error {
		err := in.call(ctx, c, calls)
		if redis.HasErrorPrefix(err, "NOSCRIPT") {
			if err := storeScript.Load(ctx, c).Err(); err != nil {
				return err
			}
			err = in.call(ctx, c, calls)
		}
		return err
	})
}

// replicated reports whether the shard has a replica that can confirm writes.
func replicated(shard *redisx.Shard) bool {
	return slices.ContainsFunc(shard.Nodes(), func(n redisx.Node) bool {
		return n.Role == redisx.Replica && n.Healthy
	})
}

// call runs store scripts, and perhaps WAIT, in one pipeline and counts what
// they did.
func (in *Inbox) call(ctx context.Context, c *redis.Client, calls [][]any) error {
	replies, err := c.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for _, args := range calls {
			pipe.Do(ctx, args...)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, r := range replies {
		switch n := r.(*redis.Cmd).Val().(type) {
		case []any: // of the script
			in.count(n)
		case int64: // of WAIT
			if n == 0 {
				err = errNotCopied
			}
		}
	}
	return err
}

// count takes what one call of the store script did.
func (in *Inbox) count(did []any) {
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
func (in *Inbox) Ack(ctx context.Context, user hub.UserID, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	keys := []string{in.keys.Inbox(user), in.keys.InboxIDs(user), in.keys.InboxBook(user)}
	args := make([]any, len(ids))
	for i, id := range ids {
		args[i] = id
	}
	var removed int
	err := in.role.Shard(string(user)).Write(ctx, func(ctx context.Context, c *redis.Client) (err error) {
		removed, err = ackScript.Run(ctx, c, keys, args...).Int()
		return err
	})
	if err != nil {
		return in.fail(opAck, fmt.Errorf("acknowledge %d notifications of user %s: %w", len(ids), user, err))
	}
	in.metrics.acked.Add(float64(removed))
	return nil
}

// fail counts a failure and marks one of Redis as hub.ErrUnavailable.
func (in *Inbox) fail(operation string, err error) error {
	in.metrics.failures.WithLabelValues(operation).Inc()
	if errors.Is(err, redisx.ErrUnavailable) && !errors.Is(err, hub.ErrUnavailable) {
		return fmt.Errorf("%w: %w", hub.ErrUnavailable, err)
	}
	return err
}
