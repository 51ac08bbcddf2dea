package presence

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/outage"
	"github.com/homing/homing/redisx"
)

// Store keeps lists of friends in data Redis: one string per user, of ids with
// spaces between. It is safe for concurrent use. Errors wrap hub.ErrUnavailable when
// Redis is their cause and trying again may help.
type Store struct {
	data *redisx.Role
	keys hub.Keys
	keep time.Duration
}

// NewStore returns a Store on r's data Redis, which keeps each list for keep.
func NewStore(r *redisx.Redis, keys hub.Keys, keep time.Duration) *Store {
	return &Store{data: r.Data, keys: keys, keep: keep}
}

// copyWait is how long replicas may take to have a list.
const copyWait = time.Second

// Put makes friends, which hub.CheckFriends has passed, the list of user. It returns
// when every replica that may be promoted has it. An empty one is none. A
// *hub.RoomError says that data Redis has no room for more lists.
func (s *Store) Put(ctx context.Context, user hub.UserID, friends []hub.UserID) error {
	if len(friends) == 0 {
		return s.Delete(ctx, user)
	}
	key, list, shard := s.keys.Friends(user), join(friends), s.data.Shard(string(user))
	if err := roomOn(shard); err != nil {
		return err
	}
	_, err := shard.WriteCopied(ctx, copyWait, func(pipe redis.Pipeliner) {
		pipe.Set(ctx, key, list, s.keep)
	})
	if err != nil {
		return outage.During("storing a list of friends", err)
	}
	return s.deleteBefore(ctx, user)
}

const (
	// storeWatermark is the share of a data server's maxmemory above which no more
	// lists are stored, so that idempotency keys and the index keep their room.
	storeWatermark = 0.7
	// storeFullAfter is when to try again: the memory is looked at every ten seconds.
	storeFullAfter = 10 * time.Second
)

// roomOn says why nothing more may be stored on a shard; nil: it may.
func roomOn(shard *redisx.Shard) error {
	for _, n := range shard.Nodes() {
		if used, limit := n.Memory(); n.Role == redisx.Master && limit > 0 && float64(used) > storeWatermark*float64(limit) {
			return &hub.RoomError{Pot: hub.PotFriends, After: storeFullAfter, Detail: fmt.Sprintf("%d of %d bytes of memory are used", used, limit)}
		}
	}
	return nil
}

// Get returns the list of user as a replica has it, nil when there is none.
func (s *Store) Get(ctx context.Context, user hub.UserID) ([]hub.UserID, error) {
	list, err := s.get(ctx, s.data.Shard(string(user)), user)
	if before := s.data.ShardBefore(string(user)); err == nil && list == "" && before != nil {
		list, err = s.get(ctx, before, user)
	}
	if err != nil {
		return nil, outage.During("reading a list of friends", err)
	}
	return split(list), nil
}

func (s *Store) get(ctx context.Context, shard *redisx.Shard, user hub.UserID) (list string, err error) {
	err = shard.Read(ctx, func(ctx context.Context, c *redis.Client) (err error) {
		list, err = c.Get(ctx, s.keys.Friends(user)).Result()
		if errors.Is(err, redis.Nil) {
			return nil
		}
		return err
	})
	return list, err
}

// Delete forgets the list of user.
func (s *Store) Delete(ctx context.Context, user hub.UserID) error {
	_, err := s.data.Shard(string(user)).WriteCopied(ctx, copyWait, func(pipe redis.Pipeliner) {
		pipe.Del(ctx, s.keys.Friends(user))
	})
	if err != nil {
		return outage.During("deleting a list of friends", err)
	}
	return s.deleteBefore(ctx, user)
}

// deleteBefore takes a list out of where it stood before the list of shards changed.
func (s *Store) deleteBefore(ctx context.Context, user hub.UserID) error {
	before := s.data.ShardBefore(string(user))
	if before == nil {
		return nil
	}
	err := before.Write(ctx, func(ctx context.Context, c *redis.Client) error {
		return c.Del(ctx, s.keys.Friends(user)).Err()
	})
	if err != nil {
		return outage.During(fmt.Sprintf("deleting a list of friends on %s", before.Name()), err)
	}
	return nil
}

// join writes a list as one string. No user's id has a space.
func join(list []hub.UserID) string {
	var b strings.Builder
	for i, u := range list {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(string(u))
	}
	return b.String()
}

// split is the inverse of join. It leaves out what is no user's id, and more than
// there may be.
func split(list string) (out []hub.UserID) {
	for one := range strings.FieldsSeq(list) {
		if u := hub.UserID(one); u.Check() == nil && len(out) < hub.MaxFriends {
			out = append(out, u)
		}
	}
	return out
}
