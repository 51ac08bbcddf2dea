package clients

import (
	"context"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/homing/homing/bench/child"
	"github.com/homing/homing/bench/times"
)

// Counts are running totals of one process or of all, since Prepare; apart
// clients are counted, too.
type Counts struct {
	Open       int // registered now
	Failed     int // connects that did not reach hello
	Lost       int // connections that ended after hello
	Deliveries int // notifications read
	Violations int // messages that a front should not have sent
}

func (c Counts) plus(d Counts) Counts {
	return Counts{
		Open: c.Open + d.Open, Failed: c.Failed + d.Failed, Lost: c.Lost + d.Lost,
		Deliveries: c.Deliveries + d.Deliveries, Violations: c.Violations + d.Violations,
	}
}

// Sample is what a hive did of late.
type Sample struct {
	Counts Counts                  // running totals
	Lag    *hdrhistogram.Histogram // µs from the schedule's instant to the read, of what was read since the last Sample; not of apart clients
	CPU    time.Duration           // user and system time of all bee processes since they started, wherever they run
}

// report is what one process answers to most calls.
type report struct {
	Counts Counts
	Lag    string        // an encoded histogram; empty: not asked for
	CPU    time.Duration // of the process since it started
	Failed string        // why a client failed last
}

// Reset forgets the latencies seen so far, and compares clocks again: the
// measured part starts.
func (h *Hive) Reset(ctx context.Context) error {
	return h.each(func(_ int, p *child.Process) error {
		clock, err := p.Clock(ctx)
		if err != nil {
			return err
		}
		return p.Call(ctx, "reset", clock.Offset, nil, nil)
	})
}

// Counts returns the running totals and nothing else: it is cheap.
func (h *Hive) Counts(ctx context.Context) (Counts, error) {
	reports, err := h.ask(ctx, "counts")
	if err != nil {
		return Counts{}, err
	}
	sum, _ := total(reports)
	return sum, nil
}

// CPU returns the user and system time of all bee processes since they
// started, wherever they run.
func (h *Hive) CPU(ctx context.Context) (time.Duration, error) {
	reports, err := h.ask(ctx, "counts")
	var sum time.Duration
	for _, r := range reports {
		sum += r.CPU
	}
	return sum, err
}

// Report returns the running totals and the latencies, in microseconds, of
// everything read since Reset, but for what apart clients read.
func (h *Hive) Report(ctx context.Context) (Counts, *hdrhistogram.Histogram, error) {
	reports, err := h.ask(ctx, "report")
	if err != nil {
		return Counts{}, nil, err
	}
	sum, _ := total(reports)
	lag, err := merge(reports)
	return sum, lag, err
}

// Sample returns the running totals and what has been read since it was
// called last, whoever called it.
func (h *Hive) Sample(ctx context.Context) (Sample, error) {
	reports, err := h.ask(ctx, "sample")
	if err != nil {
		return Sample{}, err
	}
	var s Sample
	s.Counts, _ = total(reports)
	for _, r := range reports {
		s.CPU += r.CPU
	}
	s.Lag, err = merge(reports)
	return s, err
}

// verification is what a process is asked to check.
type verification struct {
	Plan Plan
	Sent Sent
}

// Verify compares what every client has read so far with the plan. It takes
// seconds for tens of millions of deliveries, and no bee reads meanwhile.
func (h *Hive) Verify(ctx context.Context, p Plan, s Sent) (sum Verdict, err error) {
	verdicts := make([]Verdict, len(h.bees))
	err = h.each(func(i int, c *child.Process) error {
		return c.Call(ctx, "verify", verification{Plan: p, Sent: s}, &verdicts[i], nil)
	})
	for _, v := range verdicts {
		sum = sum.plus(v)
	}
	return sum, err
}

func (h *Hive) ask(ctx context.Context, do string) ([]report, error) {
	reports := make([]report, len(h.bees))
	err := h.each(func(i int, p *child.Process) error { return p.Call(ctx, do, nil, &reports[i], nil) })
	return reports, err
}

// total adds counts up and says why a client failed last.
func total(reports []report) (sum Counts, why string) {
	for _, r := range reports {
		sum = sum.plus(r.Counts)
		if r.Failed != "" {
			why = r.Failed
		}
	}
	return sum, why
}

// merge adds latencies up.
func merge(reports []report) (*hdrhistogram.Histogram, error) {
	sum := times.New()
	for _, r := range reports {
		if err := times.Add(sum, r.Lag); err != nil {
			return nil, err
		}
	}
	return sum, nil
}
