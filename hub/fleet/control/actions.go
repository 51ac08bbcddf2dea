package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/homing/homing/hub/fleet"
	"github.com/homing/homing/hub/fleet/driver"
	"github.com/homing/homing/hub/fleet/scale"
)

// action is a decision that is carried out.
type action struct {
	scale.Decision

	id   string     // no other action of the fleet has it
	by   string     // what carries it out
	node fleet.Node // of Remove: as it was seen
}

// maxActions is how many may be under way. Rules order again what has not come, so a
// driver that never returns would have more and more.
//
//bound:fleet-actions
const maxActions = 64

// actions are those under way, and the outcomes that the journal has not got yet.
// Drivers may take minutes: each works on a goroutine of its own. It is safe for
// concurrent use.
type actions struct {
	timeout time.Duration
	driver  driver.Driver
	log     *slog.Logger
	met     *metrics
	serial  int // of the term's actions; Run's own

	mu      sync.Mutex
	known   map[string]running // under way, or ended and not journalled, by id
	here    map[string]bool    // those of them that this process carries out
	ends    []Entry            // outcomes, for the journal
	working int
	wait    sync.WaitGroup
	ctx     context.Context //nolint:containedctx // the life of the drivers' work; nil before run
}

func newActions(timeout time.Duration, d driver.Driver, log *slog.Logger, met *metrics) *actions {
	return &actions{timeout: timeout, driver: d, log: log, met: met, known: make(map[string]running), here: make(map[string]bool)}
}

// run lets actions be begun until ctx ends, and waits for those under way: a driver that
// is broken off half-way leaves a fleet that nobody knows.
func (a *actions) run(ctx context.Context) {
	a.mu.Lock()
	a.ctx = context.WithoutCancel(ctx)
	a.mu.Unlock()
	<-ctx.Done()
	a.mu.Lock()
	if a.working > 0 {
		a.log.Info("fleet: waiting for what drivers are doing", "actions", a.working, "at_most", a.timeout)
	}
	a.mu.Unlock()
	a.wait.Wait()
}

// of is the action that a decision asks for, if it asks for one.
func (a *actions) of(term int64, d *scale.Decision) (action, bool) {
	by := ""
	switch d.Action {
	case scale.Grow, scale.Remove:
		by = a.driver.Name()
	case scale.Drain, scale.Undrain:
		by = "roster"
	case scale.Hold, scale.Late, scale.Lost:
		return action{}, false
	}
	a.serial++
	return action{Decision: *d, id: fmt.Sprintf("%d-%d", term, a.serial), by: by}, true
}

// has reports whether this process carries an action out, or knows its outcome.
func (a *actions) has(id string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.here[id]
}

// adopt forgets all actions but those given: they are what the journal is to tell of.
func (a *actions) adopt(known map[string]running) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.known = make(map[string]running)
	maps.Copy(a.known, known)
}

// under are the actions whose outcome the journal does not have, with those that are
// about to begin.
func (a *actions) under(begin []action) map[string]running {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range begin {
		x := &begin[i]
		a.known[x.id] = running{time.Now().UTC(), x.by, &x.Decision}
		a.here[x.id] = true
	}
	return maps.Clone(a.known)
}

// drop forgets actions that are not begun. Whether the journal has them is not known: then
// the next leader, which may be this process, says so.
func (a *actions) drop(all []action) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range all {
		delete(a.here, all[i].id)
	}
}

// outcomes are what the journal has not got yet, of actions that it knows of. They count
// as journalled from now on.
func (a *actions) outcomes() (ends []Entry) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range a.ends {
		if _, known := a.known[e.Action]; known {
			ends = append(ends, e)
			delete(a.known, e.Action)
		}
		delete(a.here, e.Action)
	}
	a.ends = nil
	return ends
}

// begin has the driver carry x out.
func (a *actions) begin(x action) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.working >= maxActions || a.ctx == nil {
		a.noteLocked(x, Refused, fmt.Sprintf("%d actions are under way", a.working), 0)
		return
	}
	a.working++
	a.met.working.Set(float64(a.working))
	ctx := a.ctx
	a.wait.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, a.timeout)
		defer cancel()
		began := time.Now()
		err := a.carryOut(ctx, &x)
		if err != nil && ctx.Err() != nil {
			err = errors.Join(context.DeadlineExceeded, err)
		}
		a.ended(x, err, time.Since(began))
		a.mu.Lock()
		defer a.mu.Unlock()
		a.working--
		a.met.working.Set(float64(a.working))
	})
}

func (a *actions) carryOut(ctx context.Context, x *action) error {
	order := driver.Order{ID: x.id, Cluster: x.Cluster, Region: x.Region, Nodes: x.Nodes, Why: x.Why}
	if x.Action == scale.Grow {
		return a.driver.Grow(ctx, order)
	}
	return a.driver.Remove(ctx, order, x.node)
}

// ended notes what came of x.
func (a *actions) ended(x action, err error, took time.Duration) {
	result, why := Done, ""
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		result, why = TimedOut, err.Error()
	case err != nil:
		result, why = Failed, err.Error()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.noteLocked(x, result, why, took)
}

func (a *actions) noteLocked(x action, result Result, why string, took time.Duration) {
	d := x.Decision
	a.ends = append(a.ends, Entry{Kind: KindOutcome, Action: x.id, By: x.by, Decision: &d, Result: result, Why: bounded(why), Took: took})
}
