package bench

import (
	"context"
	"math"
	"time"
)

// settle is how long the system is left alone after the connects, at most, so
// that garbage of the handshakes is collected and registrations are written.
const settle = 5 * time.Second

// idle holds connections that say nothing: what each costs in memory, and
// what all cost in CPU with the server's pings on.
func (r *run) idle(ctx context.Context) error {
	if err := r.start(ctx); err != nil {
		return err
	}
	before, err := r.memory()
	if err != nil {
		return err
	}
	took, err := r.connectAll(ctx, r.opts.Rate)
	if err != nil {
		return err
	}
	r.say("resting for %v", r.opts.Duration)
	if err := pause(ctx, min(settle, r.opts.Duration)); err != nil {
		return err
	}
	cpu, err := r.rest(ctx)
	if err != nil {
		return err
	}
	after, err := r.memory()
	if err != nil {
		return err
	}
	r.report.Add("conns", float64(r.opts.Conns), "connections held")
	r.report.Add("connects_per_s", float64(r.opts.Conns)/took.Seconds(), "rate at which they came")
	r.addMemory(before, after)
	if r.stack != nil {
		r.report.Add("idle_cores", cpu.front.Seconds()/r.opts.Duration.Seconds(), "cores used by the front at rest, pings included")
	}
	return nil
}

// rest waits for the measured part and returns the CPU used meanwhile.
func (r *run) rest(ctx context.Context) (spent, error) {
	before, err := r.spent()
	if err != nil {
		return spent{}, err
	}
	if err := pause(ctx, r.opts.Duration); err != nil {
		return spent{}, err
	}
	after, err := r.spent()
	return after.since(before), err
}

func (r *run) addMemory(before, after memory) {
	if r.stack != nil {
		r.report.Add("kib_per_conn", float64(after.front-before.front)/1024/float64(r.opts.Conns),
			"KiB of the workers' memory per connection (Pss)")
	}
	sockets := float64(after.sockets - before.sockets) // both ends are on this machine
	kernel := float64(after.kernel-before.kernel) / 1024 / sockets
	if sockets < float64(r.opts.Conns) {
		kernel = math.NaN()
	}
	r.report.Add("kernel_kib_per_conn", kernel, "KiB of kernel slabs per socket")
}

// connect connects clients: the rate, and CPU for each.
func (r *run) connect(ctx context.Context) error {
	if err := r.start(ctx); err != nil {
		return err
	}
	before, err := r.spent()
	if err != nil {
		return err
	}
	took, err := r.connectAll(ctx, r.opts.Rate)
	if err != nil {
		return err
	}
	after, err := r.spent()
	if err != nil {
		return err
	}
	cpu, n := after.since(before), r.opts.Conns
	r.report.Add("conns", float64(n), "connections made")
	r.report.Add("connects_per_s", float64(n)/took.Seconds(), "connects per second, to hello")
	if r.stack != nil {
		r.report.Add("front_us_per_connect", per(cpu.front, n), "µs of front CPU per connect (token check and registration included)")
		r.report.Add("redis_us_per_connect", per(cpu.redis, n), "µs of Redis CPU per connect")
	}
	r.report.Add("client_us_per_connect", per(cpu.clients, n), "µs of client CPU per connect")
	return nil
}
