package match

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/redisx/embedded"
	"github.com/homing/homing/redisx/redistest"
)

func TestATicketWaitsAndEnds(t *testing.T) {
	h := newHall(t, duel())
	s := h.put("duel", 1200, "ann")
	if s.ID != "duel:ann" || s.Status != Waiting || s.Estimate != 0 {
		t.Errorf("%+v", s)
	}
	got, err := h.Get(t.Context(), s.ID)
	if err != nil || got.Rating != 1200 || !slices.Equal(got.Players, []hub.UserID{"ann"}) || got.Status != Waiting || got.Waited < 0 {
		t.Errorf("%+v, %v", got, err)
	}
	for range 2 {
		if s, err := h.Cancel(t.Context(), s.ID); err != nil || s.Status != Canceled {
			t.Errorf("%+v, %v", s, err)
		}
	}
	if s := h.status(s.ID); s != Canceled {
		t.Errorf("it is %s", s)
	}
	c := h.balanced("duel")
	if c.Created != 1 || c.Ended[Canceled] != 1 || h.hooks.count("match.ended duel:ann") != 1 {
		t.Errorf("%+v, told %v", c, h.hooks.all)
	}
	if s, made, err := h.tryPut("duel", 1, "ann"); err != nil || made || s.Status != Canceled {
		t.Errorf("an id that was used: %+v, %v, %v", s, made, err)
	}
}

// TestTheStandIn: the Redis of homing dev where none is installed does all of it.
func TestTheStandIn(t *testing.T) {
	url, stop, err := embedded.StartInProcess()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	asking, short := duel(), duel()
	asking.Name, asking.Accept = "asking", time.Minute
	short.Name, short.Expire = "short", 50*time.Millisecond
	h := openHall(t, redistest.Config(t, url), duel(), asking, short)
	ctx := t.Context()
	for _, q := range []string{"duel", "asking"} {
		h.put(q, 0, "ann")
		h.put(q, 0, "bob")
		h.put(q, 5000, "cleo")
	}
	h.put("short", 0, "ann")
	if err := h.Lack(ctx, "duel", &Backfill{Room: "r", Epoch: 1, Rating: 5000, Free: []int{1, 0}}); err != nil {
		t.Fatal(err)
	}
	h.start(nil)
	eventually(t, "all are matched, one in the room that lacks a player", func() bool {
		return h.status("duel:ann") == Matched && h.status("duel:cleo") == Matched && h.status("short:ann") == Expired
	})
	eventually(t, "two are asked", func() bool { return h.status("asking:ann") == Offered && h.status("asking:bob") == Offered })
	if err := errors.Join(h.Accept(ctx, "asking:ann", "", true), h.Accept(ctx, "asking:bob", "bob", false)); err != nil {
		t.Fatal(err)
	}
	if s, err := h.Cancel(ctx, "asking:cleo"); err != nil || s.Status != Canceled {
		t.Errorf("%+v, %v", s, err)
	}
	if h.status("asking:ann") == Matched || h.status("asking:bob") != Declined {
		t.Errorf("ann's is %s, bob's %s", h.status("asking:ann"), h.status("asking:bob"))
	}
	for _, q := range []string{"duel", "asking", "short"} {
		h.balanced(q)
	}
}

func TestWhatIsRefused(t *testing.T) {
	small := squads()
	small.Name, small.MaxTickets, small.Labels = "small", 2, []string{"eu"}
	h := newHall(t, duel(), small)
	ctx := t.Context()
	put := func(queue string, x *Ticket) error {
		x.ID = queue + ":" + x.ID
		_, _, err := h.Put(ctx, queue, x, false)
		return err
	}
	if err := put("chess", ticket("a", 1, 0, 0)); !errors.Is(err, ErrNoQueue) {
		t.Errorf("another queue: %v", err)
	}
	if err := put("duel", ticket("a", 2, 0, 0)); !errors.Is(err, hub.ErrInvalid) {
		t.Errorf("a party: %v", err)
	}
	if err := put("small", ticket("a", 1, 0, 0, "us")); !errors.Is(err, hub.ErrInvalid) {
		t.Errorf("another label: %v", err)
	}
	for i, want := range []bool{true, true, false} {
		err := put("small", ticket(fmt.Sprint(i), 1, 0, 0))
		if room, full := errors.AsType[*hub.RoomError](err); full == want || full && (room.Pot != hub.PotMatch || room.After <= 0) {
			t.Errorf("ticket %d: %v", i, err)
		}
	}
	if _, err := h.Cancel(ctx, "small:0"); err != nil {
		t.Error(err)
	}
	wide := ticket("wide", 5, 0, 0)
	for i := range wide.Players {
		wide.Players[i] = hub.UserID(fmt.Sprintf("%0128d", i))
	}
	if err := put("small", wide); err != nil {
		t.Error(err)
	}
	for _, id := range []string{"duel:x", "chess:x", "x"} {
		_, err := h.Get(ctx, id)
		_, err2 := h.Cancel(ctx, id)
		if !errors.Is(err, ErrNoTicket) || !errors.Is(err2, ErrNoTicket) {
			t.Errorf("%s: %v, %v", id, err, err2)
		}
	}
	if _, err := TicketID("duel", "a b"); !errors.Is(err, hub.ErrInvalid) {
		t.Errorf("an id with a space: %v", err)
	}
	h.balanced("small")
	h.closed = true
	if err := put("duel", ticket("a", 1, 0, 0)); !errors.Is(err, ErrClosed) {
		t.Errorf("nobody opens rooms: %v", err)
	}
}

// TestTicketsAreBoundedByBytes: a few large ones fill a queue as many small ones do.
func TestTicketsAreBoundedByBytes(t *testing.T) {
	q := &Queue{Name: "mass", Teams: 1, TeamSize: 100, Steps: []Step{{}}, Expire: time.Minute, MaxTickets: 20}
	h := newHall(t, q)
	var full *hub.RoomError
	n := 0
	for ; full == nil && n < 20; n++ {
		x := ticket(fmt.Sprint("mass:", n), 100, 0, 0)
		_, _, err := h.Put(t.Context(), "mass", x, false)
		full, _ = errors.AsType[*hub.RoomError](err)
	}
	if n < 3 || n == 20 {
		t.Errorf("%d tickets of 100 players", n)
	}
	h.balanced("mass")
}

func TestExpiredAndLost(t *testing.T) {
	short := duel()
	short.Name, short.Expire = "short", 300*time.Millisecond
	kept := duel()
	kept.Name, kept.Heartbeat = "kept", 300*time.Millisecond // no Validate would take it
	h := newHall(t, short, kept)
	h.put("short", 0, "ann")
	silent, loud := &Ticket{ID: "kept:bob", Players: []hub.UserID{"bob"}}, &Ticket{ID: "kept:cleo", Players: []hub.UserID{"cleo"}, Rating: 5000}
	for _, x := range []*Ticket{silent, loud} {
		x.Since = time.Now()
		if _, _, err := h.Put(t.Context(), "kept", x, true); err != nil {
			t.Fatal(err)
		}
	}
	h.put("kept", -5000, "dora") // nobody beats for it
	h.start(nil)
	eventually(t, "one has expired, one is lost", func() bool {
		signs, err := h.Beat(t.Context(), "kept", []*Ticket{loud})
		if err != nil || signs[0].Status != Waiting {
			t.Fatalf("%+v, %v", signs, err)
		}
		return h.status("short:ann") == Expired && h.status("kept:bob") == Lost
	})
	if h.status("kept:cleo") != Waiting || h.status("kept:dora") != Waiting {
		t.Error("others ended, too")
	}
	eventually(t, "ann is told", func() bool { return len(h.notes.told(KindEnded, "ann")) == 1 })
	if signs, err := h.Beat(t.Context(), "kept", []*Ticket{silent}); err != nil || signs[0].Status != Lost {
		t.Errorf("a late heartbeat: %+v, %v", signs, err)
	}
	if h.hooks.count("match.ended kept:bob") != 1 || h.hooks.count("match.ended short:ann") != 1 {
		t.Errorf("backends were told %v", h.hooks.all)
	}
	h.balanced("short")
	h.balanced("kept")
}

// TestNobodyIsLostWhileNobodyIsHeard: owners of tickets cannot be heard at a master
// that is away, nor at once when it is back.
func TestNobodyIsLostWhileNobodyIsHeard(t *testing.T) {
	q := duel()
	q.Heartbeat = 10 * time.Second
	h := newHall(t, q)
	x := &Ticket{ID: "duel:ann", Players: []hub.UserID{"ann"}}
	if _, _, err := h.Put(t.Context(), "duel", x, true); err != nil {
		t.Fatal(err)
	}
	b := h.solo("duel")
	client, _ := b.shard.Master()
	client.ZAdd(t.Context(), b.keys[dueKey], redis.Z{Score: 1, Member: x.ID}) // it has been silent for ever
	if b.shard.Stable() >= q.Heartbeat {
		t.Fatal("the test came too late")
	}
	if err := b.reap(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if s := h.status(x.ID); s != Waiting {
		t.Errorf("it is %s", s)
	}
	if due := client.ZScore(t.Context(), b.keys[dueKey], x.ID).Val(); due < float64(time.Now().UnixMilli()) {
		t.Error("it got no more time")
	}
}

// Point 1: created = ended + waiting, whatever happens in whatever order, and each
// ending has a name. The parts of a queue agree with each other all the time.
func TestPoint1CreatedIsEndedAndWaiting(t *testing.T) {
	seeds := []uint64{1, 2, 3, 4}
	if testing.Short() {
		seeds = seeds[:1]
	}
	asking := squads()
	asking.Name, asking.Accept = "asking", time.Minute
	for _, seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			h := newHall(t, squads(), asking)
			w := &walker{hall: h, rng: rand.New(rand.NewPCG(seed, 1)), queue: "squads", kinds: map[Status]int{}}
			if seed%2 == 0 {
				w.queue = "asking"
			}
			w.b = h.solo(w.queue)
			for range 400 {
				w.step()
				h.balanced(w.queue)
			}
			c := h.balanced(w.queue)
			for _, how := range []Status{Matched, Canceled, Expired, Lost} {
				if c.Ended[how] == 0 {
					t.Errorf("none ended as %s: the walk shows little: %+v", how, c)
				}
			}
			if w.queue == "asking" && c.Ended[Declined] == 0 {
				t.Errorf("none was declined: %+v", c)
			}
		})
	}
}

// walker does to a queue what may be done, at random.
type walker struct {
	*hall

	rng    *rand.Rand
	queue  string
	b      *desk
	n      int
	open   []string // claimed matches
	rooms  []string // recorded ones
	beaten []*Ticket
	kinds  map[Status]int
}

func (w *walker) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *walker) client() *redis.Client {
	c, err := w.b.shard.Master()
	w.must(err)
	return c
}

func (w *walker) step() {
	ctx := w.t.Context()
	switch w.rng.IntN(13) {
	case 0, 1, 2, 3:
		w.putOne(ctx)
	case 4:
		if id := w.any(ticketsKey); id != "" {
			brief := withTimeout(w.t, 100*time.Millisecond)
			if _, err := w.Cancel(brief, id); brief.Err() == nil {
				w.must(err)
			}
		}
	case 5, 6:
		w.claimSome(ctx)
	case 7:
		if i := len(w.open) - 1; i >= 0 {
			w.must(w.b.release(ctx, w.open[i], backRoom))
			w.open = w.open[:i]
		}
	case 8, 9:
		w.recordOne(ctx)
	case 10:
		w.lapse(ctx)
	case 11:
		w.ageOne(ctx)
	case 12:
		if len(w.beaten) > 0 {
			_, err := w.Beat(ctx, w.queue, w.beaten)
			w.must(err)
		}
	}
}

// any is one of those in a hash; "" when there is none.
func (w *walker) any(key int) string {
	all := w.client().HKeys(w.t.Context(), w.b.keys[key]).Val()
	if len(all) == 0 {
		return ""
	}
	slices.Sort(all)
	return all[w.rng.IntN(len(all))]
}

// putOne puts a ticket of one or two of few players, so that they meet.
func (w *walker) putOne(ctx context.Context) {
	w.n++
	x := &Ticket{ID: fmt.Sprintf("%s:t%d", w.queue, w.n), Since: time.Now()}
	for range 1 + w.rng.IntN(2) {
		u := hub.UserID(fmt.Sprint("u", w.rng.IntN(40)))
		if !slices.Contains(x.Players, u) {
			x.Players = append(x.Players, u)
		}
	}
	beats := w.rng.IntN(2) == 0
	s, made, err := w.Put(ctx, w.queue, x, beats)
	w.must(err)
	if made && beats {
		w.beaten = append(w.beaten, x)
	}
	if !made && s.Status == Waiting && !slices.ContainsFunc(s.Players, func(p hub.UserID) bool { return slices.Contains(x.Players, p) }) {
		w.t.Fatalf("%+v stands in the way of %+v", s, x)
	}
}

// claimSome claims a few tickets, of which one may be claimed or gone already.
func (w *walker) claimSome(ctx context.Context) {
	waiting := w.client().ZRange(ctx, w.b.keys[waitingKey], 0, -1).Val()
	if len(waiting) < 2 {
		return
	}
	w.n++
	match := fmt.Sprint("m", w.n)
	args := []any{match, time.Minute.Milliseconds(), 0, "{}", 2, "", 0, waiting[0], waiting[1]}
	if other := w.any(claimedKey); other != "" && w.rng.IntN(3) == 0 {
		args = append(args, other)
	}
	replies, err := w.b.copied(ctx, claimScript, args)
	w.must(err)
	if replies[0] == "claimed" != (len(args) == 9) {
		w.t.Fatalf("%v: %v", args, replies[0])
	}
	if replies[0] == "claimed" {
		w.open = append(w.open, match)
	}
}

// recordOne brings a claimed match about, or has its players asked.
func (w *walker) recordOne(ctx context.Context) {
	if len(w.rooms) > 0 && w.rng.IntN(2) == 0 {
		w.must(w.b.finish(ctx, &Found{Match: w.rooms[0]}))
		w.rooms = w.rooms[1:]
		return
	}
	if len(w.open) == 0 {
		return
	}
	match := w.open[0]
	w.open = w.open[1:]
	if w.queue == "asking" && w.rng.IntN(2) == 0 {
		for _, lasts := range []int{0, 60_000} {
			_, err := w.b.copied(ctx, offerScript, []any{match, lasts})
			w.must(err)
		}
		if id := w.any(claimedKey); id != "" {
			err := w.Accept(ctx, id, "", w.rng.IntN(2) == 0)
			if !errors.Is(err, ErrNotAsked) {
				w.must(err)
			}
		}
		return
	}
	replies, err := w.b.copied(ctx, recordScript, []any{match, 60_000, "{}"})
	w.must(err)
	if replies[0] == int64(1) {
		w.rooms = append(w.rooms, match)
	}
}

// lapse has the time of every claim be over.
func (w *walker) lapse(ctx context.Context) {
	for _, m := range w.client().ZRange(ctx, w.b.keys[claimsKey], 0, -1).Val() {
		if w.rng.IntN(2) == 0 {
			w.client().ZAdd(ctx, w.b.keys[claimsKey], redis.Z{Score: 1, Member: m})
		}
	}
	reply, err := w.b.shelf.run(ctx, dueScript, tended, 60_000, 60_000)
	w.must(err)
	w.tell.ended(ctx, w.b.Queue, list(part(list(reply), 3)))
}

// ageOne has the time of a waiting ticket be over, one way or the other.
func (w *walker) ageOne(ctx context.Context) {
	waiting := w.client().ZRange(ctx, w.b.keys[waitingKey], 0, -1).Val()
	if len(waiting) == 0 {
		return
	}
	id := waiting[w.rng.IntN(len(waiting))]
	w.client().ZAdd(ctx, w.b.keys[dueKey], redis.Z{Score: 1, Member: id})
	if w.rng.IntN(2) == 0 { // it expired long ago; its text keeps its length
		s := w.client().HGet(ctx, w.b.keys[ticketsKey], id).Val()
		x, err := parseTicket(id, s)
		w.must(err)
		since := fmt.Sprint(x.Since.UnixMilli())
		w.client().HSet(ctx, w.b.keys[ticketsKey], id, s[:len(since)+1]+since+s[2*len(since)+1:])
	}
	_, err := w.b.shelf.run(ctx, reapScript, tended, "1")
	w.must(err)
}

// withTimeout is a context that ends soon.
func withTimeout(tb testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(tb.Context(), d)
	tb.Cleanup(cancel)
	return ctx
}

// TestALobby: the tickets of those who are here live on, those of others are lost; the
// ticket may be a party's that a backend has made.
func TestALobby(t *testing.T) {
	q := squads()
	q.ByPlayers = true
	q.Heartbeat = 300 * time.Millisecond // no Validate would take it
	h := newHall(t, q)
	l := NewLobby(h.Tickets, slog.New(slog.DiscardHandler))
	ctx := t.Context()
	party := &Ticket{ID: "squads:party", Players: []hub.UserID{"bob", "cleo"}}
	if _, _, err := h.Put(ctx, "squads", party, true); err != nil {
		t.Fatal(err)
	}
	for _, u := range []hub.UserID{"ann", "cleo", "dora"} {
		if err := l.Wait(ctx, "squads", u, 0, nil); err != nil {
			t.Fatal(err)
		}
	}
	l.Gone("squads", "dora")
	stop := h.start(bad(func(*Queue, []*Ticket, []*Backfill) []Match { return nil }))
	for until := time.Now().Add(time.Second); time.Now().Before(until); time.Sleep(50 * time.Millisecond) {
		for queue, users := range l.byQueue() {
			if err := l.beat(ctx, queue, users); err != nil {
				t.Fatal(err)
			}
		}
	}
	if c := h.counted("squads"); c.Waiting != 2 || c.Ended[Lost] != 1 || len(l.waiting) != 2 {
		t.Errorf("%+v, %d here", c, len(l.waiting))
	}
	stop()
	if err := l.Leave(ctx, "squads", "cleo"); err != nil {
		t.Error(err)
	}
	if s := h.status(party.ID); s != Canceled || len(l.waiting) != 1 {
		t.Errorf("the party's is %s, %d here", s, len(l.waiting))
	}
	if _, err := h.Cancel(ctx, l.waiting[waiter{"squads", "ann"}].ID); err != nil {
		t.Fatal(err)
	}
	if err := l.beat(ctx, "squads", []hub.UserID{"ann"}); err != nil || len(l.waiting) != 0 {
		t.Errorf("%v, %d here", err, len(l.waiting))
	}
	h.balanced("squads")
}
