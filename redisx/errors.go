package redisx

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/redis/go-redis/v9"
)

// Errors that callers tell apart with errors.Is.
var (
	// ErrUnavailable marks a failure to reach a working Redis: the same call
	// may succeed later.
	ErrUnavailable = errors.New("redis unavailable")
	// ErrNoMaster marks that a shard has no reachable master now. It is an
	// ErrUnavailable too.
	ErrNoMaster = fmt.Errorf("%w: no reachable master", ErrUnavailable)
	// ErrWrongRole marks a new connection that was given up because the
	// server is not what discovery believes it to be, a master or a replica.
	// It is an ErrUnavailable too.
	ErrWrongRole = fmt.Errorf("%w: wrong role", ErrUnavailable)
)

// refusals are replies by which a server says that it cannot serve now.
var refusals = []string{"READONLY", "LOADING", "MASTERDOWN", "NOREPLICAS", "max number of clients"}

// unavailable reports whether err says that the server could not be reached or
// could not serve, as against a reply to the command or the caller's own error.
func unavailable(err error) bool {
	if reply, ok := errors.AsType[redis.Error](err); ok {
		for _, r := range refusals {
			if redis.HasErrorPrefix(reply, r) { // it looks behind "ERR "
				return true
			}
		}
		return false
	}
	_, ofNetwork := errors.AsType[net.Error](err)
	return ofNetwork ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, redis.ErrClosed) || errors.Is(err, redis.ErrPoolTimeout) || errors.Is(err, redis.ErrPoolExhausted) ||
		errors.Is(err, ErrUnavailable)
}

// failed says what was being done on which server, and marks err as
// ErrUnavailable. A caller that went away is not Redis's failure.
func failed(shard, verb, addr string, err error) error {
	if errors.Is(err, ErrUnavailable) || errors.Is(err, context.Canceled) {
		return fmt.Errorf("redis %s: %s on %s: %w", shard, verb, addr, err)
	}
	return fmt.Errorf("redis %s: %s on %s: %w: %w", shard, verb, addr, ErrUnavailable, err)
}
