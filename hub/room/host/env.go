package host

import (
	"context"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/call"
)

// env is what all parts of a host work with.
type env struct {
	Deps
	cfg   Config
	met   *metrics
	began time.Time

	outbox Outbox     // set by Attach
	peer   *call.Peer // set by Attach

	drained  chan struct{} // closed when the rooms have gone, and nothing is waited for any more
	routines sync.WaitGroup
}

// now is the clock of all rooms.
func (e *env) now() time.Duration { return time.Since(e.began) }

// good reports whether the process is in good standing.
func (e *env) good() bool { return e.Standing() == hub.StandingGood }

// tell tells one connection something.
func (e *env) tell(t Told) { e.outbox.Tell(&Batch{Told: []Told{t}}) }

// event tells the backends of something.
func (e *env) event(kind, id string, data any) {
	if e.Event != nil {
		e.Event(kind, id, data)
	}
}

// lives reports whether p is taken to live, as far as is known.
func (e *env) lives(p hub.ProcessID) bool {
	roll := e.Census.Roll()
	return roll != nil && roll.Lives(p)
}

// knownDead reports whether p is known not to live.
func (e *env) knownDead(p hub.ProcessID) bool {
	roll := e.Census.Roll()
	return roll != nil && roll.Known(p) && !roll.Lives(p)
}

// ask asks another process, with bodies as JSON.
func (e *env) ask(ctx context.Context, to hub.ProcessID, method string, ask, answer any) error {
	body, err := json.Marshal(ask)
	if err != nil {
		return err
	}
	b, err := e.peer.Ask(ctx, to, method, body)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, answer)
}

// pause is the function pause, and ends when the host does.
func (e *env) pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-e.drained:
		return false
	default:
		return pause(ctx, d)
	}
}

// pause waits, and reports false when ctx has ended.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
