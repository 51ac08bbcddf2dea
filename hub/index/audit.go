package index

import (
	"context"
	"time"

	"github.com/homing/homing/hub"
)

// The audit compares all that a shard says of this process with the ledger, all
// the time and slowly: entries may vanish while everything else looks sound (an
// evicting policy, a partial flush, a hand). It looks at a few users at a time;
// the first that is wrong is reason enough to verify all of them at once.

const (
	// auditSteps is in how many steps a pass over all users is made.
	auditSteps = 60
	// auditLeast is how many users a step compares at the least, so that a
	// process with few users is done sooner.
	auditLeast = 50
)

// audit is where the present pass is.
type audit struct {
	todo []hub.UserID // what is left of it
	step int          // users compared at a time
	next time.Time    // when to go on
}

// auditSome compares the next few users.
func (w *shardWriter) auditSome(ctx context.Context, now time.Time) error {
	a := &w.audit
	if len(a.todo) == 0 {
		a.todo = w.ledger.everyone()
		a.step = max(auditLeast, (len(a.todo)+auditSteps-1)/auditSteps)
	}
	users := a.todo[:min(a.step, len(a.todo))]
	wrong, err := w.compare(ctx, users)
	if err != nil {
		return err
	}
	a.todo = a.todo[len(users):]
	a.next = now.Add(w.g.timing.pass / auditSteps)
	if wrong > 0 {
		w.g.log.Warn("index: entries were missing or wrong, though nothing had failed; verifying all",
			"shard", w.shard.Name(), "compared", len(users), "wrong", wrong)
		w.verify.found = true
	}
	return nil
}
