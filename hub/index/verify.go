package index

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/outage"
)

// verification is the comparison of a shard with its ledger. There is a reason
// for one when the shard's epoch moved on, so that its last writes may be lost;
// when the lease had lapsed, so that a sweeper may have been here, or the shard
// was emptied; some time after a write has failed, because it may yet arrive,
// after a later one; when the audit met an entry that was wrong; and once more
// after one that found any.
type verification struct {
	epoch  uint64    // of the shard when the last one began
	lapsed bool      // the lease had lapsed since
	found  bool      // the audit has found something since
	doubt  time.Time // begin one then; zero: no write has failed since

	todo []hub.UserID // what is left of the present one; empty: none
	next time.Time    // go on with it then
}

func (v *verification) active() bool { return len(v.todo) > 0 }

// due is when there is something to do, zero for never.
func (v *verification) due() time.Time {
	if v.active() {
		return v.next
	}
	return v.doubt
}

// beginVerifying starts to compare everything when there is a reason, from the
// beginning if a comparison is under way: what it has seen may be lost again.
func (w *shardWriter) beginVerifying(now time.Time) {
	v := &w.verify
	epoch := w.shard.Epoch()
	doubtful := !v.doubt.IsZero() && !now.Before(v.doubt)
	if epoch == v.epoch && !v.lapsed && !v.found && !doubtful {
		return
	}
	v.epoch, v.lapsed, v.found, v.todo, v.next = epoch, false, false, w.ledger.everyone(), now
	if doubtful {
		v.doubt = time.Time{} // one that is not due yet stays
	}
	if v.active() {
		w.g.log.Info("index: verifying", "shard", w.shard.Name(), "epoch", epoch, "users", len(v.todo))
	}
}

// verifySome compares the next few users and queues those that are wrong.
func (w *shardWriter) verifySome(ctx context.Context) error {
	v, start := &w.verify, time.Now()
	users := v.todo[:min(verifyUsers, len(v.todo))]
	wrong, err := w.compare(ctx, users)
	if err != nil {
		return err
	}
	if wrong > 0 && v.doubt.IsZero() { // what takes entries away may not have ended
		v.doubt = start.Add(w.g.timing.doubt)
	}
	v.next = time.Now().Add(max(verifyPause, time.Since(start)))
	if v.todo = v.todo[len(users):]; len(v.todo) == 0 {
		v.todo = nil
		w.g.log.Info("index: verified", "shard", w.shard.Name(), "epoch", v.epoch)
	}
	return nil
}

// compare reads what the shard says of users and queues those whose entries are
// wrong. It returns their number.
func (w *shardWriter) compare(ctx context.Context, users []hub.UserID) (wrong int, err error) {
	names := make([]string, len(users))
	for i, u := range users {
		names[i] = w.g.keys.User(u)
	}
	var values []string
	err = w.shard.Write(ctx, func(ctx context.Context, c *redis.Client) (err error) {
		values, err = mget(ctx, c, names)
		return err
	})
	if err != nil {
		return 0, outage.During("verifying entries", err)
	}
	wrong = w.ledger.compare(users, values, w.g.self.ID)
	w.g.met.verified.Add(float64(len(users)))
	w.g.met.repaired.Add(float64(wrong))
	return wrong, nil
}
