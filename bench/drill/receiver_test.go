package drill

import (
	"testing"
	"time"
)

// TestReceiverJudges: what is lost, repeated, out of order or of nobody is told apart.
func TestReceiverJudges(t *testing.T) {
	at := time.Now()
	arrive := func(user, n int, repeat bool) arrival {
		at = at.Add(time.Second)
		return arrival{told: told{user, n}, repeat: repeat, at: at}
	}
	whole := func() *receiver {
		return &receiver{requests: 5, arrivals: []arrival{arrive(0, 1, false), arrive(1, 1, false), arrive(0, 2, false), arrive(0, 1, true), arrive(1, 2, false)}}
	}
	posted := []int{2, 1} // the second of user 1 was not accepted
	if got, want := whole().judge(posted), (hearing{told: 3, repeated: 1, requests: 5, gap: time.Second}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	for name, c := range map[string]struct {
		change func(b *receiver)
		wrong  func(v hearing) bool
	}{
		"lost":          {func(b *receiver) { b.arrivals = b.arrivals[1:] }, func(v hearing) bool { return v.lost == 1 && v.told == 2 }},
		"out of order":  {func(b *receiver) { b.arrivals[0], b.arrivals[2] = b.arrivals[2], b.arrivals[0] }, func(v hearing) bool { return v.reordered == 1 }},
		"a new id":      {func(b *receiver) { b.arrivals[3].repeat = false }, func(v hearing) bool { return v.strange == 1 }},
		"nobody's":      {func(b *receiver) { b.arrivals[0].User = 7 }, func(v hearing) bool { return v.strange == 1 && v.lost == 1 }},
		"never posted":  {func(b *receiver) { b.arrivals[4].N = 3 }, func(v hearing) bool { return v.strange == 1 }},
		"a long pause":  {func(b *receiver) { b.arrivals[4].at = at.Add(time.Hour) }, func(v hearing) bool { return v.gap > time.Hour }},
		"more repeated": {func(b *receiver) { b.arrivals = append(b.arrivals, arrive(0, 2, true)) }, func(v hearing) bool { return v.repeated == 2 && v.lost == 0 }},
	} {
		b := whole()
		c.change(b)
		if v := b.judge(posted); !c.wrong(v) {
			t.Errorf("%s: %+v", name, v)
		}
	}
}
