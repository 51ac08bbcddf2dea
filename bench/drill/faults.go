package drill

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"github.com/homing/homing/bench/load"
	"github.com/homing/homing/bench/stack"
	"github.com/homing/homing/hub"
)

const (
	// leaseTime is how long a dead worker's users may still count as online:
	// its lease of 6 s and one look of the API servers at the leases.
	leaseTime = 7500 * time.Millisecond
	// leaseAtLeast is how long a dead worker's lease stands in any case: it is
	// renewed every 2 s.
	leaseAtLeast = 3500 * time.Millisecond
	// connectsWithin is how soon players must be able to connect after the data
	// master died: what Sentinel takes, 2.7 s, and 2 s.
	connectsWithin = 4700 * time.Millisecond
	// presenceBatch is how many users are asked for in one call.
	presenceBatch = 1000
)

// killWorker kills one worker. Half of the users that only it held stay away
// until they count as offline, so that this can be seen; the others come back
// as soon as they can.
func killWorker(ctx context.Context, d *drill) error {
	if err := d.locate(); err != nil {
		return err
	}
	pids, err := d.stack.Front.Workers()
	if err != nil {
		return err
	}
	if len(pids) != workers {
		return fmt.Errorf("%d workers run, want %d", len(pids), workers)
	}
	victim := pids[1]
	only := d.fleet.onlyAt(victim)
	absent := only[:len(only)/2]
	release := d.fleet.hold(absent)
	d.faultAt = time.Now()
	d.say("killing worker %d, which alone holds %d users; %d of them stay away", victim, len(only), len(absent))
	if err := syscall.Kill(victim, syscall.SIGKILL); err != nil {
		release()
		return fmt.Errorf("kill worker %d: %w", victim, err)
	}
	d.audit.owed = func(holder int, closed time.Time) time.Time {
		if holder != victim {
			return time.Time{}
		}
		return closed.Add(leaseAtLeast)
	}
	err = d.watchOffline(ctx, absent)
	release()
	if err == nil {
		err = d.watchReturn(ctx)
	}
	if err == nil {
		err = d.index.watchSweep(ctx)
	}
	d.checkOthers(victim)
	return err
}

// watchOffline waits until the API says that none of the users is online.
func (d *drill) watchOffline(ctx context.Context, users []hub.UserID) error {
	ctx, cancel := context.WithTimeout(ctx, 3*leaseTime)
	defer cancel()
	for {
		n, err := d.countOnline(ctx, users)
		if err == nil && n == 0 {
			break
		}
		if pause(ctx, 100*time.Millisecond) != nil {
			d.result.breaks("%d of %d users of the dead worker still count as online after %v (%v)", n, len(users), 3*leaseTime, err)
			return nil
		}
	}
	took := time.Since(d.faultAt)
	d.result.OfflineWithinMS = ms(took)
	d.say("the absent users count as offline after %.1fs", took.Seconds())
	if took > leaseTime {
		d.result.breaks("users of the dead worker counted as online for %v, want at most %v", took.Round(time.Millisecond), leaseTime)
	}
	return nil
}

func (d *drill) countOnline(ctx context.Context, users []hub.UserID) (int, error) {
	p := load.NewPoster(d.stack.API.URLs()[0], d.stack.Access.Key(), postTimeout)
	defer p.Close()
	online := 0
	for len(users) > 0 {
		batch := users[:min(len(users), presenceBatch)]
		users = users[len(batch):]
		got, err := p.Presence(ctx, batch)
		if err != nil {
			return 0, fmt.Errorf("ask who is online: %w", err)
		}
		for _, u := range got {
			if u.Online {
				online++
			}
		}
	}
	return online, nil
}

// watchReturn waits until every device is connected again.
func (d *drill) watchReturn(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if err := d.fleet.waitOpen(ctx, len(d.fleet.devices)); err != nil {
		d.result.breaks("%v", err)
		return nil
	}
	took := time.Since(d.faultAt)
	d.result.RecoveredMS = ms(took)
	d.say("everybody is connected again after %.1fs", took.Seconds())
	return nil
}

// checkOthers makes sure that only the victim's connections ended.
func (d *drill) checkOthers(victim int) {
	for holder, n := range d.book.Closed(d.faultAt) {
		if holder != victim {
			d.result.breaks("%d connections of worker %d ended, which was not killed", n, holder)
		}
	}
}

// killData kills the data master, and meanwhile somebody tries to connect
// again and again.
func killData(ctx context.Context, d *drill) error {
	if err := d.killMaster(ctx, stack.DataMaster); err != nil {
		return err
	}
	return d.watchConnects(ctx, d.opts.After-time.Second)
}

// probeTimeout is how long a player waits for a connect before trying again.
const probeTimeout = 2 * time.Second

// watchConnects connects a new player every 100 ms for a while and counts
// failures; recovery is when the last failure was over.
func (d *drill) watchConnects(ctx context.Context, length time.Duration) error {
	end := time.Now().Add(length)
	var lastErr error
	recovered := d.faultAt
	for n := 0; time.Now().Before(end); n++ {
		if lastErr = d.tryConnect(ctx, n); lastErr != nil {
			d.result.FailedConnects++
			recovered = time.Now()
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	if lastErr != nil {
		d.result.breaks("players cannot connect %v after the fault: %v", length, lastErr)
		return nil
	}
	took := recovered.Sub(d.faultAt)
	d.result.RecoveredMS = ms(took)
	if limit := connectsWithin + d.stalls.longest(); took > limit {
		d.result.breaks("players could not connect for %v, want at most %v", took.Round(time.Millisecond), limit.Round(time.Millisecond))
	}
	d.say("players could connect again after %.1fs, %d had failed", took.Seconds(), d.result.FailedConnects)
	return nil
}

func (d *drill) tryConnect(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	c, err := dialAs(ctx, d.stack.Front.URL(), d.stack.Access.Secret(), &device{user: hub.UserID(fmt.Sprintf("newcomer%d", n))})
	if err != nil {
		return err
	}
	return c.Close()
}

// checkSteady wants no failure of any kind, and a clean index.
func checkSteady(ctx context.Context, d *drill) error {
	if n := d.fleet.failed.Load(); n > 0 {
		d.result.breaks("%d connects failed, the last because: %v", n, d.fleet.lastFailure())
	}
	if n := d.senders.refused.Load(); n > 0 {
		d.result.breaks("%d notifications were not accepted, the last because: %v", n, d.senders.lastErr)
	}
	return checkIndex(ctx, d)
}

// checkIndex wants a clean index.
func checkIndex(ctx context.Context, d *drill) error { return d.index.check(ctx) }
