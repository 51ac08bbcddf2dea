package lease

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/redisx"
	"github.com/homing/homing/redisx/redisproc"
	"github.com/homing/homing/redisx/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quick = Timing{Period: 900 * time.Millisecond, Refresh: 100 * time.Millisecond, Patience: 250 * time.Millisecond}

var quiet = slog.New(slog.DiscardHandler)

func TestRenew(t *testing.T) {
	redistest.OnEach(t, func(t *testing.T, c *redis.Client) {
		ctx, keys := t.Context(), hub.NewKeys("t")
		p := &hub.Process{ID: hub.NewProcessID()}
		renew := func(lead bool) Renewal {
			found, err := Renew(ctx, c, keys, p, lead, 5*time.Second, time.Unix(77, 0))
			if err != nil {
				t.Fatal(err)
			}
			return found
		}
		if renew(false) != RenewedLapsed || renew(false) != RenewedStood {
			t.Error("a new lease stood before, or a renewed one did not")
		}
		if n := c.Exists(ctx, keys.Processes()).Val(); n != 0 {
			t.Error("a lease that is not the lead shard's named its process")
		}
		if renew(true) != RenewedStood || c.ZScore(ctx, keys.Processes(), string(p.ID)).Val() != 77 {
			t.Error("the process was not named")
		}
		if ttl := c.PTTL(ctx, keys.Lease(p.ID)).Val(); ttl <= 0 || ttl > 5*time.Second {
			t.Errorf("the lease stands for %v", ttl)
		}
		if err := Leave(ctx, c, keys, p.ID, true); err != nil {
			t.Fatal(err)
		}
		if renew(true) != RenewedDead || c.Exists(ctx, keys.Lease(p.ID), keys.Processes()).Val() != 0 {
			t.Error("a process with a tombstone has renewed its lease")
		}
	})
}

func TestForget(t *testing.T) {
	redistest.OnEach(t, func(t *testing.T, c *redis.Client) {
		ctx, keys := t.Context(), hub.NewKeys("t")
		for _, p := range []string{"A", "B", "C"} {
			c.ZAdd(ctx, keys.Processes(), redis.Z{Member: p})
		}
		c.Set(ctx, keys.Lease("B"), "{}", 0)
		if n, err := Forget(ctx, c, keys, []hub.ProcessID{"A", "B", "D"}); err != nil || n != 1 {
			t.Errorf("removed %d, %v, want 1", n, err)
		}
		if names := c.ZRange(ctx, keys.Processes(), 0, -1).Val(); len(names) != 2 {
			t.Errorf("left %v, want B and C", names)
		}
	})
}

func TestVouchAndDeclareScripts(t *testing.T) {
	redistest.OnEach(t, func(t *testing.T, c *redis.Client) {
		ctx := t.Context()
		vouch := func() int { return must(t)(vouchScript.Run(ctx, c, []string{"w", "x"}, "described", 6000).Int()) }
		declare := func(force int) int {
			return must(t)(declareScript.Run(ctx, c, []string{"w", "x"}, "declared", 60000, force).Int())
		}
		if vouch() != 1 || c.Get(ctx, "w").Val() != "+described" {
			t.Errorf("a lapsed lease became %q", c.Get(ctx, "w").Val())
		}
		if vouch() != 1 || c.Get(ctx, "w").Val() != "+described" {
			t.Errorf("a vouched lease became %q", c.Get(ctx, "w").Val())
		}
		c.Set(ctx, "w", "own", 5*time.Second)
		if vouch() != 0 || c.Get(ctx, "w").Val() != "own" {
			t.Error("a lease that its owner has just renewed was touched")
		}
		c.Set(ctx, "w", "own", 2*time.Second)
		if vouch() != 1 || c.Get(ctx, "w").Val() != "+own" || c.PTTL(ctx, "w").Val() < 5*time.Second {
			t.Error("a lease about to lapse was not renewed")
		}
		if declare(0) != 0 || c.Exists(ctx, "x").Val() != 0 {
			t.Error("a process was declared dead while its lease stood")
		}
		if declare(1) != 1 || c.Exists(ctx, "w").Val() != 0 || c.Get(ctx, "x").Val() != "declared" {
			t.Error("a process that was dead before was not declared dead again")
		}
		if vouch() != -1 || c.Exists(ctx, "w").Val() != 0 {
			t.Error("somebody vouched for the dead")
		}
	})
}

func must(t *testing.T) func(int, error) int {
	return func(n int, err error) int {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
}

// phone is a Prober whose processes answer while they are up.
type phone struct {
	mu      sync.Mutex
	census  *Census
	up      map[hub.ProcessID]bool
	open    map[hub.ProcessID]time.Time
	granted map[hub.ProcessID]string
	asked   int
}

func (p *phone) Ask(id hub.ProcessID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked++
	if p.up[id] {
		delete(p.open, id)
		p.census.Here(id, 7)
	} else if p.open[id].IsZero() {
		p.open[id] = time.Now()
	}
}

func (p *phone) Unanswered(id hub.ProcessID) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open[id]
}

func (p *phone) Grant(id hub.ProcessID, _ uint64, dead bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.granted[id] = map[bool]string{true: "dead", false: "lives"}[dead]
}

func (p *phone) Forget(id hub.ProcessID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, id)
}

func (p *phone) set(id hub.ProcessID, up bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.up[id] = up
}

func (p *phone) told(id hub.ProcessID) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.granted[id]
}

// town is a census on a Redis of the test's own.
type town struct {
	*phone

	redis  *redisx.Redis
	server *redisproc.Server
	keys   hub.Keys
	client *redis.Client
}

func newTown(t *testing.T) *town {
	t.Helper()
	server := redistest.Process(t, redisproc.ServerOptions{})
	cfg := redistest.Config(t, "redis://"+server.Addr())
	w := &town{redis: redistest.Open(t, cfg), server: server, keys: hub.NewKeys(cfg.Prefix), client: server.Client()}
	t.Cleanup(func() { _ = w.client.Close() })
	w.phone = w.another(t)
	return w
}

// another runs one more census on the same Redis, and waits until a lease that
// is missing means something to it.
func (w *town) another(t *testing.T) *phone {
	t.Helper()
	p := &phone{up: map[hub.ProcessID]bool{}, open: map[hub.ProcessID]time.Time{}, granted: map[hub.ProcessID]string{}}
	p.census = NewCensus(w.redis, w.keys, p, quick, quiet, prometheus.NewRegistry())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.census.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	eventually(t, "the census is steady", p.census.Steady)
	return p
}

// TestRedisThatHasNotBeenAskedIsNotWarnedOf: every process begins like that,
// and nothing is wrong yet.
func TestRedisThatHasNotBeenAskedIsNotWarnedOf(t *testing.T) {
	r, err := redisx.New(redistest.Config(t, "redis://127.0.0.1:1"), quiet, nil) // it does not run: nobody asks
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder // written by Run alone
	c := NewCensus(r, hub.NewKeys("t"), nil, quick, slog.New(slog.NewTextHandler(&log, nil)), nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	eventually(t, "readings fail", func() bool { return testutil.ToFloat64(c.met.failures) >= 2 })
	cancel()
	if err := <-done; err != nil || log.Len() > 0 {
		t.Errorf("%v, %s", err, log.String())
	}
}

// renew takes or renews the lease of a process, once.
func (w *town) renew(t *testing.T, id hub.ProcessID) Renewal {
	t.Helper()
	p := &hub.Process{ID: id, Role: hub.RoleFront, Connections: 3}
	found, err := Renew(t.Context(), w.client, w.keys, p, true, quick.Period, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it never came true that %s", what)
		}
	}
}

// never watches for a while that something does not come true.
func never(t *testing.T, during time.Duration, what string, bad func() bool) {
	t.Helper()
	for end := time.Now().Add(during); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if bad() {
			t.Fatalf("it came true that %s", what)
		}
	}
}

// TestWhoAnswersLives: a process that has lost its way to data Redis keeps its
// lease by proxy for as long as it answers, and is dead soon after it does not.
func TestWhoAnswersLives(t *testing.T) {
	w := newTown(t)
	id := hub.NewProcessID()
	w.set(id, true)
	w.renew(t, id)
	lives := func() bool { return w.census.Roll().Lives(id) }
	eventually(t, "it is on the roll", lives)
	never(t, 3*quick.Period, "it is off the roll", func() bool { return !lives() })
	if w.told(id) != "lives" || w.client.Exists(t.Context(), w.keys.Lease(id)).Val() != 1 {
		t.Error("nobody vouched for it")
	}
	if ps := w.census.Processes(hub.RoleFront); len(ps) != 1 || ps[0].Connections != 3 {
		t.Errorf("it is described as %+v", ps)
	}
	w.set(id, false)
	eventually(t, "it is dead", func() bool { return w.census.Roll().Dead(id) })
	if w.client.Exists(t.Context(), w.keys.Tombstone(id)).Val() != 1 {
		t.Error("its death was not declared")
	}
	if w.renew(t, id) != RenewedDead {
		t.Error("it does not learn of it")
	}
	if n := testutil.ToFloat64(w.census.met.declared); n != 1 {
		t.Errorf("%v declared dead, want 1", n)
	}
}

// TestBirthsAndDeathsAreTold: whoever waits for a change hears of each, and of
// nothing else.
func TestBirthsAndDeathsAreTold(t *testing.T) {
	w := newTown(t)
	id := hub.NewProcessID()
	changed, before := w.census.Changed(), w.census.Roll()
	hears := func(what string) (born []hub.Process, gone []hub.ProcessID) {
		t.Helper()
		select {
		case <-changed:
		case <-time.After(10 * time.Second):
			t.Fatalf("nobody is told of %s", what)
		}
		changed = w.census.Changed()
		now := w.census.Roll()
		born, gone = now.Since(before)
		before = now
		return born, gone
	}
	w.set(id, true)
	w.renew(t, id)
	if born, gone := hears("a birth"); len(born) != 1 || born[0].ID != id || born[0].Role != hub.RoleFront || len(gone) != 0 {
		t.Errorf("born %+v, gone %v", born, gone)
	}
	never(t, 2*quick.Period, "readings that change nothing are told", func() bool {
		select {
		case <-changed:
			return true
		default:
			return false
		}
	})
	w.set(id, false)
	if born, gone := hears("a death"); len(born) != 0 || len(gone) != 1 || gone[0] != id {
		t.Errorf("born %+v, gone %v", born, gone)
	}
}

// TestDeathIsTheSameForAll: what one has declared, the others take over without
// asking, and a sign of life is answered with it.
func TestDeathIsTheSameForAll(t *testing.T) {
	w := newTown(t)
	other := w.another(t)
	id := hub.NewProcessID()
	other.set(id, true) // it still answers the other
	w.client.Set(t.Context(), w.keys.Tombstone(id), tombDeclared, 0)
	w.client.ZAdd(t.Context(), w.keys.Processes(), redis.Z{Member: string(id)})
	for _, p := range []*phone{w.phone, other} {
		eventually(t, "it is dead", func() bool { return p.census.Roll().Dead(id) })
		p.census.Here(id, 7)
		eventually(t, "it is told so", func() bool { return p.told(id) == "dead" })
		if !p.census.Gone(id, time.Now().Add(-time.Minute)) {
			t.Error("it is not gone")
		}
	}
}

// TestDeadStayDead: when a failover has lost the tombstone and the process has
// taken a lease again, it is declared dead once more.
func TestDeadStayDead(t *testing.T) {
	w := newTown(t)
	id := hub.NewProcessID()
	w.renew(t, id)
	eventually(t, "it is dead", func() bool { return w.census.Roll().Dead(id) })
	w.client.Del(t.Context(), w.keys.Tombstone(id))
	if w.renew(t, id) != RenewedLapsed {
		t.Fatal("the tombstone is still there")
	}
	eventually(t, "it is declared dead again", func() bool {
		return w.client.Exists(t.Context(), w.keys.Tombstone(id)).Val() == 1 && w.client.Exists(t.Context(), w.keys.Lease(id)).Val() == 0
	})
	if w.census.Roll().Lives(id) {
		t.Error("it is on the roll")
	}
}

// TestLostKeysKillNobody: the set of processes and the leases vanish, as a hand
// or a flush has it, and those who live stay on the roll.
func TestLostKeysKillNobody(t *testing.T) {
	w := newTown(t)
	id := hub.NewProcessID()
	w.set(id, true)
	w.renew(t, id)
	eventually(t, "it is on the roll", func() bool { return w.census.Roll().Lives(id) })
	w.client.FlushAll(t.Context())
	never(t, 2*quick.Period, "it is off the roll", func() bool { return !w.census.Roll().Lives(id) })
}

// TestLeavingIsNoDeath: a process that leaves in good order is gone at once,
// and nobody asks for it.
func TestLeavingIsNoDeath(t *testing.T) {
	w := newTown(t)
	id := hub.NewProcessID()
	w.renew(t, id)
	eventually(t, "it is on the roll", func() bool { return w.census.Roll().Lives(id) })
	if err := Leave(t.Context(), w.client, w.keys, id, true); err != nil {
		t.Fatal(err)
	}
	left := time.Now()
	eventually(t, "it is gone", func() bool { return w.census.Gone(id, left) })
	if took := time.Since(left); took > quick.Patience {
		t.Errorf("after %v", took)
	}
	if w.asked > 0 {
		t.Errorf("asked %d times", w.asked)
	}
}

// TestMeet: a process that took its lease a moment ago is met before the next
// reading, and one that nobody knows lives until it was asked.
func TestMeet(t *testing.T) {
	w := newTown(t)
	fresh, stray := hub.NewProcessID(), hub.NewProcessID()
	w.renew(t, fresh)
	roll, err := w.census.Meet(t.Context(), []hub.ProcessID{fresh, stray})
	if err != nil || !roll.Lives(fresh) || !roll.Lives(stray) {
		t.Fatalf("%v, %v; want both on the roll", roll, err)
	}
	eventually(t, "the stray is dead", func() bool { return w.census.Roll().Dead(stray) })
	if w.server.Crash(); w.census.Refresh(t.Context()) == nil {
		t.Error("the leases were read without Redis")
	}
	roll, err = w.census.Meet(t.Context(), []hub.ProcessID{hub.NewProcessID()})
	if err != nil || roll.Len() < 1 {
		t.Errorf("%v, %v; want those who cannot be judged to live", roll, err)
	}
}

// TestBury: a process that is known to have ended is dead for all at once,
// though its lease stands.
func TestBury(t *testing.T) {
	w := newTown(t)
	id := hub.NewProcessID()
	w.set(id, true) // what it answers is late
	w.renew(t, id)
	eventually(t, "it is on the roll", func() bool { return w.census.Roll().Lives(id) })
	if err := Bury(t.Context(), w.redis, w.keys, []hub.ProcessID{id}, quiet); err != nil {
		t.Fatal(err)
	}
	buried := time.Now()
	eventually(t, "it is gone", func() bool { return w.census.Gone(id, buried) })
	if took := time.Since(buried); took > quick.Period/2 {
		t.Errorf("after %v", took)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if w.server.Crash(); Bury(ctx, w.redis, w.keys, []hub.ProcessID{hub.NewProcessID()}, quiet) == nil {
		t.Error("buried without Redis")
	}
}

// TestEnd: of a process that has ended everybody knows at once, and it counts as alive
// until it is buried.
func TestEnd(t *testing.T) {
	w := newTown(t)
	id, other := hub.NewProcessID(), hub.NewProcessID()
	w.set(other, true)
	w.renew(t, id)
	w.renew(t, other)
	eventually(t, "they are on the roll", func() bool { return w.census.Roll().Lives(id) && w.census.Roll().Lives(other) })
	if err := End(t.Context(), w.redis, w.keys, []hub.ProcessID{id, hub.NewProcessID()}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it has ended", func() bool { return w.census.Roll().Ended(id) })
	r := w.census.Roll()
	slot, lives := r.Slot(id)
	if !lives || r.Dead(id) || r.At(int(slot)).Connections != 3 || r.Ended(other) {
		t.Errorf("on the roll %v, dead %v, the other has ended %v", lives, r.Dead(id), r.Ended(other))
	}
	w.client.Del(t.Context(), w.keys.Lease(id))
	eventually(t, "it is dead", func() bool {
		r := w.census.Roll()
		if r.Unsure(id) && !r.Ended(id) {
			t.Error("its lease has lapsed, and it is forgotten that it has ended")
		}
		return r.Dead(id)
	})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if w.server.Crash(); End(ctx, w.redis, w.keys, []hub.ProcessID{id}) == nil {
		t.Error("said without Redis")
	}
}

// A Redis without room refuses no lease, no declaration and no goodbye.
func TestScriptsAtAFullRedis(t *testing.T) {
	c := redistest.Process(t, redisproc.ServerOptions{}).Client()
	defer c.Close()
	ctx, keys, p := t.Context(), hub.NewKeys("t"), &hub.Process{ID: hub.NewProcessID()}
	if err := c.ConfigSet(ctx, "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	if err := c.Set(ctx, "more", 1, 0).Err(); !redis.HasErrorPrefix(err, "OOM") {
		t.Fatalf("a write at a full Redis: %v, want OOM", err)
	}
	for _, want := range []Renewal{RenewedLapsed, RenewedStood} {
		if got, err := Renew(ctx, c, keys, p, true, time.Minute, time.Now()); err != nil || got != want {
			t.Errorf("renewal found %v, %v, want %v", got, err, want)
		}
	}
	if n := must(t)(vouchScript.Run(ctx, c, []string{"w", "x"}, "described", 6000).Int()); n != 1 {
		t.Errorf("vouching returned %d, want 1", n)
	}
	if n := must(t)(declareScript.Run(ctx, c, []string{"v", "y"}, "declared", 60000, 0).Int()); n != 1 {
		t.Errorf("declaring returned %d, want 1", n)
	}
	if n := must(t)(endScript.Run(ctx, c, []string{keys.Lease(p.ID)}).Int()); n != 1 || !strings.HasPrefix(c.Get(ctx, keys.Lease(p.ID)).Val(), ended) {
		t.Errorf("saying that it has ended returned %d", n)
	}
	if err := Leave(ctx, c, keys, p.ID, true); err != nil || c.Get(ctx, keys.Tombstone(p.ID)).Val() != tombLeft {
		t.Errorf("leaving: %v", err)
	}
}
