package match

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/oklog/ulid/v2"
	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/outage"
)

const (
	// readMost is how many of those who wait one round looks at. Of more it sees
	// the oldest half, and of the others the next half in turn.
	readMost = 10_000
	// page is how many are read at a time.
	page = 1000
)

// scene is a queue as a round finds it.
type scene struct {
	now     time.Time // by Redis
	waiting []*Ticket
	lacking []*Backfill
	lapsed  []string // rooms that were not heard of
	live    int64    // tickets that wait
	players int64    // of all live tickets
}

// round looks after what is due, and makes the matches that there are. n is how many
// tickets there were to look at.
func (b *desk) round(ctx context.Context, fence int64) (n int, err error) {
	if err := b.tend(ctx); err != nil {
		return 0, err
	}
	s, err := b.read(ctx)
	if err != nil {
		return 0, fmt.Errorf("read queue %s: %w", b.Name, err)
	}
	if err := b.reap(ctx, s.lapsed); err != nil {
		return 0, err
	}
	metrics := &b.tickets.tell.metrics
	metrics.waiting.WithLabelValues(b.Name).Set(float64(s.players))
	metrics.tickets.WithLabelValues(b.Name).Set(float64(s.live))
	plans := b.plans(b.call(s), s)
	for some := range slices.Chunk(plans, batch) {
		if len(b.slots) == cap(b.slots) {
			break // rooms open slowly: nobody is claimed who would have to wait for one
		}
		if err := b.claim(ctx, fence, some); err != nil {
			return len(s.waiting), err
		}
	}
	return len(s.waiting), nil
}

// tend gives up the claims that are in doubt, and looks after matches whose time is
// over.
func (b *desk) tend(ctx context.Context) error {
	for len(b.doubts) > 0 {
		if err := b.release(ctx, b.doubts[0], backDoubt); err != nil {
			return err
		}
		b.doubts = b.doubts[1:]
	}
	free := cap(b.slots) - len(b.slots) - 2 // accepted matches and recorded ones may leave one batch each half full
	if free <= 0 {
		return nil
	}
	return b.sweep(func() (more bool, err error) {
		reply, err := b.shelf.run(ctx, dueScript, free*batch, b.timing.Claim.Milliseconds(), b.timing.told().Milliseconds())
		if err != nil {
			return false, fmt.Errorf("look after the matches of queue %s: %w", b.Name, err)
		}
		said := list(reply)
		b.back(backLapsed, number(said, 0))
		b.tickets.tell.ended(ctx, b.Queue, list(part(said, 3)))
		open, announce := list(part(said, 1)), list(part(said, 2))
		b.resume(ctx, open, announce)
		return number(said, 4) == 1 && len(open)+len(announce) == 0, nil // else there may be no free slot
	})
}

// sweep calls f until there is no more, but not for ever: one call of a script does as
// much as others may wait for, and one round as much as it may take.
func (b *desk) sweep(f func() (more bool, err error)) error {
	for range sweeps {
		if more, err := f(); !more || err != nil {
			return err
		}
	}
	return nil
}

// resume goes on with matches that all players have accepted, and with those whose
// players may not have been told.
func (b *desk) resume(ctx context.Context, open, announce []any) {
	var plans []*plan
	for i := 0; i+1 < len(open); i += 2 {
		p := &plan{Match: text(open, i)}
		if err := json.Unmarshal([]byte(text(open, i+1)), p); err != nil {
			b.failed("plan", err)
			continue
		}
		plans = append(plans, p)
	}
	for some := range slices.Chunk(plans, batch) {
		b.start(ctx, func(ctx context.Context) { b.deliver(ctx, some) })
	}
	var found []*Found
	for i := 0; i+1 < len(announce); i += 2 {
		f := &Found{}
		if err := json.Unmarshal([]byte(text(announce, i+1)), f); err != nil {
			b.failed("plan", err)
			continue
		}
		found = append(found, f)
		b.tickets.tell.metrics.again.WithLabelValues(b.Name).Inc()
	}
	for some := range slices.Chunk(found, batch) {
		b.start(ctx, func(ctx context.Context) { b.announce(ctx, some) })
	}
}

// start runs f beside the rounds, in a slot that must be free. It goes on when ctx
// ends, within its own times.
func (b *desk) start(ctx context.Context, f func(context.Context)) {
	b.slots <- struct{}{}
	b.work.Go(func() {
		defer func() { <-b.slots }()
		f(context.WithoutCancel(ctx))
	})
}

// reap ends tickets whose time is over, and forgets rooms. Who was silent is not lost
// as long as this master has not been there for long enough to be heard at.
func (b *desk) reap(ctx context.Context, rooms []string) error {
	heard := "0"
	if b.shard.Stable() >= b.heartbeat() {
		heard = "1"
	}
	args := []any{tended, heard}
	for _, r := range rooms {
		args = append(args, r)
	}
	return b.sweep(func() (more bool, err error) {
		reply, err := b.shelf.run(ctx, reapScript, args...)
		if err != nil {
			return false, fmt.Errorf("end tickets of queue %s: %w", b.Name, err)
		}
		said := list(reply)
		b.tickets.tell.ended(ctx, b.Queue, list(part(said, 0)))
		return number(said, 1) == 1, nil
	})
}

// read finds out who waits. Tickets that were known before are not read again.
func (b *desk) read(ctx context.Context) (s *scene, err error) {
	err = b.shard.Write(ctx, func(ctx context.Context, c *redis.Client) (err error) {
		s, err = b.readFrom(ctx, c)
		return err
	})
	return s, outage.Mark(err)
}

func (b *desk) readFrom(ctx context.Context, c *redis.Client) (*scene, error) {
	pipe := c.Pipeline()
	now, live := pipe.Time(ctx), pipe.ZCard(ctx, b.keys[waitingKey])
	players, lacking := pipe.HMGet(ctx, b.keys[bookKey], "players"), pipe.HGetAll(ctx, b.keys[lackingKey])
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, err
	}
	s := &scene{now: now.Val(), live: live.Val()}
	s.players, _ = strconv.ParseInt(text(players.Val(), 0), 10, 64)
	b.readLacking(s, lacking.Val())
	known := make(map[string]*Ticket, len(b.known))
	for _, p := range b.pages(int(s.live)) {
		if err := b.readPage(ctx, c, p, known, s); err != nil {
			return nil, err
		}
	}
	b.known = known
	return s, nil
}

// pages are the ranks, first and last, of those to look at of so many.
func (b *desk) pages(live int) (ranks [][2]int) {
	add := func(from, to int) {
		for ; from < to; from += page {
			ranks = append(ranks, [2]int{from, min(from+page, to) - 1})
		}
	}
	if live <= readMost {
		b.turn = 0
		add(0, live)
		return ranks
	}
	const half = readMost / 2
	if b.turn < half || b.turn >= live {
		b.turn = half
	}
	add(0, half)
	add(b.turn, min(b.turn+half, live))
	b.turn += half
	return ranks
}

// readPage adds those of some ranks to s, and to known.
func (b *desk) readPage(ctx context.Context, c *redis.Client, ranks [2]int, known map[string]*Ticket, s *scene) error {
	entries, err := c.ZRangeWithScores(ctx, b.keys[waitingKey], int64(ranks[0]), int64(ranks[1])).Result()
	if err != nil {
		return err
	}
	var news []string
	for _, e := range entries {
		id, _ := e.Member.(string)
		if x := b.known[id]; x != nil && x.Since.UnixMilli() == int64(e.Score) {
			known[id] = x
		} else {
			news = append(news, id)
		}
	}
	if err := b.readNew(ctx, c, news, known); err != nil {
		return err
	}
	for _, e := range entries {
		id, _ := e.Member.(string)
		if x := known[id]; x != nil {
			s.waiting = append(s.waiting, x)
		}
	}
	return nil
}

// readNew reads tickets that were not known.
func (b *desk) readNew(ctx context.Context, c *redis.Client, ids []string, known map[string]*Ticket) error {
	if len(ids) == 0 {
		return nil
	}
	texts, err := c.HMGet(ctx, b.keys[ticketsKey], ids...).Result()
	if err != nil {
		return err
	}
	for i, v := range texts {
		s, ok := v.(string)
		if !ok {
			continue // it has ended meanwhile
		}
		x, err := parseTicket(ids[i], s)
		if err != nil {
			b.failed("ticket", err)
			continue
		}
		known[ids[i]] = x
	}
	return nil
}

// readLacking sorts rooms into those that lack players and those that were not heard
// of.
func (b *desk) readLacking(s *scene, all map[string]string) {
	for room, said := range all {
		lack, lapses, err := parseLacking(room, said)
		switch {
		case err != nil:
			b.failed("room", err)
		case lapses.Before(s.now):
			s.lapsed = append(s.lapsed, room)
		default:
			s.lacking = append(s.lacking, lack)
		}
	}
}

// call asks the match function. One that panics has found nothing.
func (b *desk) call(s *scene) (found []Match) {
	defer func() {
		if v := recover(); v != nil {
			found = nil
			b.failed("function", fmt.Errorf("the match function of queue %s panicked: %v", b.Name, v))
		}
	}()
	if len(s.waiting) == 0 {
		return nil
	}
	return b.function.Match(b.Queue, s.now, s.waiting, s.lacking)
}

// plans are the matches of found that can be. The function may be a game's own: what
// it says is checked.
func (b *desk) plans(found []Match, s *scene) (plans []*plan) {
	check := newChecker(b.Queue, s)
	for i := range found {
		if err := check.match(&found[i]); err != nil {
			b.tickets.tell.metrics.faulty.WithLabelValues(b.Name).Inc()
			b.failed("function", err)
			continue
		}
		plans = append(plans, b.plan(&found[i]))
	}
	return plans
}

func (b *desk) plan(m *Match) *plan {
	p := &plan{Match: ulid.Make().String(), asks: b.Accept > 0, tickets: m.Tickets}
	if m.Backfill != nil {
		p.Room, p.Epoch = m.Backfill.Room, m.Backfill.Epoch
	}
	for _, team := range m.Teams {
		users := []hub.UserID{}
		for _, x := range team {
			users = append(users, x.Players...)
		}
		p.Teams = append(p.Teams, users)
	}
	return p
}
