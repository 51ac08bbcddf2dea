package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/homing/homing/bench/bees"
	"github.com/homing/homing/bench/report"
	"github.com/homing/homing/bench/stack"
	"github.com/homing/homing/bench/usage"
)

// run is one scenario under way.
type run struct {
	opts    Options
	stderr  io.Writer
	started time.Time
	report  report.Report

	stack *stack.Stack // nil when measuring a running system
	hive  *bees.Hive
}

// say prints a line of progress.
func (r *run) say(format string, args ...any) {
	fmt.Fprintf(r.stderr, "%6.1fs  %s\n", time.Since(r.started).Seconds(), fmt.Sprintf(format, args...))
}

// start starts what the options do not point at, and the client processes.
func (r *run) start(ctx context.Context) error {
	if r.opts.API == "" {
		r.say("starting Redis, %d API and %d front worker processes", r.opts.APIs, r.opts.Workers)
		if err := r.startStack(ctx); err != nil {
			return err
		}
	}
	return r.startHive()
}

func (r *run) startStack(ctx context.Context) (err error) {
	r.stack, err = stack.Start(ctx, r.stackOptions())
	return err
}

func (r *run) stackOptions() stack.Options {
	return stack.Options{
		Binary: r.opts.Binary, APIs: r.opts.APIs, Workers: r.opts.Workers,
		Shards: r.opts.Shards, Replicas: r.opts.Replicas, LogDir: r.opts.LogDir,
	}
}

func (r *run) startHive() error {
	argv, env, err := helperCommand(helperBee)
	if err != nil {
		return err
	}
	r.hive, err = bees.Start(argv, env, r.opts.Bees, r.opts.Conns, r.stderr)
	return err
}

func (r *run) stop() error {
	err := r.stopHive()
	if r.stack != nil {
		r.say("stopping")
		err = errors.Join(err, r.stack.Stop(false))
	}
	return err
}

func (r *run) stopHive() error {
	if r.hive == nil {
		return nil
	}
	err := r.hive.Stop()
	r.hive = nil
	return err
}

// connectAll connects all clients at rate and reports how long it took.
func (r *run) connectAll(ctx context.Context, rate float64) (time.Duration, error) {
	target, err := r.target()
	if err != nil {
		return 0, err
	}
	target.Rate = rate
	return r.connectTo(ctx, target)
}

func (r *run) connectTo(ctx context.Context, target bees.Target) (time.Duration, error) {
	if err := r.hive.Prepare(ctx, target); err != nil {
		return 0, err
	}
	r.say("connecting %d clients", target.Conns)
	start := time.Now()
	_, err := r.hive.Connect(ctx, target, func(c bees.Counts) { r.say("  %d connected", c.Open) })
	took := time.Since(start)
	if err == nil {
		r.say("connected in %.2fs", took.Seconds())
	}
	return took, err
}

// target is whom the clients connect to.
func (r *run) target() (bees.Target, error) {
	t := bees.Target{Conns: r.opts.Conns}
	if r.stack != nil {
		t.Fronts, t.Secret = []string{r.stack.Front()}, r.stack.Secret()
		return t, nil
	}
	t.Fronts = r.opts.Front
	if r.opts.SecretFile == "" {
		return t, nil
	}
	secret, err := os.ReadFile(r.opts.SecretFile)
	t.Secret = []byte(strings.TrimRight(string(secret), "\r\n"))
	return t, err
}

// callee is the API servers to call, and the key.
func (r *run) callee() (urls []string, key string, err error) {
	if r.stack != nil {
		return r.stack.APIs(), r.stack.Key(), nil
	}
	if r.opts.APIKeyFile == "" {
		return []string{r.opts.API}, "", nil
	}
	raw, err := os.ReadFile(r.opts.APIKeyFile)
	return []string{r.opts.API}, strings.TrimSpace(string(raw)), err
}

// spent is the CPU time that each group of processes has used so far. The
// groups of a system that we did not start are unknown.
type spent struct {
	api, front, redis, clients time.Duration
	at                         time.Time
}

func (r *run) spent() (s spent, err error) {
	if s.clients, err = usage.CPU(r.hive.PIDs()...); err != nil || r.stack == nil {
		return s, err
	}
	front, err := r.stack.FrontPIDs()
	if err != nil {
		return s, err
	}
	var errs [3]error
	s.front, errs[0] = usage.CPU(front...)
	s.api, errs[1] = usage.CPU(r.stack.APIPIDs()...)
	s.redis, errs[2] = usage.CPU(r.stack.RedisPIDs()...)
	s.at = time.Now()
	return s, errors.Join(errs[:]...)
}

func (s spent) since(before spent) spent {
	return spent{api: s.api - before.api, front: s.front - before.front, redis: s.redis - before.redis, clients: s.clients - before.clients}
}

// per is a group's CPU time in microseconds per event.
func per(d time.Duration, events int) float64 {
	return float64(d.Microseconds()) / float64(events)
}

// memory is what connections occupy.
type memory struct {
	front   int64 // bytes of the workers
	kernel  int64 // bytes of kernel slabs
	sockets int   // TCP sockets on the machine
}

func (r *run) memory() (m memory, err error) {
	if m.kernel, m.sockets, err = usage.KernelMemory(); err != nil || r.stack == nil {
		return m, err
	}
	workers, err := r.stack.Workers()
	if err != nil {
		return m, err
	}
	m.front, err = usage.Memory(workers...)
	return m, err
}

// pause waits, unless ctx ends first.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
