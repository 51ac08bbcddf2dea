package match

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/redisx"
)

func TestAMatch(t *testing.T) {
	q := duel()
	q.Mode, q.Class = "ranked", "arena"
	h := newHall(t, q)
	var metadata, data string
	h.rooms.failing(func(o *Opening) error {
		metadata, data = string(o.Metadata), string(o.Data)
		if o.Class != "arena" {
			t.Errorf("class %q", o.Class)
		}
		return nil
	})
	h.put("duel", 1000, "ann")
	h.put("duel", 1010, "bob")
	stop := h.start(nil)
	eventually(t, "they are matched", func() bool { return h.status("duel:ann") == Matched && h.status("duel:bob") == Matched })
	stop()
	s, err := h.Get(t.Context(), "duel:ann")
	if err != nil || s.Found == nil || len(s.Found.Players) != 2 || s.Found.URL != "ws://front/ws" {
		t.Fatalf("%+v, %v", s, err)
	}
	if metadata != `{"match":"`+s.Found.Match+`","queue":"duel","mode":"ranked"}` || data != `{"teams":[["ann"],["bob"]]}` && data != `{"teams":[["bob"],["ann"]]}` {
		t.Errorf("the room is told %s %s", metadata, data)
	}
	told := h.notes.told(KindFound, "bob")
	if len(told) != 1 || told[0].ID != s.Found.Match+":bob" || told[0].Class != hub.ClassMust || told[0].From != "homing" || told[0].Store == 0 {
		t.Fatalf("bob is told %+v", told)
	}
	note := h.notes.found(t, "bob")[0]
	if note.Ticket != "seat-of-bob" || note.Room != s.Found.Room || note.Queue != "duel" || len(note.Players) != 2 || note.URL != s.Found.URL {
		t.Errorf("%+v", note)
	}
	if ann := h.notes.found(t, "ann")[0]; ann.Team == note.Team || ann.Ticket != "seat-of-ann" {
		t.Errorf("%+v and %+v", ann, note)
	}
	if h.hooks.count("match.found "+s.Found.Room) != 1 {
		t.Errorf("backends were told %v", h.hooks.all)
	}
	if c := h.balanced("duel"); c.Ended[Matched] != 2 || c.Players != 0 {
		t.Errorf("%+v", c)
	}
	eventually(t, "what was known before their match is out of date", func() bool {
		stats, err := h.Stats(t.Context())
		return err == nil && stats[0].Matched == 2 && stats[0].Waits.P50 > 0
	})
	if err := h.solo("duel").finish(t.Context(), s.Found); err != nil {
		t.Error(err)
	}
	if n := testutil.ToFloat64(h.tell.metrics.matches.WithLabelValues("duel")); n != 1 {
		t.Errorf("%v matches are counted", n)
	}
}

// TestLongNames: what one is told has an id that a notification may have.
func TestLongNames(t *testing.T) {
	h := newHall(t, duel())
	long := []hub.UserID{hub.UserID(strings.Repeat("a", 128)), hub.UserID(strings.Repeat("a", 127) + "b")}
	for _, u := range long {
		if _, _, err := h.Put(t.Context(), "duel", &Ticket{ID: "duel:" + string(u[100:]), Players: []hub.UserID{u}}, false); err != nil {
			t.Fatal(err)
		}
	}
	h.start(nil)
	eventually(t, "both are told", func() bool {
		return len(h.notes.told(KindFound, long[0])) == 1 && len(h.notes.told(KindFound, long[1])) == 1
	})
}

// Point 2: one script claims all tickets of a match or none.
func TestPoint2AllOrNone(t *testing.T) {
	h := newHall(t, squads())
	b := h.solo("squads")
	for _, u := range []hub.UserID{"a", "b", "c", "d"} {
		h.put("squads", 0, u)
	}
	claim := func(match string, tickets ...any) any {
		t.Helper()
		args := append([]any{match, 60_000, 0, "{}", len(tickets), "", 0}, tickets...)
		replies, err := b.copied(t.Context(), claimScript, args)
		if err != nil {
			t.Fatal(err)
		}
		h.balanced("squads")
		return replies[0]
	}
	if r := claim("m1", "squads:a", "squads:b"); r != "claimed" {
		t.Fatal(r)
	}
	if r := claim("m1", "squads:a", "squads:b"); r != "claimed" {
		t.Errorf("again: %v", r)
	}
	if r := claim("m2", "squads:c", "squads:b", "squads:d"); r != "gone" {
		t.Errorf("a ticket that is claimed: %v", r)
	}
	if h.status("squads:c") != Waiting || h.status("squads:d") != Waiting || h.status("squads:a") != Claimed {
		t.Error("a claim that failed has taken tickets")
	}
	if r := claim("m3", "squads:c", "squads:d"); r != "claimed" {
		t.Errorf("of the others: %v", r)
	}
}

// Point 2: a double tap, or another ticket of a player who has one, returns the
// ticket that there is; at any server, and at once.
func TestPoint2OneTicketPerPlayer(t *testing.T) {
	h := newHall(t, squads())
	other := openHall(t, h.rc, squads())
	var mu sync.Mutex
	made := map[string]int{}
	var taps sync.WaitGroup
	for i := range 20 {
		taps.Go(func() {
			from := []*hall{h, other}[i%2]
			id, _ := TicketID("squads", "")
			x := &Ticket{ID: id, Players: []hub.UserID{"ann", "bob"}[:1+i%2]}
			s, fresh, err := from.Put(t.Context(), "squads", x, false)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if fresh {
				made[s.ID] += 100
			}
			made[s.ID]++
		})
	}
	taps.Wait()
	if len(made) > 2 { // bob's alone may be there beside ann's, as ann's is not a party
		t.Errorf("%v", made)
	}
	c := h.balanced("squads")
	if c.Created != int64(len(made)) || c.Waiting != c.Created {
		t.Errorf("%+v, and %v", c, made)
	}
}

// Point 2: two matchers that both work, as none should, use no ticket twice.
func TestPoint2TwoMatchersAtOnce(t *testing.T) {
	h := newHall(t, squads())
	other := openHall(t, h.rc, squads())
	other.rooms, other.notes = h.rooms, h.notes
	other.tell.notify = h.notes
	const players = 400
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range players {
		h.put("squads", rng.NormFloat64()*50, hub.UserID(fmt.Sprint("u", i)))
	}
	desks := []*desk{h.solo("squads"), other.solo("squads"), h.solo("squads"), other.solo("squads")}
	for range 100 {
		var all sync.WaitGroup
		for _, b := range desks {
			all.Go(func() {
				if _, err := b.round(t.Context(), 0); err != nil { // a fence that nobody is refused by
					t.Error(err)
				}
			})
		}
		all.Wait()
		if c := h.counted("squads"); c.Waiting < 10 {
			break
		}
	}
	for _, b := range desks {
		b.work.Wait()
	}
	c := h.balanced("squads")
	if c.Ended[Matched] < players-20 {
		t.Errorf("%+v", c)
	}
	for i := range players {
		u := hub.UserID(fmt.Sprint("u", i))
		if rooms := h.rooms.of(u); len(rooms) > 1 || len(h.notes.told(KindFound, u)) > 1 {
			t.Errorf("%s plays in %v", u, rooms)
		}
	}
}

// TestTheFence: a matcher that was stopped past its lease claims nothing.
func TestTheFence(t *testing.T) {
	h := newHall(t, duel())
	late, next := h.solo("duel"), h.solo("duel")
	fence, err := late.lease(t.Context(), 50*time.Millisecond)
	if err != nil || fence != 1 {
		t.Fatal(fence, err)
	}
	if other, err := next.lease(t.Context(), time.Second); err != nil || other != 0 {
		t.Errorf("two have the lease: %d, %v", other, err)
	}
	eventually(t, "another has the lease", func() bool {
		fence, err := next.lease(t.Context(), time.Minute)
		return err == nil && fence == 2
	})
	h.put("duel", 0, "ann")
	h.put("duel", 0, "bob")
	if _, err := late.round(t.Context(), fence); !errors.Is(err, errFenced) {
		t.Errorf("the late one: %v", err)
	}
	if _, err := next.round(t.Context(), 2); err != nil {
		t.Error(err)
	}
	next.work.Wait()
	if h.status("duel:ann") != Matched {
		t.Error("nobody was matched")
	}
	next.leave(t.Context())
	if fence, err := late.lease(t.Context(), time.Minute); err != nil || fence != 3 {
		t.Errorf("after it was given up: %d, %v", fence, err)
	}
}

// Point 3: cancel against match: one wins, and the caller hears which.
func TestPoint3CancelAgainstMatch(t *testing.T) {
	h := newHall(t, duel())
	h.start(nil)
	const pairs = 60
	var mu sync.Mutex
	heard := map[Status]int{}
	rng := rand.New(rand.NewPCG(3, 3))
	for i := range pairs {
		a, b := hub.UserID(fmt.Sprint("a", i)), hub.UserID(fmt.Sprint("b", i))
		h.put("duel", float64(i)*1000, a)
		h.put("duel", float64(i)*1000, b)
		time.Sleep(time.Duration(rng.IntN(20)) * time.Millisecond)
		s, err := h.Cancel(t.Context(), "duel:"+string(a))
		if err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		heard[s.Status]++
		mu.Unlock()
		if got := h.status(s.ID); got != s.Status {
			t.Errorf("%s: told %s, and it is %s", a, s.Status, got)
		}
		if rooms := h.rooms.of(a); (s.Status == Matched) != (len(rooms) == 1) {
			t.Errorf("%s: told %s, and plays in %v", a, s.Status, rooms)
		}
		if s.Status == Canceled {
			if s, err := h.Withdraw(t.Context(), "duel", b); err != nil || s.Status != Canceled {
				t.Errorf("%+v, %v", s, err)
			}
		}
	}
	if heard[Matched] == 0 || heard[Canceled] == 0 || len(heard) != 2 {
		t.Errorf("the test shows little: %v", heard)
	}
	h.balanced("duel")
}

// Point 3: who wants to go while the room is being opened hears how it ends, and does
// not wait again when the room is not opened.
func TestPoint3AWishDuringTheOpening(t *testing.T) {
	for name, fails := range map[string]bool{"opened": false, "not opened": true} {
		t.Run(name, func(t *testing.T) {
			h := newHall(t, duel())
			hold, opening := make(chan struct{}), make(chan struct{}, 9)
			h.rooms.failing(func(*Opening) error {
				opening <- struct{}{}
				<-hold
				if fails {
					return errors.New("no room")
				}
				return nil
			})
			h.put("duel", 0, "ann")
			h.put("duel", 0, "bob")
			b := h.solo("duel")
			if _, err := b.round(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
			<-opening
			if _, err := h.Cancel(withTimeout(t, 500*time.Millisecond), "duel:ann"); !errors.Is(err, ErrUndecided) {
				t.Errorf("while the room is being opened: %v", err)
			}
			close(hold)
			b.work.Wait()
			want := map[bool]Status{true: Canceled, false: Matched}[fails]
			if got := h.status("duel:ann"); got != want {
				t.Errorf("ann's is %s, want %s", got, want)
			}
			if s, err := h.Cancel(t.Context(), "duel:ann"); err != nil || s.Status != want {
				t.Errorf("%+v, %v; want %s", s, err, want)
			}
			if got := h.status("duel:bob"); fails && got != Waiting || !fails && got != Matched {
				t.Errorf("bob's is %s", got)
			}
			h.balanced("duel")
		})
	}
}

// TestARoomThatDoesNotOpen: tickets go back with their age, and are matched later.
func TestARoomThatDoesNotOpen(t *testing.T) {
	h := newHall(t, duel())
	var tries sync.Map
	h.rooms.failing(func(o *Opening) error {
		if _, again := tries.LoadOrStore("first", true); !again {
			return errors.New("no room")
		}
		return nil
	})
	h.put("duel", 0, "ann")
	h.put("duel", 0, "bob")
	before, err := h.Get(t.Context(), "duel:ann")
	if err != nil {
		t.Fatal(err)
	}
	b := h.solo("duel")
	if _, err := b.round(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	b.work.Wait()
	after, err := h.Get(t.Context(), "duel:ann")
	if err != nil || after.Status != Waiting || !after.Since.Equal(before.Since) {
		t.Errorf("before %+v, after %+v, %v", before, after, err)
	}
	if n := testutil.ToFloat64(h.tell.metrics.back.WithLabelValues("duel", backRoom)); n != 2 {
		t.Errorf("%v are counted", n)
	}
	h.start(nil)
	eventually(t, "they are matched", func() bool { return h.status("duel:ann") == Matched })
	h.balanced("duel")
}

// TestARoomWithoutASeat: a room in which one of the players has no seat is closed.
func TestARoomWithoutASeat(t *testing.T) {
	h := newHall(t, duel())
	b := h.solo("duel")
	b.rooms = seatless{h.rooms}
	h.put("duel", 0, "ann")
	h.put("duel", 0, "bob")
	if _, err := b.round(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	b.work.Wait()
	if len(h.rooms.closed) != 1 || h.status("duel:ann") != Waiting || len(h.notes.told(KindFound, "ann")) != 0 {
		t.Errorf("closed %v, ann's is %s", h.rooms.closed, h.status("duel:ann"))
	}
}

type seatless struct{ *fakeRooms }

func (s seatless) Open(ctx context.Context, o *Opening) (*Opened, error) {
	out, err := s.fakeRooms.Open(ctx, o)
	delete(out.Tickets, "bob")
	return out, err
}

// TestAnOpeningThatIsTooLate: the room of a match whose claim has lapsed meanwhile is
// closed, and nobody is told of it.
func TestAnOpeningThatIsTooLate(t *testing.T) {
	h := newHall(t, duel())
	h.put("duel", 0, "ann")
	h.put("duel", 0, "bob")
	b := h.solo("duel")
	b.timing.Claim = 20 * time.Millisecond
	h.rooms.failing(func(*Opening) error { time.Sleep(100 * time.Millisecond); return nil })
	if _, err := b.round(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	other := h.solo("duel")
	eventually(t, "the claim has lapsed", func() bool {
		if err := other.tend(t.Context()); err != nil {
			t.Fatal(err)
		}
		return h.status("duel:ann") == Waiting
	})
	b.work.Wait()
	if len(h.rooms.closed) != 1 || len(h.notes.told(KindFound, "ann")) != 0 {
		t.Errorf("closed %v, told %v", h.rooms.closed, h.notes.told(KindFound, "ann"))
	}
	if n := testutil.ToFloat64(h.tell.metrics.back.WithLabelValues("duel", backLapsed)); n != 2 {
		t.Errorf("%v are counted", n)
	}
}

const (
	nodeEnv = "HOMING_TEST_MATCH_NODE" // Redis, prefix and where to die, with a space between two
	atOpen  = "open"
	atTell  = "tell"
)

// runNode is a lobby node that kills itself: while it opens a room, or after it has
// told the first player.
func runNode() {
	var cfg redisx.Config
	var url, stage string
	if err := kong.ApplyDefaults(&cfg); err != nil {
		panic(err)
	}
	if _, err := fmt.Sscan(os.Getenv(nodeEnv), &url, &cfg.Prefix, &stage); err != nil {
		panic(err)
	}
	cfg.Data = []string{url}
	log, ctx := slog.New(slog.DiscardHandler), context.Background()
	r, err := redisx.New(cfg, log, prometheus.NewRegistry())
	if err != nil {
		panic(err)
	}
	go func() { _ = r.Run(ctx) }()
	if err := r.WaitReady(ctx); err != nil {
		panic(err)
	}
	die := func() { _ = syscall.Kill(os.Getpid(), syscall.SIGKILL); select {} }
	rooms, notes, told := newFakeRooms(), newFakeNotes(), 0
	rooms.fail = func(*Opening) error {
		if stage == atOpen {
			die()
		}
		return nil
	}
	notes.fail = func(*hub.Notification) error {
		if told++; told == 2 {
			die()
		}
		return nil
	}
	tickets := NewTickets(Deps{Queues: []*Queue{duel()}, Data: r.Data, Keys: hub.NewKeys(cfg.Prefix), Notify: notes, Log: log})
	_ = NewMatcher(tickets, rooms, nil, quick(), log).Run(ctx)
}

// killedNode runs a node until it has killed itself.
func (h *hall) killedNode(stage string) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), nodeEnv+"="+strings.Join([]string{h.rc.Data[0], h.rc.Prefix, stage}, " "))
	out, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL || ctx.Err() != nil {
		h.t.Fatalf("the node has not killed itself: %v\n%s", err, out)
	}
}

// Point 4: a node killed between claim and record gives the tickets back with their
// age; one killed between record and announcement has its match announced by the
// next, under the same ids and with the same room.
func TestPoint4AKilledNode(t *testing.T) {
	for _, stage := range []string{atOpen, atTell} {
		t.Run(stage, func(t *testing.T) {
			h := newHall(t, duel())
			h.put("duel", 0, "ann")
			h.put("duel", 0, "bob")
			before, err := h.Get(t.Context(), "duel:ann")
			if err != nil {
				t.Fatal(err)
			}
			h.killedNode(stage)
			if s := h.status("duel:ann"); s != Claimed {
				t.Fatalf("after the kill it is %s", s)
			}
			h.balanced("duel")
			died := time.Now()
			h.start(nil)
			eventually(t, "they are matched", func() bool { return h.status("duel:ann") == Matched && h.status("duel:bob") == Matched })
			if took := time.Since(died); took > 3*time.Second {
				t.Errorf("it took %v, with claims of a second", took)
			}
			c := h.balanced("duel")
			if c.Ended[Matched] != 2 || c.Waiting != 0 {
				t.Errorf("%+v", c)
			}
			opened := len(h.rooms.matches())
			notes := h.notes.found(t, "bob")
			back := testutil.ToFloat64(h.tell.metrics.back.WithLabelValues("duel", backLapsed))
			switch {
			case len(notes) != 1 || len(h.notes.found(t, "ann")) != 1:
				t.Errorf("%+v", notes)
			case stage == atOpen && (opened != 1 || back != 2):
				t.Errorf("%d rooms are opened, %v tickets were given back", opened, back)
			case stage == atTell && (opened != 0 || back != 0 || notes[0].Room != "room-"+notes[0].Match):
				t.Errorf("%d rooms are opened anew, %v tickets were given back, %+v", opened, back, notes)
			}
			if s, err := h.Get(t.Context(), "duel:ann"); err != nil || stage == atOpen && s.Found == nil {
				t.Errorf("%+v, before %+v, %v", s, before, err)
			}
		})
	}
}

// Point 4: another node takes over within 3 s, with the timing of servers, when the
// one that works is killed; at once when it stops.
func TestPoint4AnotherTakesOver(t *testing.T) {
	h := newHall(t, duel())
	lease := DefaultTiming().Lease
	if timing := DefaultTiming(); timing.told() < timing.Tell+time.Second || timing.told() > 5*time.Second || timing.Claim < timing.Open+2*writePatience {
		t.Errorf("%+v", timing)
	}
	if lease+lease/4 > 3*time.Second {
		t.Errorf("a lease of %v, looked at every %v", lease, lease/4)
	}
	h.put("duel", 0, "ann")
	h.put("duel", 0, "bob")
	h.killedNode(atOpen)
	died := time.Now()
	h.put("duel", 9000, "cleo")
	h.put("duel", 9000, "dora")
	h.start(nil)
	eventually(t, "others are matched", func() bool { return h.status("duel:cleo") == Matched })
	if took := time.Since(died); took > 2*quick().Lease {
		t.Errorf("it took %v, with a lease of %v", took, quick().Lease)
	}
}

// Point 4: a match function that takes longer than the lease keeps the queue.
func TestPoint4ASlowFunction(t *testing.T) {
	h := newHall(t, duel())
	slow := bad(func(q *Queue, waiting []*Ticket, lacking []*Backfill) []Match {
		time.Sleep(3 * quick().Lease)
		return Nearest{}.Match(q, time.Now(), waiting, lacking)
	})
	h.put("duel", 0, "ann")
	h.put("duel", 0, "bob")
	h.start(slow)
	h.start(slow)
	eventually(t, "they are matched", func() bool { return h.status("duel:ann") == Matched })
	client, _ := h.queues["duel"].shard.Master()
	if fence := client.HGet(t.Context(), h.queues["duel"].keys[bookKey], "fence").Val(); fence != "1" {
		t.Errorf("the lease changed hands: its fence is %s", fence)
	}
}

// Point 4: announcing fails for a while; nobody is left out, and nobody is told of
// two matches.
func TestPoint4AnnouncingAgain(t *testing.T) {
	h := newHall(t, duel())
	var mu sync.Mutex
	fails := 8
	h.notes.failing(func(n *hub.Notification) error {
		mu.Lock()
		defer mu.Unlock()
		if fails--; fails > 0 && n.Users[0] == "bob" {
			return hub.ErrUnavailable
		}
		return nil
	})
	h.put("duel", 0, "ann")
	h.put("duel", 0, "bob")
	h.start(nil)
	eventually(t, "they are matched", func() bool { return h.status("duel:bob") == Matched })
	ids := map[string]bool{}
	for _, n := range h.notes.told(KindFound, "ann") {
		ids[n.ID] = true
	}
	if len(ids) != 1 || len(h.notes.told(KindFound, "bob")) != 1 || len(h.rooms.matches()) != 1 {
		t.Errorf("ann was told of %v", ids)
	}
}

// TestThereIsNoRoomToStore: players are told all the same.
func TestThereIsNoRoomToStore(t *testing.T) {
	h := newHall(t, duel())
	h.notes.failing(func(n *hub.Notification) error {
		if n.Store > 0 {
			return &hub.RoomError{Pot: hub.PotInbox}
		}
		return nil
	})
	h.put("duel", 0, "ann")
	h.put("duel", 0, "bob")
	h.start(nil)
	eventually(t, "they are told", func() bool { return len(h.notes.told(KindFound, "ann")) == 1 })
}

// Point 7: a party is one ticket: all of it plays in one team, or nobody; one who
// leaves withdraws it, and the others are told.
func TestPoint7AParty(t *testing.T) {
	q := squads()
	q.TeamSize, q.Steps = 3, []Step{{}}
	h := newHall(t, q)
	h.put("squads", 0, "a1", "a2", "a3")
	h.put("squads", 0, "b1", "b2")
	h.put("squads", 0, "c1", "c2", "c3")
	h.start(nil)
	eventually(t, "the two of three are matched", func() bool { return h.status("squads:a1") == Matched && h.status("squads:c1") == Matched })
	if h.status("squads:b1") != Waiting {
		t.Error("a party was torn apart")
	}
	for _, party := range [][]hub.UserID{{"a1", "a2", "a3"}, {"c1", "c2", "c3"}} {
		for _, u := range party {
			if n := h.notes.found(t, u); len(n) != 1 || n[0].Team != h.notes.found(t, party[0])[0].Team {
				t.Errorf("%s: %+v", u, n)
			}
		}
	}
	if s, err := h.Withdraw(t.Context(), "squads", "b2"); err != nil || s.Status != Canceled || s.ID != "squads:b1" {
		t.Errorf("%+v, %v", s, err)
	}
	if len(h.notes.told(KindEnded, "b1")) != 1 {
		t.Error("b1 was not told that b2 has left")
	}
	if _, err := h.Withdraw(t.Context(), "squads", "b2"); !errors.Is(err, ErrNoTicket) {
		t.Errorf("again: %v", err)
	}
	if s := h.put("squads", 0, "b1"); s.Status != Canceled { // the id was used
		t.Errorf("%+v", s)
	}
	if _, made, err := h.Put(t.Context(), "squads", &Ticket{ID: "squads:new", Players: []hub.UserID{"b1"}}, false); err != nil || !made {
		t.Errorf("b1 alone: %v, %v", made, err)
	}
	h.balanced("squads")
}

// Point 8: backfill goes before new matches, at most one ticket for each seat, and
// dies with the room's epoch.
func TestPoint8Backfill(t *testing.T) {
	h := newHall(t, duel())
	ctx := t.Context()
	lack := func(epoch uint64, free ...int) error {
		return h.Lack(ctx, "duel", &Backfill{Room: "r1", Epoch: epoch, Free: free, Rating: 0})
	}
	for _, free := range [][]int{{0, 0}, {1}, {2, 0}, {-1, 1}} {
		if err := lack(1, free...); !errors.Is(err, hub.ErrInvalid) {
			t.Errorf("free seats %v: %v", free, err)
		}
	}
	if err := lack(2, 0, 1); err != nil {
		t.Fatal(err)
	}
	if err := lack(1, 1, 1); !errors.Is(err, ErrOldEpoch) {
		t.Errorf("an owner of before: %v", err)
	}
	for _, u := range []hub.UserID{"ann", "bob", "cleo"} {
		h.put("duel", 0, u)
	}
	desks := []*desk{h.solo("duel"), h.solo("duel"), h.solo("duel")}
	var all sync.WaitGroup
	for _, b := range desks {
		all.Go(func() {
			if _, err := b.round(ctx, 0); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, b := range desks {
		b.work.Wait()
	}
	inRoom, elsewhere := 0, 0
	for _, u := range []hub.UserID{"ann", "bob", "cleo"} {
		for _, r := range h.rooms.of(u) {
			if r == "r1" {
				inRoom++
			} else {
				elsewhere++
			}
		}
	}
	if inRoom != 1 || elsewhere > 2 {
		t.Errorf("%d came into the room's one seat, %d elsewhere", inRoom, elsewhere)
	}
	if rooms := h.rooms.of("ann"); len(rooms) != 1 || rooms[0] != "r1" {
		t.Errorf("ann, who has waited longest, plays in %v", rooms)
	}
	b := desks[0]
	if n := mustRead(t, b).lacking; len(n) != 0 {
		t.Errorf("it lacks players still: %+v", n)
	}
	h.balanced("duel")
}

// Point 8: who has claimed a room's seats loses them when the room has another owner.
func TestPoint8AnotherEpoch(t *testing.T) {
	h := newHall(t, duel())
	ctx := t.Context()
	b := h.solo("duel")
	want := func(what string, lack *Backfill, claims string) {
		t.Helper()
		if err := h.Lack(ctx, "duel", lack); err != nil {
			t.Fatal(err)
		}
		replies, err := b.copied(ctx, claimScript, []any{what, 60_000, 0, "{}", 1, "r1", 3, "duel:ann"})
		if err != nil || replies[0] != claims {
			t.Errorf("%s: %v, %v", what, replies, err)
		}
		if claims == "claimed" {
			if err := b.release(ctx, what, backRoom); err != nil {
				t.Fatal(err)
			}
		}
	}
	h.put("duel", 0, "ann")
	h.put("duel", 0, "bob")
	want("m1", &Backfill{Room: "r1", Epoch: 3, Free: []int{1, 0}}, "claimed")
	want("m2", &Backfill{Room: "r1", Epoch: 3, Free: []int{1, 0}}, "claimed")
	for match, claims := range map[string]string{"x1": "duel:ann", "x2": "duel:bob"} {
		if _, err := b.copied(ctx, claimScript, []any{match, 60_000, 0, "{}", 1, "r1", 3, claims}); err != nil {
			t.Fatal(err)
		}
	}
	if c := h.balanced("duel"); c.Claimed != 1 {
		t.Errorf("one seat is claimed by %d", c.Claimed)
	}
	for _, match := range []string{"x1", "x2"} {
		if err := b.release(ctx, match, backRoom); err != nil {
			t.Fatal(err)
		}
	}
	want("m3", &Backfill{Room: "r1", Epoch: 4, Free: []int{1, 0}}, "room")
	if err := h.Whole(ctx, "duel", "r1", 3); !errors.Is(err, ErrOldEpoch) {
		t.Errorf("the owner of before: %v", err)
	}
	if err := h.Whole(ctx, "duel", "r1", 4); err != nil {
		t.Error(err)
	}
	if s := mustRead(t, b); len(s.lacking) != 0 {
		t.Errorf("it lacks players still: %+v", s.lacking)
	}
	if err := b.lack(ctx, &Backfill{Room: "r2", Epoch: 1}, time.Millisecond, []byte(`{"free":[1,0]}`)); err != nil {
		t.Fatal(err)
	}
	time.Sleep(5 * time.Millisecond)
	s := mustRead(t, b)
	if !slices.Equal(s.lapsed, []string{"r2"}) {
		t.Errorf("a room that was not heard of: %+v", s)
	}
	if err := b.reap(ctx, s.lapsed); err != nil {
		t.Fatal(err)
	}
	if s := mustRead(t, b); len(s.lapsed)+len(s.lacking) != 0 {
		t.Errorf("it is there still: %+v", s)
	}
}

// TestARoomThatIsNotFilled: its tickets go back, and the room lacks them still.
func TestARoomThatIsNotFilled(t *testing.T) {
	h := newHall(t, duel())
	h.rooms.failing(func(*Opening) error { return errors.New("no seat") })
	if err := h.Lack(t.Context(), "duel", &Backfill{Room: "r1", Epoch: 1, Free: []int{1, 0}}); err != nil {
		t.Fatal(err)
	}
	h.put("duel", 0, "ann")
	b := h.solo("duel")
	for range 2 {
		if _, err := b.round(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		b.work.Wait()
		if h.status("duel:ann") != Waiting || len(mustRead(t, b).lacking) != 1 {
			t.Errorf("ann's is %s", h.status("duel:ann"))
		}
	}
	if len(h.rooms.closed) != 0 {
		t.Error("the room in which others play was closed")
	}
}

func mustRead(t *testing.T, b *desk) *scene {
	t.Helper()
	s, err := b.read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// bad is a function that says what cannot be.
type bad func(q *Queue, waiting []*Ticket, lacking []*Backfill) []Match

func (f bad) Match(q *Queue, _ time.Time, waiting []*Ticket, lacking []*Backfill) []Match {
	return f(q, waiting, lacking)
}

func TestAFaultyFunction(t *testing.T) {
	pair := func(a, b *Ticket) Match { return Match{Tickets: []*Ticket{a, b}, Teams: [][]*Ticket{{a}, {b}}} }
	for name, c := range map[string]struct {
		f    bad
		made int
	}{
		"a panic": {func(*Queue, []*Ticket, []*Backfill) []Match { panic("no") }, 0},
		"twice": {func(_ *Queue, w []*Ticket, _ []*Backfill) []Match {
			return []Match{pair(w[0], w[1]), pair(w[1], w[2])}
		}, 1},
		"with himself":   {func(_ *Queue, w []*Ticket, _ []*Backfill) []Match { return []Match{pair(w[0], w[0])} }, 0},
		"an unknown one": {func(_ *Queue, w []*Ticket, _ []*Backfill) []Match { return []Match{pair(w[0], &Ticket{ID: "x"})} }, 0},
		"a copy":         {func(_ *Queue, w []*Ticket, _ []*Backfill) []Match { c := *w[1]; return []Match{pair(w[0], &c)} }, 0},
		"no teams":       {func(_ *Queue, w []*Ticket, _ []*Backfill) []Match { return []Match{{Tickets: w[:2]}} }, 0},
		"an empty team": {func(_ *Queue, w []*Ticket, _ []*Backfill) []Match {
			return []Match{{Tickets: w[:1], Teams: [][]*Ticket{w[:1], {}}}}
		}, 0},
		"a full team": {func(_ *Queue, w []*Ticket, _ []*Backfill) []Match {
			return []Match{{Tickets: w[:3], Teams: [][]*Ticket{w[:2], w[2:3]}}}
		}, 0},
		"not in a team": {func(_ *Queue, w []*Ticket, _ []*Backfill) []Match {
			return []Match{{Tickets: w[:3], Teams: [][]*Ticket{w[:1], w[1:2]}}}
		}, 0},
		"in two teams": {func(_ *Queue, w []*Ticket, _ []*Backfill) []Match {
			return []Match{{Tickets: w[:1], Teams: [][]*Ticket{w[:1], w[:1]}}}
		}, 0},
		"nobody": {func(*Queue, []*Ticket, []*Backfill) []Match { return []Match{{}} }, 0},
		"an unknown room": {func(_ *Queue, w []*Ticket, _ []*Backfill) []Match {
			m := pair(w[0], w[1])
			m.Backfill = &Backfill{Room: "x", Free: []int{1, 1}}
			return []Match{m}
		}, 0},
		"more than free": {func(_ *Queue, w []*Ticket, l []*Backfill) []Match {
			m := pair(w[0], w[1])
			m.Backfill = l[0]
			return []Match{m}
		}, 0},
		"the room twice": {func(_ *Queue, w []*Ticket, l []*Backfill) []Match {
			one := func(x *Ticket) Match {
				return Match{Backfill: l[0], Tickets: []*Ticket{x}, Teams: [][]*Ticket{{x}, nil}}
			}
			return []Match{one(w[0]), one(w[1])}
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHall(t, duel())
			for _, u := range []hub.UserID{"ann", "bob", "cleo"} {
				h.put("duel", 0, u)
			}
			if err := h.Lack(t.Context(), "duel", &Backfill{Room: "r1", Epoch: 1, Free: []int{1, 0}}); err != nil {
				t.Fatal(err)
			}
			b := h.matcher(c.f).desk(h.queues["duel"])
			if _, err := b.round(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
			b.work.Wait()
			if made := len(h.rooms.matches()); made != c.made {
				t.Errorf("%d matches, want %d", made, c.made)
			}
			h.balanced("duel")
		})
	}
}

// TestAcceptance: the room is opened when all have accepted.
func TestAcceptance(t *testing.T) {
	q := duel()
	q.Accept = time.Minute
	h := newHall(t, q)
	h.put("duel", 0, "ann")
	h.put("duel", 0, "bob")
	if err := h.Accept(t.Context(), "duel:ann", "ann", true); !errors.Is(err, ErrNotAsked) {
		t.Errorf("before a match is found: %v", err)
	}
	h.start(nil)
	eventually(t, "both are asked", func() bool { return h.status("duel:ann") == Offered && h.status("duel:bob") == Offered })
	if len(h.notes.told(KindOffered, "ann")) != 1 || len(h.rooms.matches()) != 0 {
		t.Error("ann was not asked, or a room was opened before")
	}
	s, err := h.Get(t.Context(), "duel:ann")
	if left := time.Until(s.Until); err != nil || left < 50*time.Second || left > time.Minute {
		t.Errorf("%v left, %v", left, err)
	}
	if err := h.Accept(t.Context(), "duel:ann", "cleo", true); !errors.Is(err, ErrStranger) {
		t.Errorf("somebody else: %v", err)
	}
	for range 2 { // a double tap counts once
		if err := h.Accept(t.Context(), "duel:ann", "ann", true); err != nil {
			t.Error(err)
		}
	}
	time.Sleep(100 * time.Millisecond)
	if len(h.rooms.matches()) != 0 {
		t.Fatal("a room was opened although bob has not accepted")
	}
	if err := h.Accept(t.Context(), "duel:bob", "", true); err != nil {
		t.Error(err)
	}
	eventually(t, "both are matched", func() bool { return h.status("duel:ann") == Matched && h.status("duel:bob") == Matched })
	if c := h.balanced("duel"); c.Ended[Matched] != 2 {
		t.Errorf("%+v", c)
	}
}

// TestWhoDoesNotAccept: tickets of those who do not accept end, others wait again
// with their age.
func TestWhoDoesNotAccept(t *testing.T) {
	for name, act := range map[string]func(h *hall) (Status, error){
		"silence": func(h *hall) (Status, error) { return Declined, h.Accept(h.t.Context(), "duel:ann", "ann", true) },
		"no": func(h *hall) (Status, error) {
			return Declined, errors.Join(h.Accept(h.t.Context(), "duel:bob", "bob", false), h.Accept(h.t.Context(), "duel:bob", "bob", false))
		},
		"leaves": func(h *hall) (Status, error) {
			_, err := h.Cancel(h.t.Context(), "duel:bob")
			return Canceled, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			q := duel()
			q.Accept = 500 * time.Millisecond
			h := newHall(t, q)
			h.put("duel", 0, "ann")
			h.put("duel", 0, "bob")
			before, err := h.Get(t.Context(), "duel:ann")
			if err != nil {
				t.Fatal(err)
			}
			h.start(nil)
			eventually(t, "both are asked", func() bool { return h.status("duel:bob") == Offered })
			how, err := act(h)
			if err != nil {
				t.Fatal(err)
			}
			eventually(t, "bob's has ended", func() bool { return h.status("duel:bob") == how })
			after, err := h.Get(t.Context(), "duel:ann")
			if err != nil || after.Status != Waiting || !after.Since.Equal(before.Since) {
				t.Errorf("%+v, before %+v, %v", after, before, err)
			}
			if c := h.balanced("duel"); c.Ended[how] != 1 || c.Waiting != 1 || len(h.rooms.matches()) != 0 {
				t.Errorf("%+v", c)
			}
		})
	}
}

// TestWaitsByRating: the estimate is of those with such a rating.
func TestWaitsByRating(t *testing.T) {
	h := newHall(t, duel())
	l := h.queues["duel"]
	client, err := l.shard.Master()
	if err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		client.Do(t.Context(), "ZADD", l.keys[recentKey], i, fmt.Sprintf("%d %d duel:%d", i, 3*i, i)) // who has a high rating waits long
	}
	stats, err := h.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s := stats[0]
	if s.Waits != (Quantiles{500 * time.Millisecond, 900 * time.Millisecond, 990 * time.Millisecond}) || len(s.Deciles) != 10 || s.Matched != 1000 {
		t.Errorf("%+v", s)
	}
	if d := s.Deciles[9]; d.From != 2700 || d.To != 2997 || d.P50 != 950*time.Millisecond {
		t.Errorf("%+v", d)
	}
	for rating, want := range map[float64]int64{-5: 50, 0: 50, 1600: 550, 99999: 950} {
		if s := h.put("duel", rating, hub.UserID(fmt.Sprint("u", rating))); s.Estimate.Milliseconds() != want {
			t.Errorf("rating %v: %v", rating, s.Estimate)
		}
	}
}

// TestWhatIsRememberedIsBounded: of waits, of tickets that ended, and of matches.
func TestWhatIsRememberedIsBounded(t *testing.T) {
	h := newHall(t, duel())
	b := h.solo("duel")
	client, err := b.shard.Master()
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	pipe := client.Pipeline()
	for i := range 70_000 {
		pipe.Do(ctx, "ZADD", b.keys[endingsKey], time.Now().UnixMilli(), fmt.Sprint("old", i))
		pipe.HSet(ctx, b.keys[endedKey], fmt.Sprint("old", i), "expired ")
		if i%500 == 499 {
			if _, err := pipe.Exec(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range 2500 {
		pipe.Do(ctx, "ZADD", b.keys[recentKey], i, fmt.Sprintf("1 1 old%d", i))
	}
	for i := range 10 {
		pipe.HSet(ctx, b.keys[matchesKey]+fmt.Sprint("old", i), "phase", "d", "found", "{}")
		pipe.Do(ctx, "ZADD", b.keys[doneKey], time.Now().UnixMilli(), fmt.Sprintf("old%d %d", i, 16<<20))
	}
	pipe.HSet(ctx, b.keys[bookKey], "remembered", 160<<20)
	if _, err := pipe.Exec(ctx); err != nil {
		t.Fatal(err)
	}
	h.put("duel", 0, "ann")
	h.put("duel", 0, "bob")
	h.start(nil)
	eventually(t, "they are matched, and what is over is forgotten", func() bool {
		return client.ZCard(ctx, b.keys[endingsKey]).Val() <= 65536 && client.HLen(ctx, b.keys[endedKey]).Val() <= 65536
	})
	if n := client.ZCard(ctx, b.keys[recentKey]).Val(); n > 2000 {
		t.Errorf("%d waits", n)
	}
	if n, _ := client.HGet(ctx, b.keys[bookKey], "remembered").Int(); n > 64<<20 || n <= 0 {
		t.Errorf("%d bytes of matches", n)
	}
	if n := client.Exists(ctx, b.keys[matchesKey]+"old0").Val(); n != 0 {
		t.Error("the oldest match is there still")
	}
	for _, key := range []int{endedKey, endingsKey, recentKey, doneKey} {
		if ttl := client.PTTL(ctx, b.keys[key]).Val(); ttl <= 0 || ttl > time.Hour {
			t.Errorf("%s stays for %v", parts[key], ttl)
		}
	}
}

// TestManyAreDueAtOnce: of many tickets and matches whose time is over, a round looks
// after all, in several calls.
func TestManyAreDueAtOnce(t *testing.T) {
	h := newHall(t, duel())
	b := h.solo("duel")
	const n = 900
	var calls [][]any
	for i := range n {
		calls = append(calls, b.putArgs(&Ticket{ID: fmt.Sprint("duel:", i), Players: []hub.UserID{hub.UserID(fmt.Sprint("u", i))}}, 0, true))
	}
	if _, err := b.runAll(t.Context(), putScript, calls...); err != nil {
		t.Fatal(err)
	}
	calls = nil
	for i := range n / 3 {
		calls = append(calls, []any{fmt.Sprint("m", i), 0, 0, "{}", 2, "", 0, fmt.Sprint("duel:", 2*i), fmt.Sprint("duel:", 2*i+1)})
	}
	if _, err := b.runAll(t.Context(), claimScript, calls...); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Millisecond)
	if err := b.tend(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c := h.balanced("duel"); c.Claimed != 0 || c.Waiting != n {
		t.Errorf("%+v", c)
	}
	client, _ := b.shard.Master()
	for i := range n {
		client.ZAdd(t.Context(), b.keys[dueKey], redis.Z{Score: 1, Member: fmt.Sprint("duel:", i)})
	}
	eventually(t, "the master was there for long enough to be heard at", func() bool { return b.shard.Stable() > 0 })
	b.Heartbeat = time.Nanosecond
	if err := b.reap(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if c := h.balanced("duel"); c.Ended[Lost] != n || c.Waiting != 0 {
		t.Errorf("%+v", c)
	}
}

// TestALongQueue: of more than a round looks at, everybody gets a turn.
func TestALongQueue(t *testing.T) {
	b := &desk{}
	seen := map[int]bool{}
	for range 20 {
		n := 0
		for _, r := range b.pages(100_000) {
			for i := r[0]; i <= r[1]; i++ {
				seen[i] = true
				n++
			}
		}
		if n > readMost {
			t.Fatalf("%d at once", n)
		}
	}
	if len(seen) != 100_000 {
		t.Errorf("%d of 100000 were looked at", len(seen))
	}
	if r := b.pages(1500); len(r) != 2 || r[1] != [2]int{1000, 1499} {
		t.Errorf("%v", r)
	}
	if r := b.pages(0); len(r) != 0 {
		t.Errorf("%v", r)
	}
}

// Point 6: windows are mutual and widen by steps, oldest first: of 99.9 in a hundred
// nobody expires, however rare the rating.
func TestPoint6TheFarthestAreMatched(t *testing.T) {
	q := duel()
	q.Steps = []Step{{Window: 50}, {After: 10 * time.Second, Window: 100}, {After: 25 * time.Second}}
	rng := rand.New(rand.NewPCG(6, 6))
	const round, within = 250 * time.Millisecond, 3.29 // standard deviations
	var waiting []*Ticket
	var longest time.Duration
	now, n, far := start, 0, 0
	for range 4 * 240 {
		now = now.Add(round)
		for range 25 {
			n++
			waiting = append(waiting, &Ticket{
				ID: fmt.Sprint(n), Players: []hub.UserID{hub.UserID(fmt.Sprint("u", n))}, Rating: rng.NormFloat64(), Since: now,
			})
			waiting[len(waiting)-1].Rating *= 300
		}
		used := map[*Ticket]bool{}
		for _, m := range (Nearest{}).Match(q, now, waiting, nil) {
			for _, x := range m.Tickets {
				used[x] = true
				if max(x.Rating, -x.Rating) > 3*300 {
					far++
				}
			}
		}
		for _, x := range waiting {
			if max(x.Rating, -x.Rating) <= within*300 {
				longest = max(longest, now.Sub(x.Since))
			}
		}
		waiting = slices.DeleteFunc(waiting, func(x *Ticket) bool { return used[x] })
	}
	t.Logf("of %d the longest wait is %v; %d of a far rating were matched", n, longest, far)
	if longest > q.Expire || far < 10 {
		t.Errorf("of %d one has waited for %v, want at most %v; %d of a far rating were matched", n, longest, q.Expire, far)
	}
}

// Point 9: combinations are never enumerated: ten times as many tickets, of parties
// that do not fit, take some ten times as long.
func TestPoint9NoCombinations(t *testing.T) {
	q := &Queue{Name: "hard", Teams: 2, TeamSize: 8, Expire: time.Minute, Steps: []Step{{Window: 1000}}}
	took := func(n int) time.Duration {
		var waiting []*Ticket
		for i := range n {
			waiting = append(waiting, ticket(fmt.Sprint(i), 5, float64(i)/10, time.Duration(i))) // no two fit into a team
		}
		best := time.Hour
		for range 3 {
			at := time.Now()
			if found := (Nearest{}).Match(q, start, waiting, nil); len(found) != 0 {
				t.Fatalf("%d matches", len(found))
			}
			best = min(best, time.Since(at))
		}
		return best
	}
	small, large := took(200), took(2000)
	if large > 40*small {
		t.Errorf("200 tickets take %v, 2,000 take %v", small, large)
	}
}

// TestRunEndsWithItsContext: a matcher that stops finishes what it has begun and gives
// its leases up.
func TestRunEndsWithItsContext(t *testing.T) {
	h := newHall(t, duel(), squads())
	opening, hold := make(chan struct{}, 1), make(chan struct{})
	h.rooms.failing(func(*Opening) error { opening <- struct{}{}; <-hold; return nil })
	h.put("duel", 0, "ann")
	h.put("duel", 0, "bob")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	m := h.matcher(nil)
	go func() { defer close(done); _ = m.Run(ctx) }()
	<-opening
	cancel()
	time.Sleep(20 * time.Millisecond)
	close(hold)
	<-done
	if s := h.status("duel:ann"); s != Matched {
		t.Errorf("it is %s", s)
	}
	b := NewMatcher(h.Tickets, h.rooms, nil, quick(), slog.New(slog.DiscardHandler)).desk(h.queues["duel"])
	if fence, err := b.lease(t.Context(), time.Second); err != nil || fence == 0 {
		t.Errorf("the lease stands: %d, %v", fence, err)
	}
	if n := testutil.CollectAndCount(h.tell.metrics.waiting); n != 0 {
		t.Errorf("%d gauges of queues on which it does not work", n)
	}
}
