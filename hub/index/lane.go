package index

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/lease"
	"github.com/homing/homing/hub/outage"
	"github.com/homing/homing/redisx"
)

const (
	// roundUsers bounds what one round trip writes, so that a lease is never
	// late because of a long queue.
	roundUsers = 20 * scriptUsers
	// verifyUsers are compared at a time, with a pause of at least verifyPause
	// in between: a process checks up to 20,000 users a second. When the shard
	// is slow to answer the pause grows with it.
	verifyUsers = 500
	verifyPause = 25 * time.Millisecond
	// keepDeparted is how long a written removal may turn out to be lost: far
	// longer than a replica may lag behind and still be promoted.
	keepDeparted = 30 * time.Second
	// maxWaiting bounds the callbacks that wait for a shard that is away.
	maxWaiting = 1 << 16
	// After a failure the next attempt comes after backoffLeast, doubled each
	// time up to backoffMost; at once when the shard has changed.
	backoffLeast = 25 * time.Millisecond
	backoffMost  = 200 * time.Millisecond
)

// lane brings one data shard to what the ledger says. One goroutine does
// everything in turn: renew the lease, write queued changes, verify. So what
// is verified is never at the same time on its way.
type lane struct {
	// static
	g      *Registrar
	shard  *redisx.Shard
	lead   bool // the shard where leases are judged
	ledger ledger
	wake   chan struct{} // a token: something was queued

	// owned by run
	round    round
	failures int       // in a row
	warned   bool      // of them
	renewAt  time.Time // when the next renewal is due
	stood    bool      // the lease has been taken
	pending  int       // this lane's share of the gauge
	verify   verification
	audit    audit
	alone    time.Time // since when no replica was fit to be read from; zero: one is
}

func newLane(g *Registrar, shard *redisx.Shard, lead bool) *lane {
	return &lane{g: g, shard: shard, lead: lead, wake: make(chan struct{}, 1)}
}

func (l *lane) kick() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// errDone ends a lane that has taken everything out, or may write no more.
var errDone = errors.New("done")

// run works until ctx ends or everything has been taken out. Entries are
// written only once the lease has stood, so that whoever meets one can tell
// whether its process lives.
func (l *lane) run(ctx context.Context) {
	if !l.lead {
		select {
		case <-l.g.leased:
		case <-ctx.Done():
			return
		}
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	defer func() { l.gauge(0) }()
	for {
		changed := l.shard.Changed()
		wait, err := l.work(ctx)
		if ctx.Err() != nil || errors.Is(err, errDone) {
			return
		}
		wake := l.wake
		if wait = l.outcome(wait, err); err != nil {
			wake = nil // one more change is no reason to try again sooner
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-wake:
		case <-changed:
		}
	}
}

// outcome counts failures in a row and returns how long to wait.
func (l *lane) outcome(wait time.Duration, err error) time.Duration {
	if err == nil {
		if l.warned {
			l.g.log.Info("index: registering works again", "shard", l.shard.Name(), "failures", l.failures)
		}
		l.failures, l.warned = 0, false
		return wait
	}
	if !l.warned && !errors.Is(err, redisx.ErrNotAsked) {
		l.warned = true
		l.g.log.Warn("index: registering fails; trying again", "shard", l.shard.Name(), "err", err)
	}
	for _, done := range l.ledger.giveUp(maxWaiting) {
		done(outage.During("index: registering", err))
	}
	backoff := min(backoffLeast<<min(l.failures, 10), backoffMost)
	l.failures++
	return jittered(backoff)
}

// work does what is due and returns how long there is nothing more to do. A
// process that is given up writes nothing more: its entries are not its own any
// longer.
func (l *lane) work(ctx context.Context) (time.Duration, error) {
	if l.g.stands.Lost() != "" {
		return 0, errDone
	}
	now := time.Now()
	if l.shard.Epoch() != l.verify.epoch || !now.Before(l.renewAt) {
		if err := l.renew(ctx, now); err != nil {
			return 0, err
		}
	}
	l.beginVerifying(now)
	if err := l.flush(ctx); err != nil {
		return 0, err
	}
	if l.verify.active() && !now.Before(l.verify.next) {
		if err := l.verifySome(ctx); err != nil {
			return 0, err
		}
	}
	if l.ledger.pending() > 0 {
		return 0, nil
	}
	if !l.verify.active() && !now.Before(l.audit.next) {
		if err := l.auditSome(ctx, now); err != nil {
			return 0, err
		}
		l.beginVerifying(now)
	}
	if l.g.closing.Load() {
		if err := l.leave(ctx); err != nil {
			return 0, err
		}
	}
	return l.idle(), nil
}

// idle is how long until something is due of itself.
func (l *lane) idle() time.Duration {
	due := l.renewAt
	if !l.verify.active() && l.audit.next.Before(due) {
		due = l.audit.next
	}
	if t := l.verify.due(); !t.IsZero() && t.Before(due) {
		due = t
	}
	return max(0, time.Until(due))
}

// renew makes the lease stand for another period. It may find that the process
// was declared dead.
func (l *lane) renew(ctx context.Context, now time.Time) error {
	g := l.g
	mark := g.stands.Mark()
	var found lease.Renewal
	err := l.shard.Write(ctx, func(ctx context.Context, c *redis.Client) (err error) {
		found, err = lease.Renew(ctx, c, g.keys, g.describe(), l.lead, g.timing.lease.Period, now)
		return err
	})
	if err != nil {
		g.met.renewErrors.Inc()
		return outage.During("renewing the lease", err)
	}
	if found == lease.RenewedDead {
		g.stands.Disown()
		return errDone
	}
	if l.stood && found == lease.RenewedLapsed {
		g.log.Warn("index: the lease had lapsed", "shard", l.shard.Name())
		l.verify.lapsed = true
	}
	l.renewAt = now.Add(g.timing.renew)
	l.ledger.forgetDepartures(now.Add(-keepDeparted))
	if l.lead {
		g.stands.Believed(mark)
		if !l.stood {
			close(g.leased)
		}
	}
	l.stood = true
	return nil
}

// flush writes one round of queued changes. When Redis has no room for it, the
// removals that are queued are written on their own: who has left must not stay
// because somebody else cannot come.
func (l *lane) flush(ctx context.Context) error {
	l.ledger.take(&l.round, roundUsers)
	err := l.writeRound(ctx)
	if errors.Is(err, redisx.ErrFull) {
		l.ledger.takeRemovals(&l.round, roundUsers)
		_ = l.writeRound(ctx) // the next round finds it again; what fails is the round above
	}
	return err
}

// writeRound writes the round taken. On failure its changes are queued again:
// an entry is replaced whole, so writing it twice does no harm.
func (l *lane) writeRound(ctx context.Context) error {
	l.gauge(l.ledger.pending())
	if len(l.round.users) > 0 {
		start := time.Now()
		err := l.put(ctx)
		if err != nil {
			l.ledger.putBack(&l.round)
			l.g.met.flushErrors.Inc()
			l.verify.doubt = time.Now().Add(l.g.timing.doubt)
			return outage.During("writing entries", err)
		}
		l.g.met.flushSeconds.Observe(time.Since(start).Seconds())
		l.g.met.written(&l.round)
	}
	l.ledger.settle(&l.round, time.Now())
	l.round.finish()
	l.gauge(l.ledger.pending())
	return nil
}

const (
	// copyLimit is how long replicas may take to have a round: a little longer
	// than one that is still read from may lag.
	copyLimit = 1500 * time.Millisecond
	// aloneAfter is how long no replica may be fit to be read from before rounds
	// do not wait for any: longer than another master takes to be found.
	aloneAfter = 2 * time.Second
)

// put writes l.round and returns when every replica that may be read from has
// it, so that whoever has read hello is found there, and after a failover too.
// When no replica has been fit to be read from for a while, look-ups go to the
// master, and it does not wait.
func (l *lane) put(ctx context.Context) error {
	err := l.shard.WithScript(ctx, putScript, func() error { return l.putCopied(ctx) })
	if errors.Is(err, redisx.ErrNotCopied) && l.isAlone(time.Now()) {
		return nil
	}
	return err
}

func (l *lane) putCopied(ctx context.Context) error {
	limit := copyLimit
	if l.isAlone(time.Now()) {
		limit = 0
	}
	_, err := l.shard.WriteCopied(ctx, limit, func(pipe redis.Pipeliner) { l.queue(ctx, pipe) })
	return err
}

// isAlone reports whether no replica has been fit to be read from for a while.
func (l *lane) isAlone(now time.Time) bool {
	switch fit := slices.ContainsFunc(l.shard.Nodes(), func(n redisx.Node) bool { return n.Role == redisx.Replica && n.Healthy }); {
	case fit:
		l.alone = time.Time{}
	case l.alone.IsZero():
		l.alone = now
	}
	return !l.alone.IsZero() && now.Sub(l.alone) >= aloneAfter
}

// queue puts the writes of l.round into pipe.
func (l *lane) queue(ctx context.Context, pipe redis.Pipeliner) {
	users, holds := l.round.users, l.round.holds
	for len(users) > 0 {
		n := callUsers(holds)
		pipe.Do(ctx, l.putArgs(users[:n], holds[:n])...)
		users, holds = users[n:], holds[n:]
	}
}

// callUsers is of how many users one call of the script writes holds: of fewer
// when they are long, because a user has connections of many services.
func callUsers(holds []string) (n int) {
	for bytes := 0; n < min(scriptUsers, len(holds)); n++ {
		if bytes += len(holds[n]); n > 0 && bytes > scriptBytes {
			break
		}
	}
	return n
}

func (l *lane) putArgs(users []hub.UserID, holds []string) []any {
	args := make([]any, 0, 4+2*len(users))
	args = append(args, "EVALSHA", putScript.Hash(), len(users))
	for _, user := range users {
		args = append(args, l.g.keys.User(user))
	}
	args = append(args, string(l.g.self.ID))
	for i := range holds {
		args = append(args, &holds[i])
	}
	return args
}

// leave takes the lease out once this lane has nothing left to write. The
// lead shard's lane is the last: while others still write, the process must live.
func (l *lane) leave(ctx context.Context) error {
	g := l.g
	if l.lead && g.draining.Load() > 1 {
		return nil // the last of the others kicks
	}
	err := l.shard.Write(ctx, func(ctx context.Context, c *redis.Client) error {
		return lease.Leave(ctx, c, g.keys, g.self.ID, l.lead)
	})
	if err != nil {
		return outage.During("removing the lease", err)
	}
	g.draining.Add(-1)
	g.lanes[g.data.Lead()].kick()
	return errDone
}

// gauge makes n this lane's share of the pending changes.
func (l *lane) gauge(n int) {
	l.g.met.pending.Add(float64(n - l.pending))
	l.pending = n
}

// fail calls back everybody who still waits.
func (l *lane) fail(err error) {
	l.ledger.refuse()
	for _, done := range l.ledger.giveUp(0) {
		done(err)
	}
}
