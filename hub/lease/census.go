package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/outage"
	"github.com/homing/homing/redisx"
)

// Census keeps the roll of live processes. It is safe for concurrent use; Run
// must be running.
type Census struct {
	shard  *redisx.Shard // where leases are judged
	keys   hub.Keys
	log    *slog.Logger
	met    metrics
	timing Timing
	prober Prober // nil: nobody can be asked

	roll     atomic.Pointer[Roll]      // nil until first read
	loaded   chan struct{}             // closed when it is
	failure  atomic.Pointer[error]     // of the last reading; nil: it succeeded, or there was none
	writable atomic.Pointer[time.Time] // since when the shard has taken every write tried; nil: not now
	signs    chan sign                 // of life, on their way to Run
	reading  chan struct{}             // a token: whoever holds it reads the leases

	mu        sync.Mutex                  // orders the replacements of roll; guards what follows
	changed   chan struct{}               // closed when a process is born or dies
	questions map[hub.ProcessID]time.Time // since when they are open
	dead      map[hub.ProcessID]time.Time // when that was learned
	zombies   []hub.ProcessID             // dead, with a lease that stands
}

// Prober asks a process whether it lives, by a way that does not need its
// lease. No method blocks.
type Prober interface {
	// Ask puts one question to p.
	Ask(p hub.ProcessID)
	// Unanswered is since when p owes an answer, zero when it owes none.
	Unanswered(p hub.ProcessID) time.Time
	// Grant tells p what came of the sign of life with the mark given.
	Grant(p hub.ProcessID, mark uint64, dead bool)
	// Forget ends the questions to p.
	Forget(p hub.ProcessID)
}

// maxSigns bounds the signs of life that wait.
//
//bound:signs-of-life
const maxSigns = 4096

// NewCensus returns a census of the processes on r's data Redis, which asks them
// through p; with p nil their leases alone count. It does no I/O. reg may be nil.
func NewCensus(r *redisx.Redis, keys hub.Keys, p Prober, t Timing, log *slog.Logger, reg prometheus.Registerer) *Census {
	return &Census{
		shard:     r.Data.Lead(),
		keys:      keys,
		prober:    p,
		log:       log,
		met:       newMetrics(reg),
		timing:    t,
		loaded:    make(chan struct{}),
		changed:   make(chan struct{}),
		signs:     make(chan sign, maxSigns),
		reading:   make(chan struct{}, 1),
		questions: make(map[hub.ProcessID]time.Time),
		dead:      make(map[hub.ProcessID]time.Time),
	}
}

// Run reads the leases every second and judges those that lapsed. It returns
// nil when ctx ends.
func (c *Census) Run(ctx context.Context) error {
	tick := time.NewTicker(c.timing.Refresh)
	defer tick.Stop()
	failing := false
	for {
		err := c.Refresh(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if !errors.Is(err, redisx.ErrNotAsked) && failing != (err != nil) {
			failing = err != nil
			c.logReading(err)
		}
		c.judge(ctx)
		if !c.wait(ctx, tick.C) {
			return nil
		}
	}
}

func (c *Census) logReading(err error) {
	switch {
	case err != nil && c.roll.Load() == nil:
		c.log.Warn("cannot read the leases yet", "err", err)
		return
	case err != nil:
		c.log.Warn("cannot read the leases; the last reading stays in use", "err", err)
		return
	}
	c.log.Info("leases can be read again")
}

// wait answers signs of life until the next reading is due. It reports false
// when ctx has ended.
func (c *Census) wait(ctx context.Context, next <-chan time.Time) bool {
	for {
		select {
		case <-ctx.Done():
			return false
		case s := <-c.signs:
			c.vouch(ctx, s)
		case <-next:
			return true
		}
	}
}

// WaitReady blocks until the leases have been read once or ctx ends.
func (c *Census) WaitReady(ctx context.Context) error {
	select {
	case <-c.loaded:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for the first reading of the leases: %w", errors.Join(c.Err(), ctx.Err()))
	}
}

// Err returns nil once the leases have been read, and before that why not: an
// error that wraps hub.ErrUnavailable.
func (c *Census) Err() error {
	if c.roll.Load() != nil {
		return nil
	}
	if err := c.failure.Load(); err != nil {
		return *err
	}
	return ErrNotLoaded
}

// Roll is the last reading, nil before the first.
func (c *Census) Roll() *Roll { return c.roll.Load() }

// Processes lists the live processes of one role, or of every role when role
// is empty, by the last reading.
func (c *Census) Processes(role string) []hub.Process {
	r := c.roll.Load()
	if r == nil {
		return nil
	}
	var out []hub.Process
	for _, p := range r.live {
		if role == "" || p.Role == role || p.Role == "" {
			out = append(out, p)
		}
	}
	return out
}

// Lives reports whether p is taken to live. Before the first reading everybody is.
func (c *Census) Lives(p hub.ProcessID) bool {
	r := c.roll.Load()
	return r == nil || r.Lives(p)
}

// Gone reports whether process p, which lived at the time given, is known to
// live no more.
func (c *Census) Gone(p hub.ProcessID, since time.Time) bool { return c.roll.Load().Gone(p, since) }

// Steady reports whether every live process has been able to renew its lease
// for a lease's period, as far as this process can see. It is not enough that
// the master answers: while it has no replica it refuses to be written to.
func (c *Census) Steady() bool {
	since := c.writable.Load()
	return since != nil && time.Since(*since) >= c.timing.Period && c.shard.Stable() >= c.timing.Period
}

// tryWrite finds out whether the shard takes writes now. The write that it
// tries changes nothing, because the key is never there, and so it is not
// replicated either; but a master refuses it when it would refuse a lease. One
// that is full does not: it takes leases.
func (c *Census) tryWrite(ctx context.Context) {
	err := c.shard.Write(ctx, func(ctx context.Context, cl *redis.Client) error {
		return cl.PExpire(ctx, c.keys.Turn("none"), time.Hour).Err()
	})
	switch {
	case err != nil:
		c.writable.Store(nil)
	case c.writable.Load() == nil:
		now := time.Now()
		c.writable.Store(&now)
	}
}

// reading is what the leases of some processes were at one moment.
type reading struct {
	ids    []hub.ProcessID
	leases []string // "" where none stands
	tombs  []string // "" where there is none
	named  int      // the first so many ids stand in the set of processes
	asked  time.Time
	steady bool
}

// Refresh reads all leases now. It asks the master: on a replica that is cut
// off, leases lapse although they are renewed. When it fails because Redis
// cannot answer, the error wraps hub.ErrUnavailable.
func (c *Census) Refresh(ctx context.Context) error {
	select {
	case c.reading <- struct{}{}:
		defer func() { <-c.reading }()
	case <-ctx.Done():
		return ctx.Err()
	}
	c.tryWrite(ctx)
	rd, err := c.read(ctx)
	if err != nil {
		c.met.failures.Inc()
		err = outage.During("reading the leases", err)
		c.failure.Store(&err)
		return err
	}
	c.failure.Store(nil)
	c.take(rd)
	return nil
}

func (c *Census) read(ctx context.Context) (*reading, error) {
	rd := &reading{asked: time.Now(), steady: c.Steady()}
	epoch, others := c.shard.Epoch(), c.remembered()
	err := c.shard.Write(ctx, func(ctx context.Context, cl *redis.Client) error {
		names, err := cl.ZRange(ctx, c.keys.Processes(), 0, -1).Result()
		if err != nil {
			return err
		}
		rd.ids, rd.named = rd.ids[:0], len(names)
		for _, n := range names {
			rd.ids = append(rd.ids, hub.ProcessID(n))
			delete(others, hub.ProcessID(n))
		}
		for id := range others {
			rd.ids = append(rd.ids, id)
		}
		return c.readLeases(ctx, cl, rd)
	})
	rd.steady = rd.steady && c.Steady() && epoch == c.shard.Epoch()
	return rd, err
}

// remembered are the processes that were live or in question so far: they are
// looked at even if the set of processes has lost them.
func (c *Census) remembered() map[hub.ProcessID]bool {
	ids := make(map[hub.ProcessID]bool)
	if r := c.roll.Load(); r != nil {
		for i := range r.live {
			ids[r.live[i].ID] = true
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for id := range c.questions {
		ids[id] = true
	}
	return ids
}

// readLeases fills rd with the leases and tombstones of its ids.
func (c *Census) readLeases(ctx context.Context, cl *redis.Client, rd *reading) error {
	if len(rd.ids) == 0 {
		return nil
	}
	args := make([]any, 0, 1+2*len(rd.ids))
	args = append(args, "MGET")
	for _, id := range rd.ids {
		args = append(args, c.keys.Lease(id))
	}
	for _, id := range rd.ids {
		args = append(args, c.keys.Tombstone(id))
	}
	cmd := redis.NewStringSliceCmd(ctx, args...)
	if err := cl.Process(ctx, cmd); err != nil {
		return err
	}
	rd.leases, rd.tombs = cmd.Val()[:len(rd.ids)], cmd.Val()[len(rd.ids):]
	return nil
}

// take makes rd the roll.
func (c *Census) take(rd *reading) {
	c.mu.Lock()
	defer c.mu.Unlock()
	prev := c.roll.Load()
	next := NewRoll(rd.asked, rd.steady)
	for i := range rd.ids {
		c.enterLocked(next, prev, rd, i)
	}
	for id, at := range c.dead {
		if time.Since(at) > tombstoneKept {
			delete(c.dead, id)
		} else if !next.Lives(id) {
			next.dead[id] = struct{}{}
		}
	}
	c.showLocked(next)
}

// enterLocked judges one process. Without a lease it lives until it is
// declared dead: a lease may lapse because its holder cannot reach this Redis,
// or vanish with a failover.
func (c *Census) enterLocked(next, prev *Roll, rd *reading, i int) {
	id, lease := rd.ids[i], rd.leases[i]
	if rd.tombs[i] != "" {
		c.buryLocked(id)
	}
	switch _, dead := c.dead[id]; {
	case dead:
		if lease != "" {
			c.zombies = append(c.zombies, id)
		}
		if i < rd.named {
			next.unswept = append(next.unswept, id)
		}
	case lease != "":
		next.Add(parseLease(id, lease))
		switch {
		case lease[:1] == ended:
			next.ended[id] = struct{}{}
		case lease[:1] != vouched:
			c.settleLocked(id)
		case rd.steady:
			c.questionLocked(id)
		}
	default:
		next.Add(prev.describe(id))
		next.unsure[id] = struct{}{}
		if prev.Ended(id) {
			next.ended[id] = struct{}{}
		}
		if rd.steady {
			c.questionLocked(id)
		}
	}
}

// showLocked makes r what others see.
func (c *Census) showLocked(r *Roll) {
	c.met.processes.Set(float64(len(r.live)))
	c.met.questioned.Set(float64(len(c.questions)))
	before := c.roll.Swap(r)
	if before == nil {
		close(c.loaded)
	}
	if born, gone := r.Since(before); len(born) > 0 || len(gone) > 0 {
		close(c.changed)
		c.changed = make(chan struct{})
	}
}

// Changed returns a channel that is closed when a process is born or dies after
// the call. Roll.Since tells which; take the channel first, and the Roll then.
func (c *Census) Changed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}

// Meet finds out about processes that the roll does not know, because index
// entries name them: a worker must be reachable before the next reading. What
// it learns stays in the roll until then.
func (c *Census) Meet(ctx context.Context, ids []hub.ProcessID) (*Roll, error) {
	select {
	case c.reading <- struct{}{}:
		defer func() { <-c.reading }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	known := c.roll.Load()
	if known == nil {
		return nil, ErrNotLoaded
	}
	rd := &reading{ids: slices.DeleteFunc(slices.Clone(ids), known.Known), steady: c.Steady()}
	if len(rd.ids) == 0 {
		return known, nil
	}
	err := c.shard.Write(ctx, func(ctx context.Context, cl *redis.Client) error { return c.readLeases(ctx, cl, rd) })
	if err != nil && ctx.Err() != nil {
		return nil, err
	}
	if err != nil { // the shard is failing over: nothing proves that they are dead
		rd.steady, rd.leases, rd.tombs = false, make([]string, len(rd.ids)), make([]string, len(rd.ids))
	}
	return c.learn(rd), nil
}

// learn adds rd to the roll.
func (c *Census) learn(rd *reading) *Roll {
	c.mu.Lock()
	defer c.mu.Unlock()
	prev := c.roll.Load()
	next := prev.with()
	for i, id := range rd.ids {
		if !next.Known(id) {
			c.enterLocked(next, prev, rd, i)
		}
		if _, dead := c.dead[id]; dead {
			next.dead[id] = struct{}{}
		}
	}
	c.showLocked(next)
	return next
}

// ErrNotLoaded is what is answered before the first reading of the leases.
var ErrNotLoaded = fmt.Errorf("%w: the leases have not been read yet", hub.ErrUnavailable)
