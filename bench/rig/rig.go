package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/homing/homing/bench/clients"
	"github.com/homing/homing/bench/usage"
)

// System is what is measured: Homing, or one of its peers. The processes of a
// system that somebody else started are unknown: none.
type System interface {
	Fronts() []string // WebSocket URLs
	APIs() []string   // base URLs
	Key() string      // the API key
	Secret() []byte   // signs players' tokens; empty: a token is the user's name
	Dialect() string  // a clients.Dialect

	FrontPIDs() ([]int, error)
	APIPIDs() []int
	RedisPIDs() []int // data and pub/sub servers, replicas too

	Alive() error // the first process that has ended by itself
	Stop(keepLogs bool) error
}

// The groups of processes whose use is accounted apart.
const (
	Front   = "front"
	API     = "api"
	Redis   = "redis"
	Clients = "clients"
	Callers = "callers" // this process, which plays the game backends
)

// Options say what is on the bench.
type Options struct {
	System System
	Hive   *clients.Hive
	Say    func(format string, args ...any) // a line of progress

	Plan      clients.Plan // whom notifications name; Plan.Conns clients are held
	Broadcast bool         // instead of notifications to the plan's users, broadcasts
	Payload   int          // bytes of a notification's data

	Apart      int // see clients.Target
	SlowBuffer int // see clients.Target
}

// Rig is a system with its clients. Its methods block and are not to be called
// concurrently; faults may be made through Hive meanwhile. Close it.
type Rig struct {
	opts    Options
	sampler *usage.Sampler
	backend *backend
	watch   *watch // nil before Connect; Warm and Load need it
	opened  time.Time
}

// Open puts a system on the bench. The rig owns the system and the hive from
// now on, also when the error is not nil: then they are stopped.
func Open(o Options) (*Rig, error) {
	g := &Rig{opts: o, opened: time.Now()}
	g.backend = newBackend(o)
	g.sampler = usage.NewSampler(g.groups()...)
	if _, err := g.sampler.Read(); err != nil { // from here on, what ends is counted still
		return nil, errors.Join(fmt.Errorf("read what the system uses: %w", err), g.Close())
	}
	return g, nil
}

func (g *Rig) groups() []usage.Group {
	fixed := func(pids []int) func() ([]int, error) {
		return func() ([]int, error) { return pids, nil }
	}
	return []usage.Group{
		{Name: Front, PIDs: g.opts.System.FrontPIDs},
		{Name: API, PIDs: fixed(g.opts.System.APIPIDs())},
		{Name: Redis, PIDs: fixed(g.opts.System.RedisPIDs())},
		{Name: Clients, PIDs: fixed(g.opts.Hive.PIDs())},
		{Name: Callers, PIDs: fixed([]int{os.Getpid()})},
	}
}

// Close ends clients, callers and system.
func (g *Rig) Close() error {
	if g.watch != nil {
		g.watch.stop()
	}
	g.backend.close()
	return errors.Join(g.opts.Hive.Stop(), g.opts.System.Stop(false))
}

// Connect connects all clients at rate, a second (0: as fast as they come),
// and returns what that took; tokens are signed before the clock starts. From
// then on the rig is watched once a second.
func (g *Rig) Connect(ctx context.Context, rate float64) (used usage.Interval, err error) {
	t := g.target()
	t.Rate = rate
	if err := g.opts.Hive.Prepare(ctx, t); err != nil {
		return used, err
	}
	used, err = g.During(func() error { return g.connect(ctx, t) })
	if err != nil {
		return used, errors.Join(err, g.opts.System.Alive())
	}
	g.opts.Say("connected in %.2fs", used.Took.Seconds())
	g.watch, err = startWatch(g)
	return used, err
}

func (g *Rig) connect(ctx context.Context, t clients.Target) error {
	g.opts.Say("connecting %d clients", t.Conns)
	told := time.Now()
	_, err := g.opts.Hive.Connect(ctx, t, func(c clients.Counts) {
		if time.Since(told) > time.Second {
			told = time.Now()
			g.opts.Say("  %d connected", c.Open)
		}
	})
	return err
}

// Rest leaves the clients alone and returns what the system uses meanwhile.
func (g *Rig) Rest(ctx context.Context, d time.Duration) (usage.Interval, error) {
	g.opts.Say("resting for %v", d)
	return g.During(func() error { return Pause(ctx, d) })
}

// During is what is used while f runs.
func (g *Rig) During(f func() error) (used usage.Interval, err error) {
	before, err := g.read()
	if err != nil {
		return used, err
	}
	if err := f(); err != nil {
		return used, err
	}
	after, err := g.read()
	return after.Since(before), err
}

func (g *Rig) target() clients.Target {
	return clients.Target{
		Fronts: g.opts.System.Fronts(), Dialect: clients.Dialect(g.opts.System.Dialect()),
		Secret: g.opts.System.Secret(), Conns: g.opts.Plan.Conns,
		Topics: g.opts.Plan.Topics,
		Apart:  g.opts.Apart, SlowBuffer: g.opts.SlowBuffer,
	}
}

// Hive returns the clients.
func (g *Rig) Hive() *clients.Hive { return g.opts.Hive }

// read returns what every group has used so far.
func (g *Rig) read() (usage.Reading, error) {
	r, err := g.sampler.Read()
	if err != nil {
		return r, fmt.Errorf("read what the system uses: %w", err)
	}
	return r, nil
}

// Memory is what connections occupy.
type Memory struct {
	Front   int64 // bytes of the front's processes, what they share counted once
	Kernel  int64 // bytes of kernel slabs
	Sockets int   // TCP sockets on the machine
}

// Memory reads the memory in use now.
func (g *Rig) Memory() (m Memory, err error) {
	if m.Kernel, m.Sockets, err = usage.KernelMemory(); err != nil {
		return m, fmt.Errorf("read the kernel's memory: %w", err)
	}
	pids, err := g.opts.System.FrontPIDs()
	if err != nil {
		return m, fmt.Errorf("read the front's memory: %w", err)
	}
	if m.Front, err = usage.Memory(pids...); err != nil {
		return m, fmt.Errorf("read the front's memory: %w", err)
	}
	return m, nil
}

// Verify compares what clients have read with all that was sent.
func (g *Rig) Verify(ctx context.Context) (clients.Verdict, error) {
	g.opts.Say("checking every delivery")
	return g.opts.Hive.Verify(ctx, g.opts.Plan, g.backend.sent())
}

// Refused returns how many calls were not accepted, and why the last was not.
func (g *Rig) Refused() (int, error) { return g.backend.failures() }

// Pause waits, unless ctx ends first.
func Pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Broadcast has all that is called from now on be broadcasts, or not. Of a plan with one
// topic both are for the same clients.
func (g *Rig) Broadcast(on bool) { g.backend.broadcast = on }
