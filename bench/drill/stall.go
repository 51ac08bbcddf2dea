package drill

import (
	"context"
	"sync/atomic"
	"time"
)

// stallMeter tells when the machine, and not the system under test, made
// everybody wait: it sleeps for short whiles and keeps how much too long the
// longest one took.
type stallMeter struct{ worst atomic.Int64 }

const stallTick = 10 * time.Millisecond

// run measures until ctx ends.
func (m *stallMeter) run(ctx context.Context) {
	t := time.NewTicker(stallTick)
	defer t.Stop()
	for last := time.Now(); ; {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		now := time.Now()
		m.worst.Store(max(m.worst.Load(), int64(now.Sub(last)-stallTick)))
		last = now
	}
}

func (m *stallMeter) longest() time.Duration { return time.Duration(m.worst.Load()) }
