package index

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/redisx"
)

// timing is how often things happen; only tests choose another one.
type timing struct {
	lease   time.Duration // how long a lease stands unless it is renewed
	renew   time.Duration // between renewals of a lease
	refresh time.Duration // between readings of all leases
	sweep   time.Duration // between sweeps by anyone, while there is reason for one
	audit   time.Duration // between sweeps without a reason
	doubt   time.Duration // from a write of unknown outcome to the check of what came of it
}

var defaultTiming = timing{
	lease:   6 * time.Second,
	renew:   2 * time.Second,
	refresh: time.Second,
	sweep:   5 * time.Second,
	audit:   10 * time.Minute,
	doubt:   2 * time.Second,
}

// Index answers where users are. It is safe for concurrent use; Run must be
// running, because it keeps the table of live processes that every answer is
// judged by.
type Index struct {
	data   *redisx.Role
	shards []*redisx.Shard
	keys   hub.Keys
	log    *slog.Logger
	met    readerMetrics
	timing timing

	table  atomic.Pointer[table] // nil until first loaded
	loaded chan struct{}         // closed when it is

	writable atomic.Pointer[time.Time] // since when the lease shard has taken every write tried; nil: not now

	mu    sync.Mutex    // orders the replacements of table
	probe chan struct{} // a token: whoever holds it looks up unknown processes
	stray atomic.Bool   // entries of a process were met that the set of processes does not name

	scratch sync.Pool // *lookup
}

// New returns an Index over r's data shards. It does no I/O.
func New(r *redisx.Redis, keys hub.Keys, log *slog.Logger, reg prometheus.Registerer) *Index {
	return &Index{
		data:    r.Data,
		shards:  r.Data.Shards(),
		keys:    keys,
		log:     log,
		met:     newReaderMetrics(reg),
		timing:  defaultTiming,
		loaded:  make(chan struct{}),
		probe:   make(chan struct{}, 1),
		scratch: sync.Pool{New: func() any { return new(lookup) }},
	}
}

// Run keeps the table of live processes up to date, reading it every second,
// and sweeps after dead ones. It returns nil when ctx ends.
func (ix *Index) Run(ctx context.Context) error {
	var sweeper sync.WaitGroup
	sweeper.Go(func() { ix.runSweeper(ctx) })
	defer sweeper.Wait()
	tick := time.NewTicker(ix.timing.refresh)
	defer tick.Stop()
	failing := false
	for {
		err := ix.refresh(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			ix.met.refreshErrors.Inc()
		}
		if failing != (err != nil) {
			failing = err != nil
			ix.log.Info("index: reading the leases", "failing", failing, "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// WaitReady blocks until lookups can be answered or ctx ends.
func (ix *Index) WaitReady(ctx context.Context) error {
	select {
	case <-ix.loaded:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("index: waiting for the first reading of the leases: %w", ctx.Err())
	}
}

// Processes lists the live processes of one role, or of every role when role
// is empty, as the last reading of the leases has them.
func (ix *Index) Processes(role string) []hub.Process {
	t := ix.table.Load()
	if t == nil {
		return nil
	}
	var out []hub.Process
	for _, p := range t.live {
		if role == "" || p.Role == role {
			out = append(out, p)
		}
	}
	return out
}

// leaseShard is where the leases stand that readers believe.
func (ix *Index) leaseShard() *redisx.Shard { return ix.shards[0] }

// steady tells whether every live process has been able to renew its lease
// for a lease's time, as far as this process can see. It is not enough that
// the master answers: while it has no replica it refuses to be written to.
func (ix *Index) steady() bool {
	since := ix.writable.Load()
	return since != nil && time.Since(*since) >= ix.timing.lease && ix.leaseShard().Stable() >= ix.timing.lease
}

// tryWrite finds out whether the lease shard takes writes now. The write that
// it tries changes nothing, because the key is never there, and so it is not
// replicated either; but a master refuses it when it would refuse a lease.
func (ix *Index) tryWrite(ctx context.Context) {
	err := ix.leaseShard().Write(ctx, func(ctx context.Context, c *redis.Client) error {
		return c.SetXX(ctx, ix.keys.Turn("none"), 1, 0).Err()
	})
	switch {
	case err != nil && !errors.Is(err, redis.Nil):
		ix.writable.Store(nil)
	case ix.writable.Load() == nil:
		now := time.Now()
		ix.writable.Store(&now)
	}
}

// refresh reads all leases and replaces the table. It asks the master: on a
// replica that is cut off leases lapse although they are renewed.
func (ix *Index) refresh(ctx context.Context) error {
	ix.tryWrite(ctx)
	steady := ix.steady()
	epoch := ix.leaseShard().Epoch()
	asked := time.Now()
	var ids []hub.ProcessID
	var leases []string
	err := ix.leaseShard().Write(ctx, func(ctx context.Context, c *redis.Client) error {
		names, err := c.ZRange(ctx, ix.keys.Processes(), 0, -1).Result()
		if err != nil {
			return err
		}
		ids = ids[:0]
		for _, n := range names {
			ids = append(ids, hub.ProcessID(n))
		}
		leases, err = ix.readLeases(ctx, c, ids)
		return err
	})
	if err != nil {
		return unavailable("index: reading the leases", err)
	}
	steady = steady && ix.steady() && epoch == ix.leaseShard().Epoch()
	ix.mu.Lock()
	defer ix.mu.Unlock()
	t := nextTable(ix.table.Load(), ids, leases, asked, steady)
	ix.met.processes.Set(float64(len(t.live)))
	if ix.table.Swap(t) == nil {
		close(ix.loaded)
	}
	return nil
}

// readLeases returns the leases of ids, in order, "" where none stands.
func (ix *Index) readLeases(ctx context.Context, c *redis.Client, ids []hub.ProcessID) ([]string, error) {
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = ix.keys.Lease(id)
	}
	return mget(ctx, c, names)
}

// meet looks up processes that entries name and the table does not know: a
// worker must be reachable before the next refresh. What it learns stays in
// the table until then, so no process is asked after twice between refreshes,
// and one asks for all who wait.
func (ix *Index) meet(ctx context.Context, pids []hub.ProcessID) (*table, error) {
	select {
	case ix.probe <- struct{}{}:
		defer func() { <-ix.probe }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	t := ix.table.Load()
	var unknown []hub.ProcessID
	for _, pid := range pids {
		if !t.known(pid) {
			unknown = append(unknown, pid)
		}
	}
	if len(unknown) == 0 {
		return t, nil
	}
	steady := ix.steady()
	var leases []string
	err := ix.leaseShard().Write(ctx, func(ctx context.Context, c *redis.Client) (err error) {
		leases, err = ix.readLeases(ctx, c, unknown)
		return err
	})
	if err != nil && ctx.Err() != nil {
		return nil, err
	}
	if err != nil { // the lease shard is failing over: nothing proves that they are dead
		steady, leases = false, make([]string, len(unknown))
	}
	return ix.learn(unknown, leases, steady && ix.steady()), nil
}

// learn adds what was found out about ids to the table.
func (ix *Index) learn(ids []hub.ProcessID, leases []string, steady bool) *table {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	t := ix.table.Load().clone()
	for i, id := range ids {
		switch {
		case t.known(id):
		case leases[i] != "":
			t.addLive(parseLease(id, leases[i]))
		case steady:
			t.dead[id] = struct{}{}
			ix.stray.Store(true)
		default:
			t.addLive(hub.Process{ID: id})
		}
	}
	ix.met.processes.Set(float64(len(t.live)))
	ix.table.Store(t)
	return t
}

// errNotLoaded is what lookups answer before the first reading of the leases.
var errNotLoaded = fmt.Errorf("%w: the leases have not been read yet", hub.ErrUnavailable)

// unavailable wraps err, saying what was being done, so that a failure of
// Redis is known by hub.ErrUnavailable.
func unavailable(doing string, err error) error {
	if errors.Is(err, redisx.ErrUnavailable) && !errors.Is(err, hub.ErrUnavailable) {
		return fmt.Errorf("%s: %w: %w", doing, hub.ErrUnavailable, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// jittered returns d give or take a quarter, so that processes started
// together do not stay in step.
func jittered(d time.Duration) time.Duration {
	return d - d/4 + rand.N(d/2+1)
}
