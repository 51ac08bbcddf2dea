// Package outage is the one place where a failure of Redis becomes an error of
// the hub: who calls the hub need not know Redis.
package outage

import (
	"errors"
	"fmt"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/redisx"
)

// Mark returns err, which also is hub.ErrUnavailable when Redis is its cause.
func Mark(err error) error {
	if errors.Is(err, redisx.ErrUnavailable) && !errors.Is(err, hub.ErrUnavailable) {
		return fmt.Errorf("%w: %w", hub.ErrUnavailable, err)
	}
	return err
}

// During is Mark for an error that came of doing something, which it says.
func During(doing string, err error) error { return fmt.Errorf("%s: %w", doing, Mark(err)) }
