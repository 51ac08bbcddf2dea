package redistest

import (
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/redisx/redisproc"
)

// OnEach runs f against a real Redis and against the in-process stand-in that
// development falls back on, each empty and f's own.
func OnEach(t *testing.T, f func(t *testing.T, c *redis.Client)) {
	t.Helper()
	t.Run("redis", func(t *testing.T) {
		c := Process(t, redisproc.ServerOptions{}).Client()
		defer c.Close()
		f(t, c)
	})
	t.Run("miniredis", func(t *testing.T) {
		c := redis.NewClient(&redis.Options{Addr: miniredis.RunT(t).Addr(), Protocol: 2})
		defer c.Close()
		f(t, c)
	})
}
