package loop

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// Timers fire in order, and near their moment: the figure is printed, and the
// limit is for a machine that is busy with other tests.
func TestTimers(t *testing.T) {
	r := start(t, nil)
	const n = 200
	late := make(chan time.Duration, n)
	r.on(func() {
		var last time.Time
		for range n {
			d := rand.N(500 * time.Millisecond)
			at := time.Now().Add(d)
			r.AfterFunc(d, func() {
				if at.Before(last) {
					t.Error("out of order")
				}
				last = at
				late <- time.Since(at)
			})
		}
	})
	var all []time.Duration
	for range n {
		all = append(all, <-late)
	}
	slices.Sort(all)
	t.Logf("late by %v at the median, %v at the 99th percentile", all[n/2], all[n*99/100])
	if all[0] < 0 || all[n/2] > 5*time.Millisecond {
		t.Errorf("early by %v, or late by %v at the median", -all[0], all[n/2])
	}
}

func TestAStoppedTimerDoesNotFire(t *testing.T) {
	r := start(t, nil)
	fired := make(chan string, 3)
	r.on(func() {
		a := r.AfterFunc(20*time.Millisecond, func() { fired <- "a" })
		r.AfterFunc(30*time.Millisecond, func() { fired <- "b" })
		if !a.Stop() || a.Stop() {
			t.Error("Stop does not say what it does")
		}
	})
	if got := <-fired; got != "b" {
		t.Errorf("%s fired", got)
	}
}
