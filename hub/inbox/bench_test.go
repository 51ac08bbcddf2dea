package inbox

import (
	"fmt"
	"testing"
	"time"

	"github.com/homing/homing/hub"
)

// BenchmarkStore stores 1 KB for 300 users; in "full" every inbox has to give
// something up for it.
func BenchmarkStore(b *testing.B) {
	var users []hub.UserID
	for i := range 300 {
		users = append(users, hub.UserID(fmt.Sprint("user-", i)))
	}
	for name, limit := range map[string]int{"room": 10_000, "full": 20} {
		b.Run(name, func(b *testing.B) {
			in := newBox(b, func(c *Config) { c.MaxCount = limit; c.MaxBytes = 64 << 20 })
			m := hub.Stored{Payload: make([]byte, 1024)}
			n := 0
			for b.Loop() {
				n++
				m.ID = fmt.Sprint("n", n)
				if err := in.Store(b.Context(), users, &m, time.Hour); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(n*len(users)), "µs/user")
		})
	}
}

// BenchmarkRead reads an inbox of 200 notifications of 1 KB, and an empty one.
func BenchmarkRead(b *testing.B) {
	in := newBox(b, nil)
	for i := range 200 {
		m := hub.Stored{ID: fmt.Sprint("n", i), Payload: make([]byte, 1024)}
		if err := in.Store(b.Context(), []hub.UserID{"ann"}, &m, time.Hour); err != nil {
			b.Fatal(err)
		}
	}
	for name, user := range map[string]hub.UserID{"200": "ann", "empty": "bob"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := in.Read(b.Context(), user, "n5"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
