package bench

import (
	"context"
	"math"
	"time"

	"github.com/homing/homing/bench/rig"
	"github.com/homing/homing/bench/usage"
)

// settle is how long the system is left alone after the connects, at most, so
// that garbage of the handshakes is collected and registrations are written.
const settle = 5 * time.Second

// idleTime is two rounds of a front's pings, unless told otherwise.
const idleTime = 50 * time.Second

// idle holds connections that say nothing: what each costs in memory, and
// what all cost in CPU with the server's pings on.
func (r *run) idle(ctx context.Context) error {
	return r.with(ctx, "", r.opts, func(g *rig.Rig) error {
		before, err := g.Memory()
		if err != nil {
			return err
		}
		used, err := g.Connect(ctx, r.opts.Rate)
		if err != nil {
			return err
		}
		r.addConnects(r.opts, used)
		return r.rest(ctx, g, r.opts, before)
	})
}

// rest leaves connections alone and adds what they cost meanwhile.
func (r *run) rest(ctx context.Context, g *rig.Rig, o Options, before rig.Memory) error {
	if err := rig.Pause(ctx, min(settle, o.Duration)); err != nil {
		return err
	}
	used, err := g.Rest(ctx, o.Duration)
	if err != nil {
		return err
	}
	after, err := g.Memory()
	if err != nil {
		return err
	}
	r.addMemory(o, before, after)
	if used.Groups[rig.Front].CPU > 0 || o.API == "" {
		r.Add("idle_cores", used.Groups[rig.Front].Cores, "cores used by the front at rest, pings included")
		r.Add("idle_redis_cores", used.Groups[rig.Redis].Cores, "cores used by Redis at rest")
	}
	return nil
}

func (r *run) addConnects(o Options, used usage.Interval) {
	r.Add("conns", float64(o.Conns), "connections held")
	r.Add("connects_per_s", float64(o.Conns)/used.Took.Seconds(), "connects per second, to hello")
	r.noteFewConns(o)
}

func (r *run) addMemory(o Options, before, after rig.Memory) {
	if o.API == "" {
		r.Add("kib_per_conn", float64(after.Front-before.Front)/1024/float64(o.Conns),
			"KiB of the front's memory per connection (Pss)")
	}
	sockets := float64(after.Sockets - before.Sockets) // both ends are on this machine
	kernel := float64(after.Kernel-before.Kernel) / 1024 / sockets
	if sockets < float64(o.Conns) {
		kernel = math.NaN()
	}
	r.Add("kernel_kib_per_conn", kernel, "KiB of kernel slabs per socket")
}
