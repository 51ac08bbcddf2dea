package players

import (
	"testing"
	"time"
)

// TestOwnersHeardLate: what a player reads late, because it was not told at once, is not
// held against the owner that others have heard meanwhile; what it reads after the later
// owner itself is.
func TestOwnersHeardLate(t *testing.T) {
	t0 := time.Now()
	heard := func(late bool, first, second time.Duration) *player {
		return &player{room: "r", user: "u", late: late, owners: map[uint64]*span{
			1: {first: t0, last: t0.Add(first)}, 2: {first: t0.Add(second), last: t0.Add(time.Minute)},
		}}
	}
	for name, c := range map[string]struct {
		all  []*player
		want int
	}{
		"one after the other":     {[]*player{heard(false, 1, 2), heard(false, 2, 3)}, 0},
		"by another, at once":     {[]*player{heard(false, 1, 2), heard(false, 3, 4)}, 1},
		"by another, late":        {[]*player{heard(false, 1, 2), heard(true, 3, 4)}, 0},
		"by one that is late":     {[]*player{heard(true, 3, 2)}, 1},
		"by one, and one is late": {[]*player{heard(false, 3, 2), heard(true, 3, 4)}, 1},
	} {
		var v Verdict
		v.judgeOwners(c.all)
		if v.TwoOwners != c.want || v.TakenOver != 1 {
			t.Errorf("%s: two owners in %d rooms, want %d; %d taken over", name, v.TwoOwners, c.want, v.TakenOver)
		}
	}
}
