package index

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/lease"
	"github.com/homing/homing/redisx"
)

// ErrStopped is what waits for a Registrar that will write nothing more.
var ErrStopped = errors.New("registrar stopped")

// Registrar keeps the index's copy of what this process holds: its lease and
// the entries of its users. All methods are safe for concurrent use; Run must
// be running for anything to be written.
type Registrar struct {
	data    *redisx.Role
	writers map[*redisx.Shard]*shardWriter
	keys    hub.Keys
	self    hub.Process
	stands  *lease.Standing
	moved   func(Moves) // nil: nobody is told
	log     *slog.Logger
	met     writerMetrics
	timing  timing

	connections atomic.Int64
	leased      chan struct{} // closed when the lease first stood on the lead shard
	closing     atomic.Bool   // Close was called: no more Sets, take everything out
	draining    atomic.Int64  // writers that still have something to take out
	stopped     chan struct{} // closed when Run has returned
}

// NewRegistrar returns the Registrar of the process self, which tells stands
// how its lease fares. It does no I/O.
func NewRegistrar(r *redisx.Redis, keys hub.Keys, self hub.Process, stands *lease.Standing, log *slog.Logger, reg prometheus.Registerer) *Registrar {
	g := &Registrar{
		data:    r.Data,
		writers: make(map[*redisx.Shard]*shardWriter),
		keys:    keys,
		self:    self,
		stands:  stands,
		log:     log,
		met:     newWriterMetrics(reg),
		timing:  defaultTiming,
		leased:  make(chan struct{}),
		stopped: make(chan struct{}),
	}
	for _, sh := range r.Data.All() {
		g.writers[sh] = newShardWriter(g, sh, sh == r.Data.Lead())
	}
	g.draining.Store(int64(len(g.writers)))
	return g
}

// Run takes the process's lease, renews it, and writes what Set asks for,
// until ctx ends or Close has taken everything out; it returns nil for both.
// When ctx ends nothing more is written: the lease lapses and the entries stay
// for a sweeper. Run is called once.
func (g *Registrar) Run(ctx context.Context) error {
	var writers sync.WaitGroup
	for _, w := range g.writers {
		writers.Go(func() { w.run(ctx) })
	}
	writers.Wait()
	close(g.stopped)
	for _, w := range g.writers {
		w.fail(ErrStopped)
	}
	return nil
}

// Set makes services what this process holds of user; none when it is empty.
// It never blocks. Sets of one user that come before it is written are written
// once, as the last of them says.
//
// done, which may be nil, is called once: with nil when this state or a later
// one was written; with an error that wraps hub.ErrUnavailable when Redis is
// away and too many are waiting (the state is kept, and written when it is
// back); with ErrStopped when it never will be. It is called from a goroutine
// of Run, which it must not hold up, or by Set itself after Close or Run's end.
//
// user is kept and must not be a small part of a large string. Every service
// must be empty or have passed its Check.
func (g *Registrar) Set(user hub.UserID, services []hub.ServiceCount, done func(error)) {
	home, before := g.data.Shard(string(user)), g.data.ShardBefore(string(user))
	if before != nil { // others may still look there
		if done != nil {
			done = both(done)
		}
		g.setOn(before, user, services, done)
	}
	g.setOn(home, user, services, done)
}

func (g *Registrar) setOn(shard *redisx.Shard, user hub.UserID, services []hub.ServiceCount, done func(error)) {
	w := g.writers[shard]
	if !w.ledger.set(user, services, done) {
		if done != nil {
			done(ErrStopped)
		}
		return
	}
	if done != nil || w.ledger.linger == 0 {
		w.kick()
	} else {
		w.kickSoon()
	}
}

// both returns a function that calls done once it was called twice, with the
// first error.
func both(done func(error)) func(error) {
	var mu sync.Mutex
	var calls int
	var first error
	return func(err error) {
		mu.Lock()
		calls++
		if first == nil {
			first = err
		}
		err, last := first, calls == 2
		mu.Unlock()
		if last {
			done(err)
		}
	}
}

// SetConnections tells how many connections the process holds, for the
// lease's description. It shows at the next renewal.
func (g *Registrar) SetConnections(n int) { g.connections.Store(int64(n)) }

// Ready tells whether the process's lease stands: others find its users.
func (g *Registrar) Ready() bool {
	select {
	case <-g.stopped:
		return false
	default:
		return g.stands.Now() == hub.StandingGood
	}
}

// Retire is for a process that tells of moves, before Close: from now on nobody is
// here, and it returns when the end of everybody's linger is told, or ctx ends. Close
// waits until Told was called for those who went.
func (g *Registrar) Retire(ctx context.Context) error {
	g.beginClosing()
	for _, w := range g.writers {
		for !w.ledger.isQuiet() {
			select {
			case <-g.stopped:
				return nil
			case <-ctx.Done():
				return fmt.Errorf("index: telling who has gone with process %s: %w", g.self.ID, ctx.Err())
			case <-time.After(retireGrain):
			}
		}
	}
	return nil
}

// retireGrain is how often Retire looks.
const retireGrain = 5 * time.Millisecond

func (g *Registrar) beginClosing() {
	if !g.closing.Swap(true) {
		for _, w := range g.writers {
			w.ledger.close()
			w.kick()
		}
	}
}

// Close writes what is queued, takes every entry of this process out of the
// index, then its lease and its name, and makes Run return. It blocks until
// that is done or ctx ends; then Run goes on trying until its own ctx ends. A
// process that is given up takes nothing out: others do.
func (g *Registrar) Close(ctx context.Context) error {
	g.beginClosing()
	select {
	case <-g.stopped:
	case <-ctx.Done():
		return fmt.Errorf("index: taking process %s out: %w", g.self.ID, ctx.Err())
	}
	if g.draining.Load() > 0 && g.stands.Lost() == "" {
		return fmt.Errorf("index: taking process %s out: %w before it was done", g.self.ID, ErrStopped)
	}
	return nil
}

// describe is what the process's lease says.
func (g *Registrar) describe() *hub.Process {
	p := g.self
	p.Connections = int(g.connections.Load())
	return &p
}
