package drill

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/homing/homing/bench/stack"
	"github.com/homing/homing/hub"
)

// hooking is a scenario in which two game backends are told of notifications that
// were stored for users who are away.
type hooking struct {
	posters   int
	perSecond float64 // notifications of each poster
	fault     func(ctx context.Context, h *hooked) error
}

// hooked is such a scenario under way.
type hooked struct {
	*drill

	prompt, slow *receiver // game backends
	posted       []int     // notifications accepted, by user; each poster has its own users
	refused      atomic.Int64
}

const (
	// hookUsers is how many users each poster has.
	hookUsers = 10
	// hookAfter is how long users are away until it is told.
	hookAfter = "1s"
	// takenOverWithin is what another sender takes to go on for one that was killed:
	// its lease of 6 s, and a second.
	takenOverWithin = 7 * time.Second
	// drowsy is how long the slow backend takes for a request, and drowsyFor how
	// long it does; then it refuses for refusesFor.
	drowsy     = 1500 * time.Millisecond
	drowsyFor  = 15 * time.Second
	refusesFor = 5 * time.Second
	// stoodStill is how long a master stands still: it is replaced meanwhile.
	stoodStill = 4 * time.Second
	// toldWithin is how soon after the load all must have been told.
	toldWithin = 45 * time.Second
	// quietHooks is how long is listened for repeats.
	quietHooks = 2 * time.Second
)

func hookScenarios() []scenario {
	return []scenario{{
		name:  "hooks",
		about: "an API server is killed, the master that holds events is replaced, killed and stands still, a pub/sub master is killed, while one of two game backends is slow and then refuses",
		setup: quickFailovers,
		hooks: &hooking{posters: 12, perSecond: 8, fault: breakHooks},
	}}
}

// prepareHooks makes the backends of the scenario, before the start of the stack,
// which must be told where they are. Close what it returns.
func (d *drill) prepareHooks(o *stack.Options) (*hooked, error) {
	h := &hooked{drill: d, posted: make([]int, d.hooks.posters*hookUsers)}
	var err error
	if h.prompt, err = newReceiver(); err != nil {
		return nil, err
	}
	if h.slow, err = newReceiver(); err != nil {
		h.prompt.close()
		return nil, err
	}
	file := drillFile("hooks.yaml", fmt.Sprintf("endpoints:\n  - {name: prompt, url: '%s', secret: '%s', batch: 100}\n  - {name: slow, url: '%s', secret: '%s', timeout: 5s}\n",
		h.prompt.url, h.prompt.secret, h.slow.url, h.slow.secret))
	o.APIs = 3
	o.APIArgs = append(o.APIArgs, "--hook-endpoints", file, "--hook-unreached-after", hookAfter)
	return h, nil
}

func (h *hooked) close() {
	h.prompt.close()
	h.slow.close()
}

// run is the scenario on a stack that is ready.
func (h *hooked) run(ctx context.Context) error {
	h.attach()
	defer h.backend.close()
	posting, stop := context.WithCancel(ctx)
	defer stop()
	var all sync.WaitGroup
	h.say("%d callers store %.0f notifications a second each for %d users who are away", h.drill.hooks.posters, h.drill.hooks.perSecond, len(h.posted))
	for i := range h.drill.hooks.posters {
		all.Go(func() { h.post(posting, i) })
	}
	all.Go(func() { h.stalls.run(posting) })
	err := errors.Join(pause(ctx, warmUp), h.drill.hooks.fault(ctx, h), pause(ctx, h.opts.After/2))
	stop()
	all.Wait()
	if err != nil {
		return err
	}
	h.waitTold(ctx)
	if err := pause(ctx, quietHooks); err != nil {
		return err
	}
	h.account()
	return h.stack.Alive()
}

// post stores one notification after the other, each under its id until it is
// accepted, so that every one counts.
func (h *hooked) post(ctx context.Context, poster int) {
	every := time.NewTicker(time.Duration(float64(time.Second) / h.drill.hooks.perSecond))
	defer every.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
		user := poster*hookUsers + n%hookUsers
		p := post{
			ID: fmt.Sprintf("u%d-%05d", user, h.posted[user]+1), Users: []hub.UserID{hub.UserID(fmt.Sprintf("gone%d", user))},
			Data: told{User: user, N: h.posted[user] + 1}, Store: keepFor,
		}
		if !h.insist(ctx, poster+n, p) {
			return
		}
		h.posted[user]++
	}
}

// insist posts until an answer says that it is accepted, at one API server after the
// other. It ends later than ctx by a few seconds at most, so that no notification is
// left of which nobody knows. It returns false when none accepted it.
func (h *hooked) insist(ctx context.Context, api int, p post) bool {
	patient, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	insisting := context.AfterFunc(ctx, func() { time.AfterFunc(insistFor, cancel) })
	defer insisting()
	for ; patient.Err() == nil; api++ {
		if a := h.backend.notify(patient, "store", api, p); a.status == http.StatusOK {
			return true
		}
		h.refused.Add(1)
		_ = pause(patient, 50*time.Millisecond)
	}
	return false
}

// insistFor is how long a poster goes on to insist when the load has ended.
const insistFor = 10 * time.Second

// breakHooks makes every fault, one after the other.
func breakHooks(ctx context.Context, h *hooked) error {
	h.faultAt = time.Now()
	h.say("one backend takes %v for a request, for %v, and then refuses for %v", drowsy, drowsyFor, refusesFor)
	h.slow.set(drowsy, http.StatusOK)
	sleep := time.AfterFunc(drowsyFor, func() { h.slow.set(0, http.StatusServiceUnavailable) })
	wake := time.AfterFunc(drowsyFor+refusesFor, func() { h.slow.set(0, http.StatusOK) })
	defer sleep.Stop()
	defer wake.Stop()
	for _, fault := range []func(context.Context, *hooked) error{
		killSender, replaceInboxMaster, killInboxMaster, stopInboxMaster, killSecondPubSub,
	} {
		if err := errors.Join(fault(ctx, h), pause(ctx, time.Second)); err != nil {
			return err
		}
	}
	return nil
}

// killSender kills an API server, and starts it again when others have taken over.
func killSender(ctx context.Context, h *hooked) error {
	h.say("killing API server 1")
	if err := h.stack.API.Kill(1); err != nil {
		return err
	}
	if err := pause(ctx, takenOverWithin); err != nil {
		return err
	}
	return h.stack.API.Restart(ctx, 1)
}

func replaceInboxMaster(ctx context.Context, h *hooked) error {
	return h.operator.failover(ctx, stack.DataMaster)
}

// killInboxMaster kills the master, and brings it back as a replica.
func killInboxMaster(ctx context.Context, h *hooked) error {
	old, err := h.stack.Redis.Master(ctx, stack.DataMaster)
	if err != nil {
		return err
	}
	if err := h.operator.kill(ctx, stack.DataMaster); err != nil {
		return err
	}
	if err := h.operator.bringBack(ctx, victim{name: stack.DataMaster}, old); err != nil {
		return err
	}
	return h.stack.Redis.WaitReplicas(ctx)
}

// stopInboxMaster has the master stand still until it is replaced, and go on as it
// was.
func stopInboxMaster(ctx context.Context, h *hooked) error {
	old, err := h.stack.Redis.Master(ctx, stack.DataMaster)
	if err != nil {
		return err
	}
	h.say("stopping %s, the master of %s, for %v", old.Addr(), stack.DataMaster, stoodStill)
	return errors.Join(old.Stop(), pause(ctx, stoodStill), old.Cont())
}

func killSecondPubSub(ctx context.Context, h *hooked) error {
	return h.operator.kill(ctx, stack.ShardMaster(1))
}

// waitTold waits until both backends have been told of all that was accepted, or for
// a while.
func (h *hooked) waitTold(ctx context.Context) {
	want := h.accepted()
	h.say("%d notifications were accepted; waiting until both backends have heard of all", want)
	for deadline := time.Now().Add(toldWithin); time.Now().Before(deadline); {
		if h.prompt.distinct() >= want && h.slow.distinct() >= want {
			return
		}
		if pause(ctx, 100*time.Millisecond) != nil {
			return
		}
	}
}

func (h *hooked) accepted() (sum int) {
	for _, n := range h.posted {
		sum += n
	}
	return sum
}

// account settles the books; all has stopped. Each of the two backends is to hear of
// everything. What was not accepted, and is told of all the same, is no harm.
func (h *hooked) account() {
	r := &h.result
	r.HarnessStallMS = h.stalls.longest().Milliseconds()
	r.Notifications, r.Refused, r.Books = h.accepted(), int(h.refused.Load()), "not available: receivers keep their own"
	for name, b := range map[string]*receiver{"prompt": h.prompt, "slow": h.slow} {
		v := b.judge(h.posted)
		r.Accepted += r.Notifications
		r.Written += v.told
		r.Lost += v.lost
		r.Reordered += v.reordered
		r.Repeated += v.repeated
		r.Misdelivered += v.strange
		h.say("the %s backend: %d events in %d requests, %d of them repeats, at most %v without one", name, v.told+v.repeated, v.requests, v.repeated, v.gap.Round(time.Millisecond))
		if v.refused > 0 {
			r.breaks("the %s backend was sent %d requests that were not signed as they should be", name, v.refused)
		}
		if name == "prompt" {
			r.LongestGapMS = v.gap.Milliseconds()
		}
	}
	r.Promise = Kept
	if r.Lost+r.Reordered+r.Misdelivered > 0 || len(r.Broke) > 0 {
		r.Promise = Broken
	}
	h.say("%d notifications, told to both: %d lost, %d out of order, %d repeats: promise %s", r.Notifications, r.Lost, r.Reordered, r.Repeated, r.Promise)
}
