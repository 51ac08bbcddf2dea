package load

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Schedule is an open-loop load: call n is due at its own instant, whether or
// not the calls before it have been answered. A call that starts late is late
// on the books: it is told the instant it was due, and latency counts from
// there, so that a slow system cannot hide behind a load that waits for it.
type Schedule struct {
	Rate     float64       // calls a second; above 0
	Duration time.Duration // of the whole schedule
	Callers  int           // calls under way at a time at most
}

// Calls is how many calls the schedule holds.
func (s Schedule) Calls() int { return int(s.Rate * s.Duration.Seconds()) }

// Run makes the calls from as many goroutines as needed and returns when all
// have returned, or, once ctx has ended, those that were under way. prepare is
// told each call's number and instant ahead of it, in order, and returns the
// call, so that what it takes to write a request is not counted as latency.
func (s Schedule) Run(ctx context.Context, prepare func(n int, due time.Time) (call func(context.Context))) {
	start := time.Now()
	due := make(chan func(context.Context))
	var callers sync.WaitGroup
	for range s.Callers {
		callers.Go(func() {
			for call := range due {
				call(ctx)
			}
		})
	}
	for n := range s.Calls() {
		call := prepare(n, s.at(start, n))
		if !SleepUntil(ctx, s.at(start, n)) {
			break
		}
		due <- call
	}
	close(due)
	callers.Wait()
}

func (s Schedule) at(start time.Time, n int) time.Time {
	return start.Add(time.Duration(float64(n) / s.Rate * float64(time.Second)))
}

// timerGrain is by how much a timer of the runtime may be late when nothing
// else is awake: it waits in whole milliseconds.
const timerGrain = 2 * time.Millisecond

// SleepUntil waits for an instant and reports whether ctx lasted that long. It
// is late by what it takes the kernel to wake a thread, not by the grain of
// the runtime's timers.
func SleepUntil(ctx context.Context, at time.Time) bool {
	if wait := time.Until(at) - timerGrain; wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return false
		}
	}
	if wait := time.Until(at); wait > 0 {
		rest := unix.NsecToTimespec(wait.Nanoseconds())
		_ = unix.Nanosleep(&rest, nil) // EINTR: a little early, which the schedule's rate makes up for
	}
	return ctx.Err() == nil
}
