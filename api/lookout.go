package api

import (
	"context"
	"time"

	"github.com/homing/homing/hub"
)

// healthFresh is how long what was seen of the hub's health is told to others:
// a look costs Redis a read and a write on every shard, and needs no key.
const healthFresh = 100 * time.Millisecond

// lookout looks at the hub's health for all who ask, one look at a time.
type lookout struct {
	ask   func(context.Context) hub.Health
	fresh time.Duration
	turn  chan struct{} // holds a token while somebody looks

	// Owned by the caller that looks.
	at   time.Time // when last was seen; zero: never
	last hub.Health
}

func newLookout(ask func(context.Context) hub.Health) *lookout {
	return &lookout{ask: ask, fresh: healthFresh, turn: make(chan struct{}, 1)}
}

// look returns the health as it is, or was a moment ago. It blocks for up to
// twice readyTimeout.
func (l *lookout) look(ctx context.Context) hub.Health {
	l.turn <- struct{}{}
	defer func() { <-l.turn }()
	if !l.at.IsZero() && time.Since(l.at) < l.fresh {
		return l.last
	}
	// Others get the answer too, so it does not end with the caller that asked.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readyTimeout)
	defer cancel()
	l.last = l.ask(ctx)
	l.at = time.Now()
	return l.last
}
