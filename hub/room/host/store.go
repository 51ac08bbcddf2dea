package host

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/outage"
	"github.com/homing/homing/redisx"
)

// Store keeps the checkpoints of rooms. Its methods block for a round trip.
type Store interface {
	// Save keeps c instead of an older one, and reports false when a newer one is
	// there.
	Save(ctx context.Context, room string, c *Checkpoint) (saved bool, err error)
	// Load returns nil when there is none.
	Load(ctx context.Context, room string) (*Checkpoint, error)
	// Drop drops the checkpoint of a room, unless it is of a later owner than the one
	// with that epoch, or of a room that was made later.
	Drop(ctx context.Context, room string, made time.Time, epoch uint64) error
}

// Checkpoint is a snapshot of a room, and what tells it from others of that id.
type Checkpoint struct {
	Made     time.Time // when the room was, to the millisecond
	Epoch    uint64    // of the owner
	Tick     int64     // of the room
	Snapshot []byte
}

// checkpointKept is how long a checkpoint stands that is not renewed.
const checkpointKept = time.Hour

var (
	//go:embed lua/save.lua
	saveSource string
	//go:embed lua/drop.lua
	dropSource string

	saveScript = redis.NewScript(saveSource)
	dropScript = redis.NewScript(dropSource)
)

// redisStore keeps checkpoints in the inbox role.
type redisStore struct {
	inbox *redisx.Role
	keys  hub.Keys
}

// NewStore returns a Store in r's inbox role.
func NewStore(r *redisx.Redis, keys hub.Keys) Store { return &redisStore{r.Inbox, keys} }

func (s *redisStore) Save(ctx context.Context, room string, c *Checkpoint) (saved bool, err error) {
	err = s.write(ctx, room, func(ctx context.Context, client *redis.Client, keys []string) (err error) {
		saved, err = saveScript.Run(ctx, client, keys, c.Made.UnixMilli(), c.Epoch, c.Tick, c.seal(), checkpointKept.Milliseconds()).Bool()
		return err
	})
	return saved, err
}

func (s *redisStore) Load(ctx context.Context, room string) (c *Checkpoint, err error) {
	err = s.write(ctx, room, func(ctx context.Context, client *redis.Client, keys []string) error {
		b, err := client.Get(ctx, keys[0]).Bytes()
		if errors.Is(err, redis.Nil) {
			return nil
		}
		c = unseal(b)
		return err
	})
	return c, err
}

func (s *redisStore) Drop(ctx context.Context, room string, made time.Time, epoch uint64) error {
	return s.write(ctx, room, func(ctx context.Context, client *redis.Client, keys []string) error {
		return dropScript.Run(ctx, client, keys, made.UnixMilli(), epoch).Err()
	})
}

// write asks the master, which has the newest.
func (s *redisStore) write(ctx context.Context, room string, f func(ctx context.Context, c *redis.Client, keys []string) error) error {
	err := s.inbox.Shard("room:"+room).Write(ctx, func(ctx context.Context, c *redis.Client) error {
		return f(ctx, c, []string{s.keys.RoomCheckpoint(room)})
	})
	if err != nil {
		return outage.During("a checkpoint", err)
	}
	return nil
}

// seal is the checkpoint as bytes; lua/save.lua reads the first line.
func (c *Checkpoint) seal() []byte {
	b := make([]byte, 0, len(c.Snapshot)+64)
	b = fmt.Appendf(b, "%d %d %d\n", c.Made.UnixMilli(), c.Epoch, c.Tick)
	return append(b, c.Snapshot...)
}

// unseal is the checkpoint that b holds; nil: it holds none.
func unseal(b []byte) *Checkpoint {
	head, snapshot, _ := bytes.Cut(b, []byte("\n"))
	var made int64
	c := &Checkpoint{Snapshot: snapshot}
	if n, err := fmt.Sscanf(string(head), "%d %d %d", &made, &c.Epoch, &c.Tick); n != 3 || err != nil {
		return nil
	}
	c.Made = time.UnixMilli(made)
	return c
}
