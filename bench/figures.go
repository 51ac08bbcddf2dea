package bench

import (
	"context"

	"github.com/homing/homing/bench/clients"
	"github.com/homing/homing/bench/report"
	"github.com/homing/homing/bench/rig"
	"github.com/homing/homing/bench/usage"
)

// addConnects adds how soon the clients were connected.
func (t *trial) addConnects(used usage.Interval) {
	t.Add("conns", float64(t.opts.Conns), "connections held")
	t.Add("connects_per_s", float64(t.opts.Conns)/used.Took.Seconds(), "connects per second, to hello")
	t.noteFewConns(t.opts)
}

// addLoad adds what a load took, and whether all of the run so far arrived.
func (t *trial) addLoad(ctx context.Context, l rig.Load) error {
	t.Add("conns", float64(t.opts.Conns), "connections held")
	t.Add("requests_per_s", l.Rate, "calls per second")
	if err := t.addVerdict(ctx); err != nil {
		return err
	}
	t.Add("deliveries", float64(l.Deliveries), "messages read by clients in the measured part")
	t.Add("deliveries_per_s", l.PerSecond(), "messages per second")
	t.addCPU(l)
	t.addLatency("", l)
	t.noteSmallLoad(l)
	t.Charts = append(t.Charts, report.LatencyChart("latency by percentile", report.Latency{Name: "deliveries", Micros: l.Lag}))
	return nil
}

// addVerdict checks every delivery since the clients connected.
func (t *trial) addVerdict(ctx context.Context) error {
	v, err := t.rig.Verify(ctx)
	if err != nil {
		return err
	}
	refused, reason := t.rig.Refused()
	if reason != nil {
		t.say("%d calls were not accepted, the last because: %v", refused, reason)
	}
	t.Add("refused", float64(refused), "calls not accepted, warm-up included")
	t.addExactness(v)
	return nil
}

func (t *trial) addCPU(l rig.Load) {
	if t.opts.API == "" {
		t.Add("front_us_per_delivery", l.Micros(rig.Front), "µs of front CPU per message")
		t.Add("api_us_per_delivery", l.Micros(rig.API), "µs of API CPU per message")
		t.Add("redis_us_per_delivery", l.Micros(rig.Redis), "µs of Redis CPU per message")
	}
	t.Add("client_us_per_delivery", l.Micros(rig.Clients), "µs of client CPU per message")
}

func (r *run) addExactness(v clients.Verdict) {
	r.Add("expected", float64(v.Expected), "deliveries due, warm-up included")
	r.Add("lost", float64(v.Lost), "of those, never seen")
	r.Add("duplicated", float64(v.Duplicated), "seen more often than once")
	r.Add("misdelivered", float64(v.Stray), "seen by clients they were not for")
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

// addSaturation adds what a rate used that was too much; none was, when a
// search ended before.
func (r *run) addSaturation(over rig.Load) {
	if over.Rate == 0 {
		return
	}
	r.Add("peak_machine_cores", over.Used.Busy, "cores busy at the next rate, which is too much")
	r.Tables = append(r.Tables, saturation(over))
}
