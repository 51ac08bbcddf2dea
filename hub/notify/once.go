package notify

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/outage"
	"github.com/homing/homing/redisx"
)

const (
	// onceKept is how long a finished request is remembered.
	onceKept = 5 * time.Minute
	// onceLease is how long a pending claim stands that its server does not
	// renew. It outlasts a failover, so that what was pending before one is
	// pending after it.
	onceLease = 5 * time.Second
	// onceRenew is how often a claim is renewed while its request is served;
	// as a rule that is over before the first time.
	onceRenew = time.Second
	// onceLongest is how long a claim is renewed at most, which is longer
	// than any request may take.
	onceLongest = 30 * time.Second
	// onceMargin is how much earlier than its lease a claim counts as lapsed.
	onceMargin = time.Second
)

//go:embed lua/settle.lua
var settleSource string

var settleScript = redis.NewScript(settleSource)

// errUnclaimed marks the end of a request that holds no claim.
var errUnclaimed = errors.New("no claim of this server is open")

// Once remembers requests by their idempotency key, in data Redis, so that a
// caller may repeat a request at any API server and have it done once. It is
// safe for concurrent use; Run must be running.
//
// A pending record is 'p', the 32 bytes of the request's fingerprint, the id of
// the server that serves it and the number of its attempt. A finished one is
// 'd', the fingerprint and the reply. The server's id is how a server knows its
// own claims again when it was not told that it had made them.
type Once struct {
	cfg     OnceConfig
	redis   *redisx.Redis
	keys    hub.Keys
	self    hub.ProcessID
	metrics onceMetrics
	kick    chan struct{} // holds 1: look at the claims now
	tasks   sync.WaitGroup

	mu       sync.Mutex
	attempts uint64
	claims   map[string]*claim // by Redis key; what is served now, and what is not settled
	waiting  int               // claims that are not open
	bytes    int               // of their replies
	working  map[*redisx.Shard]bool
}

// NewOnce returns the store of idempotency keys on r's data Redis. cfg must be
// valid.
func NewOnce(cfg OnceConfig, r *redisx.Redis, keys hub.Keys, reg prometheus.Registerer) *Once {
	o := &Once{
		cfg: cfg, redis: r, keys: keys, self: hub.NewProcessID(), kick: make(chan struct{}, 1),
		claims: make(map[string]*claim), working: make(map[*redisx.Shard]bool),
	}
	o.metrics = newOnceMetrics(reg, o.unsettled)
	return o
}

// Begin claims id, which is unique within scope, for the request that
// fingerprint (a hash of its body) stands for. The reply is set with
// hub.OnceDone only. Who is answered hub.OnceFresh must call Finish or Abort.
//
// A claim whose outcome Redis did not tell is tried once more. If that fails
// too, the claim is released as soon as Redis answers, and a repeat at this
// server does not wait even for that. A *hub.RoomError says that nothing more can
// be remembered now, for scope or for anybody; what is remembered is told all the
// same. Other errors wrap hub.ErrUnavailable when Redis was the cause.
func (o *Once) Begin(ctx context.Context, scope, id string, fingerprint [32]byte) (hub.OnceState, []byte, error) {
	c, state, reply := o.enter(o.keys.Once(scope, id), scope, fingerprint)
	if c == nil {
		return state, reply, nil
	}
	start := time.Now()
	found, err := o.claim(ctx, c)
	if err != nil && inDoubt(err) {
		o.doubt(c)
		start = time.Now()
		found, err = o.claim(ctx, c)
	}
	switch {
	case err != nil:
		o.leave(c)
		return 0, nil, fmt.Errorf("claim idempotency key %q: %w", id, err)
	case found == nil:
		o.hold(c, start)
		return hub.OnceFresh, nil, nil
	}
	o.forget(c)
	state, reply = read(found, fingerprint)
	return state, reply, nil
}

// read says what the record found means for a request.
func read(found []byte, fingerprint [32]byte) (hub.OnceState, []byte) {
	switch {
	case len(found) < 1+len(fingerprint):
		return hub.OnceInFlight, nil
	case [32]byte(found[1:33]) != fingerprint:
		return hub.OnceMismatch, nil
	case found[0] == 'd':
		return hub.OnceDone, found[33:]
	}
	return hub.OnceInFlight, nil
}

// claim tries to put c's record under its key. It returns what another request
// holds there, or nil when c does. What this server left there before, under
// an older attempt or the same, is c's to take.
func (o *Once) claim(ctx context.Context, c *claim) (found []byte, err error) {
	record := o.pending(c.fingerprint, c.attempt)
	quota, full := o.bounds(o.redis.Data.Shard(c.key))
	err = o.write(ctx, c.key, func(ctx context.Context, r *redis.Client) error {
		if full != nil {
			found, err = o.lookOnly(ctx, r, c, full)
			return err
		}
		claimed, err := o.claimNew(ctx, r, c, record, quota)
		if err != nil || claimed {
			return err
		}
		found, err = r.Get(ctx, c.key).Bytes()
		if err != nil && !errors.Is(err, redis.Nil) {
			return err
		}
		if err == nil && !o.own(found) {
			return nil
		}
		reply, err := settleScript.Run(ctx, r, []string{c.key}, o.settleArgs(c.attempt, record, onceLease)...).Result()
		found = nil
		if other, ok := reply.(string); ok {
			found = []byte(other)
		}
		return err
	})
	return found, err
}

// pending is the record of a claim.
func (o *Once) pending(fingerprint [32]byte, attempt uint64) []byte {
	b := append(make([]byte, 0, 64), 'p')
	b = append(b, fingerprint[:]...)
	b = append(b, o.self...)
	return strconv.AppendUint(b, attempt, 10)
}

// own reports whether record is a pending claim of this server.
func (o *Once) own(record []byte) bool {
	const end = 33 + hub.ProcessIDLen
	return len(record) > end && record[0] == 'p' && string(record[33:end]) == string(o.self)
}

// done is the record of a finished request.
func done(fingerprint [32]byte, reply []byte) []byte {
	b := make([]byte, 0, 1+len(fingerprint)+len(reply))
	b = append(b, 'd')
	b = append(b, fingerprint[:]...)
	return append(b, reply...)
}

// inDoubt reports whether a command that failed with err may have been carried
// out all the same.
func inDoubt(err error) bool {
	if _, refused := errors.AsType[*hub.RoomError](err); refused {
		return false
	}
	if _, refused := errors.AsType[redis.Error](err); refused {
		return false
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return false
	}
	for _, unsent := range []error{redisx.ErrNoMaster, redisx.ErrWrongRole, redis.ErrPoolTimeout, redis.ErrPoolExhausted} {
		if errors.Is(err, unsent) {
			return false
		}
	}
	return true
}

// Finish records the reply of a request that Begin found fresh. The caller
// must not change reply afterwards. What cannot be written now is written as
// soon as Redis answers, and known to this server until then; an error says
// that there is too much of that already, or that there is no claim.
func (o *Once) Finish(ctx context.Context, scope, id string, fingerprint [32]byte, reply []byte) error {
	err := o.end(ctx, o.keys.Once(scope, id), fingerprint, claimDone, reply)
	if err != nil {
		return fmt.Errorf("record the reply of idempotency key %q: %w", id, err)
	}
	return nil
}

// Abort gives up a claim whose request failed, so that it may be tried again
// at once. What another request has taken stays. Like Finish it goes on by
// itself when Redis does not answer.
func (o *Once) Abort(ctx context.Context, scope, id string, fingerprint [32]byte) error {
	err := o.end(ctx, o.keys.Once(scope, id), fingerprint, claimReleased, nil)
	if err != nil {
		return fmt.Errorf("give up idempotency key %q: %w", id, err)
	}
	return nil
}

// end writes what becomes of an open claim.
func (o *Once) end(ctx context.Context, key string, fingerprint [32]byte, state claimState, reply []byte) error {
	w, stands, err := o.close(key, fingerprint, state, reply)
	if err != nil {
		return err
	}
	var said any
	err = o.write(ctx, key, func(ctx context.Context, r *redis.Client) (err error) {
		if stands && state == claimDone { // nobody else can have the key
			return o.record(ctx, r, &w)
		}
		said, err = settleScript.Run(ctx, r, []string{key}, o.settleArgs(w.attempt, w.record, w.keep)...).Result()
		return err
	})
	return o.take(w, said, err)
}

// record writes the reply of a request whose claim stands, and charges it.
func (o *Once) record(ctx context.Context, r *redis.Client, w *chore) error {
	_, err := r.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		pipe.Set(ctx, w.key, w.record, w.keep)
		w.charge(ctx, pipe)
		return nil
	})
	return err
}

// settleArgs are those of settle.lua.
func (o *Once) settleArgs(attempt uint64, record []byte, keep time.Duration) []any {
	return []any{string(o.self), attempt, record, keep.Milliseconds()}
}

func (o *Once) write(ctx context.Context, key string, f func(context.Context, *redis.Client) error) error {
	return outage.Mark(o.redis.Data.Shard(key).Write(ctx, f))
}
