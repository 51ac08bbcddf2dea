package drill

import (
	"context"
	"strings"
	"time"

	"github.com/homing/homing/bench/stack"
)

const (
	// awayFor is how long the front has no way to any Redis.
	awayFor = 15 * time.Second
	// dataAwayFor is how long it has none to data Redis.
	dataAwayFor = 12 * time.Second
	// notReadyWithin is how soon a front without Redis must say so, readyAgain
	// how soon after the fault it must be ready.
	notReadyWithin = 9 * time.Second
	readyAgain     = 15 * time.Second
)

// frontCut cuts the front off from all of Redis and the Sentinels, which API
// servers reach all the time.
func frontCut(name string) side {
	if name == frontName {
		return left
	}
	return right
}

// dataCut cuts the front off from data Redis alone.
func dataCut(name string) side {
	switch {
	case name == frontName:
		return left
	case strings.HasPrefix(name, stack.DataMaster+"-"):
		return right
	default:
		return home
	}
}

// cutFront cuts the front off and wants it to say so.
func cutFront(ctx context.Context, d *drill) error {
	d.readiness.wait(ctx, "the front", d.stack.Front.Admin(), time.Second)
	d.audit.sendsAway(time.Now(), awayFor+sentAwayWithin)
	ready := d.readiness.watch(ctx, "the front's /readyz", d.stack.Front.Admin())
	defer ready.end()
	if err := d.net.cutFor(ctx, awayFor, "the front loses every way to Redis and the Sentinels"); err != nil {
		return err
	}
	healed := time.Now()
	took := d.readiness.wait(ctx, "the front", d.stack.Front.Admin(), readyAgain+d.stalls.longest())
	d.say("the front is ready again after %.1fs", took.Seconds())
	d.readiness.checkUnready(ready.end(), healed)
	return d.attendance.regroup(ctx)
}

// cutFrontData cuts the front off from data Redis.
func cutFrontData(ctx context.Context, d *drill) error {
	if err := d.net.cutFor(ctx, dataAwayFor, "the front loses its way to data Redis"); err != nil {
		return err
	}
	return pause(ctx, regroup)
}

// checkNobodyLeft wants that no connection ended, and a clean index. That
// nobody new could connect meanwhile is as it must be.
func checkNobodyLeft(ctx context.Context, d *drill) error {
	d.attendance.checkEndings()
	return checkIndex(ctx, d)
}
