package match

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/redisx"
	"github.com/homing/homing/redisx/redistest"
)

func TestMain(m *testing.M) {
	if os.Getenv(nodeEnv) != "" {
		runNode()
		return
	}
	// The pool of a client dials in vain for a while after its server was killed.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

// quick is a timing for tests: claims lapse within a moment.
func quick() Timing {
	return Timing{
		Round: 10 * time.Millisecond, Idle: 20 * time.Millisecond, Lease: 400 * time.Millisecond,
		Claim: time.Second, Open: 300 * time.Millisecond, Tell: 300 * time.Millisecond,
	}
}

// hall is Tickets on a Redis of the test's own, with rooms and players that are not
// real.
type hall struct {
	*Tickets

	t     testing.TB
	r     *redisx.Redis
	rc    redisx.Config
	rooms *fakeRooms
	notes *fakeNotes
	hooks *fakeHooks
}

func newHall(tb testing.TB, queues ...*Queue) *hall {
	tb.Helper()
	return openHall(tb, redistest.Config(tb, redistest.Server(tb)), queues...)
}

// openHall is Tickets of another process.
func openHall(tb testing.TB, rc redisx.Config, queues ...*Queue) *hall {
	tb.Helper()
	r := redistest.Open(tb, rc)
	h := &hall{t: tb, r: r, rc: rc, rooms: newFakeRooms(), notes: newFakeNotes(), hooks: &fakeHooks{}}
	h.Tickets = NewTickets(Deps{
		Queues: queues, Data: r.Data, Keys: hub.NewKeys(rc.Prefix), Notify: h.notes, Hooks: h.hooks,
		Log: slog.New(slog.DiscardHandler), Reg: prometheus.NewRegistry(),
	})
	return h
}

// matcher is one that nobody runs.
func (h *hall) matcher(f Function) *Matcher {
	return NewMatcher(h.Tickets, h.rooms, f, quick(), slog.New(slog.DiscardHandler))
}

// start runs a matcher until stop is called, or the test ends.
func (h *hall) start(f Function) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	m, done := h.matcher(f), make(chan struct{})
	go func() {
		defer close(done)
		_ = m.Run(ctx)
	}()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	h.t.Cleanup(stop)
	return stop
}

// solo is one desk of a matcher that nobody runs.
func (h *hall) solo(queue string) *desk { return h.matcher(nil).desk(h.queues[queue]) }

// put puts a ticket of players, the first of whom names it.
func (h *hall) put(queue string, rating float64, players ...hub.UserID) State {
	h.t.Helper()
	s, _, err := h.tryPut(queue, rating, players...)
	if err != nil {
		h.t.Fatal(err)
	}
	return s
}

func (h *hall) tryPut(queue string, rating float64, players ...hub.UserID) (State, bool, error) {
	id, err := TicketID(queue, string(players[0]))
	if err != nil {
		h.t.Fatal(err)
	}
	return h.Put(h.t.Context(), queue, &Ticket{ID: id, Players: players, Rating: rating}, false)
}

func (h *hall) status(id string) Status {
	h.t.Helper()
	s, err := h.Get(h.t.Context(), id)
	if err != nil {
		h.t.Fatal(err)
	}
	return s.Status
}

// eventually waits until ok.
func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatalf("not within 20 s: %s", what)
		}
	}
}

// balanced checks the books of a queue, in which nobody may do anything meanwhile,
// and returns them.
func (h *hall) balanced(queue string) Counts {
	h.t.Helper()
	c := h.counted(queue)
	h.whole(queue, c)
	return c
}

// counted is balanced while others go on.
func (h *hall) counted(queue string) Counts {
	h.t.Helper()
	c, err := h.Counts(h.t.Context(), queue)
	if err != nil {
		h.t.Fatal(err)
	}
	if c.Created != c.Sum()+c.Waiting {
		h.t.Fatalf("%d created, %v ended, %d wait", c.Created, c.Ended, c.Waiting)
	}
	return c
}

// whole checks that the parts of a queue in Redis agree with each other.
func (h *hall) whole(queue string, c Counts) {
	h.t.Helper()
	l := h.queues[queue]
	client, err := l.shard.Master()
	if err != nil {
		h.t.Fatal(err)
	}
	ctx := h.t.Context()
	all := client.HGetAll(ctx, l.keys[ticketsKey]).Val()
	claimed := client.HGetAll(ctx, l.keys[claimedKey]).Val()
	players := client.HGetAll(ctx, l.keys[playersKey]).Val()
	var n, bytes int
	for id, s := range all {
		x, err := parseTicket(id, s)
		if err != nil {
			h.t.Fatal(err)
		}
		since, err := client.ZScore(ctx, l.keys[waitingKey], id).Result()
		waits := err == nil
		if waits && int64(since) != x.Since.UnixMilli() {
			h.t.Fatalf("%s waits since %v, and stands at %v", id, x.Since.UnixMilli(), int64(since))
		}
		due := client.ZScore(ctx, l.keys[dueKey], id).Err() == nil
		if held := claimed[id] != ""; waits == held || due == held {
			h.t.Fatalf("%s waits: %v, is due: %v, is claimed: %v", id, waits, due, held)
		}
		for _, p := range x.Players {
			if players[string(p)] != id {
				h.t.Fatalf("%s of %s: %q is said to be the player's ticket", p, id, players[string(p)])
			}
		}
		n, bytes = n+len(x.Players), bytes+len(id)+len(s)
	}
	waiting := client.ZCard(ctx, l.keys[waitingKey]).Val()
	switch {
	case len(players) != n || c.Players != int64(n):
		h.t.Fatalf("%d players, %d are known, %d are counted", n, len(players), c.Players)
	case waiting+int64(len(claimed)) != int64(len(all)) || c.Claimed != int64(len(claimed)):
		h.t.Fatalf("%d tickets: %d wait, %d are claimed", len(all), waiting, len(claimed))
	case client.HGet(ctx, l.keys[bookKey], "bytes").Val() != fmt.Sprint(bytes) && c.Created > 0:
		h.t.Fatalf("%d bytes, %s are counted", bytes, client.HGet(ctx, l.keys[bookKey], "bytes").Val())
	}
}

// fakeRooms keeps who was let into which room.
type fakeRooms struct {
	mu     sync.Mutex
	opened map[string][]hub.UserID // by match
	rooms  map[hub.UserID][]string // of each user
	closed []string
	fail   func(o *Opening) error
}

func newFakeRooms() *fakeRooms {
	return &fakeRooms{opened: make(map[string][]hub.UserID), rooms: make(map[hub.UserID][]string)}
}

func (r *fakeRooms) Open(_ context.Context, o *Opening) (*Opened, error) {
	return r.take("room-"+o.Match, o)
}

func (r *fakeRooms) Fill(_ context.Context, room string, _ uint64, o *Opening) (*Opened, error) {
	return r.take(room, o)
}

func (r *fakeRooms) take(room string, o *Opening) (*Opened, error) {
	r.mu.Lock()
	fail := r.fail
	r.mu.Unlock()
	if fail != nil {
		if err := fail(o); err != nil {
			return nil, err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	out := &Opened{Room: room, URL: "ws://front/ws", Tickets: make(map[hub.UserID]string)}
	_, again := r.opened[o.Match]
	for _, u := range o.Users() {
		out.Tickets[u] = "seat-of-" + string(u)
		if !again {
			r.rooms[u] = append(r.rooms[u], room)
		}
	}
	r.opened[o.Match] = o.Users()
	return out, nil
}

func (r *fakeRooms) Close(_ context.Context, room string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = append(r.closed, room)
	return nil
}

func (r *fakeRooms) failing(f func(o *Opening) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = f
}

// matches lists those of each match, by match.
func (r *fakeRooms) matches() map[string][]hub.UserID {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.opened)
}

func (r *fakeRooms) of(u hub.UserID) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.rooms[u])
}

// fakeNotes keeps what players were told, by its id.
type fakeNotes struct {
	mu   sync.Mutex
	by   map[string][]hub.Notification
	fail func(n *hub.Notification) error
}

func newFakeNotes() *fakeNotes { return &fakeNotes{by: make(map[string][]hub.Notification)} }

func (f *fakeNotes) Notify(_ context.Context, n *hub.Notification) (hub.Summary, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := n.CheckBody(); err != nil {
		return hub.Summary{}, err
	}
	if f.fail != nil {
		if err := f.fail(n); err != nil {
			return hub.Summary{}, err
		}
	}
	f.by[n.ID] = append(f.by[n.ID], *n)
	return hub.Summary{ID: n.ID, Targets: len(n.Users)}, nil
}

func (f *fakeNotes) failing(fail func(n *hub.Notification) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = fail
}

// told lists the notifications of a kind that user was sent.
func (f *fakeNotes) told(kind string, user hub.UserID) (all []hub.Notification) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, some := range f.by {
		for _, n := range some {
			if n.Type == kind && slices.Contains(n.Users, user) {
				all = append(all, n)
			}
		}
	}
	return all
}

// found lists the matches that user was told of.
func (f *fakeNotes) found(tb testing.TB, user hub.UserID) (all []foundNote) {
	tb.Helper()
	for _, n := range f.told(KindFound, user) {
		var note foundNote
		if err := json.Unmarshal(n.Data, &note); err != nil {
			tb.Fatal(err)
		}
		all = append(all, note)
	}
	return all
}

// fakeHooks keeps what backends were told.
type fakeHooks struct {
	mu  sync.Mutex
	all []string // kind and subject
}

func (f *fakeHooks) Publish(kind, subject string, _ any) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = append(f.all, kind+" "+subject)
	return true
}

func (f *fakeHooks) count(event string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range f.all {
		if e == event {
			n++
		}
	}
	return n
}
