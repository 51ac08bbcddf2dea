package bench

import (
	"context"
	"fmt"
	"math"
	"strconv"

	"github.com/homing/homing/bench/report"
	"github.com/homing/homing/bench/usage"
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

var referenceScenario = scenario{
	name: "homing-2014", measure: measureReference,
	own:      own{duration: idleTime},
	headline: []string{"conns", "connects_per_s", "kib_per_conn", "kernel_kib_per_conn", "idle_cores", "peak_deliveries_per_s"},
}

// measureReference does on this machine what the system of 2014 did, or a
// share of it.
func measureReference(ctx context.Context, r *run) error {
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
	return r.try(ctx, setup{Options: o, system: h}, func(t *trial) error {
		err := referenceConnect(ctx, t, h)
		if err == nil && o.Phase != phaseConnect {
			err = referenceNotify(ctx, t)
		}
		r.Tables = append(r.Tables, besideReference(r, o))
		return err
	})
}

// referenceConnect holds all users' connections.
func referenceConnect(ctx context.Context, t *trial, h homing) error {
	before, err := t.rig.Memory()
	if err != nil {
		return err
	}
	if err := t.connectAll(ctx, 0); err != nil {
		return err
	}
	if err := addSpread(t.run, h); err != nil {
		return err
	}
	if t.opts.Phase == phaseNotify {
		return nil
	}
	return t.rest(ctx, before)
}

// addSpread adds how evenly the workers share the connections, by the kernel's
// own account.
func addSpread(r *run, h homing) error {
	workers, err := h.Front.Workers()
	if err != nil {
		return err
	}
	holders, err := usage.Holders(h.Front.Port(), workers)
	if err != nil {
		return fmt.Errorf("find out who holds which connection: %w", err)
	}
	held, most := make(map[int]int), 0
	for _, pid := range holders {
		held[pid]++
		most = max(most, held[pid])
	}
	r.Add("workers", float64(len(workers)), "front worker processes")
	r.Add("worker_max_to_mean", float64(most)*float64(len(workers))/float64(len(holders)), "connections of the fullest worker to the mean")
	return nil
}

// referenceNotify sends the reference's load; where that is too much it
// searches for what is not.
func referenceNotify(ctx context.Context, t *trial) error {
	if err := t.rig.Warm(ctx, t.opts.Rate/10, warmUp); err != nil {
		return err
	}
	p, err := t.rig.Peak(ctx, t.opts.Rate, t.opts.MaxRate, peakStep)
	if err != nil {
		return err
	}
	t.Add("peak_deliveries_per_s", p.Best.PerSecond(), "messages per second, the most that is sustained")
	t.Add("peak_p99_ms", p.Best.Percentile(99), "ms at that rate")
	t.addCPU(p.Best)
	t.addSaturation(p.Over)
	half, err := t.rig.Load(ctx, p.Best.Rate/2, t.opts.Duration)
	if err != nil {
		return err
	}
	t.Add("deliveries_per_s", half.PerSecond(), "messages per second at half of that")
	t.addLatency("", half)
	return t.addVerdict(ctx)
}

// besideReference sets what was measured beside what the reference did.
func besideReference(r *run, o Options) report.Table {
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
