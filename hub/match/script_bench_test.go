package match

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

// scriptTime is what the scripts took of the server while f ran, by its own clock, and
// how many there were.
func scriptTime(b *testing.B, c *redis.Client, f func()) (total time.Duration, calls int) {
	b.Helper()
	read := func() (usec, n int) {
		info, err := c.Info(b.Context(), "commandstats").Result()
		if err != nil {
			b.Fatal(err)
		}
		if m := regexp.MustCompile(`cmdstat_evalsha:calls=(\d+),usec=(\d+)`).FindStringSubmatch(info); m != nil {
			n, _ = strconv.Atoi(m[1])
			usec, _ = strconv.Atoi(m[2])
		}
		return usec, n
	}
	usec, n := read()
	f()
	usec2, n2 := read()
	return time.Duration(usec2-usec) * time.Microsecond, n2 - n
}

// BenchmarkScripts tells what one call of a script takes of the server, for two players
// as usual and for what is largest.
func BenchmarkScripts(b *testing.B) {
	for _, tc := range []struct {
		name    string
		parties int // tickets of a match, each of so many
		size    int
		matches int
	}{{"usual", 2, 1, 1}, {"largest-match", 256, 1, 1}, {"largest-parties", 2, 128, 1}, {"many", 2, 1, 1000}} {
		b.Run(tc.name, func(b *testing.B) {
			q := &Queue{Name: "q", Teams: 2, TeamSize: 128, Steps: []Step{{}}, Expire: time.Minute}
			h := newHall(b, q)
			l := h.solo("q")
			c, err := l.shard.Master()
			if err != nil {
				b.Fatal(err)
			}
			took := map[string]time.Duration{}
			for b.Loop() {
				c.FlushDB(b.Context())
				for name, f := range h.life(b, l, tc.parties, tc.size, tc.matches) {
					total, n := scriptTime(b, c, f)
					d := total / time.Duration(max(1, n))
					if best, ok := took[name]; !ok || d < best {
						took[name] = d
					}
				}
			}
			for name, d := range took {
				b.ReportMetric(float64(d.Microseconds()), name+"-µs")
			}
		})
	}
}

// life yields what is done to matches of such tickets, in this order.
func (h *hall) life(b *testing.B, l *desk, parties, size, matches int) func(func(string, func()) bool) {
	must := func(_ any, err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	tickets := make([]*Ticket, parties*matches)
	for i := range tickets {
		tickets[i] = &Ticket{ID: fmt.Sprint("q:t", i)}
		for j := range size {
			tickets[i].Players = append(tickets[i].Players, hub.UserID(fmt.Sprintf("player-%d-%d", i, j)))
		}
	}
	ctx := b.Context()
	claim := func(prefix string) {
		var calls [][]any
		for m := range matches {
			args := []any{fmt.Sprint(prefix, m), 60_000, 0, "{}", parties * size, "", 0}
			for _, x := range tickets[m*parties : (m+1)*parties] {
				args = append(args, x.ID)
			}
			calls = append(calls, args)
		}
		must(l.runAll(ctx, claimScript, calls...))
	}
	lapse := func(context.Context) {
		for m := range matches {
			must(nil, l.shardZAdd(ctx, l.keys[claimsKey], fmt.Sprint("lapsed", m)))
		}
	}
	return func(yield func(string, func()) bool) {
		_ = yield("put", func() {
			for _, x := range tickets {
				_, _, err := h.Put(ctx, "q", x, false)
				must(nil, err)
			}
		}) && yield("claim", func() { claim("lapsed") }) && func() bool { lapse(ctx); return true }() &&
			yield("due", func() { must(l.shelf.run(ctx, dueScript, 448, 60_000, 60_000)) }) && func() bool {
			for range matches/100 + 1 {
				must(l.shelf.run(ctx, dueScript, 448, 60_000, 60_000))
			}
			claim("m")
			return true
		}() && yield("record", func() {
			for m := range matches {
				must(l.shelf.run(ctx, recordScript, fmt.Sprint("m", m), 60_000, make([]byte, 300*parties*size)))
			}
		}) && yield("finish", func() {
			for m := range matches {
				must(l.shelf.run(ctx, finishScript, fmt.Sprint("m", m)))
			}
		})
	}
}

// shardZAdd has a member of a sorted set be due.
func (s *shelf) shardZAdd(ctx context.Context, key, member string) error {
	c, err := s.shard.Master()
	if err != nil {
		return err
	}
	return c.ZAdd(ctx, key, redis.Z{Score: 1, Member: member}).Err()
}
