package drill

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestWatchKeepsItsPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watching(t.Context(), time.Second, func(context.Context, int) answer { return answer{at: time.Now()} })
		time.Sleep(3500 * time.Millisecond)
		if n := len(w.soFar()); n != 4 {
			t.Errorf("%d calls in 3.5s, want 4", n)
		}
		if n := len(w.end()); n != 4 {
			t.Errorf("%d calls at the end", n)
		}
	})
}

// calls made at so many milliseconds after t0, each answered after 100 ms.
func calls(t0 time.Time, status map[int]int) (out []answer) {
	for at := range 50 {
		a := answer{what: "x", at: t0.Add(time.Duration(at) * 100 * time.Millisecond), took: 100 * time.Millisecond, status: 200}
		if s, odd := status[at]; odd {
			a.status, a.wait = s, s == 503
		}
		out = append(out, a)
	}
	return out
}

func TestBackIsTheEndOfTheLastFailure(t *testing.T) {
	t0 := time.Now()
	answers := calls(t0, map[int]int{12: 503, 14: 503, 30: 503})
	fault, next := t0.Add(time.Second), t0.Add(2*time.Second)
	if got := back(answers, fault, next); got != 500*time.Millisecond {
		t.Errorf("back after %v, want 500ms", got)
	}
	answers[18].took = 2 * time.Second // right, and late
	if got := back(answers, fault, next); got != 2800*time.Millisecond {
		t.Errorf("back after %v, want 2.8s", got)
	}
	if got := back(answers, t0.Add(4*time.Second), t0.Add(5*time.Second)); got != 0 {
		t.Errorf("back after %v, want at once", got)
	}
	if n := len(between(answers, fault, next)); n != 10 {
		t.Errorf("%d calls between, want 10", n)
	}
	if n := len(during(answers, fault, next)); n != 8 { // one is answered at the end, one late
		t.Errorf("%d calls during, want 8", n)
	}
}
