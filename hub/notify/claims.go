package notify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/redisx"
)

const (
	//bound:claims

	// claimsKept bounds the claims that wait for Redis to be settled, and
	// claimBytes their replies. Beyond it a claim lapses by itself.
	claimsKept = 10_000
	claimBytes = 16 << 20
	// claimBatch is how many claims one pipeline settles.
	claimBatch = 256
	// claimPause is the first pause between two tries to settle a claim. It
	// doubles, up to claimPauseMost while Redis does not answer and up to
	// claimWatch once it has: then it is for claims that are carried out late.
	claimPause     = 25 * time.Millisecond
	claimPauseMost = 200 * time.Millisecond
	claimWatch     = time.Second
)

// errClaims is why the outcome of a request could not be remembered.
var errClaims = errors.New("too many idempotency keys wait for redis")

// claimState says what is to become of the pending record in Redis.
type claimState uint8

const (
	claimOpen     claimState = iota // it stands while its request is served
	claimReleased                   // it goes, if it is there
	claimDone                       // it makes room for the reply
)

// claim is what this server knows of one idempotency key. Its fields are
// guarded by Once.mu, but those that do not change while it is open are read
// by the request that holds it.
type claim struct {
	key         string
	scope       string
	account     string // Redis key of what the scope's records take
	fingerprint [32]byte
	attempt     uint64
	state       claimState
	reply       []byte // of claimDone

	doubt bool          // a command that claims the key may be carried out yet
	busy  bool          // somebody is settling it
	late  bool          // it is counted among those that wait
	heard bool          // Redis has answered since it was released
	sure  time.Time     // until then the record certainly stands
	since time.Time     // when it came into its state
	next  time.Time     // when to settle or renew it; zero: never
	pause time.Duration // before the next try
}

// chore is what there is to write for one claim.
type chore struct {
	key     string
	account string
	attempt uint64
	state   claimState
	record  []byte // empty: delete the key
	keep    time.Duration
	start   time.Time
}

// enter opens a claim of key, or says what this server knows of the key
// already. A claim that is to be released is the new request's to take over.
func (o *Once) enter(key, scope string, fingerprint [32]byte) (*claim, hub.OnceState, []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	c := o.claims[key]
	switch {
	case c == nil:
		c = &claim{key: key}
		o.claims[key] = c
	case c.state == claimReleased:
		o.unlateLocked(c)
		c.doubt = true // its record may stand yet
		o.metrics.taken.Inc()
	case c.fingerprint != fingerprint:
		return nil, hub.OnceMismatch, nil
	case c.state == claimDone:
		return nil, hub.OnceDone, c.reply
	default:
		return nil, hub.OnceInFlight, nil
	}
	o.attempts++
	*c = claim{
		key: key, scope: scope, account: o.keys.OnceAccount(scope),
		fingerprint: fingerprint, attempt: o.attempts, doubt: c.doubt, since: time.Now(),
	}
	return c, hub.OnceFresh, nil
}

// doubt notes that Redis did not say whether it carried a claim out.
func (o *Once) doubt(c *claim) {
	o.metrics.doubtful.Inc()
	o.mu.Lock()
	defer o.mu.Unlock()
	c.doubt = true
}

// hold notes that c's record stands since it was asked for at start.
func (o *Once) hold(c *claim, start time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	c.sure, c.next = start.Add(onceLease-onceMargin), start.Add(onceRenew)
}

// forget drops a claim that did not come about.
func (o *Once) forget(c *claim) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.claims, c.key)
}

// leave ends an attempt that failed. When its record may stand in Redis it is
// released.
func (o *Once) leave(c *claim) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !c.doubt {
		delete(o.claims, c.key)
		return
	}
	c.state, c.since = claimReleased, time.Now()
	_ = o.laterLocked(c) // when there are too many it lapses
}

// close takes an open claim to its last state. stands says that its record is
// certainly there. The caller settles the chore and then calls take.
func (o *Once) close(key string, fingerprint [32]byte, state claimState, reply []byte) (w chore, stands bool, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	c := o.claims[key]
	if c == nil || c.state != claimOpen || c.fingerprint != fingerprint {
		return chore{}, false, errUnclaimed
	}
	now := time.Now()
	stands = now.Before(c.sure)
	c.state, c.reply, c.since, c.busy, c.doubt = state, reply, now, true, false
	return o.choreLocked(c, now), stands, nil
}

// choreLocked says what there is to write for c.
func (o *Once) choreLocked(c *claim, now time.Time) chore {
	w := chore{key: c.key, account: c.account, attempt: c.attempt, state: c.state, start: now}
	switch c.state {
	case claimOpen:
		w.record, w.keep = o.pending(c.fingerprint, c.attempt), onceLease
	case claimDone:
		w.record, w.keep = done(c.fingerprint, c.reply), onceKept
	case claimReleased:
	}
	return w
}

// take takes in what Redis said to a chore: nothing or a number when it was
// done, else the record that stands. It returns an error only when the claim
// cannot be kept for another try.
func (o *Once) take(w chore, said any, err error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	c := o.claims[w.key]
	if c == nil || c.attempt != w.attempt || c.state != w.state {
		return nil // another request has taken it over
	}
	c.busy = false
	other, held := said.(string)
	switch {
	case err != nil:
		return o.laterLocked(c)
	case held && other != string(w.record):
		o.metrics.lost.Inc()
		c.sure, c.next = time.Time{}, time.Time{}
		o.dropLocked(c)
	case c.state == claimOpen:
		o.metrics.renewed.Inc()
		c.sure, c.next = w.start.Add(onceLease-onceMargin), w.start.Add(onceRenew)
	case c.doubt: // another command that claims it may be on its way
		if said == int64(1) {
			o.countLocked(c)
		}
		c.heard = true
		c.wait(claimWatch)
	default:
		o.countLocked(c)
		o.dropLocked(c)
	}
	return nil
}

// countLocked counts a claim that was settled after its request had ended.
func (o *Once) countLocked(c *claim) {
	switch {
	case !c.late:
	case c.state == claimDone:
		o.metrics.finished.Inc()
	default:
		o.metrics.released.Inc()
	}
}

// dropLocked forgets a claim, unless its request is served still.
func (o *Once) dropLocked(c *claim) {
	if c.state == claimOpen {
		return
	}
	o.unlateLocked(c)
	delete(o.claims, c.key)
}

// laterLocked has c tried again soon.
func (o *Once) laterLocked(c *claim) error {
	if !c.late && c.state != claimOpen {
		if o.waiting >= claimsKept || o.bytes+len(c.reply) > claimBytes {
			o.metrics.given.Inc()
			o.dropLocked(c)
			return errClaims
		}
		c.late = true
		o.waiting++
		o.bytes += len(c.reply)
		o.wake()
	}
	c.wait(claimPauseMost)
	return nil
}

func (o *Once) unlateLocked(c *claim) {
	if c.late {
		c.late = false
		o.waiting--
		o.bytes -= len(c.reply)
	}
}

// wait sets the time of the next try. The first is at once.
func (c *claim) wait(most time.Duration) {
	c.next = time.Now().Add(c.pause)
	c.pause = max(claimPause, min(most, 2*c.pause))
}

// unsettled is how many claims wait for Redis.
func (o *Once) unsettled() float64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return float64(o.waiting)
}

func (o *Once) wake() {
	select {
	case o.kick <- struct{}{}:
	default:
	}
}

// Run renews the claims of requests that last, and settles those that could
// not be settled when their requests ended, until ctx ends.
func (o *Once) Run(ctx context.Context) error {
	defer o.tasks.Wait()
	for {
		pause := time.NewTimer(o.round(ctx))
		select {
		case <-ctx.Done():
			pause.Stop()
			return nil
		case <-o.kick:
			pause.Stop()
		case <-pause.C:
		}
	}
}

// round starts to settle what is due, with one goroutine for each shard, and
// returns how long to wait for more.
func (o *Once) round(ctx context.Context) time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	for shard, work := range o.dueLocked(time.Now()) {
		o.working[shard] = true
		o.tasks.Go(func() { o.settle(ctx, shard, work) })
	}
	if o.waiting > 0 {
		return claimPause
	}
	return onceRenew / 2
}

// dueLocked gathers what is due on the shards that nobody works on.
func (o *Once) dueLocked(now time.Time) map[*redisx.Shard][]chore {
	due := make(map[*redisx.Shard][]chore)
	for _, c := range o.claims {
		if c.busy || c.next.IsZero() || now.Before(c.next) {
			continue
		}
		if now.Sub(c.since) > c.patience() {
			o.expireLocked(c)
			continue
		}
		shard := o.redis.Data.Shard(c.key)
		if o.working[shard] || len(due[shard]) == claimBatch {
			continue
		}
		c.busy = true
		due[shard] = append(due[shard], o.choreLocked(c, now))
	}
	return due
}

// patience is how long a claim is renewed, or tried to be settled: for as long
// as its record could stand.
func (c *claim) patience() time.Duration {
	switch c.state {
	case claimOpen:
		return onceLongest
	case claimDone:
		return onceKept
	case claimReleased:
	}
	return onceLease
}

// expireLocked gives a claim up that has waited for too long.
func (o *Once) expireLocked(c *claim) {
	c.next = time.Time{}
	if c.state != claimOpen && !c.heard {
		o.metrics.given.Inc()
	}
	o.dropLocked(c)
}

// settle does the chores on one shard.
func (o *Once) settle(ctx context.Context, shard *redisx.Shard, work []chore) {
	cmds := make([]*redis.Cmd, len(work))
	err := shard.WithScript(ctx, settleScript, func() error {
		return shard.Write(ctx, func(ctx context.Context, r *redis.Client) error { return o.run(ctx, r, work, cmds) })
	})
	for i, w := range work {
		said, failed := any(nil), err
		if cmds[i] != nil {
			said, failed = cmds[i].Result()
		}
		_ = o.take(w, said, failed) // it has its place among those that wait already
	}
	o.mu.Lock()
	delete(o.working, shard)
	o.mu.Unlock()
}

// run calls the script for each of work, in one pipeline.
func (o *Once) run(ctx context.Context, r *redis.Client, work []chore, cmds []*redis.Cmd) error {
	pipe := r.Pipeline()
	for i, w := range work {
		cmds[i] = pipe.EvalSha(ctx, settleScript.Hash(), []string{w.key}, o.settleArgs(w.attempt, w.record, w.keep)...)
		w.charge(ctx, pipe)
	}
	_, err := pipe.Exec(ctx)
	return err
}

// Flush waits until every claim is settled that its request could not settle,
// or ctx ends; then the error says how many are not. It is for a server that
// stops and serves no more. Run must be running.
func (o *Once) Flush(ctx context.Context) error {
	for {
		n := o.unheard()
		if n == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d idempotency keys not settled: %w", n, ctx.Err())
		case <-time.After(claimPause):
		}
	}
}

// unheard counts the claims that wait for their first answer of Redis.
func (o *Once) unheard() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := 0
	for _, c := range o.claims {
		if c.late && !c.heard {
			n++
		}
	}
	return n
}
