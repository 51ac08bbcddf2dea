// Package embedded starts a private Redis for development: a memory-only
// redis-server where one is installed, and an in-process stand-in where none
// is.
package embedded

import (
	"context"
	"errors"
	"log/slog"
)

// Start starts a private Redis and returns its URL. The caller calls stop once.
func Start(ctx context.Context, log *slog.Logger) (url string, stop func(), err error) {
	return "", nil, errors.ErrUnsupported
}
