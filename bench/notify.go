package bench

import (
	"context"
	"time"

	"github.com/homing/homing/bench/rig"
)

const (
	warmUp   = 2 * time.Second
	peakStep = 8 * time.Second
)

var notifyScenario = scenario{
	name: "notify", measure: measureNotify,
	own:      own{rate: 100},
	headline: []string{"deliveries_per_s", "front_us_per_delivery", "front_to_limit", "p50_ms", "p99_ms", "peak_deliveries_per_s"},
}

// measureNotify sends notifications on an open-loop schedule and accounts for
// every delivery: CPU, latency from the schedule's instant, and exactness.
func measureNotify(ctx context.Context, r *run) error {
	return measureDeliveries(ctx, r, setup{Options: r.opts})
}

var broadcastScenario = scenario{
	name: "broadcast", measure: measureBroadcast,
	own:      own{rate: 2},
	headline: []string{"deliveries_per_s", "front_us_per_delivery", "front_to_limit", "p50_ms", "p99_ms", "lost"},
}

// measureBroadcast does the same with calls for everyone who is connected.
func measureBroadcast(ctx context.Context, r *run) error {
	s := setup{Options: r.opts, toAll: true}
	s.Targets, s.Online, s.Peak = s.Conns, s.Conns, false
	return measureDeliveries(ctx, r, s)
}

// measureDeliveries measures what s delivers, and beside it the bare limit.
func measureDeliveries(ctx context.Context, r *run, s setup) error {
	if err := r.try(ctx, s, func(t *trial) error { return t.deliver(ctx) }); err != nil {
		return err
	}
	if !s.Limit {
		return nil
	}
	return limit(ctx, r, s)
}

// deliver connects all clients and measures deliveries to them.
func (t *trial) deliver(ctx context.Context) error {
	if _, err := t.rig.Connect(ctx, 0); err != nil {
		return err
	}
	if err := t.rig.Warm(ctx, t.opts.Rate, warmUp); err != nil {
		return err
	}
	l, err := t.rig.Load(ctx, t.opts.Rate, t.opts.Duration)
	if err != nil {
		return err
	}
	var p rig.Peak
	if t.opts.Peak {
		if p, err = t.rig.Peak(ctx, t.opts.Rate, t.opts.MaxRate, peakStep); err != nil {
			return err
		}
	}
	if err := t.addLoad(ctx, l); err != nil {
		return err
	}
	if !t.opts.Peak {
		return nil
	}
	return t.halfPeak(ctx, p)
}

// halfPeak adds what the peak was, what ran out beyond it, and how the system
// does at half of it.
func (t *trial) halfPeak(ctx context.Context, p rig.Peak) error {
	half, err := t.rig.Load(ctx, p.Best.Rate/2, t.opts.Duration)
	if err != nil {
		return err
	}
	t.Add("peak_deliveries_per_s", p.Best.PerSecond(), "messages per second, the most that is sustained")
	t.Add("peak_p99_ms", p.Best.Percentile(99), "ms at that rate")
	t.Add("peak_front_us_per_delivery", p.Best.Micros(rig.Front), "µs of front CPU per message at that rate")
	t.addSaturation(p.Over)
	t.Add("half_deliveries_per_s", half.PerSecond(), "messages per second at half the peak")
	t.addLatency("half_", half)
	return nil
}
