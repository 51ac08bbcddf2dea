package index

import (
	"context"
	"errors"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/redisx"
)

// ShardCheck is what one data shard can do now.
type ShardCheck struct {
	Shard string
	Read  error // nil: users can be looked up
	Write error // nil: users can be registered, and what is claimed or stored there can be
}

// Check tries a read and a write on every data shard. The write changes
// nothing: it sets a key that is never there, if it is there.
func (ix *Index) Check(ctx context.Context) []ShardCheck {
	checks := make([]ShardCheck, len(ix.shards))
	var all sync.WaitGroup
	for i, sh := range ix.shards {
		all.Go(func() { checks[i] = ix.checkShard(ctx, sh) })
	}
	all.Wait()
	return checks
}

func (ix *Index) checkShard(ctx context.Context, sh *redisx.Shard) ShardCheck {
	c := ShardCheck{Shard: sh.Name()}
	c.Read = sh.Read(ctx, func(ctx context.Context, cl *redis.Client) error {
		return cl.MGet(ctx, ix.keys.User("-")).Err()
	})
	c.Write = sh.Write(ctx, func(ctx context.Context, cl *redis.Client) error {
		err := cl.SetXX(ctx, ix.keys.Turn("none"), 1, 0).Err()
		if errors.Is(err, redis.Nil) {
			return nil
		}
		return err
	})
	return c
}
