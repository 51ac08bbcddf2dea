package loop

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// Timers are called in order, and near their moment: the figure is printed, and
// the limit is for a machine that is busy with other tests.
func TestTimersAreExact(t *testing.T) {
	r := start(t, nil)
	const n = 200
	late := make(chan time.Duration, n)
	r.on(func() {
		var last time.Time
		for range n {
			var timer *Timer
			timer = r.AfterFunc(rand.N(time.Second), func() {
				if timer.at.Before(last) {
					t.Error("out of order")
				}
				last = timer.at
				late <- time.Since(timer.at)
			})
		}
	})
	var all []time.Duration
	for range n {
		all = append(all, <-late)
	}
	slices.Sort(all)
	t.Logf("late by %v at the median, %v at the 99th percentile, %v at most", all[n/2], all[n*99/100], all[n-1])
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

// Whatever is stopped, the others are called in order; those of one moment in the
// order in which they were made.
func TestTimersThatAreStoppedLeaveTheOthersInOrder(t *testing.T) {
	var ts timers
	now := time.Now()
	var want, got []int
	var all []*Timer
	for i := range 500 {
		all = append(all, ts.add(now.Add(time.Duration(i/3)), func() { got = append(got, i) }))
	}
	for _, i := range rand.Perm(len(all))[:200] {
		if !all[i].Stop() {
			t.Fatal("a timer cannot be stopped")
		}
	}
	for i, timer := range all {
		if timer.index >= 0 {
			want = append(want, i)
		}
	}
	for ts.next(now.Add(time.Hour)).Before(now.Add(time.Hour)) {
		ts.call(now.Add(time.Minute))
	}
	if !slices.Equal(got, want) {
		t.Errorf("called %v, want %v", got, want)
	}
	for _, timer := range all {
		if timer.Stop() {
			t.Fatal("a timer that was called or stopped can be stopped")
		}
	}
}

// A turn calls a limited number of timers, and none that was made in it: those
// who always ask for one more, however late they are, hold up nobody.
func TestTimersDoNotHoldUpTheLoop(t *testing.T) {
	turns, calls, most := 0, 0, 0
	r := start(t, func(_ *Config, h *lines) {
		h.turn = func(what string) {
			if what == "begin" {
				turns, calls = turns+1, 0
			}
		}
	})
	conn := r.dial()
	var again func()
	again = func() {
		calls++
		most = max(most, calls)
		r.AfterFunc(-time.Hour, again)
	}
	r.on(func() {
		for range 3 * timerBudget {
			r.AfterFunc(0, again)
		}
	})
	for range 10 {
		r.say(conn, "x", 2)
	}
	r.on(func() {
		if most != timerBudget || turns < 10 {
			t.Errorf("%d calls in one of %d turns, want %d", most, turns, timerBudget)
		}
	})
}

// A loop without timers does not wake for them.
func TestALoopAtRestWakesOncePerTick(t *testing.T) {
	turns := 0
	r := start(t, func(_ *Config, h *lines) {
		h.turn = func(what string) {
			if what == "begin" {
				turns++
			}
		}
	})
	r.dial()
	begun := time.Now()
	r.on(func() { turns = 0 })
	time.Sleep(5 * TickLength)
	r.on(func() {
		if most := int(time.Since(begun)/TickLength) + 3; turns > most {
			t.Errorf("%d turns, want %d at most", turns, most)
		}
	})
}
