package inbox

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
)

// scriptTime is what the scripts took of the server of ann while f ran, and how
// many there were.
func (b *box) scriptTime(f func()) (total time.Duration, calls int) {
	b.t.Helper()
	read := func() (usec, n int) {
		b.on("ann", func(ctx context.Context, c *redis.Client) error {
			info, err := c.Info(ctx, "commandstats").Result()
			if m := regexp.MustCompile(`cmdstat_evalsha:calls=(\d+),usec=(\d+)`).FindStringSubmatch(info); m != nil {
				n, _ = strconv.Atoi(m[1])
				usec, _ = strconv.Atoi(m[2])
			}
			return err
		})
		return usec, n
	}
	usec, n := read()
	f()
	usec2, n2 := read()
	return time.Duration(usec2-usec) * time.Microsecond, n2 - n
}

// BenchmarkScripts does to full inboxes, 200 notifications of 1.2 KB each, what
// costs the server most, and tells what one call of a script takes of it, on
// average, in the quickest round: the server counts time, and others use the CPU.
func BenchmarkScripts(b *testing.B) {
	users := make([]hub.UserID, scriptUsers)
	for i := range users {
		users[i] = hub.UserID(fmt.Sprint("user-", i))
	}
	account := hub.Account{Name: "game", Quota: 1 << 40}
	fill := func(b *testing.B, in *box, ttl time.Duration, users ...hub.UserID) {
		b.Helper()
		for i := range 200 {
			m := hub.Stored{ID: fmt.Sprint("n", i), Payload: make([]byte, 1200), Account: account}
			if err := in.Store(b.Context(), users, &m, ttl); err != nil {
				b.Fatal(err)
			}
		}
	}
	unknown, held := make([]string, 256), make([]string, 200)
	for i := range unknown {
		unknown[i] = fmt.Sprint("no-such-", i)
	}
	for i := range held {
		held[i] = fmt.Sprint("n", i)
	}
	last := hub.Stored{ID: "last", Payload: make([]byte, hub.MaxData), Account: account}
	for _, tc := range []struct {
		name    string
		prepare func(b *testing.B, in *box)
		run     func(ctx context.Context, in *box) error
	}{
		{
			"ack-256-unknown",
			func(b *testing.B, in *box) { fill(b, in, time.Hour, "ann") },
			func(ctx context.Context, in *box) error { return in.Ack(ctx, "ann", unknown) },
		},
		{
			"ack-all-held",
			func(b *testing.B, in *box) { fill(b, in, time.Hour, "ann") },
			func(ctx context.Context, in *box) error { return in.Ack(ctx, "ann", held) },
		},
		{
			"store-new-inboxes",
			func(b *testing.B, in *box) { fill(b, in, time.Hour, "ann") },
			func(ctx context.Context, in *box) error { return in.Store(ctx, users, &last, time.Hour) },
		},
		{
			"store-pushes-out-64KiB",
			func(b *testing.B, in *box) { fill(b, in, time.Hour, users...) },
			func(ctx context.Context, in *box) error { return in.Store(ctx, users, &last, time.Hour) },
		},
		{
			"store-sweeps-everything",
			func(b *testing.B, in *box) {
				m := hub.Stored{ID: "stays", Payload: []byte("x")}
				fill(b, in, 5*time.Second, users...)
				if err := in.Store(b.Context(), users, &m, time.Hour); err != nil {
					b.Fatal(err)
				}
				time.Sleep(5 * time.Second)
			},
			func(ctx context.Context, in *box) error { return in.Store(ctx, users, &last, time.Hour) },
		},
	} {
		b.Run(tc.name, func(b *testing.B) {
			in := newBox(b, nil)
			in.store("load the scripts", hub.ClassMust, time.Hour, "nobody")
			in.ack("nobody", "load")
			quickest, calls := time.Hour, 0
			for b.Loop() {
				b.StopTimer()
				in.on("ann", func(ctx context.Context, c *redis.Client) error { return c.FlushDB(ctx).Err() })
				tc.prepare(b, in)
				b.StartTimer()
				took, n := in.scriptTime(func() {
					if err := tc.run(b.Context(), in); err != nil {
						b.Fatal(err)
					}
				})
				quickest, calls = min(quickest, took/time.Duration(n)), n
			}
			b.ReportMetric(float64(quickest.Microseconds()), "redis-µs/call")
			b.ReportMetric(float64(calls), "calls/op")
		})
	}
}
