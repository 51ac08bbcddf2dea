package inbox

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
)

// overlap is how far before the last notification that a client has seen a
// read begins. Two servers that store A before B may publish them the other
// way round, and a client that saw B only must not miss A.
const overlap = 5 * time.Second

// Read returns what user's inbox holds for a client that resumes, in the order
// stored: everything of class must, because it stays until it is acknowledged,
// and of the other classes what was stored after the notification with the id
// after, and up to 5 s before it. A client therefore meets some again and
// drops repeats by id.
//
// after is the id of the stored notification that the client saw last, empty
// when it saw none: then everything is returned. Recovered reports that
// nothing stored since after has expired, been pushed out or been lost: with
// what is returned the client has it all. When after is not among the last
// MaxCount ids, nobody can tell, so Recovered is false and everything is
// returned.
//
// Errors wrap hub.ErrUnavailable when Redis was the cause.
func (in *Inbox) Read(ctx context.Context, user hub.UserID, after string) (hub.Missed, error) {
	start := time.Now()
	s, err := in.load(ctx, user, after)
	if err != nil {
		return hub.Missed{}, in.fail(opRead, fmt.Errorf("read the inbox of user %s: %w", user, err))
	}
	missed := s.since(after)
	result := readWhole
	if !missed.Recovered {
		result = readGone
	}
	in.metrics.reads.WithLabelValues(result).Inc()
	in.metrics.read.Add(float64(len(missed.Entries)))
	in.metrics.readSeconds.Observe(time.Since(start).Seconds())
	return missed, nil
}

// snapshot is one user's inbox at one moment. Positions and times are Unix
// milliseconds.
type snapshot struct {
	now     int64
	entries []entry
	after   int64 // position of the id asked for; 0: not known
	last    int64 // the highest position ever
	lastID  string
	bytes   int64 // what the book says that the entries take
	gone    int64 // the highest position given up
}

// entry is one entry of the stream.
type entry struct {
	hub.Stored

	at      int64 // position
	expires int64
}

// load takes a snapshot with one transaction on the master.
func (in *Inbox) load(ctx context.Context, user hub.UserID, after string) (s snapshot, err error) {
	err = in.role.Shard(string(user)).Write(ctx, func(ctx context.Context, c *redis.Client) error {
		tx := c.TxPipeline()
		now := tx.Time(ctx)
		at := tx.ZScore(ctx, in.keys.InboxIDs(user), after)
		last := tx.ZRangeWithScores(ctx, in.keys.InboxIDs(user), -1, -1)
		book := tx.HMGet(ctx, in.keys.InboxBook(user), "bytes", "gone")
		stream := tx.XRange(ctx, in.keys.Inbox(user), "-", "+")
		if _, err := tx.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
			return err
		}
		s.now, s.after = now.Val().UnixMilli(), int64(at.Val())
		for _, z := range last.Val() {
			s.last = int64(z.Score)
			s.lastID, _ = z.Member.(string)
		}
		s.bytes, s.gone = number(book.Val(), 0), number(book.Val(), 1)
		for _, m := range stream.Val() {
			e, err := readEntry(m.ID, m.Values)
			if err != nil {
				return err
			}
			s.entries = append(s.entries, e)
		}
		return nil
	})
	return s, err
}

// number reads one value of a book; one that is missing counts as 0.
func number(values []any, i int) int64 {
	if i >= len(values) {
		return 0
	}
	s, _ := values[i].(string)
	n, _ := strconv.ParseInt(s, 10, 64)
	return n
}

// errEntry marks an entry that store.lua has not written.
var errEntry = errors.New("not an inbox entry")

// readEntry reads what store.lua wrote.
func readEntry(id string, values map[string]any) (entry, error) {
	field := func(name string) string {
		s, _ := values[name].(string)
		return s
	}
	position, _, _ := strings.Cut(id, "-")
	at, err1 := strconv.ParseInt(position, 10, 64)
	class, err2 := strconv.ParseUint(field("c"), 10, 8)
	expires, err3 := strconv.ParseInt(field("x"), 10, 64)
	if err := errors.Join(err1, err2, err3); err != nil {
		return entry{}, fmt.Errorf("%w: %s: %w", errEntry, id, err)
	}
	e := entry{at: at, expires: expires, Stored: hub.Stored{
		ID: field("i"), Class: hub.Class(class), Payload: []byte(field("p")),
	}}
	for s := range strings.FieldsSeq(field("s")) {
		e.Services = append(e.Services, hub.Service(s))
	}
	return e, nil
}

// since picks what a client lacks that has seen after.
func (s *snapshot) since(after string) hub.Missed {
	out := hub.Missed{Last: s.lastID}
	gone := s.gone
	if len(s.entries) == 0 && s.bytes > 0 { // the stream expired as a whole
		gone = s.last
	}
	seen := s.after
	for i := range s.entries {
		e := &s.entries[i]
		if e.expires <= s.now {
			gone = max(gone, e.at)
		}
		if e.ID == after { // also when the ids have forgotten it
			seen = e.at
		}
	}
	known := after == "" || seen > 0
	from := int64(0)
	if seen > 0 {
		from = seen - overlap.Milliseconds()
	}
	for i := range s.entries {
		e := &s.entries[i]
		if e.expires > s.now && (e.Class == hub.ClassMust || e.at >= from && e.ID != after) {
			out.Entries = append(out.Entries, e.Stored)
		}
	}
	out.Recovered = known && gone <= seen
	return out
}
