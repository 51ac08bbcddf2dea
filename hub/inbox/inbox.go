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
	"github.com/homing/homing/hub/outage"
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
// payload travels once for all of them. A call that finds much to clear away
// does fewer, so that others wait for a few milliseconds at most.
const scriptUsers = 50

// scriptIDs is how many ids one call of the ack script looks up.
const scriptIDs = 64

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
	room    *room
	log     *slog.Logger
	metrics metrics

	watermark float64
}

// New returns the inboxes on r's inbox shards. cfg must be valid.
func New(cfg Config, r *redisx.Redis, keys hub.Keys, log *slog.Logger, reg prometheus.Registerer) *Inbox {
	return &Inbox{
		cfg: cfg, role: r.Inbox, keys: keys, history: newHistory(r), room: newRoom(log),
		log: log, metrics: newMetrics(reg), watermark: watermark(cfg, r),
	}
}

// Bounded returns an Inbox that shares everything with in, but keeps count
// notifications at a time. It is not run.
func (in *Inbox) Bounded(count int) *Inbox {
	other := *in
	other.cfg.MaxCount = count
	return &other
}

// Store keeps m for each of users, who must be distinct, for ttl, and returns
// when it stands in all their inboxes, at the masters and at all replicas that
// one of them may be replaced by. An inbox that has had m.ID among its last
// MaxCount ids is left as it is, so a Store that failed may be repeated; Store
// does so itself, for a few seconds, when a new master may mend what failed.
//
// A ttl above Config.MaxAge, or not above zero, is an error that wraps
// hub.ErrInvalid. A *hub.RoomError says that a server is above its watermark, or
// that m.Account holds all that it may. On these and other errors some inboxes may
// have it; the others wrap hub.ErrUnavailable when Redis was the cause.
func (in *Inbox) Store(ctx context.Context, users []hub.UserID, m *hub.Stored, ttl time.Duration) error {
	if ttl <= 0 || ttl > in.cfg.MaxAge {
		return hub.Invalid("store", "%v, want more than 0 and at most %v", ttl, in.cfg.MaxAge)
	}
	start := time.Now()
	job := in.storeJob(m, ttl)
	errs := make(chan error, len(in.role.Shards()))
	var calls sync.WaitGroup
	for shard, part := range in.byShard(users) {
		calls.Go(func() { errs <- in.storeOn(ctx, shard, part, job) })
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

// storeJob is one notification on its way into inboxes.
type storeJob struct {
	account hub.Account
	head    []any // arguments of the store script after its keys
	tail    []any // and after the number of users that are not done
}

func (in *Inbox) storeJob(m *hub.Stored, ttl time.Duration) *storeJob {
	var services strings.Builder
	for _, s := range m.Services {
		services.WriteString(string(s) + " ")
	}
	return &storeJob{
		account: m.Account,
		head: []any{
			m.ID, int(m.Class), services.String(), m.Payload, max(1, ttl.Milliseconds()),
			in.cfg.MaxCount, in.cfg.MaxBytes, in.cfg.MaxAge.Milliseconds(),
		},
		tail: in.bounds(m.Account),
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

// storeOn stores for the users of one shard, in tries that begin anew when a new
// master may mend what failed.
func (in *Inbox) storeOn(ctx context.Context, shard *redisx.Shard, users []hub.UserID, job *storeJob) error {
	pause := storePause
	for start := time.Now(); ; in.metrics.retries.Inc() {
		err := in.tryStore(ctx, shard, users, job)
		if refused := refusal(err, job.account.Name); refused != nil {
			in.refuse(shard, refused)
			return refused
		}
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

// refuse counts a refusal for want of room.
func (in *Inbox) refuse(shard *redisx.Shard, why *hub.RoomError) {
	reason := refusedQuota
	if why.Account == "" {
		reason = refusedFull
		in.room.note(shard, why.Detail, time.Now())
	}
	in.metrics.refused.WithLabelValues(reason).Inc()
}

// storeCall is one call of the store script.
type storeCall struct {
	users     []hub.UserID
	remaining int // users that are not done, with those of this call
}

// split makes calls of users.
func split(users []hub.UserID) (calls []storeCall) {
	for len(users) > 0 {
		n := min(scriptUsers, len(users))
		calls = append(calls, storeCall{users: users[:n], remaining: len(users)})
		users = users[n:]
	}
	return calls
}

func (in *Inbox) storeArgs(call storeCall, job *storeJob) []any {
	args := make([]any, 0, 4+3*len(call.users)+len(job.head)+len(job.tail))
	args = append(args, "EVALSHA", storeScript.Hash(), 3*len(call.users))
	for _, u := range call.users {
		args = append(args, in.keys.Inbox(u), in.keys.InboxIDs(u), in.keys.InboxBook(u))
	}
	args = append(args, job.head...)
	args = append(args, call.remaining)
	return append(args, job.tail...)
}

// passing reports whether err is of a kind that a new master mends.
func passing(err error) bool {
	return errors.Is(err, redisx.ErrUnavailable) && !errors.Is(err, redisx.ErrFull) && !errors.Is(err, redisx.ErrMisconfigured)
}

// tryStore stores for users, waits until the replicas have it, and counts it.
// The first call goes alone: when it is refused for want of room, nothing was
// stored. What the others leave undone, so as not to hold up the server, is
// called for again.
func (in *Inbox) tryStore(ctx context.Context, shard *redisx.Shard, users []hub.UserID, job *storeJob) error {
	calls := split(users)
	for first := calls[:min(1, len(calls))]; len(calls) > 0; first = calls {
		left, err := in.storeSome(ctx, shard, first, job)
		if err != nil {
			return err
		}
		calls = append(split(left), calls[len(first):]...)
	}
	return nil
}

// storeSome makes calls in one pipeline and returns the users that they left.
func (in *Inbox) storeSome(ctx context.Context, shard *redisx.Shard, calls []storeCall, job *storeJob) (left []hub.UserID, err error) {
	var cmds []redis.Cmder
	err = shard.WithScript(ctx, storeScript, func() error {
		cmds, err = in.call(ctx, shard, calls, job)
		return err
	})
	if err != nil {
		return nil, err
	}
	for i, c := range cmds {
		if did, ok := c.(*redis.Cmd); ok {
			left = append(left, calls[i].users[in.count(did):]...)
		}
	}
	return left, nil
}

func (in *Inbox) call(ctx context.Context, shard *redisx.Shard, calls []storeCall, job *storeJob) ([]redis.Cmder, error) {
	cmds, err := shard.WriteCopied(ctx, copyWait, func(pipe redis.Pipeliner) {
		for _, c := range calls {
			pipe.Do(ctx, in.storeArgs(c, job)...)
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

// count takes what one call of the store script did, and returns for how many
// users it did.
func (in *Inbox) count(call *redis.Cmd) int {
	did, _ := call.Val().([]any)
	numbers := make([]int64, 4)
	for i := range min(len(did), len(numbers)) {
		numbers[i], _ = did[i].(int64)
	}
	for i, c := range []prometheus.Counter{in.metrics.stored, in.metrics.expired, in.metrics.pushed} {
		c.Add(float64(numbers[i]))
	}
	return int(numbers[3])
}

// Ack removes from user's inbox what the client has acknowledged: the entries
// of class must among ids. Others stay until their time is over or the inbox
// is full. Ids that are not there are no error.
//
// Ack does not wait for replicas. One that a failover undoes brings the entry
// again, under the id that the client has seen.
//
// Each id is looked up by itself, and the inbox is not read: what it costs a
// server does not depend on how much the inbox holds.
func (in *Inbox) Ack(ctx context.Context, user hub.UserID, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	keys := []string{in.keys.Inbox(user), in.keys.InboxIDs(user), in.keys.InboxBook(user)}
	homes := in.homes(user)
	removed, errs := make([]int, len(homes)), make([]error, len(homes))
	in.atHomes(homes, func(i int, shard *redisx.Shard) {
		for some := range slices.Chunk(ids, scriptIDs) {
			n, err := in.ackOn(ctx, shard, keys, some)
			removed[i] += n
			if errs[i] = err; err != nil {
				return
			}
		}
	})
	for _, n := range removed {
		in.metrics.acked.Add(float64(n))
	}
	if err := errors.Join(errs...); err != nil {
		return in.fail(opAck, fmt.Errorf("acknowledge %d notifications of user %s: %w", len(ids), user, err))
	}
	return nil
}

// ackOn removes what is acknowledged of one home.
func (in *Inbox) ackOn(ctx context.Context, shard *redisx.Shard, keys, ids []string) (removed int, err error) {
	args := make([]any, 0, 1+len(ids))
	args = append(args, in.keys.InboxAccounts())
	for _, id := range ids {
		args = append(args, id)
	}
	err = shard.Write(ctx, func(ctx context.Context, c *redis.Client) (err error) {
		removed, err = ackScript.Run(ctx, c, keys, args...).Int()
		return err
	})
	return removed, err
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
	if _, refused := errors.AsType[*hub.RoomError](err); refused {
		return err // counted where it was refused
	}
	in.metrics.failures.WithLabelValues(operation).Inc()
	return outage.Mark(err)
}
