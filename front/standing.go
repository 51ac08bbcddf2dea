package front

import (
	"fmt"
	"math/rand/v2"
	"net/http"

	"github.com/homing/homing/front/ws"
	"github.com/homing/homing/hub"
)

// standing is what the loop last saw of the worker's standing. Owned by the
// loop.
type standing struct {
	seen       hub.Standing
	registered []*conn // named by the index in a time of doubt: they wait for hello
}

// Standing is what the worker may assume of what the others think of it now.
// Once it was hub.StandingLost it stays that. It may be called from any
// goroutine and does not block.
func (w *Worker) Standing() hub.Standing {
	if w.disowned.Load() {
		return hub.StandingLost
	}
	s := w.deps.Standing()
	if s >= hub.StandingLost {
		w.disowned.Store(true)
	}
	return s
}

// mayDeliver reports whether the worker is in good standing at this moment. A
// process that was stopped goes on anywhere, so it is asked right before each
// envelope, not once per turn.
func (w *Worker) mayDeliver() bool {
	s := w.Standing()
	if s != w.standing.seen {
		w.standingChanged(s)
	}
	return s == hub.StandingGood
}

func (w *Worker) standingChanged(now hub.Standing) {
	before := w.standing.seen
	w.standing.seen = now
	w.m.standing.Set(float64(now))
	switch now {
	case hub.StandingGood:
		w.log.Warn("in good standing again: delivery goes on", "inbox_bytes", w.inbox.size())
		w.greetRegistered()
	case hub.StandingDoubt:
		w.m.doubts.Inc()
		w.log.Warn("in doubt whether the others think this process alive: nothing is delivered and nobody let in", "connections", w.table.count)
	case hub.StandingLost:
		w.log.Error("taken for dead by the others: everybody is sent away", "connections", w.table.count, "before", before.String())
		w.beginLeaving()
		w.poller.Wake() // the next turn begins the dismissal
	}
}

// greetRegistered lets those in for whom the index had been told in a time of
// doubt, a limited number per turn.
func (w *Worker) greetRegistered() {
	waiting := w.standing.registered
	w.standing.registered = nil
	for _, c := range waiting {
		w.Post(func() { w.registered(c, nil) })
	}
}

// unreachable refuses a client that the hub could not reach here. The time to
// come back is drawn, so that not everybody comes in the same second.
func unreachable() error {
	return &ws.RequestError{
		Status: http.StatusServiceUnavailable, Code: "hub_unreachable",
		Detail: "This server has lost touch with the hub; try again.",
		Header: fmt.Sprintf("Retry-After: %d", 1+rand.N(2)),
	}
}
