package clients

import "testing"

func TestShareOut(t *testing.T) {
	for _, c := range []struct{ n, conns, apart, subjects int }{
		{1, 10, 0, 0},
		{2, 10, 1, 1},
		{2, 10, 10, 2},
		{4, 10, 99, 4}, // no more than there are
		{12, 200_000, 0, 0},
		{12, 200_000, 50_000, 3},
		{12, 200_000, 10_000, 1},
		{8, 20_000, 10_000, 4},
		{3, 0, 0, 0},
	} {
		if need := Processes(c.conns, c.apart); need > c.n {
			t.Errorf("%+v: needs %d processes", c, need)
			continue
		}
		next, subjects := 0, 0
		for _, s := range shareOut(c.n, c.conns, c.apart) {
			if s.first != next || s.count > clientsPerProcess || s.apart && s.first < c.conns-c.apart {
				t.Errorf("%+v: share %+v, want one from %d", c, s, next)
			}
			next += s.count
			if s.apart {
				subjects++
			}
		}
		if next != c.conns || subjects != c.subjects {
			t.Errorf("%+v: %d clients, %d processes apart", c, next, subjects)
		}
	}
}
