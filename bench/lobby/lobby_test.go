package lobby

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/homing/homing/bench/load"
	"github.com/homing/homing/redisx/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// met is a match of users in a room.
func met(id, room string, users ...string) *load.Match {
	m := &load.Match{Match: id, Room: room}
	for _, u := range users {
		m.Players = append(m.Players, load.Player{User: u})
	}
	return m
}

// ticket is one that was taken and matched after 100 ms.
func ticket(user string, m *load.Match) *Ticket {
	due := time.Unix(1000, 0)
	return &Ticket{ID: "duel:" + user, User: user, Due: due, Taken: true, Status: "matched", Match: m, Told: due.Add(100 * time.Millisecond)}
}

// good are books that have nothing wrong in them: two matches, one who has canceled,
// one who waits.
func good() ([]*Ticket, load.Queue) {
	a, b := met("m1", "r1", "ann", "bob"), met("m2", "r2", "cat", "dan")
	tickets := []*Ticket{ticket("ann", a), ticket("bob", a), ticket("cat", b), ticket("dan", b)}
	gone := &Ticket{User: "eve", Taken: true, Status: "cancelled", Canceled: Canceled}
	left := &Ticket{User: "fay", Taken: true, Status: "waiting"}
	return append(tickets, gone, left), load.Queue{Created: 6, Tickets: 1, Ended: load.Ended{Matched: 4, Cancelled: 1}}
}

func verdict(tickets []*Ticket, q load.Queue) *Verdict {
	l := &Lobby{tickets: tickets}
	return l.Judge(q, time.Second)
}

func TestGoodBooks(t *testing.T) {
	tickets, q := good()
	tickets[0].Rare = true
	v := verdict(tickets, q)
	if len(v.Broke) > 0 || v.Matches != 2 || v.Taken != 6 || v.Known != 6 || v.Waits.TotalCount() != 4 || v.Rare.TotalCount() != 1 {
		t.Errorf("%+v", v)
	}
	if p50 := v.Waits.ValueAtPercentile(50); p50 < 99_000 || p50 > 101_000 {
		t.Errorf("p50 %d µs, want 100 ms", p50)
	}
}

// TestWhatIsWrongIsSeen breaks good books in one way each.
func TestWhatIsWrongIsSeen(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(tickets []*Ticket, q *load.Queue)
		want  string
	}{
		"a player in two matches": {func(x []*Ticket, _ *load.Queue) { x[2].Match = met("m3", "r3", "ann", "cat") }, "used twice"},
		"a match with itself":     {func(x []*Ticket, _ *load.Queue) { x[0].Match.Players[1].User = "ann" }, "used twice"},
		"a room for two matches":  {func(x []*Ticket, _ *load.Queue) { x[2].Match.Room = "r1" }, "used twice"},
		"a match of one":          {func(x []*Ticket, _ *load.Queue) { x[0].Match.Players = x[0].Match.Players[:1] }, "used twice"},
		"another's match":         {func(x []*Ticket, _ *load.Queue) { x[3].Match = x[0].Match }, "used twice"},
		"two rooms for a match":   {func(x []*Ticket, _ *load.Queue) { x[1].Match = met("m1", "r9", "ann", "bob") }, "used twice"},
		"a ticket nobody knows":   {func(x []*Ticket, _ *load.Queue) { x[0].Status = "" }, "are lost"},
		"a lost ticket":           {func(x []*Ticket, _ *load.Queue) { x[0].Status = "lost" }, "are lost"},
		"two who wait":            {func(_ []*Ticket, q *load.Queue) { q.Tickets, q.Ended.Matched = 2, 3 }, "could have been matched"},
		"canceled, and matched":   {func(x []*Ticket, _ *load.Queue) { x[4].Status = "matched" }, "told what was not so"},
		"not, and canceled":       {func(x []*Ticket, _ *load.Queue) { x[4].Canceled = Ended }, "told what was not so"},
		"one that was not taken":  {func(x []*Ticket, _ *load.Queue) { x[0].Taken = false }, "not taken by any server"},
		"a forgotten match":       {func(x []*Ticket, _ *load.Queue) { x[0].Match = nil }, "no server remembers"},
		"books that do not sum":   {func(_ []*Ticket, q *load.Queue) { q.Ended.Matched = 3 }, "do not balance"},
		"one too many created":    {func(_ []*Ticket, q *load.Queue) { q.Created, q.Ended.Matched = 7, 5 }, "are known"},
		"an expired ticket":       {func(_ []*Ticket, q *load.Queue) { q.Ended.Expired, q.Ended.Matched = 1, 3 }, "have expired"},
		"a rare player for long":  {func(x []*Ticket, _ *load.Queue) { x[0].Rare, x[0].Told = true, x[0].Due.Add(2*time.Second) }, "has waited for"},
	} {
		tickets, q := good()
		c.spoil(tickets, &q)
		if v := verdict(tickets, q); !strings.Contains(strings.Join(v.Broke, "; "), c.want) {
			t.Errorf("%s: %q, want %q", name, v.Broke, c.want)
		}
	}
}

// servers are two API servers that share one queue, of which the first is dead when
// the test says so.
type servers struct {
	mu      sync.Mutex
	dead    bool
	tickets map[string]string // how each stands
	asked   map[string]int    // tries of each put
}

func (s *servers) serve(t *testing.T, mortal bool) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if mortal && s.dead {
			http.Error(w, `{"code":"unavailable"}`, http.StatusServiceUnavailable)
			return
		}
		s.answer(w, r)
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

func (s *servers) answer(w http.ResponseWriter, r *http.Request) {
	id := strings.TrimPrefix(r.URL.Path, "/match/tickets/")
	switch {
	case r.Method == http.MethodPost:
		b, _ := io.ReadAll(r.Body)
		var req struct{ ID, Queue string }
		_ = json.Unmarshal(b, &req)
		id = req.Queue + ":" + req.ID
		s.asked[id]++
		s.tickets[id] = "waiting"
	case s.tickets[id] == "":
		http.NotFound(w, r)
		return
	case r.Method == http.MethodDelete:
		s.tickets[id] = "cancelled"
	}
	fmt.Fprintf(w, `{"ticket":{"id":%q,"status":%q}}`, id, s.tickets[id])
}

// TestCallersGoOnWithTheOther: a ticket whose server is gone is put at the next one,
// and each is put under one id.
func TestCallersGoOnWithTheOther(t *testing.T) {
	s := &servers{dead: true, tickets: make(map[string]string), asked: make(map[string]int)}
	said := 0
	l := Open(Options{
		APIs: []string{s.serve(t, true), s.serve(t, false)}, Queue: "duel", Rate: 100, Duration: 1200 * time.Millisecond, Cancel: 0.5,
		Say: func(string, ...any) { said++ },
	})
	defer l.Close()
	l.Run(t.Context())
	if err := l.AskAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	canceled := 0
	for _, x := range l.tickets {
		if !x.Taken || x.Status == "" || x.Cancel != (x.Status == "cancelled") || x.Cancel != (x.Canceled == Canceled) {
			t.Fatalf("%+v", x)
		}
		if x.Cancel {
			canceled++
		}
	}
	if len(l.tickets) != 120 || len(s.asked) != 120 || l.retried < 60 || canceled < 20 || canceled > 100 || said == 0 {
		t.Errorf("%d tickets, %d known, %d calls made again, %d canceled, %d lines", len(l.tickets), len(s.asked), l.retried, canceled, said)
	}
}

// TestWaitsAreReadFromRedis: who was told is entered once, by the first time.
func TestWaitsAreReadFromRedis(t *testing.T) {
	options, err := redis.ParseURL(redistest.Server(t))
	if err != nil {
		t.Fatal(err)
	}
	master := redis.NewClient(options)
	defer master.Close()
	key := "lobby-test:recent"
	at := time.Now().Truncate(time.Millisecond)
	add := func(member string, at time.Time) {
		t.Helper()
		if err := master.ZAdd(t.Context(), key, redis.Z{Score: float64(at.UnixMilli()), Member: member}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	add("120 1500 duel:b0", at)
	add("90 1400 duel:stranger", at)
	l := &Lobby{byID: map[string]*Ticket{"duel:b0": {}, "duel:b1": {}, "duel:b2": {}}}
	found := 0
	l.opts = Options{Recent: key, Master: func(context.Context) (*redis.Client, error) {
		found++
		return redis.NewClient(options), nil
	}}
	w := watcher{lobby: l}
	defer w.leave()
	w.look(t.Context())
	add("130 1500 duel:b0", at.Add(time.Second)) // announced again
	add("10 1500 duel:b1", at)                   // in a moment that was read before
	w.look(t.Context())
	if got := l.byID["duel:b0"].Told; !got.Equal(at) || !l.byID["duel:b1"].Told.Equal(at) || !l.byID["duel:b2"].Told.IsZero() {
		t.Errorf("told: %v, %v, %v", got, l.byID["duel:b1"].Told, l.byID["duel:b2"].Told)
	}
	if l.told != 2 || found != 1 {
		t.Errorf("%d told, the master was looked for %d times", l.told, found)
	}
}
