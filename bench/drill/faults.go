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
	if err := d.pool.locate(ctx); err != nil {
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
	d.audit.taken = time.Now()
	d.audit.dies(victim, d.faultAt)
	online := &presence{d.journal, d.stack.API.URLs()[0], d.stack.Access.Key()}
	err = online.watchOffline(ctx, absent)
	release()
	if err == nil {
		err = d.attendance.watchReturn(ctx)
	}
	if err == nil {
		err = d.index.watchSweep(ctx)
	}
	d.attendance.checkOthers(victim)
	return err
}

// presence is who is online, by the API's word.
type presence struct {
	*journal

	api, key string
}

// watchOffline waits until the API says that none of the users is online.
func (p *presence) watchOffline(ctx context.Context, users []hub.UserID) error {
	ctx, cancel := context.WithTimeout(ctx, 3*leaseTime)
	defer cancel()
	for {
		n, err := p.countOnline(ctx, users)
		if err == nil && n == 0 {
			break
		}
		if pause(ctx, 100*time.Millisecond) != nil {
			p.result.breaks("%d of %d users of the dead worker still count as online after %v (%v)", n, len(users), 3*leaseTime, err)
			return nil
		}
	}
	took := time.Since(p.faultAt)
	p.result.OfflineWithinMS = ms(took)
	p.say("the absent users count as offline after %.1fs", took.Seconds())
	if took > leaseTime {
		p.result.breaks("users of the dead worker counted as online for %v, want at most %v", took.Round(time.Millisecond), leaseTime)
	}
	return nil
}

func (p *presence) countOnline(ctx context.Context, users []hub.UserID) (int, error) {
	caller := load.NewPoster(p.api, p.key, postTimeout)
	defer caller.Close()
	online := 0
	for len(users) > 0 {
		batch := users[:min(len(users), presenceBatch)]
		users = users[len(batch):]
		got, err := caller.Presence(ctx, batch)
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

// killData kills the data master, and meanwhile somebody tries to connect
// again and again.
func killData(ctx context.Context, d *drill) error {
	if err := d.operator.kill(ctx, stack.DataMaster); err != nil {
		return err
	}
	return d.newcomers.watchConnects(ctx, d.opts.After-time.Second)
}

// checkSteady wants no failure of any kind, and a clean index.
func checkSteady(ctx context.Context, d *drill) error {
	d.attendance.checkConnects()
	if n := d.senders.refused.Load(); n > 0 {
		d.result.breaks("%d notifications were not accepted, the last because: %v", n, d.senders.lastErr)
	}
	return checkIndex(ctx, d)
}

// checkIndex wants a clean index.
func checkIndex(ctx context.Context, d *drill) error { return d.index.check(ctx) }
