package inbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/redisx"
)

const overlap = hub.ReplayOverlap

// Read returns what user's inbox holds for a client that resumes, in the order
// stored: everything of class must, because it stays until it is acknowledged,
// and of the other classes what was stored after the notification with the id
// after, and up to 40 s before it. A client therefore meets some again and
// drops repeats by id.
//
// after is the id of the stored notification that the client saw last, empty
// when it saw none: then everything is returned. Recovered reports that
// nothing stored since after has expired, been pushed out or been lost: with
// what is returned the client has it all. When after is not among the last
// MaxCount ids, nobody can tell, so Recovered is false and everything is
// returned. So it is when a home of the inbox has come back empty, or came
// after the user, within the last MaxAge: see history.go.
//
// Errors wrap hub.ErrUnavailable when Redis was the cause.
func (in *Inbox) Read(ctx context.Context, user hub.UserID, after string) (hub.Missed, error) {
	start := time.Now()
	homes, err := in.load(ctx, user, after)
	if err == nil && slices.ContainsFunc(homes, func(s *snapshot) bool { return s.mark == nil }) {
		in.look(ctx, start) // a new deployment, as a rule
		homes, err = in.load(ctx, user, after)
	}
	if err != nil {
		return hub.Missed{}, in.fail(opRead, fmt.Errorf("read the inbox of user %s: %w", user, err))
	}
	missed, seen := since(homes, after)
	missed.Recovered = missed.Recovered && in.whole(string(user), homes, seen)
	result := readWhole
	if !missed.Recovered {
		result = readGone
	}
	in.metrics.reads.WithLabelValues(result).Inc()
	in.metrics.read.Add(float64(len(missed.Entries)))
	in.metrics.readSeconds.Observe(time.Since(start).Seconds())
	return missed, nil
}

// anchorIDs is how many of an inbox's newest ids Anchor looks at.
const anchorIDs = 16

// Anchor returns the id of the newest notification that was stored in user's inbox
// hub.ReplayOverlap ago or earlier: none before it is still on its way. A client that
// begins now may name it when it comes back, as if it had seen it. It is empty when
// there is none, or none among the newest 16.
//
// Errors wrap hub.ErrUnavailable when Redis was the cause.
func (in *Inbox) Anchor(ctx context.Context, user hub.UserID) (id string, err error) {
	err = in.role.Shard(string(user)).Write(ctx, func(ctx context.Context, c *redis.Client) error {
		id = ""
		tx := c.TxPipeline()
		now := tx.Time(ctx)
		newest := tx.ZRangeWithScores(ctx, in.keys.InboxIDs(user), -anchorIDs, -1)
		if _, err := tx.Exec(ctx); err != nil {
			return err
		}
		settled := now.Val().Add(-overlap).UnixMilli()
		for _, z := range newest.Val() { // oldest first
			if name, ok := z.Member.(string); ok && int64(z.Score) <= settled {
				id = name
			}
		}
		return nil
	})
	if err != nil {
		return "", in.fail(opRead, fmt.Errorf("find a place in the inbox of user %s: %w", user, err))
	}
	return id, nil
}

// Largest is about the most bytes that Read returns.
func (in *Inbox) Largest() int {
	if in.role.Previous() != nil {
		return 2 * in.cfg.MaxBytes
	}
	return in.cfg.MaxBytes
}

// snapshot is what one home holds of a user's inbox at one moment. Positions
// and times are Unix milliseconds of the shard's clock.
type snapshot struct {
	shard   *redisx.Shard
	mark    *mark // nil: there is none
	now     int64
	entries []entry
	after   int64 // position of the id asked for; 0: not known
	last    int64 // the highest position ever
	lastID  string
	bytes   int64 // what the book says that the entries take
	gone    int64 // the highest position given up
	torn    bool  // some keys of the inbox are missing

	seen int64 // up to here the client has seen everything; 0: nothing
}

// entry is one entry of the stream.
type entry struct {
	hub.Stored

	at      int64 // position
	expires int64
}

// load takes a snapshot of every home.
func (in *Inbox) load(ctx context.Context, user hub.UserID, after string) ([]*snapshot, error) {
	shards := in.homes(user)
	homes, errs := make([]*snapshot, len(shards)), make([]error, len(shards))
	in.atHomes(shards, func(i int, shard *redisx.Shard) {
		homes[i] = &snapshot{shard: shard}
		errs[i] = shard.Write(ctx, func(ctx context.Context, c *redis.Client) error {
			return in.snap(ctx, c, homes[i], user, after)
		})
	})
	return homes, errors.Join(errs...)
}

// snap fills s with one transaction on a master.
func (in *Inbox) snap(ctx context.Context, c *redis.Client, s *snapshot, user hub.UserID, after string) error {
	tx := c.TxPipeline()
	now := tx.Time(ctx)
	held := tx.Get(ctx, in.keys.InboxMark())
	at := tx.ZScore(ctx, in.keys.InboxIDs(user), after)
	last := tx.ZRangeWithScores(ctx, in.keys.InboxIDs(user), -1, -1)
	book := tx.HMGet(ctx, in.keys.InboxBook(user), "bytes", "gone")
	stream := tx.XRange(ctx, in.keys.Inbox(user), "-", "+")
	if _, err := tx.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return err
	}
	s.now, s.after, s.mark = now.Val().UnixMilli(), int64(at.Val()), parseMark(held.Val())
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
	ids, booked := len(last.Val()) > 0, len(book.Val()) > 0 && book.Val()[0] != nil
	s.torn = ids != booked || len(s.entries) > 0 && !ids
	s.settle(after)
	return nil
}

// settle works out what has gone since anybody wrote to the inbox, and where
// after stands in it.
func (s *snapshot) settle(after string) {
	if len(s.entries) == 0 && s.bytes > 0 { // the stream expired as a whole
		s.gone = s.last
	}
	for i := range s.entries {
		if e := &s.entries[i]; e.ID == after { // also when the ids have forgotten it
			s.after = e.at
		}
	}
	s.entries = slices.DeleteFunc(s.entries, func(e entry) bool {
		expired := e.expires <= s.now
		if expired {
			s.gone = max(s.gone, e.at)
		}
		return expired
	})
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
		ID: field("i"), Class: hub.Class(class), Payload: []byte(field("p")), At: at,
	}}
	for s := range strings.FieldsSeq(field("s")) {
		e.Services = append(e.Services, hub.Service(s))
	}
	return e, nil
}

// since picks what a client lacks that has seen after, and says how far it has
// seen. homes are where the inbox is, the present one last.
func since(homes []*snapshot, after string) (missed hub.Missed, seen int64) {
	present := homes[len(homes)-1]
	known := place(homes)
	missed.Recovered = after == "" || known > 0
	var all []entry
	for _, s := range homes {
		all = append(all, s.pick(after)...)
		missed.Recovered = missed.Recovered && !s.torn && s.gone <= s.seen
		if missed.Last == "" || s == present && s.lastID != "" {
			missed.Last = s.lastID
		}
	}
	slices.SortStableFunc(all, func(a, b entry) int { return cmp.Compare(a.at, b.at) })
	given := make(map[string]bool, len(all))
	for _, e := range all {
		if !given[e.ID] {
			given[e.ID] = true
			missed.Entries = append(missed.Entries, e.Stored)
		}
	}
	return missed, known
}

// place says for each home up to where the client has seen everything, and
// returns the position that it named, 0 when no home knows it.
//
// What is in an old home was stored before what is in the present one, so who
// names a notification of the present home has seen what the old one holds up
// to then. Who names one of the old home is given all that the present one
// has: the clocks of two servers may differ by more than the overlap.
func place(homes []*snapshot) int64 {
	present := homes[len(homes)-1]
	known := present.after
	for _, s := range homes {
		switch s.seen = s.after; {
		case s.seen > 0 && known == 0:
			known = s.seen
		case s.seen == 0 && s != present:
			s.seen = present.after
		}
	}
	return known
}

// pick returns what the client lacks of one home: what must be acknowledged,
// and what was stored since it left.
func (s *snapshot) pick(after string) []entry {
	from := int64(0)
	if s.seen > 0 {
		from = s.seen - overlap.Milliseconds()
	}
	for i := range s.entries {
		e := &s.entries[i]
		e.Again = e.at < from || e.ID == after
	}
	return slices.DeleteFunc(s.entries, func(e entry) bool { return e.Again && e.Class != hub.ClassMust })
}
