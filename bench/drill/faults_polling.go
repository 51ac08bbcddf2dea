package drill

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/homing/homing/bench/bridge"
	"github.com/homing/homing/bench/stack"
)

// Polls is what else is known of clients that poll.
type Polls struct {
	Far     int    `json:"far"`            // requests that were carried to the process that has the session
	Owned   int    `json:"owned"`          // sessions of the killed worker
	Unknown int    `json:"unknown"`        // requests that were answered with code 1
	Told    *int64 `json:"told_within_ms"` // after the fault, when the last of those clients knew
}

const (
	pollingFronts, pollingWorkers = 2, 2
	// endKnown is how soon the clients of a worker that has ended must know, also where the
	// machine is busy: its successor says it when it starts, and the others look once a
	// second. Until then it does not count as dead.
	endKnown = 5 * time.Second

	pollsFar = "homing_front_polls_total/far"
)

func pollingScenarios() []scenario {
	return []scenario{{
		name: "polling-owner-kill", about: "all clients poll, each request at any worker of two fronts, and a worker that has sessions is killed (SIGKILL)",
		setup: twoFronts, polled: true, fault: killPolledOwner, check: checkIndex, gap: endKnown + gapLimit,
	}}
}

func twoFronts(o *stack.Options) { o.Fronts, o.Workers = pollingFronts, pollingWorkers }

// polling is a way for clients that poll, and spread their requests over all fronts.
func (e *entrance) polling() {
	e.way = func(int) bridge.Way { return bridge.Polling }
	for _, url := range e.fronts {
		e.bridges.Fronts = append(e.bridges.Fronts, strings.TrimSuffix(strings.TrimPrefix(url, "ws://"), "/ws"))
	}
}

// killPolledOwner kills a worker. The clients of its sessions are to be told at their
// next request, and those whose requests it only carries lose those.
func killPolledOwner(ctx context.Context, d *drill) error {
	if err := d.pool.locate(ctx); err != nil {
		return err
	}
	pids, err := d.stack.Fronts[pollingFronts-1].Workers()
	if err != nil {
		return err
	}
	victim := pids[0]
	owned := d.fleet.heldBy(victim)
	d.faultAt = time.Now()
	d.say("killing worker %d, which has the sessions of %d of %d clients", victim, len(owned), len(d.fleet.devices))
	if err := syscall.Kill(victim, syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill worker %d: %w", victim, err)
	}
	d.audit.taken = time.Now()
	d.audit.dies(victim, d.faultAt)
	if err := pause(ctx, endKnown+d.stalls.longest()); err != nil {
		return err
	}
	if err := d.attendance.watchReturn(ctx); err != nil {
		return err
	}
	if err := d.index.watchSweep(ctx); err != nil {
		return err
	}
	return d.accountPolls(ctx, owned)
}

// accountPolls enters what became of the sessions of a killed worker.
func (d *drill) accountPolls(ctx context.Context, owned map[*device]bool) error {
	now, err := d.books.read(ctx)
	if err != nil {
		return err
	}
	p := &Polls{Far: int(now.sums[pollsFar]), Owned: len(owned), Unknown: int(d.entrance.bridges.Unknown.Load())}
	d.result.Polls = p
	var last time.Duration
	for _, e := range d.fleet.endings() {
		if owned[e.device] && e.at.After(d.faultAt) {
			last = max(last, e.at.Sub(d.faultAt))
			delete(owned, e.device)
		}
	}
	p.Told = ms(last)
	d.say("the last client of it knew after %.1fs; %d requests were answered with code 1, %d were carried to the owner", last.Seconds(), p.Unknown, p.Far)
	if limit := endKnown + d.stalls.longest(); last > limit || len(owned) > 0 {
		d.result.breaks("the clients of the killed worker knew after %v, and %d not at all, want at most %v", last.Round(time.Millisecond), len(owned), limit)
	}
	if p.Owned == 0 || p.Unknown == 0 || p.Far == 0 {
		d.result.breaks("%d sessions were lost, %d requests answered with code 1, %d carried to an owner: nothing was tried", p.Owned, p.Unknown, p.Far)
	}
	return nil
}

// heldBy returns the devices whose connection a worker has.
func (f *fleet) heldBy(worker int) map[*device]bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	held := make(map[*device]bool)
	for c, l := range f.conns {
		if !l.device.guest && c.Holder() == worker {
			held[l.device] = true
		}
	}
	return held
}
