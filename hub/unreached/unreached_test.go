package unreached_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/hook"
	"github.com/homing/homing/hub/inbox"
	"github.com/homing/homing/hub/index"
	"github.com/homing/homing/hub/rights"
	"github.com/homing/homing/hub/unreached"
	"github.com/homing/homing/redisx"
	"github.com/homing/homing/redisx/redisproc"
	"github.com/homing/homing/redisx/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// users is an index of the test's own.
type users struct {
	mu       sync.Mutex
	online   map[hub.UserID][]hub.Service // on which services; empty: on all
	unknown  []hub.UserID
	unsure   int      // calls by chance of which some know nobody
	services []string // that were asked for
}

func (u *users) LocateNow(_ context.Context, asked []hub.UserID, services []hub.Service) (p index.Placement, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.services = append(u.services, fmt.Sprint(services))
	if u.unsure > 0 {
		if u.unsure--; rand.N(2) == 0 {
			p.Unavailable = asked
			return p, nil
		}
	}
	g := index.Group{Process: "AAAAAAAAAAA"}
	for _, user := range asked {
		on, known := u.online[user]
		switch {
		case slices.Contains(u.unknown, user):
			p.Unavailable = append(p.Unavailable, user)
		case known && (len(services) == 0 || len(on) == 0 || slices.ContainsFunc(on, func(s hub.Service) bool { return slices.Contains(services, s) })):
			g.Users = append(g.Users, user)
		}
	}
	p.Groups = []index.Group{g}
	return p, nil
}

// events keeps what is published.
type events struct {
	mu    sync.Mutex
	all   []hook.Event
	full  bool                // nothing is taken
	flush error               // why nothing is in Redis; nil: it is
	waits map[string]struct{} // subjects of which nothing is in Redis yet
	deaf  bool                // nobody wants to hear of it
}

func (e *events) Wants(kind string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return kind == unreached.Type && !e.deaf
}

func (e *events) Publish(one hook.Event) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.full {
		e.all = append(e.all, one)
	}
	return !e.full
}

func (e *events) Written(subject string) func() bool {
	return func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		_, waits := e.waits[subject]
		return e.flush == nil && !waits
	}
}

func (e *events) set(full bool, flush error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.full, e.flush = full, flush
}

// of returns the ids of notifications that a user's events name, in order.
func (e *events) of(user string) (ids []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, one := range e.all {
		if one.Subject == user {
			b, _ := json.Marshal(one.Data)
			var d struct{ Notification struct{ ID string } }
			_ = json.Unmarshal(b, &d)
			ids = append(ids, d.Notification.ID)
		}
	}
	return ids
}

// world is a Redis with inboxes.
type world struct {
	t      *testing.T
	r      *redisx.Redis
	keys   hub.Keys
	box    *inbox.Inbox
	users  *users
	events *events
	reg    *prometheus.Registry
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldOn(t, redistest.Config(t, redistest.Server(t)))
}

func newWorldOn(t *testing.T, rc redisx.Config) *world {
	t.Helper()
	w := &world{t: t, r: redistest.Open(t, rc), keys: hub.NewKeys(rc.Prefix), users: &users{online: map[hub.UserID][]hub.Service{}}, events: &events{}}
	var cfg inbox.Config
	if err := kong.ApplyDefaults(&cfg); err != nil {
		t.Fatal(err)
	}
	cfg.MaxCount = 1000
	w.box = inbox.New(cfg, w.r, w.keys, quiet, nil)
	return w
}

// process is one of a process of its own, which looks until stopped.
func (w *world) process(after time.Duration) (u *unreached.Unreached, stop func()) {
	w.t.Helper()
	w.reg = prometheus.NewRegistry()
	u = unreached.New(unreached.Config{After: after}, unreached.Deps{
		Inbox: w.box, Index: w.users, Events: w.events, Role: w.r.Inbox, Keys: w.keys, Log: quiet, Reg: w.reg,
	})
	u.Fast(after, time.Second)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	run := u.Run
	running.Go(func() { _ = run(ctx) }) // it does not fail
	stop = func() { cancel(); running.Wait() }
	w.t.Cleanup(stop)
	return u, stop
}

func (w *world) fate(name string) float64 {
	w.t.Helper()
	all, err := w.reg.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range all {
		for _, m := range f.GetMetric() {
			if f.GetName() == "homing_unreached_total" && m.GetLabel()[0].GetValue() == name {
				return m.GetCounter().GetValue()
			}
		}
	}
	w.t.Fatalf("no fate %s", name)
	return 0
}

// left is how many are noted.
func (w *world) left() int64 {
	c, err := w.r.Inbox.Lead().Master()
	if err != nil {
		w.t.Fatal(err)
	}
	return c.ZCard(w.t.Context(), w.keys.Unreached()).Val()
}

// store stores a notification for users, and notes them.
func (w *world) store(u *unreached.Unreached, n hub.Notification, users ...hub.UserID) {
	w.t.Helper()
	n.Store = time.Hour
	if n.Data == nil {
		n.Data = []byte(`{"x":1}`)
	}
	m := hub.Stored{ID: n.ID, Class: n.Class, Services: n.Services, Payload: n.Render()}
	if err := w.box.Store(w.t.Context(), users, &m, n.Store); err != nil {
		w.t.Fatal(err)
	}
	if err := u.Note(w.t.Context(), n.ID, users); err != nil {
		w.t.Fatal(err)
	}
}

func within(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20s: %s", what)
		}
	}
}

const soon = 300 * time.Millisecond

// TestUnreached: who is away and has not acknowledged is told of, and nobody else.
func TestUnreached(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u, _ := w.process(soon)
	w.store(u, hub.Notification{ID: "n1", Type: "gift", From: "shop"}, "away", "back", "read", "expired")
	w.users.mu.Lock()
	w.users.online["back"] = nil
	w.users.mu.Unlock()
	if err := w.box.Ack(t.Context(), "read", []string{"n1"}); err != nil {
		t.Fatal(err)
	}
	c, err := w.r.Inbox.Lead().Master()
	if err != nil {
		t.Fatal(err)
	}
	c.Del(t.Context(), w.keys.Inbox("expired"))
	within(t, "all are looked for", func() bool { return w.left() == 0 })
	got, err := json.Marshal(w.events.all)
	if err != nil {
		t.Fatal(err)
	}
	want := `[{"Type":"notification.unreached","Subject":"away",` +
		`"Data":{"notification":{"id":"n1","type":"gift","from":"shop","data":{"x":1}},"users":["away"]},` +
		`"Time":"0001-01-01T00:00:00Z","ID":"unr_`
	if !strings.HasPrefix(string(got), want) || len(w.events.all) != 1 {
		t.Errorf("told %s", got)
	}
	for fate, want := range map[string]float64{"told": 1, "online": 1, "acknowledged": 2, "given_up": 0, "malformed": 0} {
		within(t, fate+" is counted", func() bool { return w.fate(fate) == want })
	}
}

// TestItIsNotTooEarly: nobody is looked for before the time.
func TestItIsNotTooEarly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u, _ := w.process(time.Hour)
	w.store(u, hub.Notification{ID: "n1"}, "away")
	time.Sleep(500 * time.Millisecond)
	if n := len(w.events.of("away")); n != 0 || w.left() != 1 {
		t.Errorf("%d events, %d noted", n, w.left())
	}
}

// TestServices: who is online on other services alone is not reached.
func TestServices(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.users.online["ann"] = []hub.Service{"shop"}
	u, _ := w.process(soon)
	w.store(u, hub.Notification{ID: "chess", Services: []hub.Service{"chess"}}, "ann")
	w.store(u, hub.Notification{ID: "shop", Services: []hub.Service{"shop"}}, "ann")
	w.store(u, hub.Notification{ID: "any"}, "ann")
	within(t, "all are looked for", func() bool { return w.left() == 0 })
	if ids := w.events.of("ann"); !slices.Equal(ids, []string{"chess"}) {
		t.Errorf("told of %v", ids)
	}
}

// TestInOrder: the events of a user come in the order in which the notifications
// were stored, also when there are more than one look takes.
func TestInOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u, _ := w.process(soon)
	var want []string
	for i := range 600 {
		id := fmt.Sprintf("n%04d", i)
		want = append(want, id)
		w.store(u, hub.Notification{ID: id, Class: hub.ClassDroppable}, "ann")
	}
	within(t, "all are looked for", func() bool { return w.left() == 0 })
	ids := w.events.of("ann")
	if !slices.Equal(ids, want) {
		t.Errorf("told of %v", ids)
	}
}

// TestLargeData stays out of events: each user has one.
func TestLargeData(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u, _ := w.process(soon)
	data := `"` + strings.Repeat("x", unreached.MaxData-1) + `"`
	w.store(u, hub.Notification{ID: "n1", Type: "t", Data: []byte(data)}, "ann")
	within(t, "it is told", func() bool { return len(w.events.of("ann")) == 1 })
	if b, err := json.Marshal(w.events.all[0].Data); err != nil || string(b) != `{"notification":{"id":"n1","type":"t"},"users":["ann"]}` {
		t.Errorf("%s, %v", b, err)
	}
}

// TestTheStorerDies: another process tells of what the first has noted, and does it
// once the turn of one that was killed is over.
func TestTheStorerDies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u, stop := w.process(soon)
	w.events.set(false, errors.New("Redis is away")) // it publishes, and dies before Redis has it
	w.store(u, hub.Notification{ID: "n1"}, "ann")
	within(t, "it is published", func() bool { return len(w.events.of("ann")) > 0 })
	stop()
	first := w.events.all[0]
	w.events.set(false, nil)
	before := len(w.events.of("ann"))
	w.process(soon)
	within(t, "another publishes it", func() bool { return len(w.events.of("ann")) > before && w.left() == 0 })
	if last := w.events.all[len(w.events.all)-1]; last.ID != first.ID || first.ID == "" {
		t.Errorf("the ids are %s and %s", first.ID, last.ID)
	}
}

// TestEventsWaitForRedis: while the shard of one event is away it is not published again
// and again, and those of others are told.
func TestEventsWaitForRedis(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.events.waits = map[string]struct{}{"ann": {}}
	u, _ := w.process(soon)
	for i := range 3 {
		w.store(u, hub.Notification{ID: fmt.Sprint("n", i)}, "ann", "bob")
	}
	within(t, "the other is told of", func() bool { return len(w.events.of("bob")) == 3 && w.left() == 3 })
	for i := range 10 { // each is a pass, or more
		w.store(u, hub.Notification{ID: fmt.Sprint("m", i)}, "bob")
		within(t, "there is another pass", func() bool { return len(w.events.of("bob")) == 4+i && w.left() == 3 })
	}
	w.events.mu.Lock()
	w.events.waits = nil
	w.events.mu.Unlock()
	within(t, "all are told", func() bool { return w.left() == 0 })
	if ids := w.events.of("ann"); !slices.Equal(ids, []string{"n0", "n1", "n2"}) {
		t.Errorf("told of %v", ids)
	}
}

// TestNobodyWantsToHear: nothing is noted, and what was noted before waits until somebody
// does.
func TestNobodyWantsToHear(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u, _ := w.process(soon)
	w.store(u, hub.Notification{ID: "n1"}, "ann")
	deaf := func(yes bool) {
		w.events.mu.Lock()
		defer w.events.mu.Unlock()
		w.events.deaf = yes
	}
	deaf(true)
	w.store(u, hub.Notification{ID: "n2"}, "ann")
	u.NoteSoon("n2", []hub.UserID{"bob"})
	time.Sleep(2 * soon)
	if w.left() != 1 || len(w.events.of("ann")) != 0 {
		t.Errorf("%d are noted, %v told", w.left(), w.events.of("ann"))
	}
	deaf(false)
	within(t, "what was noted is told", func() bool { return w.left() == 0 })
	if ids := w.events.of("ann"); !slices.Equal(ids, []string{"n1"}) {
		t.Errorf("told of %v", ids)
	}
}

// TestOneLooksAtATime: of two processes one has the turn.
func TestOneLooksAtATime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u, _ := w.process(soon)
	w.process(soon)
	for i := range 50 {
		w.store(u, hub.Notification{ID: fmt.Sprint("n", i)}, "ann", "bob")
	}
	within(t, "all are looked for", func() bool { return w.left() == 0 })
	if a, b := len(w.events.of("ann")), len(w.events.of("bob")); a != 50 || b != 50 {
		t.Errorf("%d and %d events, want 50 each", a, b)
	}
}

// TestWhoCannotBeLookedUp waits, and holds up nobody else.
func TestWhoCannotBeLookedUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.users.unknown = []hub.UserID{"ann"}
	u, _ := w.process(soon)
	const each = 900 // more than several looks take
	var want []string
	for i := range each {
		want = append(want, fmt.Sprintf("n%03d", i))
		w.store(u, hub.Notification{ID: want[i], Class: hub.ClassDroppable}, "ann")
	}
	w.store(u, hub.Notification{ID: "n1"}, "bob")
	within(t, "the other is told of", func() bool { return len(w.events.of("bob")) == 1 })
	if n := len(w.events.of("ann")); n != 0 {
		t.Errorf("%d events of a user whose shard does not answer", n)
	}
	w.users.mu.Lock()
	w.users.unknown, w.users.unsure = nil, 60
	w.users.mu.Unlock()
	within(t, "the first is told of", func() bool { return len(w.events.of("ann")) >= each && w.left() == 0 })
	if got := w.events.of("ann"); !slices.Equal(got, want) {
		t.Errorf("told of %v", got)
	}
}

// TestNoRoomForEvents: what is not taken is tried again.
func TestNoRoomForEvents(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.events.set(true, nil)
	u, _ := w.process(soon)
	w.store(u, hub.Notification{ID: "n1"}, "ann")
	time.Sleep(2 * soon)
	if w.left() != 1 {
		t.Fatal("it is forgotten")
	}
	w.events.set(false, nil)
	within(t, "it is told", func() bool { return len(w.events.of("ann")) == 1 && w.left() == 0 })
}

// TestNoteSoon: what was given up elsewhere is noted, and forgotten where it was not
// stored; beyond the bound it is given up and counted.
func TestNoteSoon(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u, stop := w.process(soon)
	w.store(u, hub.Notification{ID: "n1"}, "bob") // and not for ann
	m := hub.Stored{ID: "n2", Payload: []byte(`{}`)}
	if err := w.box.Store(t.Context(), []hub.UserID{"ann"}, &m, time.Hour); err != nil {
		t.Fatal(err)
	}
	u.NoteSoon("n1", []hub.UserID{"ann"})
	u.NoteSoon("n2", []hub.UserID{"ann"})
	within(t, "it is told", func() bool { return slices.Equal(w.events.of("ann"), []string{"n2"}) && w.left() == 0 })
	stop()
	for range unreached.SoonMost + 3 {
		u.NoteSoon("n3", []hub.UserID{"ann"})
	}
	if n := w.fate("given_up"); n != 3 {
		t.Errorf("%v are counted as given up, want 3", n)
	}
}

// TestForeignMembers are taken out and counted.
func TestForeignMembers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c, err := w.r.Inbox.Lead().Master()
	if err != nil {
		t.Fatal(err)
	}
	c.ZAdd(t.Context(), w.keys.Unreached(), redis.Z{Score: 1, Member: "whatever"})
	w.process(soon)
	within(t, "it is gone", func() bool { return w.left() == 0 && w.fate("malformed") == 1 })
}

// TestTooMany: beyond the bound the oldest are given up, and counted.
func TestTooMany(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u, _ := w.process(time.Hour)
	var some []hub.UserID
	for i := range unreached.Most / 20 {
		some = append(some, hub.UserID(fmt.Sprint("user", i)))
	}
	for i := range 21 {
		if err := u.Note(t.Context(), fmt.Sprintf("n%02d", i), some); err != nil {
			t.Fatal(err)
		}
	}
	if n, given := w.left(), w.fate("given_up"); n != unreached.Most || given != unreached.Most/20 {
		t.Errorf("%d are noted, %v given up", n, given)
	}
	c, err := w.r.Inbox.Lead().Master()
	if err != nil {
		t.Fatal(err)
	}
	first, last := c.ZScore(t.Context(), w.keys.Unreached(), "n00 user0").Err(), c.ZScore(t.Context(), w.keys.Unreached(), "n20 user0").Err()
	if !errors.Is(first, redis.Nil) || last != nil {
		t.Errorf("the oldest: %v, the newest: %v", first, last)
	}
	if used := c.MemoryUsage(t.Context(), w.keys.Unreached()).Val(); used > 32<<20 {
		t.Errorf("they take %d bytes", used)
	}
}

// TestRights: the inbox role's user may do what this needs.
func TestRights(t *testing.T) {
	t.Parallel()
	server := redistest.Process(t, redisproc.ServerOptions{})
	rc := redistest.Config(t, "redis://"+server.Addr())
	c := server.Client()
	defer c.Close()
	args := []any{"ACL", "SETUSER", "inbox", "reset", "on", ">pw"}
	for rule := range strings.FieldsSeq(rights.ACL(rc.Prefix, rights.Inbox)) {
		args = append(args, rule)
	}
	if err := c.Do(t.Context(), args...).Err(); err != nil {
		t.Fatal(err)
	}
	rc.Inbox = []string{"redis://inbox:pw@" + server.Addr() + "/1"}
	w := newWorldOn(t, rc)
	u, _ := w.process(soon)
	w.store(u, hub.Notification{ID: "n1"}, "ann")
	within(t, "it is told", func() bool { return len(w.events.of("ann")) == 1 && w.left() == 0 })
	for _, line := range c.Do(t.Context(), "ACL", "LOG").Val().([]any) {
		t.Errorf("refused: %v", line)
	}
}

func TestScripts(t *testing.T) {
	t.Parallel()
	redistest.OnEach(t, func(t *testing.T, c *redis.Client) {
		ctx := t.Context()
		note := func(wait int, members ...any) int {
			n, err := unreached.NoteScript.Run(ctx, c, []string{"z"}, append([]any{wait, 3, 60_000}, members...)...).Int()
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		due := func(token string, skip int) string {
			reply, err := unreached.DueScript.Run(ctx, c, []string{"z", "t"}, token, 60_000, skip, 2).Slice()
			if err != nil {
				t.Fatal(err)
			}
			return fmt.Sprint(reply)
		}
		if n := note(0, "a 1", "b 1"); n != 0 {
			t.Errorf("%d given up", n)
		}
		note(60_000, "a 1") // stays as it is
		note(60_000, "c 1")
		time.Sleep(2 * time.Millisecond)
		if got := due("one", 0); got != "[1 a 1 b 1]" {
			t.Errorf("due: %s", got)
		}
		if got := due("one", 1); got != "[1 b 1]" {
			t.Errorf("beyond the first: %s", got)
		}
		if got := due("two", 0); got != "[0]" {
			t.Errorf("another: %s", got)
		}
		if n := note(0, "d 1"); n != 1 || c.ZCard(ctx, "z").Val() != 3 {
			t.Errorf("%d given up", n)
		}
		if got := due("one", 0); got != "[1 b 1 d 1]" {
			t.Errorf("due: %s", got)
		}
		if c.PTTL(ctx, "z").Val() <= 0 || c.PTTL(ctx, "t").Val() <= 0 {
			t.Error("something stays for ever")
		}
	})
}

func TestConfig(t *testing.T) {
	t.Parallel()
	for after, ok := range map[time.Duration]bool{0: true, time.Hour: true, -1: false, time.Hour + 1: false} {
		if err := (&unreached.Config{After: after}).Validate(); (err == nil) != ok {
			t.Errorf("%v: %v", after, err)
		}
	}
}

// TestEveryFateIsDocumented holds docs/hooks.md to the fates.
func TestEveryFateIsDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/hooks.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, fate := range []string{"told", "online", "acknowledged", "given_up", "malformed"} {
		if !strings.Contains(string(text), "`"+fate+"`") {
			t.Errorf("docs/hooks.md does not explain %s", fate)
		}
	}
}
