package drill

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/homing/homing/bench/players"
	"github.com/homing/homing/bench/stack"
	client "github.com/homing/homing/client/go"
	hubfleet "github.com/homing/homing/hub/fleet"
)

func nodeScenarios() []scenario {
	return []scenario{
		{
			name: "drain", about: "a node of three is ordered to drain, which is taken back half-way, and drained for good, with rooms that are played in",
			fault: drainNode, check: checkDrained, setup: threeNodes, gap: 3 * time.Second,
		},
		{
			name: "drain-deadline", about: "a node of three is ordered to drain much too slowly, and closes those who are left at the deadline",
			fault: drainTooLate, check: checkIndex, setup: threeNodes, front: []string{"--front-drain-window", "3s"}, gap: 3 * time.Second,
		},
		{
			name: "fleet-replace", about: "three nodes are replaced one after the other: drained, stopped, started, let in",
			fault: replaceFleet, check: checkDrained, setup: threeNodes, gap: 3 * time.Second,
		},
	}
}

// threeNodes has three fronts of two workers be nodes.
func threeNodes(o *stack.Options) {
	withRooms(o)
	o.Fronts, o.Workers = 3, 2
	o.FrontArgs = append(o.FrontArgs, "--node-endpoint", "127.0.0.1", "--node-capacity", "20000")
}

// drainsWithin is how long a node may take for its part of the clients: its rate follows
// from it.
const drainsWithin = 10 * time.Second

// nodeRate is at which rate a node of three is drained.
func nodeRate(d *drill) int { return max(10, len(d.fleet.devices)/3/int(drainsWithin.Seconds())) }

// told are the times at which clients were told to leave since some time.
func (d *drill) told(since time.Time) (all []time.Time) {
	for _, at := range d.fleet.toldTimes() {
		if at.After(since) {
			all = append(all, at)
		}
	}
	slices.SortFunc(all, time.Time.Compare)
	return all
}

// checkRate wants clients told at a rate, from the first to the last, within a tenth.
func (d *drill) checkRate(what string, rate int, since time.Time) {
	all := d.told(since)
	if len(all) < 3*rate {
		d.result.breaks("%s: %d clients were told, which is too few to see a rate of %d", what, len(all), rate)
		return
	}
	// The last ones are few, and told when they may be: some have just come.
	all = all[:len(all)*9/10]
	took := all[len(all)-1].Sub(all[0])
	got := float64(len(all)-1) / took.Seconds()
	most, from := 0, 0
	for to := range all {
		for all[to].Sub(all[from]) >= time.Second {
			from++
		}
		most = max(most, to-from+1)
	}
	d.say("%s: %d were told within %v, %.1f per second of %d; %d in the busiest second", what, len(all), took.Round(10*time.Millisecond), got, rate, most)
	slack := 1 + d.stalls.longest().Seconds()/took.Seconds()
	if got > float64(rate)*1.1 || got < float64(rate)*0.9/slack {
		d.result.breaks("%s: %.1f per second were told to leave, want %d within a tenth", what, got, rate)
	}
}

// drainNode drains a node, takes that back half-way, and drains it for good.
func drainNode(ctx context.Context, d *drill) error {
	n, err := newNodes(ctx, d.journal, d.stack)
	if err != nil {
		return err
	}
	defer n.close()
	crowd, err := d.enterRooms(ctx)
	if err != nil {
		return err
	}
	defer crowd.leave()
	if err := n.ready(ctx); err != nil {
		return err
	}
	rate, deadline := nodeRate(d), time.Now().Add(5*time.Minute)
	began := time.Now()
	d.faultAt = began
	if err := n.drain(ctx, 0, hubfleet.Drain{ID: "half", Rate: rate, Deadline: deadline, Why: "a drill"}); err != nil {
		return err
	}
	half := len(d.fleet.devices) / 6
	if err := d.untilTold(ctx, began, half); err != nil {
		return err
	}
	if err := n.undrain(ctx, 0); err != nil {
		return err
	}
	if err := pause(ctx, 3*time.Second); err != nil { // a report, and those who were told just before
		return err
	}
	before := len(d.told(began))
	d.checkRate("the first half", rate, began)
	if err := pause(ctx, 3*time.Second); err != nil {
		return err
	}
	if after := len(d.told(began)); after != before {
		d.result.breaks("%d clients were told to leave after the order was taken back", after-before)
	}
	if a := d.newcomers.connectAt(ctx, n.id(0), "newcomer"); !a.ok() {
		d.result.breaks("nobody is let in after the order was taken back: %v", a)
	}
	again := time.Now()
	if err := n.drain(ctx, 0, hubfleet.Drain{ID: "whole", Rate: rate, Deadline: deadline, Why: "a drill"}); err != nil {
		return err
	}
	if err := n.emptied(ctx, 0, time.Minute); err != nil {
		d.result.breaks("%v", err)
	}
	d.say("the node is empty %.1fs after the second order", time.Since(again).Seconds())
	d.checkRate("the second half", rate, again)
	if a := d.newcomers.connectAt(ctx, n.id(0), "newcomer"); a.status != http.StatusServiceUnavailable || !a.wait {
		d.result.breaks("a node that drains does not refuse with 503: %v", a)
	}
	crowd.judge(d)
	return d.attendance.watchReturn(ctx)
}

// untilTold waits until so many clients were told to leave.
func (d *drill) untilTold(ctx context.Context, since time.Time, n int) error {
	ctx, cancel := context.WithTimeout(ctx, 3*drainsWithin)
	defer cancel()
	for len(d.told(since)) < n {
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return fmt.Errorf("%d of %d clients were told to leave: %w", len(d.told(since)), n, err)
		}
	}
	return nil
}

// checkWords wants that every connection that ended was told so, and returns how many
// ended. It says of the first that was not why, as far as is known.
func (d *drill) checkWords() (ended int) {
	all := d.fleet.endings()
	silent := slices.IndexFunc(all, func(e ending) bool { return !e.told && client.CloseCode(e.err) != comeBack })
	if silent < 0 {
		return len(all)
	}
	for _, loss := range d.entrance.bridges.Losses() {
		d.say("  lost on the bridge: %s", loss)
	}
	e := all[silent]
	d.result.breaks("a connection of %s (way %d) ended without a word %.1fs after the fault: %v", e.device.user, d.entrance.wayOf(e.device.number), e.at.Sub(d.faultAt).Seconds(), e.err)
	return len(all)
}

// checkDrained wants that every connection that ended was told so, and that nobody
// failed to connect.
func checkDrained(ctx context.Context, d *drill) error {
	d.attendance.checkConnects()
	d.checkWords()
	return checkIndex(ctx, d)
}

// drainTooLate drains a node at a rate at which most are left at the deadline.
func drainTooLate(ctx context.Context, d *drill) error {
	n, err := newNodes(ctx, d.journal, d.stack)
	if err != nil {
		return err
	}
	defer n.close()
	if err := n.ready(ctx); err != nil {
		return err
	}
	d.faultAt = time.Now()
	deadline := d.faultAt.Add(8 * time.Second)
	if err := n.drain(ctx, 0, hubfleet.Drain{ID: "late", Rate: 2, Deadline: deadline, Why: "a drill"}); err != nil {
		return err
	}
	if err := pause(ctx, time.Until(deadline.Add(-time.Second))); err != nil {
		return err
	}
	if early := len(d.fleet.endings()); early > 4*8 {
		d.result.breaks("%d connections ended before the deadline, at 2 per second", early)
	}
	if err := n.emptied(ctx, 0, 10*time.Second); err != nil {
		d.result.breaks("%v", err)
	}
	closed := d.checkWords()
	d.say("%d connections were closed", closed)
	if closed < len(d.fleet.devices)/4 {
		d.result.breaks("%d of about %d connections were closed at the deadline", closed, len(d.fleet.devices)/3)
	}
	d.attendance.checkConnects()
	return d.attendance.watchReturn(ctx)
}

// replaceFleet replaces all nodes, one after the other.
func replaceFleet(ctx context.Context, d *drill) error {
	n, err := newNodes(ctx, d.journal, d.stack)
	if err != nil {
		return err
	}
	defer n.close()
	if err := n.ready(ctx); err != nil {
		return err
	}
	d.faultAt = time.Now()
	rate := nodeRate(d)
	for i := range d.stack.Fronts {
		began := time.Now()
		if err := d.audit.movesAll(d.stack.Fronts[i]); err != nil {
			return err
		}
		order := hubfleet.Drain{ID: fmt.Sprint("replace-", i), Rate: rate, Deadline: began.Add(5 * time.Minute), Why: "a new version"}
		if err := n.drain(ctx, i, order); err != nil {
			return err
		}
		if err := n.emptied(ctx, i, 2*time.Minute); err != nil {
			return err
		}
		d.checkRate(fmt.Sprint("node ", i), rate, began)
		d.entrance.leaveOut(i) // who balances load asks /readyz, which has said 503 since the order
		if err := n.replace(ctx, i); err != nil {
			return err
		}
		d.entrance.letIn()
		d.say("node %d was replaced within %.1fs", i, time.Since(began).Seconds())
	}
	return d.attendance.watchReturn(ctx)
}

// roomers are players in rooms beside the clients of a drill.
type roomers struct {
	crowd *players.Crowd
	stop  context.CancelFunc
	wg    sync.WaitGroup
}

const (
	drainRooms, drainRoomSize = 30, 4
	drainRoomGap              = 2 * time.Second
)

// enterRooms has players talk in rooms.
func (d *drill) enterRooms(ctx context.Context) (*roomers, error) {
	b := &players.Backend{URL: d.stack.API.URLs()[0], Key: d.stack.Access.Key(), Secret: d.stack.Access.Secret()}
	crowd, err := players.Enter(ctx, b, "drill", "roomer", drainRooms, drainRoomSize)
	if err != nil {
		return nil, err
	}
	r := &roomers{crowd: crowd}
	ctx, r.stop = context.WithCancel(ctx)
	r.wg.Go(func() { crowd.Talk(ctx, 1) })
	return r, nil
}

func (r *roomers) leave() {
	r.stop()
	r.wg.Wait()
	r.crowd.Leave()
}

// judge wants the rooms to have gone on, and nothing that was said lost.
func (r *roomers) judge(d *drill) {
	r.stop()
	r.wg.Wait()
	time.Sleep(quietGames)
	v := r.crowd.Judge()
	d.say("%d players said %d, %d were heard; %d rooms went on elsewhere, %d players came anew", v.Players, v.Said, v.Heard, v.TakenOver, v.Rejoins)
	if v.TakenOver == 0 {
		d.result.breaks("no room moved")
	}
	if v.Lost+v.Duplicated+v.Reordered+v.TwoOwners+v.Unwhole+v.Backward > 0 || len(v.Ended) > 0 {
		d.result.breaks("rooms: %d lost, %d twice, %d out of order, %d with two owners, %d unwhole, %d back in time, %d players lost their seats", v.Lost, v.Duplicated, v.Reordered, v.TwoOwners, v.Unwhole, v.Backward, len(v.Ended))
	}
	if limit := drainRoomGap + d.stalls.longest(); v.LongestGap > limit {
		d.result.breaks("a player read nothing for %v, want less than %v", v.LongestGap.Round(time.Millisecond), limit)
	}
}
