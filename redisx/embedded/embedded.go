// Package embedded starts a private Redis for development: a memory-only
// redis-server where one is installed, and an in-process stand-in where none
// is. Whoever uses the URL sees no difference.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/alicebob/miniredis/v2"

	"github.com/homing/homing/redisx/redisproc"
)

// Start starts a private Redis on a free port of 127.0.0.1 and returns its
// URL. ctx bounds the start alone. The caller calls stop when nobody uses it
// any more; a redis-server dies with this process in any case.
func Start(ctx context.Context, log *slog.Logger) (url string, stop func(), err error) {
	s, err := redisproc.StartServer(ctx, redisproc.ServerOptions{Name: "embedded"})
	if errors.Is(err, redisproc.ErrNotInstalled) {
		log.Warn("no redis-server is installed: using a stand-in inside this process", slog.Any("err", err))
		return StartInProcess()
	}
	if err != nil {
		return "", nil, fmt.Errorf("start a private Redis: %w", err)
	}
	log.Info("private redis-server started", slog.String("addr", s.Addr()), slog.Int("pid", s.PID()))
	return "redis://" + s.Addr(), s.Kill, nil
}

// StartInProcess starts the stand-in: miniredis, which knows no replication
// and is good for one developer's load. stop may be called twice.
func StartInProcess() (url string, stop func(), err error) {
	m := miniredis.NewMiniRedis()
	// Left alone, it expires keys only when told that time has passed.
	m.ClockTTL(true)
	if err := m.StartAddr("127.0.0.1:0"); err != nil {
		return "", nil, fmt.Errorf("start the stand-in for Redis: %w", err)
	}
	return "redis://" + m.Addr(), sync.OnceFunc(m.Close), nil
}
