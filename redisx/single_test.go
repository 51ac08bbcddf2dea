package redisx_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/redisx"
	"github.com/homing/homing/redisx/redisproc"
	"github.com/homing/homing/redisx/redistest"
)

func set(key, value string) func(context.Context, *redis.Client) error {
	return func(ctx context.Context, c *redis.Client) error { return c.Set(ctx, key, value, 0).Err() }
}

func TestSingleServer(t *testing.T) {
	t.Parallel()
	r := redistest.Open(t, redistest.Config(t, redistest.Server(t)))
	s := r.Data.Shards()[0]
	if r.PubSub != r.Data || r.Inbox != r.Data {
		t.Error("roles without URLs do not share the data shards")
	}
	if err := s.Write(t.Context(), set("k", "v")); err != nil {
		t.Fatal(err)
	}
	var got string
	err := s.Read(t.Context(), func(ctx context.Context, c *redis.Client) (err error) {
		got, err = c.Get(ctx, "k").Result()
		return err
	})
	if err != nil || got != "v" {
		t.Errorf("read %q, %v", got, err)
	}
	err = s.Read(t.Context(), func(ctx context.Context, c *redis.Client) error { return c.Get(ctx, "none").Err() })
	if !errors.Is(err, redis.Nil) || errors.Is(err, redisx.ErrUnavailable) {
		t.Errorf("missing key: %v, want redis.Nil alone", err)
	}
	if s.Epoch() != 1 || s.Stable() <= 0 {
		t.Errorf("epoch %d, stable %s", s.Epoch(), s.Stable())
	}
}

// A memory-only server that comes back on the same address has forgotten
// everything: that must be seen as another master.
func TestRestartIsANewEpoch(t *testing.T) {
	t.Parallel()
	p := redistest.Process(t, redisproc.ServerOptions{})
	s := redistest.Open(t, redistest.Config(t, "redis://"+p.Addr())).Data.Shards()[0]
	if err := s.Write(t.Context(), set("k", "v")); err != nil {
		t.Fatal(err)
	}
	p.Crash()
	if err := p.Restart(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	within(t, 3*time.Second, "the epoch rises", func() bool { return s.Epoch() == 2 })
	if s.Stable() > 3*time.Second {
		t.Errorf("stable for %s across a restart", s.Stable())
	}
}

// within fails the test unless cond comes true in time, and returns how long it took.
func within(t *testing.T, limit time.Duration, what string, cond func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	for !cond() {
		if time.Since(start) > limit {
			t.Fatalf("not within %s: %s", limit, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(start)
}
