// Package redistest gives tests real Redis servers that end with the test.
package redistest

import (
	"context"
	"crypto/rand"
	"log/slog"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/homing/homing/redisx"
	"github.com/homing/homing/redisx/redisproc"
)

// startTimeout bounds the start of servers on a machine busy with other tests.
const startTimeout = 20 * time.Second

// Server starts a Redis of the test's own, killed at its end, and returns its URL.
func Server(tb testing.TB) string {
	tb.Helper()
	return "redis://" + Process(tb, redisproc.ServerOptions{}).Addr()
}

// Process is Server with options, and with the process in hand for faults.
func Process(tb testing.TB, o redisproc.ServerOptions) *redisproc.Server {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	s, err := redisproc.StartServer(ctx, o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Kill)
	return s
}

// Config is the default configuration with every role on the Redis at url.
func Config(tb testing.TB, url string) redisx.Config {
	tb.Helper()
	var cfg redisx.Config
	if err := kong.ApplyDefaults(&cfg); err != nil {
		tb.Fatal(err)
	}
	cfg.Data, cfg.PubSub, cfg.Inbox = []string{url}, nil, nil
	cfg.Prefix = Prefix(tb)
	return cfg
}

// Open runs redisx on cfg until the test ends and waits until it is ready.
func Open(tb testing.TB, cfg redisx.Config) *redisx.Redis {
	tb.Helper()
	r, err := redisx.New(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			tb.Errorf("redisx: Run: %v", err)
		}
	})
	ready, cancelReady := context.WithTimeout(ctx, startTimeout)
	defer cancelReady()
	if err := r.WaitReady(ready); err != nil {
		tb.Fatal(err)
	}
	return r
}

// Prefix returns a key prefix that no other test has.
func Prefix(tb testing.TB) string {
	tb.Helper()
	return "t" + rand.Text()[:10]
}

// Topology starts a data master and one pub/sub master, or the masters that o
// names, each with 2 replicas unless o says otherwise, and 3 Sentinels. All are
// killed at the test's end. It takes about half a second.
func Topology(tb testing.TB, o redisproc.TopologyOptions) *redisproc.Topology {
	tb.Helper()
	if len(o.Masters) == 0 {
		o.Masters = []redisproc.MasterSpec{{Name: "data", Replicas: 2}, {Name: "pubsub-1", Replicas: 2}}
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	t, err := redisproc.StartTopology(ctx, o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(t.Close)
	return t
}

// TopologyConfig is the default configuration on t: its first master serves
// data, the others pub/sub.
func TopologyConfig(tb testing.TB, t *redisproc.Topology) redisx.Config {
	tb.Helper()
	urls := t.URLs()
	cfg := Config(tb, urls[0])
	cfg.PubSub = urls[1:]
	return cfg
}
