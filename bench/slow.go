package bench

import (
	"context"
	"time"

	"github.com/homing/homing/bench/rig"
)

const (
	slowTime = 30 * time.Second
	// slowShare of the clients stop reading, unless told otherwise.
	slowShare = 0.05
	// slowReceive is the kernel's receive buffer of a client that will stop
	// reading, so small that it is full within seconds.
	slowReceive = 4096
)

// slow has some clients stop reading and looks whether the others notice.
func (r *run) slow(ctx context.Context) error {
	r.slowBuffer = slowReceive
	o := r.opts
	if o.Apart == 0 {
		o.Apart = max(1, int(slowShare*float64(o.Conns)))
	}
	return r.with(ctx, "", o, func(g *rig.Rig) error {
		if _, err := g.Connect(ctx, 0); err != nil {
			return err
		}
		if err := g.Warm(ctx, o.Rate, warmUp); err != nil {
			return err
		}
		before, err := g.Load(ctx, o.Rate, o.Duration)
		if err != nil {
			return err
		}
		seen := len(g.Moments())
		r.say("%d clients stop reading", o.Apart)
		if err := g.Hive().Stall(ctx); err != nil {
			return err
		}
		stalled, err := g.Load(ctx, o.Rate, o.Duration)
		if err != nil {
			return err
		}
		if err := r.addLoad(ctx, g, o, stalled); err != nil {
			return err
		}
		r.addSlow(o, before, stalled, g.Moments(), seen)
		return nil
	})
}

// addSlow compares the others' latency, and the front's memory, before and
// after; moments[seen] is the first second after.
func (r *run) addSlow(o Options, before, stalled rig.Load, moments []rig.Moment, seen int) {
	r.Add("slow_conns", float64(o.Apart), "connections that stopped reading")
	r.Add("before_p99_ms", before.Percentile(99), "ms, the others' before that")
	r.Add("p99_ratio", stalled.Percentile(99)/before.Percentile(99), "the others' p99 after, as a multiple of before")
	if seen == 0 || seen >= len(moments) {
		return
	}
	start, most, last := moments[seen-1].Held, moments[seen-1].Held, moments[len(moments)-1].Held
	for _, m := range moments[seen:] {
		if m.Held.Groups[rig.Front].RSS > most.Groups[rig.Front].RSS {
			most = m.Held
		}
	}
	const mib = 1 << 20
	r.Add("front_mib_before", float64(start.Groups[rig.Front].RSS)/mib, "MiB of the front, resident, before")
	r.Add("front_mib_most", float64(most.Groups[rig.Front].RSS)/mib, "MiB, the most after")
	r.Add("front_mib_end", float64(last.Groups[rig.Front].RSS)/mib, "MiB at the end")
	r.Add("tcp_buffers_mib_end", float64(last.TCPMem)/mib, "MiB of all sockets' buffers on the machine at the end")
	r.Add("slow_closed", float64(start.Groups[rig.Front].FDs-last.Groups[rig.Front].FDs), "descriptors that the front has fewer: slow connections that it closed")
}
