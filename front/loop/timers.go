package loop

import (
	"container/heap"
	"time"
)

// Timer calls a function once, on the loop's goroutine, which owns it.
type Timer struct {
	at    time.Time
	f     func()
	heap  *timers
	index int // in heap; -1: it has been called or stopped
}

// Stop prevents the call, and reports whether it does: false after the call, and
// after Stop.
func (t *Timer) Stop() bool {
	if t.index < 0 {
		return false
	}
	heap.Remove(t.heap, t.index)
	return true
}

// timers are a heap, the first to come on top.
type timers []*Timer

// add has f called at a moment.
func (h *timers) add(at time.Time, f func()) *Timer {
	t := &Timer{at: at, f: f, heap: h}
	heap.Push(h, t)
	return t
}

// next is when the loop must wake: at the first timer, or at wakeAt if that
// comes before.
func (h *timers) next(wakeAt time.Time) time.Time {
	if len(*h) > 0 && (*h)[0].at.Before(wakeAt) {
		return (*h)[0].at
	}
	return wakeAt
}

// call calls those that were due at a moment. What they add waits for another turn.
func (h *timers) call(now time.Time) {
	for len(*h) > 0 && !(*h)[0].at.After(now) {
		t := heap.Pop(h).(*Timer)
		t.f()
	}
}

func (h timers) Len() int           { return len(h) }
func (h timers) Less(i, j int) bool { return h[i].at.Before(h[j].at) }

func (h timers) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push is heap.Interface's.
func (h *timers) Push(x any) {
	t := x.(*Timer)
	t.index = len(*h)
	*h = append(*h, t)
}

// Pop is heap.Interface's.
func (h *timers) Pop() any {
	last := len(*h) - 1
	t := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	t.index = -1
	return t
}
