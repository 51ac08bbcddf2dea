package loop

import (
	"container/heap"
	"time"
)

// timerBudget is how many timers one turn calls; the rest follows in the next one.
const timerBudget = 64

// Timer calls a function once, on the loop's goroutine, which owns it.
type Timer struct {
	at     time.Time
	serial uint64 // tells apart those of one moment: the older one comes first
	f      func()
	timers *timers
	index  int // in timers.heap; -1: it has been called or stopped
}

// Stop prevents the call, and reports whether it does: false after the call, and
// after Stop.
func (t *Timer) Stop() bool {
	if t.index < 0 {
		return false
	}
	heap.Remove(&t.timers.heap, t.index)
	return true
}

// timers are what AfterFunc has made and has not called yet. The loop owns it.
type timers struct {
	heap   timerHeap
	serial uint64 // of the newest
}

// add has f called at a moment.
func (ts *timers) add(at time.Time, f func()) *Timer {
	ts.serial++
	t := &Timer{at: at, serial: ts.serial, f: f, timers: ts}
	heap.Push(&ts.heap, t)
	return t
}

// next is when the loop must wake: at the first timer, or at wakeAt if that
// comes before.
func (ts *timers) next(wakeAt time.Time) time.Time {
	if len(ts.heap) > 0 && ts.heap[0].at.Before(wakeAt) {
		return ts.heap[0].at
	}
	return wakeAt
}

// call calls those that are due at a moment, a limited number: as next tells of
// those that are left, the loop does not wait before it calls them. What a call
// adds must be due later than now.
func (ts *timers) call(now time.Time) {
	for range timerBudget {
		if len(ts.heap) == 0 || ts.heap[0].at.After(now) {
			return
		}
		heap.Pop(&ts.heap).(*Timer).f()
	}
}

// timerHeap is a heap.Interface, the first to come on top.
type timerHeap []*Timer

func (h timerHeap) Len() int { return len(h) }

func (h timerHeap) Less(i, j int) bool {
	if c := h[i].at.Compare(h[j].at); c != 0 {
		return c < 0
	}
	return h[i].serial < h[j].serial
}

func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push is heap.Interface's.
func (h *timerHeap) Push(x any) {
	t := x.(*Timer)
	t.index = len(*h)
	*h = append(*h, t)
}

// Pop is heap.Interface's.
func (h *timerHeap) Pop() any {
	last := len(*h) - 1
	t := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	t.index = -1
	return t
}
