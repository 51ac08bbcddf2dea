package host

import (
	"context"
	"sync"
	"time"
)

// evacuatePause is the time between two attempts to move the rooms that are left.
const evacuatePause = time.Second

// evacuator empties a process that goes on, and may be told to keep what is left.
type evacuator struct {
	*env
	drainer *drainer
	table   *table
	keeper  *keeper

	changed chan struct{} // has room for one

	mu       sync.Mutex
	deadline time.Time          // by which it is to be empty; zero: it is not to be
	end      context.CancelFunc // of what is done about the deadline before; nil: nothing is
}

// set has the process be emptied by a deadline, or with the zero one keep what it has.
func (e *evacuator) set(deadline time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.deadline.Equal(deadline) {
		return
	}
	e.deadline = deadline
	if e.end != nil {
		e.end()
		e.end = nil
	}
	select {
	case e.changed <- struct{}{}:
	default:
	}
}

// begin returns until when the process is to be emptied, with what ends when something
// else is wanted.
func (e *evacuator) begin(ctx context.Context) (context.Context, time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	ctx, e.end = context.WithCancel(ctx)
	return ctx, e.deadline
}

// run empties the process when that is wanted, until ctx ends.
func (e *evacuator) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.changed:
		}
		order, deadline := e.begin(ctx)
		if deadline.IsZero() {
			e.table.reopen()
		} else {
			e.evacuate(order, deadline)
		}
		if ctx.Err() != nil {
			return // the stop goes on with what is left
		}
		e.offer(ctx)
	}
}

// evacuate has the rooms move away, and ends those that are left at the deadline.
func (e *evacuator) evacuate(ctx context.Context, deadline time.Time) {
	e.table.drain()
	e.offer(ctx)
	moving, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	for pause(moving, 0) {
		e.drainer.sendAllAway(moving, e.table.all())
		if !pause(moving, evacuatePause) {
			break
		}
	}
	if ctx.Err() == nil {
		e.drainer.endAll()
	}
}

// offer tells the directory at once whether this process takes rooms. The keeper does
// it each second anyway.
func (e *evacuator) offer(ctx context.Context) {
	if err := e.keeper.offer(ctx); err != nil && ctx.Err() == nil {
		e.Log.Warn("room: the directory was not told whether this process takes rooms", "err", err)
	}
}
