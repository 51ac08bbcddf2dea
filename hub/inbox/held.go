package inbox

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/redisx"
)

// Want names one notification of one user.
type Want struct {
	User hub.UserID
	ID   string
}

// Held returns, in the order of wants, the notifications that inboxes still hold:
// nil for one that was acknowledged, has expired, was pushed out or never was there.
// Each is looked up by itself, and no inbox is read. It asks the masters. Errors wrap
// hub.ErrUnavailable when Redis was the cause.
func (in *Inbox) Held(ctx context.Context, wants []Want) ([]*hub.Stored, error) {
	found := make([]*hub.Stored, len(wants))
	parts := make(map[*redisx.Shard][]int)
	for i, w := range wants {
		for _, shard := range in.homes(w.User) {
			parts[shard] = append(parts[shard], i)
		}
	}
	for shard, part := range parts {
		err := shard.Write(ctx, func(ctx context.Context, c *redis.Client) error {
			return in.heldOn(ctx, c, wants, part, found)
		})
		if err != nil {
			return nil, in.fail(opHeld, fmt.Errorf("look %d notifications up: %w", len(part), err))
		}
	}
	return found, nil
}

// heldOn fills in what one server holds of the wants that part names.
func (in *Inbox) heldOn(ctx context.Context, c *redis.Client, wants []Want, part []int, found []*hub.Stored) error {
	pipe := c.Pipeline()
	now := pipe.Time(ctx)
	scores, noted := make([]*redis.FloatCmd, len(part)), make([]*redis.StringCmd, len(part))
	for i, n := range part {
		scores[i] = pipe.ZScore(ctx, in.keys.InboxIDs(wants[n].User), wants[n].ID)
		noted[i] = pipe.HGet(ctx, in.keys.InboxBook(wants[n].User), "@"+wants[n].ID)
	}
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return err
	}
	pipe = c.Pipeline()
	entries := make([]*redis.XMessageSliceCmd, len(part))
	for i, n := range part {
		at := strconv.FormatInt(int64(scores[i].Val()), 10)
		if scores[i].Err() != nil {
			at = noted[i].Val() // what a busy inbox still holds after it has forgotten the id
		}
		if at != "" {
			entries[i] = pipe.XRange(ctx, in.keys.Inbox(wants[n].User), at+"-0", at+"-0")
		}
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return err
	}
	for i, n := range part {
		if entries[i] == nil || len(entries[i].Val()) == 0 {
			continue
		}
		m := entries[i].Val()[0]
		e, err := readEntry(m.ID, m.Values)
		if err == nil && e.ID == wants[n].ID && e.expires > now.Val().UnixMilli() {
			found[n] = &e.Stored
		}
	}
	return nil
}
