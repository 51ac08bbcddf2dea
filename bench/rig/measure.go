package rig

import (
	"context"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/homing/homing/bench/clients"
	"github.com/homing/homing/bench/usage"
)

const (
	drained = 10 * time.Second // nothing more is waited for after this
	quiet   = 300 * time.Millisecond
)

// Load is what one schedule of calls took.
type Load struct {
	Rate       float64 // calls a second
	Each       int     // deliveries that a call makes
	Calls      int     // that were due
	Refused    int     // of those, not accepted
	Deliveries int     // read by clients
	Took       time.Duration
	Used       usage.Interval          // until the last delivery was read
	Lag        *hdrhistogram.Histogram // µs from the schedule's instant to the read

	// Behind is how much of the schedule's own time was not delivered yet when
	// its last call was due: the backlog, as time.
	Behind time.Duration
}

// Asked is the rate of deliveries that the schedule asked for.
func (l Load) Asked() float64 { return l.Rate * float64(l.Each) }

// PerSecond is the rate of deliveries.
func (l Load) PerSecond() float64 { return float64(l.Deliveries) / l.Took.Seconds() }

// Micros is a group's CPU time per delivery, in µs.
func (l Load) Micros(group string) float64 {
	return float64(l.Used.Groups[group].CPU.Nanoseconds()) / 1000 / float64(l.Deliveries)
}

// Percentile is a latency in ms.
func (l Load) Percentile(p float64) float64 { return float64(l.Lag.ValueAtPercentile(p)) / 1000 }

// Warm loads the system for a moment, so that what is measured next does not
// pay for beginnings.
func (g *Rig) Warm(ctx context.Context, rate float64, d time.Duration) error {
	g.opts.Say("warming up")
	_, err := g.load(ctx, rate, d)
	return err
}

// Load calls the system on a schedule and waits until nothing more arrives.
func (g *Rig) Load(ctx context.Context, rate float64, d time.Duration) (Load, error) {
	g.opts.Say("%.0f calls/s, %d deliveries each, for %v", rate, g.backend.perCall(), d)
	return g.load(ctx, rate, d)
}

func (g *Rig) load(ctx context.Context, rate float64, d time.Duration) (l Load, err error) {
	if err := g.opts.Hive.Reset(ctx); err != nil {
		return l, err
	}
	before, err := g.mark(ctx)
	if err != nil {
		return l, err
	}
	if err := g.call(ctx, rate, d); err != nil {
		return l, err
	}
	refused, _ := g.backend.failures()
	l.Rate, l.Each = rate, g.backend.perCall()
	l.Calls, l.Refused = int(g.backend.sent().N-before.sent.N), refused-len(before.sent.Refused)
	if l.Behind, err = g.behind(ctx, l, before, d); err != nil {
		return l, err
	}
	last, err := Drain(ctx, g.opts.Hive)
	if err != nil {
		return l, err
	}
	l.Took = last.Sub(before.at)
	return g.finish(ctx, l, before)
}

// mark is where the accounts stood at one instant.
type mark struct {
	at      time.Time
	counts  clients.Counts
	clients time.Duration // CPU of the client processes, wherever they run
	sent    clients.Sent
	used    usage.Reading
}

func (g *Rig) mark(ctx context.Context) (m mark, err error) {
	if m.counts, err = g.opts.Hive.Counts(ctx); err != nil {
		return m, err
	}
	if m.clients, err = g.opts.Hive.CPU(ctx); err != nil {
		return m, err
	}
	m.sent = g.backend.sent()
	m.used, err = g.read()
	m.at = time.Now()
	return m, err
}

// call makes the calls of a schedule, unless a client process fails meanwhile.
func (g *Rig) call(ctx context.Context, rate float64, d time.Duration) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	g.watch.follow(cancel)
	defer g.watch.follow(nil)
	if err := g.backend.run(ctx, rate, d); err != nil {
		return context.Cause(ctx)
	}
	return nil
}

// behind is the backlog, as time, when the last call of a schedule of length d
// has been answered.
func (g *Rig) behind(ctx context.Context, l Load, before mark, d time.Duration) (time.Duration, error) {
	late := time.Since(before.at) - d
	now, err := g.opts.Hive.Counts(ctx)
	missing := (l.Calls-l.Refused)*l.Each - (now.Deliveries - before.counts.Deliveries)
	return max(0, late) + time.Duration(float64(max(0, missing))/l.Asked()*float64(time.Second)), err
}

// Drain waits until clients have stopped reading deliveries, and returns when
// the last one was seen; after ten seconds it waits no longer.
func Drain(ctx context.Context, hive *clients.Hive) (last time.Time, err error) {
	start := time.Now()
	last = start
	for seen := -1; time.Since(last) < quiet && time.Since(start) < drained; {
		c, err := hive.Counts(ctx)
		if err != nil {
			return last, err
		}
		if c.Deliveries != seen {
			seen, last = c.Deliveries, time.Now()
		}
		if err := Pause(ctx, 20*time.Millisecond); err != nil {
			return last, err
		}
	}
	return last, nil
}

// finish reads the accounts after a load.
func (g *Rig) finish(ctx context.Context, l Load, before mark) (Load, error) {
	after, err := g.mark(ctx)
	if err != nil {
		return l, err
	}
	l.Used = after.used.Since(before.used)
	clients := l.Used.Groups[Clients]
	clients.CPU = after.clients - before.clients
	l.Used.Groups[Clients] = clients
	counts, lag, err := g.opts.Hive.Report(ctx)
	if err != nil {
		return l, err
	}
	if counts.Lost > 0 {
		g.opts.Say("%d connections were lost", counts.Lost)
	}
	l.Deliveries, l.Lag = counts.Deliveries-before.counts.Deliveries, lag
	return l, g.opts.System.Alive()
}

// Sum is several loads of one rate as one.
func Sum(loads []Load) Load {
	sum := loads[0]
	lag := hdrhistogram.Import(sum.Lag.Export())
	groups := make(map[string]usage.Used)
	for i, l := range loads {
		for name, used := range l.Used.Groups {
			all := groups[name]
			all.CPU += used.CPU
			groups[name] = all
		}
		if i == 0 {
			continue
		}
		sum.Calls, sum.Refused, sum.Deliveries = sum.Calls+l.Calls, sum.Refused+l.Refused, sum.Deliveries+l.Deliveries
		sum.Took += l.Took
		sum.Behind = max(sum.Behind, l.Behind)
		lag.Merge(l.Lag)
	}
	sum.Used.Groups, sum.Lag = groups, lag
	return sum
}
