package roster

import (
	"fmt"
	"testing"

	"github.com/homing/homing/hub/fleet"
)

// BenchmarkScripts has assign.lua give places for as many requests as come in one call.
func BenchmarkScripts(b *testing.B) {
	for _, c := range []struct {
		name           string
		nodes, players int
		free           int // of each node, of 1000
	}{
		{"64 players, 8 nodes", 8, 1, 1000},
		{"64 players, 1000 nodes", 1000, 1, 1000},
		{"32 parties, 1000 nodes without room", 1000, 4, 3},
		{"2 parties of 64, 1000 nodes without room", 1000, 64, 63},
	} {
		b.Run(c.name, func(b *testing.B) {
			r := newBench(b, Config{})
			for _, id := range ids("n", c.nodes) {
				r.node(id, func(r *Report) { r.Capacity, r.Load.Connections = 1000, 1000-c.free }).report()
			}
			for n := 0; b.Loop(); n++ {
				b.StopTimer()
				args := r.head()
				for i := range min(batch, batchPlayers/c.players) {
					q := fleet.Request{ID: fmt.Sprint(n, "-", i), Players: c.players}
					r.must(r.complete(&q))
					args = append(args, r.job(&q).args...)
				}
				b.StartTimer()
				if _, err := r.run(b.Context(), "assigning", assignScript, args...); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
