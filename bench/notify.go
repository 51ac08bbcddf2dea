package bench

import (
	"context"
	"time"

	"github.com/homing/homing/bench/clients"
	"github.com/homing/homing/bench/report"
	"github.com/homing/homing/bench/rig"
)

const (
	warmUp   = 2 * time.Second
	peakStep = 8 * time.Second
)

// notify sends notifications on an open-loop schedule and accounts for every
// delivery: CPU, latency from the schedule's instant, and exactness.
func (r *run) notify(ctx context.Context) error {
	if err := r.with(ctx, "", r.opts, func(g *rig.Rig) error { return r.deliver(ctx, g, r.opts) }); err != nil {
		return err
	}
	if !r.opts.Limit {
		return nil
	}
	return r.limit(ctx, r.opts)
}

// deliver connects all clients and measures deliveries to them.
func (r *run) deliver(ctx context.Context, g *rig.Rig, o Options) error {
	if _, err := g.Connect(ctx, 0); err != nil {
		return err
	}
	if err := g.Warm(ctx, o.Rate, warmUp); err != nil {
		return err
	}
	l, err := g.Load(ctx, o.Rate, o.Duration)
	if err != nil {
		return err
	}
	var p rig.Peak
	if o.Peak {
		if p, err = g.Peak(ctx, o.Rate, o.MaxRate, peakStep); err != nil {
			return err
		}
	}
	if err := r.addLoad(ctx, g, o, l); err != nil {
		return err
	}
	if !o.Peak {
		return nil
	}
	return r.halfPeak(ctx, g, o, p)
}

// addLoad adds what a load took, and whether all of the run so far arrived.
func (r *run) addLoad(ctx context.Context, g *rig.Rig, o Options, l rig.Load) error {
	r.Add("conns", float64(o.Conns), "connections held")
	r.Add("requests_per_s", l.Rate, "calls per second")
	if err := r.addVerdict(ctx, g); err != nil {
		return err
	}
	r.Add("deliveries", float64(l.Deliveries), "messages read by clients in the measured part")
	r.Add("deliveries_per_s", l.PerSecond(), "messages per second")
	r.addCPU(o, l)
	r.addLatency("", l)
	r.noteSmallLoad(l)
	r.Charts = append(r.Charts, report.LatencyChart("latency by percentile", report.Latency{Name: "deliveries", Micros: l.Lag}))
	return nil
}

// addVerdict checks every delivery since the clients connected.
func (r *run) addVerdict(ctx context.Context, g *rig.Rig) error {
	v, err := g.Verify(ctx)
	if err != nil {
		return err
	}
	refused, reason := g.Refused()
	if reason != nil {
		r.say("%d calls were not accepted, the last because: %v", refused, reason)
	}
	r.Add("refused", float64(refused), "calls not accepted, warm-up included")
	r.addExactness(v)
	return nil
}

func (r *run) addExactness(v clients.Verdict) {
	r.Add("expected", float64(v.Expected), "deliveries due, warm-up included")
	r.Add("lost", float64(v.Lost), "of those, never seen")
	r.Add("duplicated", float64(v.Duplicated), "seen more often than once")
	r.Add("misdelivered", float64(v.Stray), "seen by clients they were not for")
}

func (r *run) addCPU(o Options, l rig.Load) {
	if o.API == "" {
		r.Add("front_us_per_delivery", l.Micros(rig.Front), "µs of front CPU per message")
		r.Add("api_us_per_delivery", l.Micros(rig.API), "µs of API CPU per message")
		r.Add("redis_us_per_delivery", l.Micros(rig.Redis), "µs of Redis CPU per message")
	}
	r.Add("client_us_per_delivery", l.Micros(rig.Clients), "µs of client CPU per message")
}

// addLatency adds percentiles under names that begin with prefix.
func (r *run) addLatency(prefix string, l rig.Load) {
	for _, q := range []struct {
		name    string
		percent float64
	}{{"p50_ms", 50}, {"p99_ms", 99}, {"p999_ms", 99.9}} {
		r.Add(prefix+q.name, l.Percentile(q.percent), "ms from the schedule's instant to the client")
	}
}

// halfPeak adds what the peak was, what ran out beyond it, and how the system
// does at half of it.
func (r *run) halfPeak(ctx context.Context, g *rig.Rig, o Options, p rig.Peak) error {
	half, err := g.Load(ctx, p.Best.Rate/2, o.Duration)
	if err != nil {
		return err
	}
	r.Add("peak_deliveries_per_s", p.Best.PerSecond(), "messages per second, the most that is sustained")
	r.Add("peak_p99_ms", p.Best.Percentile(99), "ms at that rate")
	r.Add("peak_front_us_per_delivery", p.Best.Micros(rig.Front), "µs of front CPU per message at that rate")
	r.addSaturation(p.Over)
	r.Add("half_deliveries_per_s", half.PerSecond(), "messages per second at half the peak")
	r.addLatency("half_", half)
	return nil
}
