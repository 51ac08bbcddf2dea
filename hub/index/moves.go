package index

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/redisx"
)

// Moves are users who came, went or left by one write of a process. Each list may be
// empty. The lists are the receiver's.
type Moves struct {
	Came []Arrival    // no process had them, and this one has
	Went []Departure  // no process has them any more
	Left []hub.UserID // this process has them no more, and another has
}

// Arrival is a user who came, and the services that its connections were opened from,
// by name; none for those of no service.
type Arrival struct {
	User     hub.UserID
	Services []hub.Service
	At       time.Time
}

// Departure is a user who went. The index keeps a mark of it until Registrar.Told.
type Departure struct {
	User hub.UserID
	At   time.Time
}

// Tell has f called with all moves of the users of this process, once every
// replica that is read from has them. A user who has left keeps its place for
// linger, which is more than 0: who is back within that time, here or elsewhere,
// made no move. Of topics nothing is told.
//
// Times are by a clock of the user's data Redis, to the microsecond, that never goes
// back, whichever server is the master. A move that is told again is told with the
// time that it had.
//
// Moves are told at least once: again when Redis did not say what came of a write,
// or had lost an entry, and for both lists of shards while these change. f must not
// block. When others have heard of the moves, Told must be called. If the process dies
// before, a sweep tells of those who went, as of all users of a process that is killed
// (see Index.Tell), and the next process that they come to of those who came.
//
// Tell is called before Run.
func (g *Registrar) Tell(linger time.Duration, f func(Moves)) {
	g.moved = f
	for _, w := range g.writers {
		w.ledger.linger = linger
	}
}

// Told says that others have heard that users came, and that users went. It never
// blocks.
func (g *Registrar) Told(came, went []hub.UserID) {
	g.eachWriter(came, (*ledger).heard)
	g.eachWriter(went, (*ledger).told)
}

// eachWriter has f look at each of users where it is written, and the result written
// when f says so.
func (g *Registrar) eachWriter(users []hub.UserID, f func(*ledger, hub.UserID) bool) {
	for _, u := range users {
		for _, sh := range [2]*redisx.Shard{g.data.Shard(string(u)), g.data.ShardBefore(string(u))} {
			if sh != nil && f(&g.writers[sh].ledger, u) {
				g.writers[sh].kickSoon()
			}
		}
	}
}

// call is one call of the script that puts entries.
type call struct {
	users []hub.UserID
	holds []string
	cmd   *redis.Cmd
}

// movesOf reads who came and went by the round, which is written.
func (w *shardWriter) movesOf() (all []Moves) {
	for i := range w.calls {
		m, err := w.calls[i].moves()
		switch {
		case err != nil:
			w.g.log.Error("index: reading who came and went", "shard", w.shard.Name(), "err", err)
		case len(m.Came)+len(m.Went)+len(m.Left) > 0:
			all = append(all, m)
		}
	}
	clear(w.calls)
	w.calls = w.calls[:0]
	return all
}

// moves reads the reply of put.lua.
func (c *call) moves() (m Moves, err error) {
	reply, err := c.cmd.Slice()
	if err != nil {
		return m, err
	}
	if len(reply) != 5 {
		return m, fmt.Errorf("reply of %d values, want 5", len(reply))
	}
	came, at, err := c.places(reply[1], reply[2])
	if err != nil {
		return m, err
	}
	for n, i := range came {
		m.Came = append(m.Came, Arrival{c.users[i], serviceNames(c.holds[i]), at[n]})
	}
	went, at, err := c.places(reply[3], reply[4])
	if err != nil {
		return m, err
	}
	for n, i := range went {
		m.Went = append(m.Went, Departure{c.users[i], at[n]})
	}
	for i, u := range c.users {
		if c.holds[i] == gone && !slices.Contains(went, i) {
			m.Left = append(m.Left, u)
		}
	}
	return m, nil
}

// serviceNames are the names of the services in holds.
func serviceNames(holds string) (names []hub.Service) {
	for _, s := range parseHolds(holds) {
		if s.Service != "" {
			names = append(names, s.Service)
		}
	}
	return names[:min(len(names), hub.MaxServices)]
}

// places reads the places that a script has named, counted from 0, and the time of
// each.
func (c *call) places(named, timed any) (places []int, at []time.Time, err error) {
	list, _ := named.([]any)
	times, _ := timed.([]any)
	if len(list) != len(times) {
		return nil, nil, fmt.Errorf("%d places, %d times", len(list), len(times))
	}
	for n, p := range list {
		i, ok := p.(int64)
		if !ok || i < 1 || i > int64(len(c.users)) {
			return nil, nil, fmt.Errorf("place %v of %d", p, len(c.users))
		}
		t, err := microseconds(times[n])
		if err != nil {
			return nil, nil, err
		}
		places, at = append(places, int(i-1)), append(at, t)
	}
	return places, at, nil
}

// microseconds reads a time that a script has told.
func microseconds(v any) (time.Time, error) {
	text, _ := v.(string)
	us, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("time %q: %w", text, err)
	}
	return time.UnixMicro(us), nil
}
