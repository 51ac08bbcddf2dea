package notify

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/redisx"
)

// OnceConfig bounds what remembered requests take of data Redis. The zero value
// sets no bound: kong.ApplyDefaults fills in the defaults.
type OnceConfig struct {
	KeyBytes  int64   `help:"Bytes on each data shard that the remembered requests of one API key may take, for five minutes each; a quarter of the server's maxmemory if that is less. 0: no bound." default:"1073741824"`
	Watermark float64 `help:"Share of a data server's maxmemory above which requests with an id are refused, so that the index keeps its room. 0: no bound." default:"0.8"`
}

// Validate reports the first option that cannot work.
func (c *OnceConfig) Validate() error {
	switch {
	case c.KeyBytes < 0:
		return fmt.Errorf("idempotency.key-bytes: %d: want 0 or more", c.KeyBytes)
	case !(c.Watermark >= 0 && c.Watermark <= 1):
		return fmt.Errorf("idempotency.watermark: %v: want 0 to 1", c.Watermark)
	}
	return nil
}

const (
	// accountStep is how finely an account tells when its records lapse.
	accountStep = 30 * time.Second
	// recordOverhead is what Redis takes for a record beside its key and value.
	recordOverhead = 160
	// onceFullAfter is when to try again what found no room for its id.
	onceFullAfter = 10 * time.Second
)

// An account is a hash beside the records of one scope on one shard: the bytes
// that they take, by when they lapse, in steps of accountStep since 1970.

func step(t time.Time) int64 { return t.Unix() / int64(accountStep/time.Second) }

// taken sums what an account says is taken at now, and lists its fields that
// have lapsed.
func taken(account map[string]string, now time.Time) (sum int64, lapsed []string) {
	for field, value := range account {
		at, err := strconv.ParseInt(field, 10, 64)
		n, err2 := strconv.ParseInt(value, 10, 64)
		if err != nil || err2 != nil || at <= step(now) {
			lapsed = append(lapsed, field)
			continue
		}
		sum += n
	}
	return sum, lapsed
}

// charge puts into pipe what w's record takes. It is called when the record is
// written.
func (w *chore) charge(ctx context.Context, pipe redis.Pipeliner) {
	if w.state != claimDone {
		return
	}
	bytes := int64(len(w.key) + len(w.record) + recordOverhead)
	pipe.HIncrBy(ctx, w.account, strconv.FormatInt(step(w.start.Add(w.keep))+1, 10), bytes)
	pipe.Expire(ctx, w.account, w.keep+2*accountStep)
}

// claimNew tries to put c's record under its key, where nothing may stand, and
// gives it up again when the scope's account has no room for it.
func (o *Once) claimNew(ctx context.Context, r *redis.Client, c *claim, record []byte, quota int64) (claimed bool, err error) {
	pipe := r.Pipeline()
	set := pipe.SetNX(ctx, c.key, record, onceLease)
	account := pipe.HGetAll(ctx, c.account)
	if _, err := pipe.Exec(ctx); err != nil || !set.Val() {
		return false, err
	}
	sum, lapsed := taken(account.Val(), time.Now())
	if len(lapsed) > 0 {
		_ = r.HDel(ctx, c.account, lapsed...).Err() // or another does
	}
	if quota == 0 || sum < quota {
		return true, nil
	}
	o.metrics.refusedQuota.Inc()
	_ = settleScript.Run(ctx, r, []string{c.key}, o.settleArgs(c.attempt, nil, 0)...).Err() // or it lapses
	return false, &hub.RoomError{
		Pot: hub.PotOnce, Account: c.scope, After: accountStep,
		Detail: fmt.Sprintf("%d of %d bytes are taken", sum, quota),
	}
}

// lookOnly is claim at a server that is above its watermark: what is remembered
// is told, and nothing new is.
func (o *Once) lookOnly(ctx context.Context, r *redis.Client, c *claim, full *hub.RoomError) (found []byte, err error) {
	found, err = r.Get(ctx, c.key).Bytes()
	if errors.Is(err, redis.Nil) {
		o.metrics.refusedFull.Inc()
		return nil, full
	}
	return found, err
}

// bounds says what may be remembered on shard: quota is the bytes for one scope,
// 0 without bound, and full is not nil when there is no room for anybody.
func (o *Once) bounds(shard *redisx.Shard) (quota int64, full *hub.RoomError) {
	quota = o.cfg.KeyBytes
	for _, n := range shard.Nodes() {
		used, limit := n.Memory()
		if n.Role != redisx.Master || limit == 0 {
			continue
		}
		if quota > 0 {
			quota = min(quota, limit/4)
		}
		if o.cfg.Watermark > 0 && float64(used) > o.cfg.Watermark*float64(limit) {
			full = &hub.RoomError{
				Pot: hub.PotOnce, After: onceFullAfter,
				Detail: fmt.Sprintf("%d of %d bytes of memory are used", used, limit),
			}
		}
	}
	return quota, full
}
