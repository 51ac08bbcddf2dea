package host

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/outage"
	"github.com/homing/homing/redisx"
)

// checkpointKept is how long a checkpoint stands that is not renewed.
const checkpointKept = time.Hour

// redisStore keeps checkpoints in the inbox role.
type redisStore struct {
	inbox *redisx.Role
	keys  hub.Keys
}

// NewStore returns a Store in r's inbox role.
func NewStore(r *redisx.Redis, keys hub.Keys) Store { return &redisStore{r.Inbox, keys} }

func (s *redisStore) Save(ctx context.Context, room string, checkpoint []byte) error {
	return s.write(ctx, room, func(ctx context.Context, c *redis.Client, key string) error {
		return c.Set(ctx, key, checkpoint, checkpointKept).Err()
	})
}

func (s *redisStore) Load(ctx context.Context, room string) (checkpoint []byte, err error) {
	err = s.write(ctx, room, func(ctx context.Context, c *redis.Client, key string) (err error) {
		checkpoint, err = c.Get(ctx, key).Bytes()
		if errors.Is(err, redis.Nil) {
			return nil
		}
		return err
	})
	return checkpoint, err
}

func (s *redisStore) Drop(ctx context.Context, room string) error {
	return s.write(ctx, room, func(ctx context.Context, c *redis.Client, key string) error {
		return c.Del(ctx, key).Err()
	})
}

// write asks the master, which has the newest.
func (s *redisStore) write(ctx context.Context, room string, f func(ctx context.Context, c *redis.Client, key string) error) error {
	err := s.inbox.Shard("room:"+room).Write(ctx, func(ctx context.Context, c *redis.Client) error {
		return f(ctx, c, s.keys.RoomCheckpoint(room))
	})
	if err != nil {
		return outage.During("a checkpoint", err)
	}
	return nil
}
