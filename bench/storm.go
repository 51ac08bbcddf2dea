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

// storm throws many clients off at once, has all of them come back at once,
// and looks how soon they are, and what the others notice. The load goes on
// meanwhile, to those who are away as well.
func (r *run) storm(ctx context.Context) error {
	o := r.opts
	if o.Apart >= o.Conns {
		return fmt.Errorf("--apart: %d: want fewer than --conns %d, so that others can tell what they notice", o.Apart, o.Conns)
	}
	return r.with(ctx, "", o, func(g *rig.Rig) error {
		if _, err := g.Connect(ctx, kindly*float64(o.AdmitRate*o.workers())); err != nil {
			return err
		}
		if err := g.Warm(ctx, o.Rate, warmUp); err != nil {
			return err
		}
		before, err := g.Load(ctx, o.Rate, min(o.Duration, defaultDuration))
		if err != nil {
			return err
		}
		during, back, err := r.breakLoose(ctx, g, o)
		if err != nil {
			return err
		}
		after, err := g.Load(ctx, o.Rate, min(o.Duration, defaultDuration))
		if err != nil {
			return err
		}
		return r.addStorm(ctx, g, o, stormed{before, during, after, back})
	})
}

// stormed is what a storm was like.
type stormed struct {
	before rig.Load
	during *hdrhistogram.Histogram // the others' latencies from the cut until all were back
	after  rig.Load
	back   clients.Comeback
}

// breakLoose runs the load, and the storm in its course.
func (r *run) breakLoose(ctx context.Context, g *rig.Rig, o Options) (lag *hdrhistogram.Histogram, back clients.Comeback, err error) {
	work, ctx := errgroup.WithContext(ctx)
	work.Go(func() error {
		_, err := g.Load(ctx, o.Rate, o.Duration)
		return err
	})
	work.Go(func() (err error) {
		if err := rig.Pause(ctx, calm); err != nil {
			return err
		}
		if err := g.Hive().Reset(ctx); err != nil {
			return err
		}
		r.say("%d clients are thrown off", o.Apart)
		told := time.Now()
		back, err = g.Hive().Storm(ctx, func(c clients.Counts) {
			if time.Since(told) > time.Second {
				told = time.Now()
				r.say("  %d are connected again", c.Open)
			}
		})
		if err != nil {
			return err
		}
		r.say("%d of %d are back after %.1fs", back.Back, back.Thrown, back.Took.Seconds())
		_, lag, err = g.Hive().Report(ctx)
		return err
	})
	return lag, back, work.Wait()
}

func (r *run) addStorm(ctx context.Context, g *rig.Rig, o Options, s stormed) error {
	r.Add("conns", float64(o.Conns), "connections held")
	r.Add("thrown", float64(s.back.Thrown), "of those, thrown off at once")
	r.Add("back", float64(s.back.Back), "of those, back at the end")
	r.Add("back_s", s.back.Took.Seconds(), "seconds until the last was back")
	r.Add("back_p50_s", float64(s.back.Wait.ValueAtPercentile(50))/1e6, "seconds until half were")
	r.Add("back_p99_s", float64(s.back.Wait.ValueAtPercentile(99))/1e6, "seconds until 99% were")
	r.Add("told_to_wait", float64(s.back.Told), "attempts that were told to wait and come again")
	r.Add("failed_handshakes", float64(s.back.Failed), "attempts that failed in any other way")
	r.Add("before_p99_ms", s.before.Percentile(99), "ms, the others' before")
	r.Add("storm_p99_ms", float64(s.during.ValueAtPercentile(99))/1000, "ms, the others' from the cut until all were back")
	r.Add("after_p99_ms", s.after.Percentile(99), "ms, everyone's afterwards, but for those thrown off")
	r.Add("p99_ratio", r.Get("storm_p99_ms")/r.Get("before_p99_ms"), "the others' p99 in the storm as a multiple of before")
	r.noteSmallLoad(s.before)
	r.Charts = append(r.Charts, report.LatencyChart("latency of the others by percentile",
		report.Latency{Name: "before", Micros: s.before.Lag},
		report.Latency{Name: "during the storm", Micros: s.during},
		report.Latency{Name: "after", Micros: s.after.Lag}))
	for _, reason := range slices.Sorted(maps.Keys(s.back.Reasons)) {
		r.note("%d handshakes failed: %s", s.back.Reasons[reason], reason)
	}
	return r.addVerdict(ctx, g)
}
