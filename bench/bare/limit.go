package bare

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/homing/homing/bench/child"
	"github.com/homing/homing/bench/clients"
)

// ProcessConns is how many clients one process holds at most: it stays under
// the usual limit of 20,000 descriptors.
const ProcessConns = 18_000

// Load is what to write.
type Load struct {
	Plan      clients.Plan  // Plan.Conns clients are connected; only Online matters of the rest
	Broadcast bool          // every notification goes to all clients, whatever the plan says
	Rate      float64       // notifications a second, more than 0
	Duration  time.Duration // of the writing
	Payload   int           // bytes of a notification's data
}

// Result is what it took, all processes together.
type Result struct {
	Notifications uint32        // sent: 0 up to and without this
	Written       int           // frames taken by the kernel
	Full          int           // frames that it would not take
	CPU           time.Duration // user and system time of the writing
	Took          time.Duration // from the schedule's start until the last process was done
}

// Limit is a set of bare processes. Clients may be spread over them in any
// way. Its methods are not to be called concurrently.
type Limit struct {
	procs []*child.Process
	urls  []string
}

// Start starts n processes, at least one, by running argv; each holds
// ProcessConns clients at most. Stop ends them.
func Start(ctx context.Context, argv, env []string, n int, stderr io.Writer) (*Limit, error) {
	l := &Limit{urls: make([]string, n)}
	for range n {
		p, err := child.Start(argv, env, stderr)
		if err != nil {
			return nil, errors.Join(err, l.Stop())
		}
		l.procs = append(l.procs, p)
	}
	err := l.each(func(i int, p *child.Process) error { return p.Call(ctx, callListen, nil, &l.urls[i], nil) })
	if err != nil {
		return nil, errors.Join(err, l.Stop())
	}
	return l, nil
}

// Stop closes all clients' sockets and ends the processes, all at the same time.
func (l *Limit) Stop() error {
	errs := make([]error, len(l.procs))
	_ = l.each(func(i int, p *child.Process) error {
		errs[i] = p.Stop()
		return nil
	})
	return errors.Join(errs...)
}

// URLs are where clients connect to, one for each process.
func (l *Limit) URLs() []string { return l.urls }

// PIDs returns the processes' ids.
func (l *Limit) PIDs() []int {
	var pids []int
	for _, p := range l.procs {
		pids = append(pids, p.PID())
	}
	return pids
}

var errMissing = errors.New("not connected")

// headStart is how long before the schedule's start all processes are told of it.
const headStart = 100 * time.Millisecond

// Flood writes on an open-loop schedule, which all processes start at the same
// instant and of which each writes what is for the clients that it holds. It
// blocks until the last is done.
func (l *Limit) Flood(ctx context.Context, load Load) (Result, error) {
	held := make([]int, len(l.procs))
	err := l.each(func(i int, p *child.Process) error { return p.Call(ctx, callPrepare, load, &held[i], nil) })
	if err != nil {
		return Result{}, err
	}
	missing := load.Plan.Conns
	for _, n := range held {
		missing -= n
	}
	if missing != 0 {
		return Result{}, fmt.Errorf("bare limit: %d of %d clients %w", missing, load.Plan.Conns, errMissing)
	}
	start := time.Now().Add(headStart)
	parts := make([]Result, len(l.procs))
	err = l.each(func(i int, p *child.Process) error { return p.Call(ctx, callWrite, start, &parts[i], nil) })
	var sum Result
	for _, r := range parts {
		sum = sum.plus(r)
	}
	return sum, err
}

func (r Result) plus(s Result) Result {
	return Result{
		Notifications: max(r.Notifications, s.Notifications), Written: r.Written + s.Written,
		Full: r.Full + s.Full, CPU: r.CPU + s.CPU, Took: max(r.Took, s.Took),
	}
}

// each calls f for every process at the same time.
func (l *Limit) each(f func(int, *child.Process) error) error {
	var g errgroup.Group
	for i, p := range l.procs {
		g.Go(func() error { return f(i, p) })
	}
	return g.Wait() //nolint:wrapcheck // Call says which process and what
}
