package drill

import (
	"context"
	"time"
)

// attendance is whether the fleet's clients are connected, and could stay so.
type attendance struct {
	*journal

	fleet *fleet
}

// watchReturn waits until every device is connected again.
func (a *attendance) watchReturn(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if err := a.fleet.waitOpen(ctx, len(a.fleet.devices)); err != nil {
		a.result.breaks("%v", err)
		return nil
	}
	took := time.Since(a.faultAt)
	a.result.RecoveredMS = ms(took)
	a.say("everybody is connected again after %.1fs", took.Seconds())
	return nil
}

// regroup waits until every client is connected, and a while longer.
func (a *attendance) regroup(ctx context.Context) error {
	a.say("all go on")
	began := time.Now()
	if err := pause(ctx, time.Second); err != nil { // who is sent away is sent away now
		return err
	}
	waiting, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if err := a.fleet.waitOpen(waiting, len(a.fleet.devices)); err != nil {
		a.result.breaks("%v", err)
		return nil
	}
	took := time.Since(began)
	a.result.RecoveredMS = ms(took)
	a.say("everybody is connected after %.1fs; %d connections have ended so far", took.Seconds(), len(a.fleet.endings()))
	return pause(ctx, regroup)
}

// checkOthers makes sure that only the victim's connections ended.
func (a *attendance) checkOthers(victim int) {
	for holder, n := range a.fleet.book.Closed(a.faultAt) {
		if holder != victim {
			a.result.breaks("%d connections of worker %d ended, which was not killed", n, holder)
		}
	}
}

// checkConnects wants that no client failed to connect.
func (a *attendance) checkConnects() {
	if n := a.fleet.failed.Load(); n > 0 {
		a.result.breaks("%d connects failed, the last because: %v", n, a.fleet.lastFailure())
	}
}

// checkEndings wants that no connection ended.
func (a *attendance) checkEndings() {
	if ends := a.fleet.endings(); len(ends) > 0 {
		a.result.breaks("%d connections ended, the first because: %v", len(ends), ends[0].err)
	}
}
