package notify

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/redisx"
)

const (
	// onceKept is how long a finished request is remembered.
	onceKept = 5 * time.Minute
	// onceClaimed is how long a claim outlives a server that died with it.
	// It is longer than any request may take.
	onceClaimed = 30 * time.Second
)

//go:embed abort.lua
var abortSource string

var abortScript = redis.NewScript(abortSource)

// Once remembers requests by their idempotency key, in data Redis, so that a
// caller may repeat a request at any API server and have it done once.
//
// A record is one byte ('p' pending, 'd' done), the 32 bytes of the request's
// fingerprint, and, when done, the reply.
type Once struct {
	redis *redisx.Redis
	keys  hub.Keys
}

// NewOnce returns the store of idempotency keys on r's data Redis.
func NewOnce(r *redisx.Redis, keys hub.Keys) *Once { return &Once{redis: r, keys: keys} }

// Begin claims id, which is unique within scope, for the request that
// fingerprint (a hash of its body) stands for. The reply is set with hub.OnceDone
// only. Errors wrap hub.ErrUnavailable when Redis was the cause.
func (o *Once) Begin(ctx context.Context, scope, id string, fingerprint [32]byte) (hub.OnceState, []byte, error) {
	key := o.keys.Once(scope, id)
	var held []byte
	claimed := false
	err := o.write(ctx, key, func(ctx context.Context, c *redis.Client) (err error) {
		claimed, err = c.SetNX(ctx, key, record('p', fingerprint, nil), onceClaimed).Result()
		if err != nil || claimed {
			return err
		}
		held, err = c.Get(ctx, key).Bytes()
		if errors.Is(err, redis.Nil) {
			return nil // it expired in between: as good as in flight
		}
		return err
	})
	switch {
	case err != nil:
		return 0, nil, fmt.Errorf("claim idempotency key %q: %w", id, err)
	case claimed:
		return hub.OnceFresh, nil, nil
	case len(held) < 1+len(fingerprint):
		return hub.OnceInFlight, nil, nil
	case [32]byte(held[1:33]) != fingerprint:
		return hub.OnceMismatch, nil, nil
	case held[0] == 'p':
		return hub.OnceInFlight, nil, nil
	}
	return hub.OnceDone, held[1+len(fingerprint):], nil
}

// Finish records the reply of a request that Begin found fresh.
func (o *Once) Finish(ctx context.Context, scope, id string, fingerprint [32]byte, reply []byte) error {
	key := o.keys.Once(scope, id)
	err := o.write(ctx, key, func(ctx context.Context, c *redis.Client) error {
		return c.Set(ctx, key, record('d', fingerprint, reply), onceKept).Err()
	})
	if err != nil {
		return fmt.Errorf("record the reply of idempotency key %q: %w", id, err)
	}
	return nil
}

// Abort gives up a claim whose request failed, so that it may be tried again
// at once. A claim that lapsed and was taken by another request stays.
func (o *Once) Abort(ctx context.Context, scope, id string, fingerprint [32]byte) error {
	key := o.keys.Once(scope, id)
	err := o.write(ctx, key, func(ctx context.Context, c *redis.Client) error {
		return abortScript.Run(ctx, c, []string{key}, record('p', fingerprint, nil)).Err()
	})
	if err != nil {
		return fmt.Errorf("give up idempotency key %q: %w", id, err)
	}
	return nil
}

func (o *Once) write(ctx context.Context, key string, f func(context.Context, *redis.Client) error) error {
	err := o.redis.Data.Shard(key).Write(ctx, f)
	if errors.Is(err, redisx.ErrUnavailable) {
		return fmt.Errorf("%w: %w", hub.ErrUnavailable, err)
	}
	return err
}

func record(state byte, fingerprint [32]byte, reply []byte) []byte {
	b := make([]byte, 0, 1+len(fingerprint)+len(reply))
	b = append(b, state)
	b = append(b, fingerprint[:]...)
	return append(b, reply...)
}
