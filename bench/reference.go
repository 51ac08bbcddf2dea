package bench

import (
	"context"
	"fmt"
	"math"
	"strconv"

	"github.com/homing/homing/bench/report"
	"github.com/homing/homing/bench/rig"
)

// The system of 2014 that Homing follows, as its authors measured it.
const (
	refUsers      = 200_000
	refConnects   = 1200 // a second
	refRequests   = 1200 // a second, each to refTargets users
	refTargets    = 300
	refOnline     = 150 // of refTargets
	refDeliveries = refRequests * refOnline
	refServers    = 25
	refProcesses  = 400
	refRedis      = 9
)

const (
	phaseConnect = "connect"
	phaseNotify  = "notify"
)

// reference does on this machine what the system of 2014 did, or a share of it.
func (r *run) reference(ctx context.Context) error {
	o := r.opts
	o.Conns = max(1, int(refUsers*o.Scale))
	o.Targets, o.Online = refTargets, min(refOnline, o.Conns)
	if o.Rate == 0 && o.Phase != phaseConnect {
		o.Rate = max(1, refRequests*o.Scale)
	}
	h, err := startHoming(ctx, o)
	if err != nil {
		return err
	}
	return r.on(ctx, "", o, h, func(g *rig.Rig) error {
		if err := r.referenceConnect(ctx, g, h, o); err != nil || o.Phase == phaseConnect {
			r.Tables = append(r.Tables, r.besideReference(o))
			return err
		}
		err := r.referenceNotify(ctx, g, o)
		r.Tables = append(r.Tables, r.besideReference(o))
		return err
	})
}

// referenceConnect holds all users' connections.
func (r *run) referenceConnect(ctx context.Context, g *rig.Rig, h homing, o Options) error {
	before, err := g.Memory()
	if err != nil {
		return err
	}
	all := o
	all.Rate = 0
	if err := r.connectAll(ctx, g, all); err != nil {
		return err
	}
	if err := r.addSpread(h); err != nil {
		return err
	}
	if o.Phase == phaseNotify {
		return nil
	}
	return r.rest(ctx, g, o, before)
}

// referenceNotify sends the reference's load; where that is too much it
// searches for what is not.
func (r *run) referenceNotify(ctx context.Context, g *rig.Rig, o Options) error {
	if err := g.Warm(ctx, o.Rate/10, warmUp); err != nil {
		return err
	}
	p, err := g.Peak(ctx, o.Rate, o.MaxRate, peakStep)
	if err != nil {
		return err
	}
	r.Add("peak_deliveries_per_s", p.Best.PerSecond(), "messages per second, the most that is sustained")
	r.Add("peak_p99_ms", p.Best.Percentile(99), "ms at that rate")
	r.addCPU(o, p.Best)
	r.addSaturation(p.Over)
	half, err := g.Load(ctx, p.Best.Rate/2, o.Duration)
	if err != nil {
		return err
	}
	r.Add("deliveries_per_s", half.PerSecond(), "messages per second at half of that")
	r.addLatency("", half)
	return r.addVerdict(ctx, g)
}

// besideReference sets what was measured beside what the reference did.
func (r *run) besideReference(o Options) report.Table {
	t := report.Table{Title: "Beside the system of 2014", Columns: []string{"", "2014", "this machine"}}
	row := func(label, then, name, format string) {
		if v := r.Get(name); !math.IsNaN(v) {
			t.Rows = append(t.Rows, []string{label, then, fmt.Sprintf(format, v)})
		}
	}
	t.Rows = append(t.Rows,
		[]string{"servers", strconv.Itoa(refServers), "1"},
		[]string{"front processes", strconv.Itoa(refProcesses), strconv.Itoa(o.workers())},
		[]string{"Redis servers", strconv.Itoa(refRedis), strconv.Itoa((1 + o.Shards) * (1 + o.Replicas))})
	row("connections held", strconv.Itoa(refUsers), "conns", "%.0f")
	row("connects per second", strconv.Itoa(refConnects), "connects_per_s", "%.0f")
	row("connections of the fullest process to the mean", "", "worker_max_to_mean", "%.3f")
	row("KiB per connection, user space", "", "kib_per_conn", "%.2f")
	row("KiB per connection, kernel", "", "kernel_kib_per_conn", "%.2f")
	row("front's cores at rest", "", "idle_cores", "%.3f")
	row("deliveries per second", strconv.Itoa(refDeliveries), "peak_deliveries_per_s", "%.0f")
	return t
}
