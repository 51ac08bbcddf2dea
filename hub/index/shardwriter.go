package index

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
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

// shardWriter brings one data shard to what the ledger says. One goroutine does
// everything in turn: renew the lease, write queued changes, verify. So what
// is verified is never at the same time on its way.
type shardWriter struct {
	// static
	g      *Registrar
	shard  *redisx.Shard
	lead   bool // the shard where leases are judged
	ledger ledger
	wake   chan struct{} // a token: something was queued
	soon   atomic.Bool   // a wake-up is on its way

	// owned by run
	round    round
	calls    []call    // of the script that the round made; only when moves are told
	failures int       // in a row
	warned   bool      // of them
	renewAt  time.Time // when the next renewal is due
	stood    bool      // the lease has been taken
	pending  int       // this writer's share of the gauge
	verify   verification
	audit    audit
	alone    time.Time // since when no replica was fit to be read from; zero: one is
}

func newShardWriter(g *Registrar, shard *redisx.Shard, lead bool) *shardWriter {
	return &shardWriter{g: g, shard: shard, lead: lead, wake: make(chan struct{}, 1)}
}

func (w *shardWriter) kick() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// gatherFor is how long a change that nobody waits for may wait for others to be
// written with.
const gatherFor = 50 * time.Millisecond

// kickSoon is kick for a change that nobody waits for.
func (w *shardWriter) kickSoon() {
	if w.soon.CompareAndSwap(false, true) {
		time.AfterFunc(gatherFor, func() {
			w.soon.Store(false)
			w.kick()
		})
	}
}

// errDone ends a writer that has taken everything out, or may write no more.
var errDone = errors.New("done")

// run works until ctx ends or everything has been taken out. Entries are
// written only once the lease has stood, so that a reader of one can tell
// whether its process lives.
func (w *shardWriter) run(ctx context.Context) {
	if !w.lead {
		select {
		case <-w.g.leased:
		case <-ctx.Done():
			return
		}
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	defer func() { w.gauge(0) }()
	for {
		changed := w.shard.Changed()
		wait, err := w.work(ctx)
		if ctx.Err() != nil || errors.Is(err, errDone) {
			return
		}
		wake := w.wake
		if wait = w.outcome(wait, err); err != nil {
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
func (w *shardWriter) outcome(wait time.Duration, err error) time.Duration {
	if err == nil {
		if w.warned {
			w.g.log.Info("index: registering works again", "shard", w.shard.Name(), "failures", w.failures)
		}
		w.failures, w.warned = 0, false
		return wait
	}
	if !w.warned && !errors.Is(err, redisx.ErrNotAsked) {
		w.warned = true
		w.g.log.Warn("index: registering fails; trying again", "shard", w.shard.Name(), "err", err)
	}
	for _, done := range w.ledger.giveUp(maxWaiting) {
		done(outage.During("index: registering", err))
	}
	backoff := min(backoffLeast<<min(w.failures, 10), backoffMost)
	w.failures++
	return jittered(backoff)
}

// work does what is due and returns how long there is nothing more to do. A
// process that is given up writes nothing more: its entries are not its own any
// longer.
func (w *shardWriter) work(ctx context.Context) (time.Duration, error) {
	if w.g.stands.Lost() != "" {
		return 0, errDone
	}
	now := time.Now()
	w.ledger.expire(now)
	if w.shard.Epoch() != w.verify.epoch || !now.Before(w.renewAt) {
		if err := w.renew(ctx, now); err != nil {
			return 0, err
		}
	}
	w.beginVerifying(now)
	if err := w.flush(ctx); err != nil {
		return 0, err
	}
	if w.verify.active() && !now.Before(w.verify.next) {
		if err := w.verifySome(ctx); err != nil {
			return 0, err
		}
	}
	if w.ledger.pending() > 0 {
		return 0, nil
	}
	if !w.verify.active() && !now.Before(w.audit.next) {
		if err := w.auditSome(ctx, now); err != nil {
			return 0, err
		}
		w.beginVerifying(now)
	}
	return w.idle(), w.leave(ctx)
}

// idle is how long until something is due of itself.
func (w *shardWriter) idle() time.Duration {
	due := w.renewAt
	if !w.verify.active() && w.audit.next.Before(due) {
		due = w.audit.next
	}
	expires := w.ledger.expires()
	if !expires.IsZero() {
		expires = expires.Add(gatherFor)
	}
	for _, t := range [2]time.Time{w.verify.due(), expires} {
		if !t.IsZero() && t.Before(due) {
			due = t
		}
	}
	return max(0, time.Until(due))
}

// renew makes the lease stand for another period. It may find that the process
// was declared dead.
func (w *shardWriter) renew(ctx context.Context, now time.Time) error {
	g := w.g
	mark := g.stands.Mark()
	var found lease.Renewal
	err := w.shard.Write(ctx, func(ctx context.Context, c *redis.Client) (err error) {
		found, err = lease.Renew(ctx, c, g.keys, g.describe(), w.lead, g.timing.lease.Period, now)
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
	if w.stood && found == lease.RenewedLapsed {
		g.log.Warn("index: the lease had lapsed", "shard", w.shard.Name())
		w.verify.lapsed = true
	}
	w.renewAt = now.Add(g.timing.renew)
	w.ledger.forgetDepartures(now.Add(-keepDeparted))
	if w.lead {
		g.stands.Believed(mark)
		if !w.stood {
			close(g.leased)
		}
	}
	w.stood = true
	return nil
}

// flush writes one round of queued changes. When Redis has no room for it, the
// removals that are queued are written on their own: who has left must not stay
// because somebody else cannot come.
func (w *shardWriter) flush(ctx context.Context) error {
	w.ledger.take(&w.round, roundUsers)
	err := w.writeRound(ctx)
	if errors.Is(err, redisx.ErrFull) {
		w.ledger.takeRemovals(&w.round, roundUsers)
		_ = w.writeRound(ctx) // the next round finds it again; what fails is the round above
	}
	return err
}

// writeRound writes the round taken. On failure its changes are queued again:
// an entry is replaced whole, so writing it twice does no harm.
func (w *shardWriter) writeRound(ctx context.Context) error {
	w.gauge(w.ledger.pending())
	var moves []Moves
	if len(w.round.users) > 0 {
		start := time.Now()
		err := w.put(ctx)
		if err != nil {
			w.ledger.putBack(&w.round)
			w.g.met.flushErrors.Inc()
			w.verify.doubt = time.Now().Add(w.g.timing.doubt)
			return outage.During("writing entries", err)
		}
		w.g.met.flushSeconds.Observe(time.Since(start).Seconds())
		w.g.met.written(&w.round)
		moves = w.movesOf()
	}
	now := time.Now()
	w.ledger.settle(&w.round, now)
	for _, m := range moves { // before those hear of it who wait for the round
		w.ledger.left(m.Left, now)
		w.g.moved(m)
	}
	w.round.finish()
	w.gauge(w.ledger.pending())
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

// put writes w.round and returns when every replica that may be read from has
// it. So a client that has read hello is found there, and after a failover too.
// When no replica has been fit to be read from for a while, look-ups go to the
// master, and it does not wait.
func (w *shardWriter) put(ctx context.Context) error {
	err := w.shard.WithScript(ctx, putScript, func() error { return w.putCopied(ctx) })
	if errors.Is(err, redisx.ErrNotCopied) && w.isAlone(time.Now()) {
		return nil
	}
	return err
}

func (w *shardWriter) putCopied(ctx context.Context) error {
	limit := copyLimit
	if w.isAlone(time.Now()) {
		limit = 0
	}
	_, err := w.shard.WriteCopied(ctx, limit, func(pipe redis.Pipeliner) { w.queue(ctx, pipe) })
	return err
}

// isAlone reports whether no replica has been fit to be read from for a while.
func (w *shardWriter) isAlone(now time.Time) bool {
	switch fit := slices.ContainsFunc(w.shard.Nodes(), func(n redisx.Node) bool { return n.Role == redisx.Replica && n.Healthy }); {
	case fit:
		w.alone = time.Time{}
	case w.alone.IsZero():
		w.alone = now
	}
	return !w.alone.IsZero() && now.Sub(w.alone) >= aloneAfter
}

// queue puts the writes of w.round into pipe.
func (w *shardWriter) queue(ctx context.Context, pipe redis.Pipeliner) {
	users, holds, tells := w.round.users, w.round.holds, w.round.tells
	w.calls = w.calls[:0] // of a try before
	for len(users) > 0 {
		n := callUsers(holds)
		args := w.putArgs(users[:n], holds[:n])
		if len(tells) > 0 {
			args = append(args, string(tells[:n]), "moves")
			w.calls = append(w.calls, call{users[:n], holds[:n], pipe.Do(ctx, args...)})
			tells = tells[n:]
		} else {
			pipe.Do(ctx, args...)
		}
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

func (w *shardWriter) putArgs(users []hub.UserID, holds []string) []any {
	args := make([]any, 0, 7+2*len(users))
	args = append(args, "EVALSHA", putScript.Hash(), len(users))
	for _, user := range users {
		args = append(args, w.g.keys.User(user))
	}
	if w.ledger.linger > 0 {
		args[2] = len(users) + 1
		args = append(args, w.g.keys.Moves())
	}
	args = append(args, string(w.g.self.ID))
	for i := range holds {
		args = append(args, &holds[i])
	}
	return args
}

// leave takes the lease out when the process ends, this writer has nothing left to
// write and nobody lingers. The lead shard's writer is the last: while others still
// write, the process must live.
func (w *shardWriter) leave(ctx context.Context) error {
	g := w.g
	if !w.ledger.isDone() {
		return nil
	}
	if w.lead && g.draining.Load() > 1 {
		return nil // the last of the others kicks
	}
	err := w.shard.Write(ctx, func(ctx context.Context, c *redis.Client) error {
		return lease.Leave(ctx, c, g.keys, g.self.ID, w.lead)
	})
	if err != nil {
		return outage.During("removing the lease", err)
	}
	g.draining.Add(-1)
	g.writers[g.data.Lead()].kick()
	return errDone
}

// gauge makes n this writer's share of the pending changes.
func (w *shardWriter) gauge(n int) {
	w.g.met.pending.Add(float64(n - w.pending))
	w.pending = n
}

// fail calls back everybody who still waits.
func (w *shardWriter) fail(err error) {
	w.ledger.refuse()
	for _, done := range w.ledger.giveUp(0) {
		done(err)
	}
}
