package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/homing/homing/bench/bare"
	"github.com/homing/homing/bench/bees"
	"github.com/homing/homing/bench/load"
	"github.com/homing/homing/hub"
)

const (
	warmUp      = 2 * time.Second
	postTimeout = 15 * time.Second
	callers     = 256             // requests under way at a time
	drained     = 5 * time.Second // nothing more is waited for after this
	quiet       = 300 * time.Millisecond
)

// notify sends notifications on an open-loop schedule and accounts for every
// delivery: CPU, latency from the schedule's instant, and exactness.
func (r *run) notify(ctx context.Context) error {
	if r.opts.Rate <= 0 {
		return fmt.Errorf("--rate: %v: want more than 0", r.opts.Rate)
	}
	if err := r.start(ctx); err != nil {
		return err
	}
	b, err := r.ready(ctx)
	if err != nil {
		return err
	}
	defer b.close()
	m, err := r.measureLoad(ctx, func() error { return r.load(ctx, b, r.opts.Duration) })
	if err != nil {
		return err
	}
	if err := r.addLoad(ctx, b, m); err != nil {
		return err
	}
	if !r.opts.Limit {
		return nil
	}
	if err := r.stopHive(); err != nil {
		return err
	}
	return r.limit(ctx)
}

func (r *run) plan() bees.Plan {
	return bees.Plan{Seed: 1, Conns: r.opts.Conns, Targets: r.opts.Targets, Online: min(r.opts.Online, r.opts.Conns)}
}

// backend is the game backends: the callers of the API.
type backend struct {
	plan    bees.Plan
	posters []*load.Poster
	payload int
	bodies  sync.Pool // of *body

	mu      sync.Mutex
	next    uint32   // number of the next notification
	refused []uint32 // not accepted
	reason  error    // why, of the last of them
}

// body is a caller's scratch: its own picker, so that drawing needs no lock.
type body struct {
	picker *bees.Picker
	users  []hub.UserID
}

func (r *run) newBackend() (*backend, error) {
	urls, key, err := r.callee()
	if err != nil {
		return nil, err
	}
	b := &backend{plan: r.plan(), payload: r.opts.Payload}
	b.bodies.New = func() any { return &body{picker: bees.NewPicker(b.plan)} }
	for _, u := range urls {
		b.posters = append(b.posters, load.NewPoster(u, key, postTimeout))
	}
	return b, nil
}

func (b *backend) close() {
	for _, p := range b.posters {
		p.Close()
	}
}

// ready connects all clients and returns callers that have warmed up.
func (r *run) ready(ctx context.Context) (*backend, error) {
	if _, err := r.connectAll(ctx, 0); err != nil {
		return nil, err
	}
	b, err := r.newBackend()
	if err != nil {
		return nil, err
	}
	if err := r.warm(ctx, b); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

func (r *run) warm(ctx context.Context, b *backend) error {
	r.say("warming up")
	if err := r.load(ctx, b, warmUp); err != nil {
		return err
	}
	if _, err := r.drain(ctx); err != nil {
		return err
	}
	return r.hive.Reset(ctx)
}

// load runs the schedule once.
func (r *run) load(ctx context.Context, b *backend, d time.Duration) error {
	s := load.Schedule{Rate: r.opts.Rate, Duration: d, Callers: callers}
	stop := r.watch(ctx)
	defer stop()
	s.Run(ctx, func(ctx context.Context, _ int, due time.Time) { b.post(ctx, due) })
	return ctx.Err()
}

// watch prints a line a second until the function it returns is called.
func (r *run) watch(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() {
		var before int
		for pause(ctx, time.Second) == nil {
			c, err := r.hive.Counts(context.WithoutCancel(ctx))
			if err != nil {
				return
			}
			if before > 0 {
				r.say("  %d deliveries/s", c.Deliveries-before)
			}
			before = c.Deliveries
		}
	})
	return func() { cancel(); done.Wait() }
}

// post sends the next notification of the plan.
func (b *backend) post(ctx context.Context, due time.Time) {
	b.mu.Lock()
	n := b.next
	b.next++
	b.mu.Unlock()
	scratch := b.bodies.Get().(*body)
	defer b.bodies.Put(scratch)
	text, err := scratch.render(n, due, b.payload)
	if err == nil {
		_, err = b.posters[int(n)%len(b.posters)].Notify(ctx, text)
	}
	if err != nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.refused, b.reason = append(b.refused, n), err
	}
}

// render is the request of notification n.
func (s *body) render(n uint32, due time.Time, payload int) ([]byte, error) {
	s.users = s.picker.Users(n, s.users[:0])
	return json.Marshal(struct {
		Users []hub.UserID    `json:"users"`
		Type  string          `json:"type"`
		Data  json.RawMessage `json:"data"`
	}{s.users, "bench", bees.AppendData(nil, due.UnixNano(), n, payload)})
}

// loaded is what the measured part of a load took.
type loaded struct {
	cpu        spent
	took       time.Duration // until the last delivery
	deliveries int
	lag        *hdrhistogram.Histogram
}

// measureLoad runs f between two readings of all clocks.
func (r *run) measureLoad(ctx context.Context, f func() error) (m loaded, err error) {
	first, _, err := r.hive.Report(ctx)
	if err != nil {
		return m, err
	}
	before, err := r.spent()
	if err != nil {
		return m, err
	}
	r.say("measuring for %v", r.opts.Duration)
	start := time.Now()
	if err := f(); err != nil {
		return m, err
	}
	last, err := r.drain(ctx)
	if err != nil {
		return m, err
	}
	after, err := r.spent()
	if err != nil {
		return m, err
	}
	counts, lag, err := r.hive.Report(ctx)
	if counts.Lost > 0 {
		r.say("%d connections were lost", counts.Lost)
	}
	return loaded{cpu: after.since(before), took: last.Sub(start), deliveries: counts.Deliveries - first.Deliveries, lag: lag}, err
}

// drain waits until deliveries have stopped coming, and returns when the last
// one was seen.
func (r *run) drain(ctx context.Context) (last time.Time, err error) {
	start := time.Now()
	last = start
	for seen := -1; time.Since(last) < quiet && time.Since(start) < drained; {
		c, err := r.hive.Counts(ctx)
		if err != nil {
			return last, err
		}
		if c.Deliveries != seen {
			seen, last = c.Deliveries, time.Now()
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return last, err
		}
	}
	return last, nil
}

func (r *run) addLoad(ctx context.Context, b *backend, m loaded) error {
	r.say("checking every delivery")
	v, err := r.hive.Verify(ctx, b.plan, bees.Sent{N: b.next, Refused: b.refused})
	if err != nil {
		return err
	}
	if b.reason != nil {
		r.say("%d notifications were not accepted, the last because: %v", len(b.refused), b.reason)
	}
	f := &r.report
	f.Add("conns", float64(r.opts.Conns), "connections held")
	f.Add("requests_per_s", r.opts.Rate, "notifications posted per second")
	f.Add("refused", float64(len(b.refused)), "notifications not accepted, warm-up included")
	f.Add("expected", float64(v.Expected), "deliveries due, warm-up included")
	f.Add("lost", float64(v.Lost), "of those, never seen")
	f.Add("duplicated", float64(v.Duplicated), "seen more often than once")
	f.Add("misdelivered", float64(v.Stray), "seen by clients they were not for")
	f.Add("deliveries", float64(m.deliveries), "messages read by clients in the measured part")
	f.Add("deliveries_per_s", float64(m.deliveries)/m.took.Seconds(), "messages per second")
	r.addCPU(m)
	r.addLatency(m.lag)
	return nil
}

func (r *run) addCPU(m loaded) {
	f, n := &r.report, m.deliveries
	if r.stack != nil {
		f.Add("front_us_per_delivery", per(m.cpu.front, n), "µs of front CPU per message")
		f.Add("api_us_per_delivery", per(m.cpu.api, n), "µs of API CPU per message")
		f.Add("redis_us_per_delivery", per(m.cpu.redis, n), "µs of Redis CPU per message")
	}
	f.Add("client_us_per_delivery", per(m.cpu.clients, n), "µs of client CPU per message")
}

func (r *run) addLatency(lag *hdrhistogram.Histogram) {
	for _, q := range []struct {
		name    string
		percent float64
	}{{"p50_ms", 50}, {"p99_ms", 99}, {"p999_ms", 99.9}} {
		r.report.Add(q.name, float64(lag.ValueAtPercentile(q.percent))/1000, "ms from the schedule's instant to the client")
	}
}

// limitAlone is the scenario limit.
func (r *run) limitAlone(ctx context.Context) error {
	if r.opts.Rate <= 0 {
		return fmt.Errorf("--rate: %v: want more than 0", r.opts.Rate)
	}
	return r.limit(ctx)
}

// limit measures the bare program under the same load.
func (r *run) limit(ctx context.Context) error {
	argv, env, err := helperCommand(helperBare)
	if err != nil {
		return err
	}
	n := max(r.opts.Workers, (r.opts.Conns+bare.ProcessConns-1)/bare.ProcessConns)
	server, err := bare.Start(ctx, argv, env, n, r.stderr)
	if err != nil {
		return err
	}
	res, v, err := r.flood(ctx, server)
	if err = errors.Join(err, server.Stop()); err != nil {
		return err
	}
	f := &r.report
	if math.IsNaN(f.Get("conns")) {
		f.Add("conns", float64(r.opts.Conns), "connections held")
		f.Add("expected", float64(v.Expected), "deliveries due")
		f.Add("lost", float64(v.Lost), "of those, never seen")
		f.Add("deliveries", float64(res.Written), "messages written")
		f.Add("deliveries_per_s", float64(res.Written)/res.Took.Seconds(), "messages per second")
	}
	f.Add("limit_us_per_delivery", per(res.CPU, res.Written), "µs of CPU per message of a bare program with the same sockets and bytes")
	f.Add("front_to_limit", f.Get("front_us_per_delivery")/f.Get("limit_us_per_delivery"), "front CPU per message as a multiple of that")
	return nil
}

func (r *run) flood(ctx context.Context, server *bare.Limit) (res bare.Result, v bees.Verdict, err error) {
	l := bare.Load{Plan: r.plan(), Rate: r.opts.Rate, Duration: r.opts.Duration, Payload: r.opts.Payload}
	if err := r.startHive(); err != nil {
		return res, v, err
	}
	if _, err := r.connectTo(ctx, bees.Target{Fronts: server.URLs(), Conns: l.Plan.Conns}); err != nil {
		return res, v, err
	}
	r.say("measuring the bare limit for %v", l.Duration)
	if res, err = server.Flood(ctx, l); err != nil {
		return res, v, err
	}
	if _, err := r.drain(ctx); err != nil {
		return res, v, err
	}
	v, err = r.hive.Verify(ctx, l.Plan, bees.Sent{N: res.Notifications})
	return res, v, err
}
