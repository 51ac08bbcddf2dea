package crowd

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"

	"github.com/homing/homing/bench/child"
)

// Party is a set of processes that share the players of one run. Its methods
// block until every process has answered, and are not to be called at the same
// time. A context that ends during a call kills the processes.
type Party struct {
	processes []*child.Process
}

// Start starts n processes by running argv. Stop ends them.
func Start(argv, env []string, n int, stderr io.Writer) (*Party, error) {
	p := &Party{}
	for range max(n, 1) {
		c, err := child.Start(argv, env, stderr)
		if err != nil {
			return nil, errors.Join(err, p.Stop())
		}
		p.processes = append(p.processes, c)
	}
	return p, nil
}

// Stop closes all connections and ends the processes.
func (p *Party) Stop() error {
	errs := make([]error, len(p.processes))
	_ = p.each(func(i int, c *child.Process) error {
		errs[i] = c.Stop()
		return nil
	})
	return errors.Join(errs...)
}

// PIDs returns the ids of the processes.
func (p *Party) PIDs() []int {
	var pids []int
	for _, c := range p.processes {
		pids = append(pids, c.PID())
	}
	return pids
}

// Enter brings further players into their rooms, whose seats are given, and
// returns when each is there or has failed. hz is the ticks a second of the rooms.
// The players of a room share a process. The error is an ErrFailed, and says why,
// when a player failed.
func (p *Party) Enter(ctx context.Context, d Dialect, hz int, seats []Seat) error {
	if hz < 1 {
		return fmt.Errorf("enter: %d ticks a second, want 1 or more", hz)
	}
	arrivals := make([]arrival, len(p.processes))
	for i := range arrivals {
		arrivals[i] = arrival{Dialect: d, Hz: hz}
	}
	for _, s := range seats {
		a := &arrivals[s.Room%len(arrivals)]
		a.Seats = append(a.Seats, s)
	}
	parts := make([]report, len(p.processes))
	err := p.each(func(i int, c *child.Process) error { return c.Call(ctx, "enter", arrivals[i], &parts[i], nil) })
	if err != nil {
		return err
	}
	var all Counts
	why := ""
	for _, part := range parts {
		all = all.plus(part.Counts)
		if part.Why != "" {
			why = part.Why
		}
	}
	if all.Failed > 0 {
		return fmt.Errorf("%w: %d: %s", ErrFailed, all.Failed, why)
	}
	return nil
}

// ErrFailed marks that players did not get into their rooms.
var ErrFailed = errors.New("players did not get into their rooms")

// Play has every player say where it is, rate times a second; 0: no more.
func (p *Party) Play(ctx context.Context, rate float64) error { return p.all(ctx, "play", rate) }

// Mark begins the measured part.
func (p *Party) Mark(ctx context.Context) error { return p.all(ctx, "mark", nil) }

// Leave has all players leave, and forgets them.
func (p *Party) Leave(ctx context.Context) error { return p.all(ctx, "leave", nil) }

// Report returns what players have seen since Mark.
func (p *Party) Report(ctx context.Context) (Report, error) {
	parts := make([]report, len(p.processes))
	err := p.each(func(i int, c *child.Process) error { return c.Call(ctx, "report", nil, &parts[i], nil) })
	if err != nil {
		return Report{}, err
	}
	return sum(parts)
}

func (p *Party) all(ctx context.Context, do string, with any) error {
	return p.each(func(_ int, c *child.Process) error { return c.Call(ctx, do, with, nil, nil) })
}

// each calls f for every process at the same time.
func (p *Party) each(f func(int, *child.Process) error) error {
	var g errgroup.Group
	for i, c := range p.processes {
		g.Go(func() error { return f(i, c) })
	}
	return g.Wait()
}
