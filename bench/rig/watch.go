package rig

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/homing/homing/bench/clients"
	"github.com/homing/homing/bench/report"
	"github.com/homing/homing/bench/usage"
)

// Moment is what happened in about one second.
type Moment struct {
	At        time.Duration  // since the rig was opened, at the end of the second
	Counts    clients.Counts // running totals
	PerSecond float64        // deliveries
	P50, P99  float64        // latency in ms; 0: nothing was delivered
	Used      usage.Interval
	Held      usage.Reading
}

// watch looks at a rig once a second.
type watch struct {
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu      sync.Mutex
	moments []Moment
	load    context.CancelCauseFunc // of the load under way, of which every moment is said; nil: none
}

// startWatch takes the first look and goes on in the background until stop.
func startWatch(g *Rig) (*watch, error) {
	ctx, cancel := context.WithCancel(context.Background())
	w := &watch{cancel: cancel}
	first, err := g.look(ctx, Moment{Held: usage.Reading{At: g.opened}})
	if err != nil {
		cancel()
		return nil, err
	}
	w.done.Go(func() { w.run(ctx, g, first) })
	return w, nil
}

func (w *watch) stop() {
	w.cancel()
	w.done.Wait()
}

func (w *watch) run(ctx context.Context, g *Rig, before Moment) {
	for Pause(ctx, time.Second) == nil {
		m, err := g.look(context.WithoutCancel(ctx), before)
		if err != nil {
			w.fail(err)
			return
		}
		w.add(g, m)
		before = m
	}
}

func (w *watch) add(g *Rig, m Moment) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.moments = append(w.moments, m)
	if w.load != nil {
		g.opts.Say("  %s", m)
	}
}

// fail ends the load under way: a client process or a machine is gone.
func (w *watch) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.load != nil {
		w.load(err)
	}
}

// follow has every moment of a load said, and the load ended when the rig
// cannot be watched any more; nil: no load is under way.
func (w *watch) follow(load context.CancelCauseFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.load = load
}

// look is the moment from before until now.
func (g *Rig) look(ctx context.Context, before Moment) (m Moment, err error) {
	s, err := g.opts.Hive.Sample(ctx)
	if err != nil {
		return m, err
	}
	if m.Held, err = g.read(); err != nil {
		return m, err
	}
	m.At, m.Counts, m.Used = m.Held.At.Sub(g.opened), s.Counts, m.Held.Since(before.Held)
	m.PerSecond = float64(m.Counts.Deliveries-before.Counts.Deliveries) / m.Used.Took.Seconds()
	if s.Lag.TotalCount() > 0 {
		m.P50, m.P99 = float64(s.Lag.ValueAtPercentile(50))/1000, float64(s.Lag.ValueAtPercentile(99))/1000
	}
	return m, nil
}

// String is a line of progress.
func (m Moment) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%6.0f deliveries/s  p50 %6.1f  p99 %6.1f ms  cores:", m.PerSecond, m.P50, m.P99)
	for _, name := range []string{Front, API, Redis, Clients, Callers} {
		if u := m.Used.Groups[name]; u.CPU > 0 {
			fmt.Fprintf(&b, " %s %.2f", name, u.Cores)
		}
	}
	fmt.Fprintf(&b, ", machine %.2f of %d", m.Used.Busy, m.Used.Cores)
	return b.String()
}

// Moments returns every second since Connect.
func (g *Rig) Moments() []Moment {
	if g.watch == nil {
		return nil
	}
	g.watch.mu.Lock()
	defer g.watch.mu.Unlock()
	return slices.Clip(g.watch.moments)
}

// Charts draws the moments over time; name (may be empty) says whose.
func (g *Rig) Charts(name string) []report.Chart {
	moments := g.Moments()
	if name != "" {
		name += ": "
	}
	line := func(label string, y func(Moment) float64) report.Series {
		s := report.Series{Name: label}
		for _, m := range moments {
			s.X, s.Y = append(s.X, m.At.Seconds()), append(s.Y, y(m))
		}
		return s
	}
	cores := []report.Series{line("machine", func(m Moment) float64 { return m.Used.Busy })}
	memory, files := []report.Series(nil), []report.Series(nil)
	for _, group := range []string{Front, API, Redis, Clients, Callers} {
		cores = append(cores, line(group, func(m Moment) float64 { return m.Used.Groups[group].Cores }))
		memory = append(memory, line(group, func(m Moment) float64 { return float64(m.Held.Groups[group].RSS) / (1 << 20) }))
		files = append(files, line(group, func(m Moment) float64 { return float64(m.Held.Groups[group].FDs) }))
	}
	const seconds = "seconds"
	return []report.Chart{
		{Title: name + "deliveries", XLabel: seconds, YLabel: "per second", Series: []report.Series{line("deliveries", func(m Moment) float64 { return m.PerSecond })}},
		{Title: name + "latency", XLabel: seconds, YLabel: "ms", LogY: true, Series: []report.Series{
			line("p50", func(m Moment) float64 { return m.P50 }), line("p99", func(m Moment) float64 { return m.P99 }),
		}},
		{Title: name + "CPU", XLabel: seconds, YLabel: "cores", Series: cores},
		{Title: name + "memory", XLabel: seconds, YLabel: "MiB resident", Series: memory},
		{Title: name + "open files", XLabel: seconds, YLabel: "descriptors", Series: files},
	}
}
