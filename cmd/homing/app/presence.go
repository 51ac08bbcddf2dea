package app

import (
	"context"
	"time"

	"github.com/homing/homing/front"
	"github.com/homing/homing/hub/index"
	"github.com/homing/homing/hub/presence"
	"github.com/homing/homing/hub/relay"
)

// teller is what of a worker tells who comes and goes. A nil one tells nobody.
type teller struct {
	*presence.Teller

	cfg presence.Config
}

func newTeller(c presence.Config, d presence.Deps) *teller {
	if !c.Enabled() {
		return nil
	}
	return &teller{presence.NewTeller(c, d), c}
}

// friends is what the front asks of friends; nil: nobody has any.
func (t *teller) friends() front.Friends {
	if t == nil || !t.cfg.Friends {
		return nil
	}
	return t.Teller
}

// attach has the registrar tell of moves.
func (t *teller) attach(back *background, g *index.Registrar, w *front.Worker) {
	if t == nil {
		return
	}
	g.Tell(t.cfg.Linger, t.Moved(w.Moved))
	back.run("presence", t.Run)
}

// linger is for how long users linger.
func (t *teller) linger() time.Duration {
	if t == nil {
		return 0
	}
	return t.cfg.Linger
}

// givenUp takes what others did not confirm.
func (t *teller) givenUp(gone []relay.Abandoned) {
	if t != nil {
		t.GivenUp(gone)
	}
}

// retire has everybody hear of those who have gone with the worker, of which serving
// is over. What is not told when ctx ends a sweep tells.
func (t *teller) retire(ctx context.Context, g *index.Registrar, w *front.Worker) error {
	if t == nil {
		return nil
	}
	if err := g.Retire(ctx); err != nil {
		return err
	}
	w.TellGone(ctx)
	return t.Settle(ctx)
}

// handle has w told what other processes tell of friends.
func (t *teller) handle(w *front.Worker, next relay.Handler) relay.Handler {
	if t == nil {
		return next
	}
	return t.Handle(w, next)
}
