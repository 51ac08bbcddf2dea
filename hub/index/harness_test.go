package index

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/lease"
	"github.com/homing/homing/redisx"
	"github.com/homing/homing/redisx/redisproc"
	"github.com/homing/homing/redisx/redistest"
)

// quick is a timing that tests can wait for.
var quick = timing{
	lease: lease.Timing{Period: 900 * time.Millisecond, Refresh: 100 * time.Millisecond, Patience: 200 * time.Millisecond},
	renew: 300 * time.Millisecond,
	sweep: 400 * time.Millisecond,
	audit: time.Hour,
	pass:  time.Hour,
	doubt: 300 * time.Millisecond,
}

// world is an index on a Redis of the test's own.
type world struct {
	t    testing.TB
	r    *redisx.Redis
	keys hub.Keys
	met  *prometheus.Registry
}

func newWorld(tb testing.TB, cfg redisx.Config) *world {
	tb.Helper()
	return &world{t: tb, r: redistest.Open(tb, cfg), keys: hub.NewKeys(cfg.Prefix), met: prometheus.NewRegistry()}
}

// onServer is a world on one Redis server.
func onServer(tb testing.TB) *world {
	tb.Helper()
	return newWorld(tb, redistest.Config(tb, redistest.Server(tb)))
}

// onShards is a world on n data shards.
func onShards(tb testing.TB, n int) *world {
	tb.Helper()
	cfg := redistest.Config(tb, redistest.Server(tb))
	for len(cfg.Data) < n {
		cfg.Data = append(cfg.Data, redistest.Server(tb))
	}
	return newWorld(tb, cfg)
}

// replicated starts a data master with two replicas and three Sentinels.
func replicated(tb testing.TB) (*redisproc.Topology, redisx.Config) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	top, err := redisproc.StartTopology(ctx, redisproc.TopologyOptions{
		Masters: []redisproc.MasterSpec{{Name: "data", Replicas: 2}},
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(top.Close)
	return top, redistest.Config(tb, top.URLs()[0])
}

// index runs an Index until the test ends and waits until it answers.
func (w *world) index(timing timing) *Index {
	w.t.Helper()
	return w.indexWith(timing, func(*Index) {})
}

// discard is a log that nobody reads.
var discard = slog.New(slog.DiscardHandler)

// indexWith is index for one that prepare has changed before it runs.
func (w *world) indexWith(timing timing, prepare func(*Index)) *Index {
	w.t.Helper()
	census := lease.NewCensus(w.r, w.keys, nil, timing.lease, slog.New(slog.DiscardHandler), nil)
	ix := New(w.r, census, w.keys, slog.New(slog.DiscardHandler), w.registry("index", string(hub.NewProcessID())))
	ix.timing = timing
	prepare(ix)
	w.run(census.Run)
	w.run(ix.Run)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := census.WaitReady(ctx); err != nil {
		w.t.Fatal(err)
	}
	return ix
}

// registry is the world's for one of many.
func (w *world) registry(label, value string) prometheus.Registerer {
	return prometheus.WrapRegistererWith(prometheus.Labels{label: value}, w.met)
}

// process is a Registrar with the means to end it.
type process struct {
	*Registrar
	id  hub.ProcessID
	end func() // as a crash does: nothing more is written
}

// process runs a Registrar until the test ends, or end is called.
func (w *world) process(timing timing) process {
	w.t.Helper()
	return w.processWith(timing, func(*Registrar) {})
}

// processWith is process for one that prepare has changed before it runs.
func (w *world) processWith(timing timing, prepare func(*Registrar)) process {
	w.t.Helper()
	id := hub.NewProcessID()
	self := hub.Process{ID: id, Node: "test", PID: 1, Role: "front", Started: time.Now().Unix()}
	standing := lease.NewStanding(lease.Config{}, timing.lease, slog.New(slog.DiscardHandler))
	g := NewRegistrar(w.r, w.keys, self, standing, slog.New(slog.DiscardHandler), w.registry("registrar", string(id)))
	g.timing = timing
	prepare(g)
	p := process{Registrar: g, id: id, end: w.run(g.Run)}
	eventually(w.t, 5*time.Second, "the process has its lease", g.Ready)
	return p
}

// run runs f until the test ends or the function returned is called.
func (w *world) run(f func(context.Context) error) (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := f(ctx); err != nil {
			w.t.Errorf("Run: %v", err)
		}
	}()
	end = sync.OnceFunc(func() { cancel(); <-done })
	w.t.Cleanup(end)
	return end
}

// set is Set, waiting until it is written.
func (p process) set(tb testing.TB, user hub.UserID, services ...hub.ServiceCount) {
	tb.Helper()
	done := make(chan error, 1)
	p.Set(user, services, func(err error) { done <- err })
	select {
	case err := <-done:
		if err != nil {
			tb.Fatalf("set %s: %v", user, err)
		}
	case <-time.After(5 * time.Second):
		tb.Fatalf("set %s: not written after 5 s", user)
	}
}

// where lists which processes Locate finds for user.
func where(tb testing.TB, ix *Index, user hub.UserID, services ...hub.Service) []hub.ProcessID {
	tb.Helper()
	p, err := ix.Locate(tb.Context(), []hub.UserID{user}, services)
	if err != nil {
		tb.Fatal(err)
	}
	var out []hub.ProcessID
	for _, g := range p.Groups {
		if !slices.Equal(g.Users, []hub.UserID{user}) {
			tb.Fatalf("group of %s holds %q", g.Process, g.Users)
		}
		out = append(out, g.Process)
	}
	if p.Online+p.Offline != 1 || (p.Online == 1) != (len(out) > 0) {
		tb.Fatalf("%d online, %d offline, %d groups", p.Online, p.Offline, len(out))
	}
	slices.Sort(out)
	return out
}

// master is a client of shard i's master.
func (w *world) master(i int) *redis.Client {
	w.t.Helper()
	c, err := w.r.Data.Shards()[i].Master()
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// lead is the master of the shard where leases are judged.
func (w *world) lead() *redis.Client {
	w.t.Helper()
	return w.master(slices.Index(w.r.Data.Shards(), w.r.Data.Lead()))
}

// dump returns every user's value on every shard, and everything else that
// the index keeps.
func (w *world) dump() (users map[hub.UserID]string, others []string) {
	w.t.Helper()
	ctx := context.Background()
	users = make(map[hub.UserID]string)
	for i := range w.r.Data.Shards() {
		c := w.master(i)
		keys, err := c.Keys(ctx, "*").Result()
		if err != nil {
			w.t.Fatal(err)
		}
		for _, k := range keys {
			if user, ok := w.keys.UserOf(k); ok {
				users[user] = c.Get(ctx, k).Val()
			} else {
				others = append(others, k)
			}
		}
	}
	return users, others
}

// eventually waits until ok, and fails when that takes longer than limit.
func eventually(tb testing.TB, limit time.Duration, what string, ok func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(limit); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatalf("not within %v: %s", limit, what)
		}
	}
}
