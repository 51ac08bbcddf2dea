package bench

import (
	"context"
	"time"

	"github.com/homing/homing/bench/rig"
	"github.com/homing/homing/bench/usage"
)

// soakTime is long enough for leases, samples, garbage and rotations to come
// round many times.
const soakTime = 20 * time.Minute

var soakScenario = scenario{
	name: "soak", measure: measureSoak,
	own:      own{rate: 260, duration: soakTime},
	headline: []string{"deliveries", "lost", "p99_ms", "front_mib_per_hour", "first_p99_ms", "last_p99_ms"},
}

// measureSoak loads the system for long and looks whether anything grows.
func measureSoak(ctx context.Context, r *run) error {
	return r.try(ctx, setup{Options: r.opts}, func(t *trial) error {
		if _, err := t.rig.Connect(ctx, 0); err != nil {
			return err
		}
		if err := t.rig.Warm(ctx, t.opts.Rate, max(warmUp, t.opts.Duration/20)); err != nil {
			return err
		}
		warm := len(t.rig.Moments())
		l, err := t.rig.Load(ctx, t.opts.Rate, t.opts.Duration)
		if err != nil {
			return err
		}
		if err := t.addLoad(ctx, l); err != nil {
			return err
		}
		addGrowth(r, t.rig.Moments()[warm:])
		return nil
	})
}

// addGrowth adds how memory and descriptors of each group moved, and whether
// latency did.
func addGrowth(r *run, moments []rig.Moment) {
	if len(moments) < 2 {
		return
	}
	at := make([]time.Duration, len(moments))
	for i, m := range moments {
		at[i] = m.At
	}
	first, last := moments[0], moments[len(moments)-1]
	for _, group := range []string{rig.Front, rig.API, rig.Redis} {
		rss := make([]float64, len(moments))
		for i, m := range moments {
			rss[i] = float64(m.Held.Groups[group].RSS) / (1 << 20)
		}
		r.Add(group+"_mib_start", rss[0], "MiB resident at the start")
		r.Add(group+"_mib_end", rss[len(rss)-1], "MiB resident at the end")
		r.Add(group+"_mib_per_hour", usage.Slope(at, rss), "MiB by which it grows in an hour")
		r.Add(group+"_fds_start", float64(first.Held.Groups[group].FDs), "descriptors at the start")
		r.Add(group+"_fds_end", float64(last.Held.Groups[group].FDs), "descriptors at the end")
	}
	fifth := max(1, len(moments)/5)
	r.Add("first_p99_ms", meanP99(moments[:fifth]), "ms, mean of the seconds' p99 in the first fifth")
	r.Add("last_p99_ms", meanP99(moments[len(moments)-fifth:]), "ms, in the last fifth")
}

// meanP99 is the mean of the seconds' own p99, in ms.
func meanP99(moments []rig.Moment) float64 {
	sum, n := 0.0, 0
	for _, m := range moments {
		if m.P99 > 0 {
			sum += m.P99
			n++
		}
	}
	return sum / float64(n)
}
