package bench

import (
	"context"
	"math"
	"time"

	"github.com/homing/homing/bench/rig"
)

// settle is how long the system is left alone after the connects, at most, so
// that garbage of the handshakes is collected and registrations are written.
const settle = 5 * time.Second

// idleTime is two rounds of a front's pings, unless told otherwise.
const idleTime = 50 * time.Second

var idleScenario = scenario{
	name: "idle", measure: measureIdle,
	own: own{duration: idleTime},
}

// measureIdle holds connections that say nothing: what each costs in memory,
// and what all cost in CPU with the server's pings on.
func measureIdle(ctx context.Context, r *run) error {
	return r.try(ctx, setup{Options: r.opts}, func(t *trial) error {
		before, err := t.rig.Memory()
		if err != nil {
			return err
		}
		used, err := t.rig.Connect(ctx, t.opts.Rate)
		if err != nil {
			return err
		}
		t.addConnects(used)
		return t.rest(ctx, before)
	})
}

// rest leaves connections alone and adds what they cost meanwhile.
func (t *trial) rest(ctx context.Context, before rig.Memory) error {
	if err := rig.Pause(ctx, min(settle, t.opts.Duration)); err != nil {
		return err
	}
	used, err := t.rig.Rest(ctx, t.opts.Duration)
	if err != nil {
		return err
	}
	after, err := t.rig.Memory()
	if err != nil {
		return err
	}
	t.addMemory(before, after)
	if used.Groups[rig.Front].CPU > 0 || t.opts.API == "" {
		t.Add("idle_cores", used.Groups[rig.Front].Cores, "cores used by the front at rest, pings included")
		t.Add("idle_redis_cores", used.Groups[rig.Redis].Cores, "cores used by Redis at rest")
	}
	return nil
}

func (t *trial) addMemory(before, after rig.Memory) {
	if t.opts.API == "" {
		t.Add("kib_per_conn", float64(after.Front-before.Front)/1024/float64(t.opts.Conns),
			"KiB of the front's memory per connection (Pss)")
	}
	sockets := float64(after.Sockets - before.Sockets) // both ends are on this machine
	kernel := float64(after.Kernel-before.Kernel) / 1024 / sockets
	if sockets < float64(t.opts.Conns) {
		kernel = math.NaN()
	}
	t.Add("kernel_kib_per_conn", kernel, "KiB of kernel slabs per socket")
}
