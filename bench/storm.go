package bench

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sync/errgroup"

	"github.com/homing/homing/bench/clients"
	"github.com/homing/homing/bench/report"
	"github.com/homing/homing/bench/rig"
)

const (
	stormTime = 60 * time.Second
	// stormAdmits is how many clients a worker lets in per second by default.
	stormAdmits = 500
	// kindly is the part of that rate at which clients come first, so that
	// all get in.
	kindly = 0.7
	// calm is how long the load runs before the storm breaks loose.
	calm = 2 * time.Second
)

var stormScenario = scenario{
	name: "storm", measure: measureStorm,
	own:      own{conns: 60_000, apart: 50_000, rate: 100, duration: stormTime, admitRate: stormAdmits},
	headline: []string{"thrown", "back_s", "told_to_wait", "failed_handshakes", "storm_p99_ms", "p99_ratio"},
}

// stormed is what a storm was like.
type stormed struct {
	before rig.Load
	during *hdrhistogram.Histogram // the others' latencies from the cut until all were back
	after  rig.Load
	back   clients.Comeback
}

// measureStorm throws many clients off at once, has all of them come back at
// once, and looks how soon they are, and what the others notice. The load goes
// on meanwhile, to those who are away as well.
func measureStorm(ctx context.Context, r *run) error {
	o := r.opts
	if o.Apart >= o.Conns {
		return fmt.Errorf("--apart: %d: want fewer than --conns %d, so that others can tell what they notice", o.Apart, o.Conns)
	}
	return r.try(ctx, setup{Options: o}, func(t *trial) (err error) {
		if _, err := t.rig.Connect(ctx, kindly*float64(o.AdmitRate*o.workers())); err != nil {
			return err
		}
		if err := t.rig.Warm(ctx, o.Rate, warmUp); err != nil {
			return err
		}
		var s stormed
		if s.before, err = t.rig.Load(ctx, o.Rate, min(o.Duration, defaultDuration)); err != nil {
			return err
		}
		if err := s.breakLoose(ctx, t); err != nil {
			return err
		}
		if s.after, err = t.rig.Load(ctx, o.Rate, min(o.Duration, defaultDuration)); err != nil {
			return err
		}
		return s.addTo(ctx, t)
	})
}

// breakLoose runs the load, and the storm in its course.
func (s *stormed) breakLoose(ctx context.Context, t *trial) error {
	work, ctx := errgroup.WithContext(ctx)
	work.Go(func() error {
		_, err := t.rig.Load(ctx, t.opts.Rate, t.opts.Duration)
		return err
	})
	work.Go(func() (err error) {
		if err := rig.Pause(ctx, calm); err != nil {
			return err
		}
		if err := t.rig.Hive().Reset(ctx); err != nil {
			return err
		}
		t.say("%d clients are thrown off", t.opts.Apart)
		told := time.Now()
		s.back, err = t.rig.Hive().Storm(ctx, func(c clients.Counts) {
			if time.Since(told) > time.Second {
				told = time.Now()
				t.say("  %d are connected again", c.Open)
			}
		})
		if err != nil {
			return err
		}
		t.say("%d of %d are back after %.1fs", s.back.Back, s.back.Thrown, s.back.Took.Seconds())
		_, s.during, err = t.rig.Hive().Report(ctx)
		return err
	})
	return work.Wait()
}

// addTo adds what the storm was like.
func (s *stormed) addTo(ctx context.Context, t *trial) error {
	t.Add("conns", float64(t.opts.Conns), "connections held")
	t.Add("thrown", float64(s.back.Thrown), "of those, thrown off at once")
	t.Add("back", float64(s.back.Back), "of those, back at the end")
	t.Add("back_s", s.back.Took.Seconds(), "seconds until the last was back")
	t.Add("back_p50_s", float64(s.back.Wait.ValueAtPercentile(50))/1e6, "seconds until half were")
	t.Add("back_p99_s", float64(s.back.Wait.ValueAtPercentile(99))/1e6, "seconds until 99% were")
	t.Add("told_to_wait", float64(s.back.Told), "attempts that were told to wait and come again")
	t.Add("failed_handshakes", float64(s.back.Failed), "attempts that failed in any other way")
	t.Add("before_p99_ms", s.before.Percentile(99), "ms, the others' before")
	t.Add("storm_p99_ms", float64(s.during.ValueAtPercentile(99))/1000, "ms, the others' from the cut until all were back")
	t.Add("after_p99_ms", s.after.Percentile(99), "ms, everyone's afterwards, but for those thrown off")
	t.Add("p99_ratio", t.Get("storm_p99_ms")/t.Get("before_p99_ms"), "the others' p99 in the storm as a multiple of before")
	t.noteSmallLoad(s.before)
	t.Charts = append(t.Charts, report.LatencyChart("latency of the others by percentile",
		report.Latency{Name: "before", Micros: s.before.Lag},
		report.Latency{Name: "during the storm", Micros: s.during},
		report.Latency{Name: "after", Micros: s.after.Lag}))
	for _, reason := range slices.Sorted(maps.Keys(s.back.Reasons)) {
		t.note("%d handshakes failed: %s", s.back.Reasons[reason], reason)
	}
	return t.addVerdict(ctx)
}
