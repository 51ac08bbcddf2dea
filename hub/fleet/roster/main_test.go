package roster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/fleet"
	"github.com/homing/homing/redisx"
	"github.com/homing/homing/redisx/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// bench is a roster on a Redis of the test's own.
type bench struct {
	testing.TB
	*Roster

	r    *redisx.Redis
	keys hub.Keys
}

func newBench(tb testing.TB, cfg Config) *bench {
	tb.Helper()
	return benchOn(tb, cfg, redistest.Config(tb, redistest.Server(tb)))
}

func benchOn(tb testing.TB, cfg Config, rc redisx.Config) *bench {
	tb.Helper()
	r := redistest.Open(tb, rc)
	b := &bench{TB: tb, r: r, keys: hub.NewKeys(rc.Prefix)}
	b.Roster = New(cfg, r, b.keys, prometheus.NewRegistry())
	ctx, cancel := context.WithCancel(tb.Context())
	done := make(chan error, 1)
	go func() { done <- b.Roster.Run(ctx) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			tb.Error(err)
		}
	})
	return b
}

// do runs a command on the Redis.
func (b *bench) do(args ...any) {
	b.Helper()
	err := b.r.Data.Lead().Write(b.Context(), func(ctx context.Context, c *redis.Client) error { return c.Do(ctx, args...).Err() })
	if err != nil {
		b.Fatalf("%v: %v", args, err)
	}
}

// worker is a worker of a node that reports when the test says so.
type worker struct {
	Report

	b *bench
}

func (b *bench) node(id string, change ...func(*Report)) *worker {
	w := &worker{b: b, Report: Report{
		Identity: Identity{Node: id, Front: "front-" + id, Endpoint: id + ":8081", Cluster: "game", Workers: 1},
		Process:  hub.NewProcessID(),
	}}
	for _, f := range change {
		f(&w.Report)
	}
	return w
}

func (w *worker) report() fleet.Orders {
	w.b.Helper()
	w.Batch++
	o, err := w.b.Report(w.b.Context(), w.Report)
	if err != nil {
		w.b.Fatalf("report of %s: %v", w.Node, err)
	}
	w.Arrived = nil
	return o
}

// come has the player of an assignment arrive.
func (w *worker) come(a fleet.Assignment) {
	w.b.Helper()
	t, ok := w.b.key.Load().parse(a.Ticket)
	if !ok {
		w.b.Fatalf("ticket %q: not ours", a.Ticket)
	}
	w.Arrived = append(w.Arrived, Arrival{t.assignment, t.players})
	w.Load.Connections++
}

func (b *bench) assign(q fleet.Request) fleet.Assignment {
	b.Helper()
	a, err := b.Assign(b.Context(), q)
	if err != nil {
		b.Fatalf("assign %+v: %v", q, err)
	}
	return a
}

func (b *bench) refused(q fleet.Request, want error) {
	b.Helper()
	if a, err := b.Assign(b.Context(), q); !errors.Is(err, want) {
		b.Errorf("assign %+v: %+v, %v, want %v", q, a, err, want)
	}
}

func (b *bench) find(id string) fleet.Node {
	b.Helper()
	n, _, err := b.Find(b.Context(), id)
	if err != nil {
		b.Fatalf("find %s: %v", id, err)
	}
	return n
}

func (b *bench) state(id string, want fleet.State, why string) {
	b.Helper()
	if n := b.find(id); n.State != want || n.Why != why {
		b.Errorf("%s is %s (%q), want %s (%q)", id, n.State, n.Why, want, why)
	}
}

func (b *bench) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func ids(prefix string, n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("%s%d", prefix, i))
	}
	return all
}

// eventually waits until what holds.
func (b *bench) eventually(what string, holds func() bool) {
	b.Helper()
	for end := time.Now().Add(10 * time.Second); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			b.Fatalf("not within 10 s: %s", what)
		}
	}
}
