package clients

import (
	"slices"
	"testing"

	"github.com/homing/homing/bench/times"
	"github.com/homing/homing/hub"
)

func TestPlan(t *testing.T) {
	p := Plan{Seed: 1, Conns: 1000, Targets: 300, Online: 150}
	a, b := NewPicker(p), NewPicker(p)
	_ = b.Online(41, nil) // the order of calls does not matter
	users := a.Users(42, nil)
	online := b.Online(42, nil)
	seen := map[hub.UserID]bool{}
	for _, u := range users {
		if seen[u] || u.Check() != nil {
			t.Fatalf("user %q twice or bad", u)
		}
		seen[u] = true
	}
	if len(users) != 300 || len(online) != 150 {
		t.Fatalf("%d users, %d online", len(users), len(online))
	}
	for _, u := range online {
		if !seen[User(int(u))] {
			t.Fatalf("user %d is due but not named", u)
		}
	}
	if small := NewPicker(Plan{Conns: 3, Targets: 10, Online: 5}); len(small.Online(0, nil)) != 3 {
		t.Error("want every connected user when there are fewer than asked for")
	}
}

func TestVerifySeesEverything(t *testing.T) {
	p := Plan{Seed: 3, Conns: 20, Targets: 10, Online: 10}
	got := func() [][]uint32 {
		g := make([][]uint32, p.Conns)
		picker := NewPicker(p)
		for n := range uint32(30) {
			for _, u := range picker.Online(n, nil) {
				g[u] = append(g[u], n)
			}
		}
		return g
	}
	cases := map[string]struct {
		change func([][]uint32)
		want   Verdict
	}{
		"exact":      {func([][]uint32) {}, Verdict{Expected: 300}},
		"lost":       {func(g [][]uint32) { g[4] = g[4][1:] }, Verdict{Expected: 300, Lost: 1}},
		"lost last":  {func(g [][]uint32) { g[4] = g[4][:len(g[4])-1] }, Verdict{Expected: 300, Lost: 1}},
		"duplicated": {func(g [][]uint32) { g[4] = append(g[4], g[4][0], g[4][0]) }, Verdict{Expected: 300, Duplicated: 2}},
		"stray":      {func(g [][]uint32) { g[4] = append(g[4], 1000) }, Verdict{Expected: 300, Stray: 1}},
		"reversed":   {func(g [][]uint32) { slices.Reverse(g[4]) }, Verdict{Expected: 300}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			g := got()
			c.change(g)
			if v := verify(p, Sent{N: 30}, 0, g); v != c.want {
				t.Errorf("verdict = %+v, want %+v", v, c.want)
			}
		})
	}
}

// BenchmarkVerify is one process's part of checking a long run: 300,000
// notifications to 150 of 200,000 clients, of whom it holds a twelfth.
func BenchmarkVerify(b *testing.B) {
	const first, clients, notifications = 100_000, 200_000 / 12, 300_000
	p := Plan{Seed: 1, Conns: 200_000, Targets: 300, Online: 150}
	got := make([][]uint32, clients)
	picker, users := NewPicker(p), []int32(nil)
	for n := range uint32(notifications) {
		users = picker.Online(n, users[:0])
		for _, u := range users {
			if i := int(u) - first; i >= 0 && i < clients {
				got[i] = append(got[i], n)
			}
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if v := verify(p, Sent{N: notifications}, first, got); v.Lost+v.Stray+v.Duplicated > 0 {
			b.Fatalf("verdict = %+v", v)
		}
	}
}

// BenchmarkSample is what a second's latencies cost a process to tell.
func BenchmarkSample(b *testing.B) {
	s := &server{engine: &engine{recent: times.New(), lag: times.New()}}
	for b.Loop() {
		for i := range int64(6000) {
			_ = s.engine.recent.RecordValue(500 + i*i%20_000)
		}
		if _, err := s.sample(); err != nil {
			b.Fatal(err)
		}
	}
}
