package directory

import (
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

var (
	//go:embed lua/open.lua
	openSource string
	//go:embed lua/take.lua
	takeSource string
	//go:embed lua/end.lua
	endSource string
	//go:embed lua/note.lua
	noteSource string

	openScript = redis.NewScript(openSource)
	takeScript = redis.NewScript(takeSource)
	endScript  = redis.NewScript(endSource)
	noteScript = redis.NewScript(noteSource)
)

const (
	// endedKept is how long a room that has ended can be asked for.
	endedKept = 10 * time.Minute
	// maxRooms is how many rooms one data shard knows.
	maxRooms = 1 << 20
)

// Errors beside those that wrap hub.ErrUnavailable.
var (
	ErrNotFound = errors.New("there is no such room")
	ErrExists   = errors.New("there is a room of that id")
	ErrFenced   = errors.New("the room is another process's, or has ended")
	ErrNoLease  = fmt.Errorf("%w: the process has no lease", hub.ErrUnavailable)
	ErrTooMany  = fmt.Errorf("%w: there are too many rooms", hub.ErrUnavailable)
)

// Directory is the directory of rooms. It is safe for concurrent use. Its methods
// block for a round trip to Redis; where that fails the error wraps
// hub.ErrUnavailable, and a change may have been made all the same.
type Directory struct {
	data *redisx.Role
	keys hub.Keys
}

// New returns the directory on r's data Redis.
func New(r *redisx.Redis, keys hub.Keys) *Directory { return &Directory{data: r.Data, keys: keys} }

func (d *Directory) shard(room string) *redisx.Shard { return d.data.Shard("room:" + room) }

// Open enters a new room with the epoch 1. The errors are ErrExists, ErrNoLease
// and ErrTooMany.
func (d *Directory) Open(ctx context.Context, r *Record) error {
	keys := []string{
		d.keys.Room(r.Room), d.keys.RoomsOf(r.Owner), d.keys.Rooms(), d.keys.RoomOwners(), d.keys.Lease(r.Owner),
	}
	r.Epoch = 1
	argv := append([]any{r.Room, string(r.Owner), r.Made.UnixMilli(), maxRooms}, r.fields()...)
	n, err := d.run(ctx, r.Room, openScript, keys, argv)
	switch {
	case err != nil:
		return err
	case n == 0:
		return ErrExists
	case n == -1:
		return ErrNoLease
	case n == -2:
		return ErrTooMany
	}
	return nil
}

// Find returns the record of a room, also of one that has ended lately. The error
// is ErrNotFound.
func (d *Directory) Find(ctx context.Context, room string) (Record, error) {
	r := Record{Room: room}
	found := false
	err := d.shard(room).Write(ctx, func(ctx context.Context, c *redis.Client) error { // the master: a replica may not know of a room yet
		values, err := c.HMGet(ctx, d.keys.Room(room), names...).Result()
		found = err == nil && r.parse(values)
		return err
	})
	if err != nil {
		return r, outage.During("finding a room", err)
	}
	if !found {
		return r, ErrNotFound
	}
	return r, nil
}

// TakeOver gives the room of r, as it was found, to another owner, and returns the
// new epoch. planned says that r's owner hands it over: else that must be dead.
// Given to its owner once more, with a new epoch, the room cannot go to anybody who
// was promised it before. The error is ErrFenced when r is not true any more.
func (d *Directory) TakeOver(ctx context.Context, r *Record, to hub.ProcessID, url string, planned bool) (epoch uint64, err error) {
	keys := []string{
		d.keys.Room(r.Room), d.keys.RoomsOf(r.Owner), d.keys.RoomsOf(to), d.keys.RoomOwners(), d.keys.Lease(to), d.keys.Lease(r.Owner),
	}
	n, err := d.run(ctx, r.Room, takeScript, keys, []any{r.Room, string(r.Owner), r.Epoch, string(to), url, flag(planned)})
	switch {
	case err != nil:
		return 0, err
	case n <= 0:
		return 0, ErrFenced
	}
	return uint64(n), nil
}

// End notes that the room of r has ended, and reports whether it had not before; an
// owner that asks again hears the same. An owner may do that that has the epoch of r;
// and, when dead is true, anybody once the owner is dead.
func (d *Directory) End(ctx context.Context, r *Record, why string, result []byte, dead bool) (ended bool, err error) {
	keys := []string{d.keys.Room(r.Room), d.keys.RoomsOf(r.Owner), d.keys.Rooms(), d.keys.Lease(r.Owner)}
	n, err := d.run(ctx, r.Room, endScript, keys, []any{
		r.Room, string(r.Owner), epochOf(r), why, result, endedKept.Milliseconds(), flag(dead),
	})
	return n == 1 || n == 2 && !dead, err
}

// epochOf is the epoch that a script compares; none: it does not.
func epochOf(r *Record) any {
	if r.Epoch == 0 {
		return ""
	}
	return r.Epoch
}

func flag(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

// Note tells how the owner's rooms are, all of which are of one owner. It returns
// those that are another's by now, or have ended.
func (d *Directory) Note(ctx context.Context, rooms []*Record) (fenced []*Record, err error) {
	byShard := make(map[*redisx.Shard][]*Record)
	for _, r := range rooms {
		s := d.shard(r.Room)
		byShard[s] = append(byShard[s], r)
	}
	for s, some := range byShard {
		more, noteErr := d.noteAt(ctx, s, some)
		fenced, err = append(fenced, more...), errors.Join(err, noteErr)
	}
	return fenced, err
}

// notePage is how many rooms are noted in one pipeline.
const notePage = 128

func (d *Directory) noteAt(ctx context.Context, s *redisx.Shard, rooms []*Record) (fenced []*Record, err error) {
	for len(rooms) > 0 && err == nil {
		page := rooms[:min(len(rooms), notePage)]
		rooms = rooms[len(page):]
		var results []*redis.Cmd
		err = s.WithScript(ctx, noteScript, func() error {
			return s.Write(ctx, func(ctx context.Context, c *redis.Client) error {
				results = results[:0]
				_, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
					for _, r := range page {
						results = append(results, d.note(ctx, p, r))
					}
					return nil
				})
				return err
			})
		})
		for i, cmd := range results {
			if n, cmdErr := cmd.Int(); cmdErr == nil && n == 0 {
				fenced = append(fenced, page[i])
			}
		}
	}
	if err != nil {
		return fenced, outage.During("noting rooms", err)
	}
	return fenced, nil
}

func (d *Directory) note(ctx context.Context, c redis.Scripter, r *Record) *redis.Cmd {
	keys := []string{
		d.keys.Room(r.Room), d.keys.RoomsOf(r.Owner), d.keys.Rooms(), d.keys.RoomOwners(), d.keys.Lease(r.Owner),
	}
	argv := append([]any{r.Room, string(r.Owner), r.Epoch, r.Made.UnixMilli()}, r.fields()...)
	return noteScript.EvalSha(ctx, c, keys, argv...)
}

// run runs a script on the shard of a room.
func (d *Directory) run(ctx context.Context, room string, script *redis.Script, keys []string, argv []any) (n int64, err error) {
	err = d.shard(room).Write(ctx, func(ctx context.Context, c *redis.Client) error {
		n, err = script.Run(ctx, c, keys, argv...).Int64()
		return err
	})
	if err != nil {
		return 0, outage.During("the directory of rooms", err)
	}
	return n, nil
}
