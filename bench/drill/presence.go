package drill

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"time"

	"github.com/homing/homing/bench/stack"
)

// befriending is a scenario in which users come and go whose friends are told, and a
// game backend, instead of the fleet and its senders.
type befriending struct {
	fault func(ctx context.Context, b *befriended) error
	// dies says that a worker may be taken for dead that its users are still
	// connected to, so that their friends are told that they have gone.
	dies bool
}

// befriended is such a scenario under way.
type befriended struct {
	*drill

	mates *mates
	ears  *receiver // the game backend
}

const (
	// mateCount is how many users there are; each has the next mateFriends in a ring
	// as friends, and those before.
	mateCount, mateFriends = 400, 12
	// mateLinger is for how long a user may be away without having gone.
	mateLinger = 2 * time.Second
	// agreeWithin is how soon after the load everybody must know the truth: a worker
	// that died is swept within about 25 s.
	agreeWithin = 45 * time.Second
	// matesStopped is how long a worker stands still: longer than others wait for it.
	matesStopped = 25 * time.Second
)

func presenceScenarios() []scenario {
	about := func(fault string) string {
		return fmt.Sprintf("%d users with friends come and go, and %s", mateCount, fault)
	}
	return []scenario{
		{name: "presence", about: about("nothing breaks"), setup: quickFailovers, mates: &befriending{fault: func(context.Context, *befriended) error { return nil }}},
		{name: "presence-kill-worker", about: about("two front workers are killed (SIGKILL), one after the other"), setup: quickFailovers, mates: &befriending{fault: killMatesWorkers}},
		{name: "presence-roll", about: about("the front replaces its workers one by one (SIGHUP)"), setup: quickFailovers, front: quickDrain, mates: &befriending{fault: rollMates}},
		{name: "presence-stop-worker", about: about("a worker, and the front's master, stand still (SIGSTOP) for longer than its lease, and go on"), setup: quickFailovers, mates: &befriending{fault: stopMatesWorker, dies: true}},
		{name: "presence-data-failover", about: about("the master of data Redis is replaced as planned, then killed"), setup: quickFailovers, mates: &befriending{fault: failMatesData}},
		{name: "presence-pubsub-failover", about: about("the master of a pub/sub shard is killed"), setup: quickFailovers, mates: &befriending{fault: func(ctx context.Context, b *befriended) error {
			return b.operator.kill(ctx, stack.ShardMaster(shard))
		}}},
		{name: "presence-front-cut", about: about("the front is cut off from Redis and the Sentinels, which the API servers reach"), front: quickDrain, apart: frontCut, mates: &befriending{fault: func(ctx context.Context, b *befriended) error {
			return b.net.cutFor(ctx, awayFor, "the front loses every way to Redis and the Sentinels")
		}, dies: true}},
	}
}

// prepareMates makes the game backend of the scenario, before the start of the stack,
// which must be told where it is. Close what it returns.
func (d *drill) prepareMates(o *stack.Options) (*befriended, error) {
	b := &befriended{drill: d}
	var err error
	if b.ears, err = newReceiver(); err != nil {
		return nil, err
	}
	file := drillFile("presence.yaml", fmt.Sprintf("endpoints:\n  - {name: ears, url: '%s', secret: '%s', batch: 100}\n", b.ears.url, b.ears.secret))
	both := []string{"--friends", "--presence"}
	o.APIArgs = append(append(o.APIArgs, "--hook-endpoints", file), both...)
	o.FrontArgs = append(append(o.FrontArgs, "--hooks", "--presence-linger", mateLinger.String()), both...)
	return b, nil
}

// run is the scenario on a stack that is ready.
func (b *befriended) run(ctx context.Context) error {
	b.operator = &operator{b.journal, b.stack.Redis}
	b.mates = newMates(b.stack.Front.URL(), b.stack.Access.Secret())
	living, end := context.WithCancel(ctx)
	defer end()
	b.result.Connections = mateCount
	b.mates.start(living)
	defer b.mates.wait()
	defer end()
	beside, stop := context.WithCancel(ctx)
	defer stop()
	var watching sync.WaitGroup
	watching.Go(func() { b.stalls.run(beside) })
	watching.Go(func() { b.watch(beside) })
	err := errors.Join(pause(ctx, warmUp+mateLinger), b.drill.mates.fault(ctx, b), pause(ctx, b.opts.After))
	if err == nil {
		err = b.agree(ctx)
	}
	stop()
	watching.Wait()
	if err != nil {
		return err
	}
	end()
	b.mates.wait()
	b.account()
	return b.stack.Alive()
}

// watch prints a line every other second.
func (b *befriended) watch(ctx context.Context) {
	for pause(ctx, 2*time.Second) == nil {
		b.say("  %d of %d connected, %d logins, %d words read, %d events", b.mates.open.Load(), mateCount, b.mates.logins.Load(), b.mates.words.Load(), b.ears.distinct())
	}
}

// agree has nobody come or go any more, and waits until everybody knows the truth and
// the backend, too.
func (b *befriended) agree(ctx context.Context) error {
	b.mates.rest()
	b.say("nobody comes or goes any more; waiting until everybody knows the truth")
	for deadline := time.Now().Add(agreeWithin); ; {
		all, wrong, first := b.mates.compare()
		unheard := b.unheard()
		if b.mates.settled() && wrong+len(unheard) == 0 {
			b.result.Accepted, b.result.Written = all, all
			return pause(ctx, mateLinger+time.Second) // it stays the truth
		}
		if time.Now().After(deadline) {
			b.result.Accepted, b.result.Written, b.result.Lost = all, all-wrong, wrong
			if wrong > 0 {
				b.result.breaks("%d of %d are not as those who are connected were told: %s", wrong, all, first)
			}
			if len(unheard) > 0 {
				b.result.breaks("the game backend does not know the truth of %d users, the first %s", len(unheard), unheard[0])
			}
			return nil
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// unheard are the users of whom the game backend does not know whether they are there.
func (b *befriended) unheard() (users []string) {
	for _, m := range b.mates.all {
		moves := b.ears.movesOf(string(m.user))
		if there := m.there(); there != (len(moves) > 0 && moves[len(moves)-1].online) {
			users = append(users, fmt.Sprintf("%s, connected: %v, heard %+v", m.user, there, moves))
		}
	}
	return users
}

// account judges what was heard on the way.
func (b *befriended) account() {
	r := &b.result
	r.HarnessStallMS = b.stalls.longest().Milliseconds()
	r.Books = "not available: watchers and the game backend keep their own"
	r.FailedConnects = int(b.mates.failed.Load())
	r.Notifications = int(b.mates.words.Load())
	false1, example := b.mates.falseEnds(b.stalls.longest())
	if !b.drill.mates.dies {
		r.Misdelivered = false1
		if false1 > 0 {
			r.breaks("%d times a friend was told to have gone who had not, the first: %s", false1, example)
		}
	}
	twice, missing, repeats := 0, 0, 0
	for _, m := range b.mates.all {
		moves := b.ears.movesOf(string(m.user))
		ends, online := 0, false
		for _, v := range moves {
			if !v.online && !online {
				if twice++; twice <= 3 {
					b.say("  %s: %v; %v", m.user, moves, m.absences)
				}
			}
			if !v.online {
				ends++
			}
			online = v.online
			repeats += v.repeats
		}
		if sure := m.sureEnds(b.faultAt); ends < sure {
			missing += sure - ends
		}
	}
	r.Duplicated, r.Repeated = twice, repeats
	if twice > 0 {
		r.breaks("%d times the game backend heard user.offline of a user who had not come", twice)
	}
	if missing > 0 {
		r.Lost += missing
		r.breaks("%d ends of users were not told to the game backend", missing)
	}
	r.Promise = Kept
	if r.Lost+r.Misdelivered > 0 || len(r.Broke) > 0 {
		r.Promise = Broken
	}
	b.say("%d logins, %d words; at the end %d of %d beliefs are the truth; %d ends told early; events: %d told twice, %d missing, %d repeats: promise %s",
		b.mates.logins.Load(), r.Notifications, r.Written, r.Accepted, false1, twice, missing, repeats, r.Promise)
}

// killMatesWorkers kills one worker, and another one before the first is swept.
func killMatesWorkers(ctx context.Context, b *befriended) error {
	b.faultAt = time.Now()
	for range 2 {
		pids, err := b.stack.Front.Workers()
		if err != nil {
			return err
		}
		victim := pids[rand.IntN(len(pids))]
		b.say("killing worker %d", victim)
		b.mates.kill()
		if err := syscall.Kill(victim, syscall.SIGKILL); err != nil {
			return fmt.Errorf("kill worker %d: %w", victim, err)
		}
		if err := pause(ctx, 4*time.Second); err != nil {
			return err
		}
	}
	return nil
}

func rollMates(_ context.Context, b *befriended) error {
	b.faultAt = time.Now()
	b.say("replacing all workers")
	return b.stack.Front.ReplaceWorkers()
}

// stopMatesWorker stops a worker until it is taken for dead, and its master, which
// would kill it.
func stopMatesWorker(ctx context.Context, b *befriended) error {
	pids, err := b.stack.Front.PIDs()
	if err != nil {
		return err
	}
	b.faultAt = time.Now()
	b.say("worker %d stands still for %v", pids[1], matesStopped)
	return standStill(ctx, matesStopped, pids[0], pids[1])
}

// failMatesData has another data master twice.
func failMatesData(ctx context.Context, b *befriended) error {
	b.faultAt = time.Now()
	return errors.Join(b.operator.failover(ctx, stack.DataMaster), pause(ctx, 2*time.Second), b.operator.kill(ctx, stack.DataMaster))
}
