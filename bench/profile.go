package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/homing/homing/bench/clients"
	"github.com/homing/homing/bench/report"
	"github.com/homing/homing/bench/rig"
	"github.com/homing/homing/bench/usage"
)

// profile is everything that is compared between systems, or between sizes of
// one.
type profile struct {
	name    string
	conns   int
	connect usage.Interval
	before  rig.Memory // without connections
	after   rig.Memory
	load    rig.Load // at the rate asked for
	peak    rig.Peak
	verdict clients.Verdict // of everything sent
}

// profileRest is how long a runtime may take to give handshakes' memory back,
// when the rest of the measurement is not shorter than that.
const profileRest = 20 * time.Second

// profiled measures one system in every way, and adds its figures under names
// that begin with name.
func profiled(ctx context.Context, r *run, s setup, name string) (p profile, err error) {
	p.name, p.conns = name, s.Conns
	err = r.try(ctx, s, func(t *trial) error {
		if err := p.hold(ctx, t, min(profileRest, 4*t.opts.Duration)); err != nil {
			return err
		}
		if err := p.bear(ctx, t); err != nil {
			return err
		}
		return p.overload(ctx, t)
	})
	if err == nil {
		p.addTo(r)
	}
	return p, err
}

// hold connects the clients and measures what that and their rest takes.
func (p *profile) hold(ctx context.Context, t *trial, rest time.Duration) (err error) {
	if p.before, err = t.rig.Memory(); err != nil {
		return err
	}
	if p.connect, err = t.rig.Connect(ctx, 0); err != nil {
		return err
	}
	if _, err := t.rig.Rest(ctx, rest); err != nil {
		return err
	}
	p.after, err = t.rig.Memory()
	return err
}

// bear measures the system under load.
func (p *profile) bear(ctx context.Context, t *trial) (err error) {
	if err := t.rig.Warm(ctx, t.opts.Rate/2, warmUp); err != nil {
		return err
	}
	if p.load, err = t.rig.Load(ctx, t.opts.Rate, t.opts.Duration); err != nil {
		return err
	}
	p.verdict, err = t.rig.Verify(ctx)
	return err
}

// overload measures it up to the most that it sustains.
func (p *profile) overload(ctx context.Context, t *trial) (err error) {
	o := t.opts
	if p.peak, err = t.rig.Peak(ctx, o.Rate, o.MaxRate, min(o.Duration, peakStep)); err != nil {
		return err
	}
	p.verdict, err = t.rig.Verify(ctx)
	return err
}

// addTo adds the figures under names that begin with the profile's.
func (p *profile) addTo(r *run) {
	for _, row := range profileRows() {
		if row.figure != "" {
			r.Add(p.name+"_"+row.figure, row.value(*p), row.label)
		}
	}
}

// profileRow is one line of a comparison.
type profileRow struct {
	label  string
	figure string // its name in JSON, after the profile's
	format string
	value  func(profile) float64
}

func profileRows() []profileRow {
	perConn := func(group string) func(profile) float64 {
		return func(p profile) float64 {
			return float64(p.connect.Groups[group].CPU.Microseconds()) / float64(p.conns)
		}
	}
	micros := func(groups ...string) func(profile) float64 {
		return func(p profile) (sum float64) {
			for _, g := range groups {
				sum += p.load.Micros(g)
			}
			return sum
		}
	}
	late := func(q float64) func(profile) float64 { return func(p profile) float64 { return p.load.Percentile(q) } }
	return []profileRow{
		{"connects per second, to hello", "connects_per_s", "%.0f", func(p profile) float64 { return float64(p.conns) / p.connect.Took.Seconds() }},
		{"µs of front CPU per connect", "front_us_per_connect", "%.0f", perConn(rig.Front)},
		{"KiB of the front's memory per connection (Pss)", "kib_per_conn", "%.2f", func(p profile) float64 { return float64(p.after.Front-p.before.Front) / 1024 / float64(p.conns) }},
		{"KiB of kernel slabs per socket", "kernel_kib_per_conn", "%.2f", func(p profile) float64 {
			return float64(p.after.Kernel-p.before.Kernel) / 1024 / float64(p.after.Sockets-p.before.Sockets)
		}},
		{"deliveries per second, equal load", "deliveries_per_s", "%.0f", func(p profile) float64 { return p.load.PerSecond() }},
		{"µs of front CPU per delivery", "front_us_per_delivery", "%.1f", micros(rig.Front)},
		{"µs of API CPU per delivery", "api_us_per_delivery", "%.1f", micros(rig.API)},
		{"µs of Redis CPU per delivery", "redis_us_per_delivery", "%.1f", micros(rig.Redis)},
		{"µs of API and front CPU per delivery", "us_per_delivery", "%.1f", micros(rig.API, rig.Front)},
		{"ms p50", "p50_ms", "%.1f", late(50)},
		{"ms p99", "p99_ms", "%.1f", late(99)},
		{"ms p99.9", "p999_ms", "%.1f", late(99.9)},
		{"deliveries per second, the most that is sustained", "peak_deliveries_per_s", "%.0f", func(p profile) float64 { return p.peak.Best.PerSecond() }},
		{"ms p99 at that rate", "peak_p99_ms", "%.0f", func(p profile) float64 { return p.peak.Best.Percentile(99) }},
		{"lost of all deliveries, overload included", "lost", "%.0f", func(p profile) float64 { return float64(p.verdict.Lost) }},
	}
}

// compare sets profiles side by side.
func compare(title string, profiles []profile) report.Table {
	t := sideBySide(title, profileRows(), profiles)
	first := []string{"what runs out first beyond that"}
	for _, p := range profiles {
		first = append(first, bottleneck(p.peak.Over))
	}
	t.Rows = append(t.Rows, first)
	return t
}

// sideBySide is a table of some rows of profiles.
func sideBySide(title string, rows []profileRow, profiles []profile) report.Table {
	t := report.Table{Title: title, Columns: []string{""}}
	for _, p := range profiles {
		t.Columns = append(t.Columns, p.name)
	}
	for _, row := range rows {
		cells := []string{row.label}
		for _, p := range profiles {
			cells = append(cells, fmt.Sprintf(row.format, row.value(p)))
		}
		t.Rows = append(t.Rows, cells)
	}
	return t
}
