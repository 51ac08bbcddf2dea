package directory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/outage"
	"github.com/homing/homing/redisx"
)

// listPage is how many rooms are read at a time.
const listPage = 256

// List returns up to limit rooms that live, of a class or, when that is empty, of
// all: shard by shard, and the oldest first. cursor is empty, or what List has
// returned before; next is empty at the end. Rooms that open or end meanwhile may
// be listed or not. The error wraps hub.ErrInvalid for a cursor that is none.
func (d *Directory) List(ctx context.Context, class string, limit int, cursor string) (rooms []Record, next string, err error) {
	at, err := parsePlace(cursor, len(d.data.Shards()))
	if err != nil {
		return nil, "", err
	}
	for at.shard < len(d.data.Shards()) {
		page, ids, err := d.page(ctx, d.data.Shards()[at.shard], at.offset)
		if err != nil {
			return nil, "", outage.During("listing rooms", err)
		}
		for i := range page {
			if r := &page[i]; r.Owner != "" && r.Ended == "" && (class == "" || r.Class == class) {
				rooms = append(rooms, *r)
			}
			at.offset++
			if len(rooms) == limit {
				return rooms, at.String(), nil
			}
		}
		if ids < listPage {
			at = place{shard: at.shard + 1}
		}
	}
	return rooms, "", nil
}

// place is how far a listing has come.
type place struct{ shard, offset int }

func (p place) String() string { return strconv.Itoa(p.shard) + "-" + strconv.Itoa(p.offset) }

func parsePlace(cursor string, shards int) (p place, err error) {
	if cursor == "" {
		return place{}, nil
	}
	shard, offset, _ := strings.Cut(cursor, "-")
	var errs [2]error
	p.shard, errs[0] = strconv.Atoi(shard)
	p.offset, errs[1] = strconv.Atoi(offset)
	if errs[0] != nil || errs[1] != nil || p.shard < 0 || p.shard > shards || p.offset < 0 {
		return place{}, hub.Invalid("cursor", "%q is none of ours", cursor)
	}
	return p, nil
}

// page reads the records of the rooms at some places of a shard. ids is how many
// places those were.
func (d *Directory) page(ctx context.Context, s *redisx.Shard, offset int) (page []Record, ids int, err error) {
	err = s.Write(ctx, func(ctx context.Context, c *redis.Client) error {
		rooms, err := c.ZRange(ctx, d.keys.Rooms(), int64(offset), int64(offset+listPage-1)).Result()
		if err != nil {
			return err
		}
		ids = len(rooms)
		page, err = d.read(ctx, c, rooms)
		return err
	})
	return page, ids, err
}

// read returns the records of rooms. Those that are not there have no owner.
func (d *Directory) read(ctx context.Context, c *redis.Client, rooms []string) ([]Record, error) {
	if len(rooms) == 0 {
		return nil, nil
	}
	replies := make([]*redis.SliceCmd, len(rooms))
	_, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, room := range rooms {
			replies[i] = p.HMGet(ctx, d.keys.Room(room), names...)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := make([]Record, len(rooms))
	for i, room := range rooms {
		out[i].Room = room
		out[i].parse(replies[i].Val())
	}
	return out, nil
}

// Epochs is a number that changes when a shard's master may not hold what was written
// before.
func (d *Directory) Epochs() (sum uint64) {
	for _, s := range d.data.Shards() {
		sum += s.Epoch()
	}
	return sum
}

// Owners lists the processes that own rooms, or did not long ago.
func (d *Directory) Owners(ctx context.Context) ([]hub.ProcessID, error) {
	var owners []hub.ProcessID
	for _, s := range d.data.Shards() {
		err := s.Write(ctx, func(ctx context.Context, c *redis.Client) error {
			some, err := c.SMembers(ctx, d.keys.RoomOwners()).Result()
			for _, p := range some {
				owners = append(owners, hub.ProcessID(p))
			}
			return err
		})
		if err != nil {
			return nil, outage.During("listing the owners of rooms", err)
		}
	}
	slices.Sort(owners)
	return slices.Compact(owners), nil
}

// Owned returns the records of a process's rooms.
func (d *Directory) Owned(ctx context.Context, p hub.ProcessID) (rooms []Record, err error) {
	for _, s := range d.data.Shards() {
		err = s.Write(ctx, func(ctx context.Context, c *redis.Client) error {
			ids, err := c.SMembers(ctx, d.keys.RoomsOf(p)).Result()
			for some := range slices.Chunk(ids, listPage) {
				var page []Record
				if page, err = d.read(ctx, c, some); err != nil {
					return err
				}
				rooms = append(rooms, page...)
			}
			return err
		})
		if err != nil {
			return nil, outage.During("listing the rooms of a process", err)
		}
	}
	return rooms, nil
}

// Forget takes a dead process, which owns no room any more, out of the owners.
func (d *Directory) Forget(ctx context.Context, p hub.ProcessID) error {
	for _, s := range d.data.Shards() {
		err := s.Write(ctx, func(ctx context.Context, c *redis.Client) error {
			return c.SRem(ctx, d.keys.RoomOwners(), string(p)).Err()
		})
		if err != nil {
			return outage.During("forgetting an owner of rooms", err)
		}
	}
	return d.Withdraw(ctx, p)
}

// Offer says that a process takes rooms, and how many seats of its rooms are
// reserved or taken. It stands until the next Offer or Withdraw.
func (d *Directory) Offer(ctx context.Context, p hub.ProcessID, seats int) error {
	return d.offers(ctx, func(ctx context.Context, c *redis.Client, key string) error {
		return c.ZAdd(ctx, key, redis.Z{Score: float64(seats), Member: string(p)}).Err()
	})
}

// Withdraw says that a process takes no rooms.
func (d *Directory) Withdraw(ctx context.Context, p hub.ProcessID) error {
	return d.offers(ctx, func(ctx context.Context, c *redis.Client, key string) error {
		return c.ZRem(ctx, key, string(p)).Err()
	})
}

// ErrNoProcess says that no process takes rooms now.
var ErrNoProcess = fmt.Errorf("%w: no front takes rooms", hub.ErrUnavailable)

// maxOffers bounds the processes that are looked at.
const maxOffers = 4096

// Place chooses the process with the fewest seats among those that take rooms and
// are fit, and counts so many seats more for it until it offers itself again: a
// reservation that is not used lapses by that. The error is ErrNoProcess.
func (d *Directory) Place(ctx context.Context, seats int, fit func(hub.ProcessID) bool) (chosen hub.ProcessID, err error) {
	err = d.offers(ctx, func(ctx context.Context, c *redis.Client, key string) error {
		offers, err := c.ZRangeWithScores(ctx, key, 0, maxOffers-1).Result()
		if err != nil {
			return err
		}
		if chosen = fewest(offers, fit); chosen == "" {
			return nil
		}
		// Nobody is offered that has withdrawn meanwhile.
		err = c.ZAddArgsIncr(ctx, key, redis.ZAddArgs{XX: true, Members: []redis.Z{{Score: float64(seats), Member: string(chosen)}}}).Err()
		if errors.Is(err, redis.Nil) {
			chosen, err = "", nil
		}
		return err
	})
	if err == nil && chosen == "" {
		err = ErrNoProcess
	}
	return chosen, err
}

// Offers lists the processes that take rooms.
func (d *Directory) Offers(ctx context.Context) (all []hub.ProcessID, err error) {
	err = d.offers(ctx, func(ctx context.Context, c *redis.Client, key string) error {
		offers, err := c.ZRange(ctx, key, 0, maxOffers-1).Result()
		for _, p := range offers {
			all = append(all, hub.ProcessID(p))
		}
		return err
	})
	return all, err
}

// fewest returns one of the fit processes with the fewest seats, by lot where there
// are several: else all who ask at the same time would choose the same.
func fewest(offers []redis.Z, fit func(hub.ProcessID) bool) hub.ProcessID {
	offers = slices.DeleteFunc(offers, func(z redis.Z) bool {
		p, ok := z.Member.(string)
		return !ok || !fit(hub.ProcessID(p))
	})
	if len(offers) == 0 {
		return ""
	}
	least := slices.MinFunc(offers, func(a, b redis.Z) int { return cmp.Compare(a.Score, b.Score) }).Score
	offers = slices.DeleteFunc(offers, func(z redis.Z) bool { return z.Score > least })
	p, _ := offers[rand.IntN(len(offers))].Member.(string)
	return hub.ProcessID(p)
}

func (d *Directory) offers(ctx context.Context, f func(ctx context.Context, c *redis.Client, key string) error) error {
	err := d.data.Lead().Write(ctx, func(ctx context.Context, c *redis.Client) error { return f(ctx, c, d.keys.RoomOffers()) })
	if err != nil {
		return outage.During("the offers to take rooms", err)
	}
	return nil
}
