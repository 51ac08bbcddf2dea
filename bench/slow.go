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

var slowScenario = scenario{
	name: "slow", measure: measureSlow,
	own:      own{rate: 100, payload: 2048, duration: slowTime},
	headline: []string{"slow_conns", "slow_closed", "p99_ms", "p99_ratio", "front_mib_before", "front_mib_most"},
}

// measureSlow has some clients stop reading and looks whether the others notice.
func measureSlow(ctx context.Context, r *run) error {
	s := setup{Options: r.opts, slowBuffer: slowReceive}
	if s.Apart == 0 {
		s.Apart = max(1, int(slowShare*float64(s.Conns)))
	}
	return r.try(ctx, s, func(t *trial) error {
		if _, err := t.rig.Connect(ctx, 0); err != nil {
			return err
		}
		if err := t.rig.Warm(ctx, s.Rate, warmUp); err != nil {
			return err
		}
		before, err := t.rig.Load(ctx, s.Rate, s.Duration)
		if err != nil {
			return err
		}
		seen := len(t.rig.Moments())
		r.say("%d clients stop reading", s.Apart)
		if err := t.rig.Hive().Stall(ctx); err != nil {
			return err
		}
		stalled, err := t.rig.Load(ctx, s.Rate, s.Duration)
		if err != nil {
			return err
		}
		if err := t.addLoad(ctx, stalled); err != nil {
			return err
		}
		addSlow(t, before, stalled, seen)
		return nil
	})
}

// addSlow compares the others' latency, and the front's memory, before and
// after; the moment at seen is the first second after.
func addSlow(t *trial, before, stalled rig.Load, seen int) {
	t.Add("slow_conns", float64(t.opts.Apart), "connections that stopped reading")
	t.Add("before_p99_ms", before.Percentile(99), "ms, the others' before that")
	t.Add("p99_ratio", stalled.Percentile(99)/before.Percentile(99), "the others' p99 after, as a multiple of before")
	moments := t.rig.Moments()
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
	t.Add("front_mib_before", float64(start.Groups[rig.Front].RSS)/mib, "MiB of the front, resident, before")
	t.Add("front_mib_most", float64(most.Groups[rig.Front].RSS)/mib, "MiB, the most after")
	t.Add("front_mib_end", float64(last.Groups[rig.Front].RSS)/mib, "MiB at the end")
	t.Add("tcp_buffers_mib_end", float64(last.TCPMem)/mib, "MiB of all sockets' buffers on the machine at the end")
	t.Add("slow_closed", float64(start.Groups[rig.Front].FDs-last.Groups[rig.Front].FDs), "descriptors that the front has fewer: slow connections that it closed")
}
