package load

import (
	"context"
	"sync"
	"time"
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
// have returned, or, once ctx has ended, those that were under way.
func (s Schedule) Run(ctx context.Context, call func(ctx context.Context, n int, due time.Time)) {
	start := time.Now()
	due := make(chan int)
	var callers sync.WaitGroup
	for range s.Callers {
		callers.Go(func() {
			for n := range due {
				call(ctx, n, s.at(start, n))
			}
		})
	}
	for n := range s.Calls() {
		if !SleepUntil(ctx, s.at(start, n)) {
			break
		}
		due <- n
	}
	close(due)
	callers.Wait()
}

func (s Schedule) at(start time.Time, n int) time.Time {
	return start.Add(time.Duration(float64(n) / s.Rate * float64(time.Second)))
}

// SleepUntil waits for an instant and reports whether ctx lasted that long.
func SleepUntil(ctx context.Context, at time.Time) bool {
	wait := time.Until(at)
	if wait <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
