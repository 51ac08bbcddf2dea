package index

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
)

// request asks for a verification at t, unless one is due earlier.
func (v *verification) request(t time.Time) {
	if v.at.IsZero() || t.Before(v.at) {
		v.at = t
	}
}

// beginVerifying starts to compare everything when there is a reason, from the
// beginning if a comparison is under way: what it has seen may be lost again.
func (l *lane) beginVerifying(now time.Time) {
	v := &l.verify
	epoch := l.shard.Epoch()
	if epoch == v.epoch && (v.at.IsZero() || now.Before(v.at)) {
		return
	}
	*v = verification{epoch: epoch, todo: l.ledger.everyone(), next: now, active: true}
}

// verifySome compares the next few users and queues those that are wrong.
func (l *lane) verifySome(ctx context.Context) error {
	v, start := &l.verify, time.Now()
	users := v.todo[:min(verifyUsers, len(v.todo))]
	names := make([]string, len(users))
	for i, u := range users {
		names[i] = l.g.keys.User(u)
	}
	var values []string
	err := l.shard.Write(ctx, func(ctx context.Context, c *redis.Client) (err error) {
		values, err = mget(ctx, c, names)
		return err
	})
	if err != nil {
		return unavailable("verifying entries", err)
	}
	wrong := l.ledger.compare(users, values, l.g.self.ID)
	v.wrong += wrong
	l.g.met.verified.Add(float64(len(users)))
	l.g.met.repaired.Add(float64(wrong))
	v.todo = v.todo[len(users):]
	v.next = time.Now().Add(max(verifyPause, time.Since(start)))
	if len(v.todo) > 0 {
		return nil
	}
	l.g.log.Info("index: verified", "shard", l.shard.Name(), "epoch", v.epoch, "repaired", v.wrong)
	v.active, v.todo, v.wrong = false, nil, 0
	return nil
}
