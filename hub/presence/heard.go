package presence

import (
	"context"
	"sync"
	"time"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/hook"
)

// heard tells the index of moves that all have heard of who are to: friends, and Redis
// the events for game backends. Until then another process would tell of them if this
// one died. It is safe for concurrent use.
type heard struct {
	registrar Registrar
	hooks     *hook.Publisher // nil: backends are told nothing
	wake      chan struct{}   // a token: there is something

	mu         sync.Mutex
	came, went []hub.UserID
}

// maxHeard bounds the users that wait until Redis has the events. Of more the index is
// told at once: what is lost is that somebody else would tell of them.
//
//bound:presence-heard
const maxHeard = 1 << 16

// Heard says that friends have heard that user came, or went. It never blocks.
func (t *Teller) Heard(user hub.UserID, online bool) {
	h := &t.heard
	h.mu.Lock()
	defer h.mu.Unlock()
	list := &h.went
	if online {
		list = &h.came
	}
	if len(h.came)+len(h.went) >= maxHeard {
		h.registrar.Told(h.came, h.went)
		h.came, h.went = nil, nil
	}
	*list = append(*list, user)
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// Run tells the index what others have heard, and makes good for what did not reach a
// front process, until ctx ends. It returns nil then.
func (t *Teller) Run(ctx context.Context) error {
	tick := time.NewTicker(payEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			t.pay(ctx)
		case <-t.heard.wake:
			_ = t.Settle(ctx) // ctx has ended
		}
	}
}

// Settle tells the index of all that others have heard so far. It returns when Redis
// has the events about it, or ctx ends: that is its error.
func (t *Teller) Settle(ctx context.Context) error {
	h := &t.heard
	h.mu.Lock()
	came, went := h.came, h.went
	h.came, h.went = nil, nil
	h.mu.Unlock()
	if err := h.hooks.Flush(ctx); err != nil {
		return err
	}
	h.registrar.Told(came, went)
	return nil
}
