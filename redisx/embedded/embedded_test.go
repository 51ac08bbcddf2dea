package embedded_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/homing/homing/redisx"
	"github.com/homing/homing/redisx/embedded"
	"github.com/homing/homing/redisx/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStart(t *testing.T) {
	t.Run("redis-server", func(t *testing.T) {
		url, stop, err := embedded.Start(t.Context(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(stop)
		works(t, url)
	})
	t.Run("none installed", func(t *testing.T) {
		t.Setenv("PATH", t.TempDir())
		url, stop, err := embedded.Start(t.Context(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(stop)
		works(t, url)
	})
}

// works expects of the Redis at url all that redisx and its users need.
func works(t *testing.T, url string) {
	t.Helper()
	r := redistest.Open(t, redistest.Config(t, url))
	s := r.Data.Shards()[0]
	heard := make(chan string, 1)
	sub := redisx.NewSubscriber(r.PubSub, []string{"c"}, func(_ int, _ string, payload []byte) {
		heard <- string(payload)
	}, slog.New(slog.DiscardHandler), nil)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- sub.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	if err := sub.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	err := s.Write(t.Context(), func(ctx context.Context, c *redis.Client) error {
		if err := c.Set(ctx, "short", "v", 100*time.Millisecond).Err(); err != nil {
			return err
		}
		return c.Publish(ctx, "c", "hello").Err()
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := <-heard; got != "hello" {
		t.Errorf("heard %q", got)
	}
	// A key with a TTL goes by itself; silence does not end the subscription.
	time.Sleep(1200 * time.Millisecond)
	err = s.Read(t.Context(), func(ctx context.Context, c *redis.Client) error {
		return c.Get(ctx, "short").Err()
	})
	if err == nil || !strings.Contains(err.Error(), "nil") {
		t.Errorf("an expired key: %v", err)
	}
	if !sub.Ready() {
		t.Error("the subscription did not outlast a second of silence")
	}
	if s.Epoch() != 1 {
		t.Errorf("epoch %d", s.Epoch())
	}
}
