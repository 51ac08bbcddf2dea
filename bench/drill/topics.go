package drill

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/homing/homing/bench/ledger"
	"github.com/homing/homing/bench/stack"
)

// speaking is a scenario with members of topics, instead of the fleet and its senders.
type speaking struct {
	fault func(ctx context.Context, t *talks) error
	gap   time.Duration // how long a delivery may take from when its sender sent it

	stays   bool // nobody is thrown off
	forgets bool // a kept history may lose its memory: the server that had it is killed
}

// talks is such a scenario under way.
type talks struct {
	*drill

	assembly *assembly
	load     *topicLoad
}

// Topics is what else is known of members of topics. There, Accepted and Written count
// what was sent to one and was to reach a connection, and did.
type Topics struct {
	Topics      int            `json:"topics"`
	Memberships int            `json:"memberships"` // in the end
	Joins       int            `json:"joins"`       // in all
	Published   int            `json:"published"`   // by clients, and accepted
	Posted      int            `json:"posted"`      // by backends, and accepted
	Changed     int            `json:"changed"`     // memberships that backends began or ended
	Thrown      int            `json:"thrown"`      // connections that members did not end
	Refused     map[string]int `json:"refused,omitempty"`
}

const (
	// keptFailover is how long what is kept may wait for another master.
	keptFailover = 6 * time.Second
	// memberPatience is the longest that delivery may take to members that leave.
	memberPatience = 3 * time.Second
	// countWithin is how soon the servers must agree with the clients on who is a
	// member.
	countWithin = 10 * time.Second
	// countPolled is the same where some poll: that one of them has gone is noticed when it
	// has not answered a ping.
	countPolled = 45 * time.Second
)

func topicScenarios() []scenario {
	about := func(fault string) string { return "members of 200 topics come, go and talk, and " + fault }
	return []scenario{
		{name: "topic", about: about("nothing breaks"), setup: withTopics, speaking: &speaking{fault: goOn, gap: gapLimit, stays: true}},
		{name: "topic-kill-worker", about: about("one of the front workers is killed (SIGKILL)"), setup: withTopics, speaking: &speaking{fault: killMembersWorker, gap: keptFailover}},
		{name: "topic-roll", about: about("the front replaces its workers one by one (SIGHUP)"), setup: withTopics, front: quickDrain, speaking: &speaking{fault: rollMembers, gap: keptFailover}},
		{name: "topic-pubsub-failover", about: about("the master of a pub/sub shard is killed"), setup: withTopics, speaking: &speaking{fault: killServer(stack.ShardMaster(shard)), gap: keptFailover, stays: true}},
		{name: "topic-replica-kill", about: about("the replica of a pub/sub shard that most processes are subscribed at is killed"), setup: withTopics, speaking: &speaking{fault: func(ctx context.Context, t *talks) error { return killReplica(ctx, t.drill) }, gap: keptFailover, stays: true}},
		{name: "topic-data-replica-kill", about: about("a replica of data Redis is killed"), setup: withTopics, speaking: &speaking{fault: killDataReplica, gap: keptFailover, stays: true}},
		{name: "topic-data-failover", about: about("the master of data Redis is killed"), setup: withTopics, speaking: &speaking{fault: killServer(stack.DataMaster), gap: keptFailover, stays: true}},
		{
			name: "topic-network-cut", about: about("the front's workers are cut off from Redis and the Sentinels, which the API servers reach"), setup: withTopics, front: quickDrain,
			apart: frontCut, speaking: &speaking{fault: cutMembers, gap: awayFor + readyAgain},
		},
		{name: "topic-inbox-failover", about: about("the master of the inboxes, which keep what topics were told, is killed"), setup: withTopics, speaking: &speaking{fault: killInboxes, gap: keptFailover, stays: true, forgets: true}},
	}
}

// withTopics has some topics keep what they were told, apart from data Redis.
func withTopics(o *stack.Options) {
	keep := []string{"--topic-keep", keepTopics}
	o.OwnInbox = true
	o.APIArgs, o.FrontArgs = append(o.APIArgs, keep...), append(o.FrontArgs, keep...)
}

// runTalks is the scenario on a stack that is ready.
func (d *drill) runTalks(ctx context.Context) error {
	clients, hangUp := context.WithCancel(ctx)
	defer hangUp()
	t := &talks{drill: d, assembly: newAssembly(d.entrance, d.opts.Conns)}
	d.backend = newBackend(d.stack.Access.Key(), d.stack.API.URLs())
	defer d.backend.close()
	d.operator = &operator{d.journal, d.stack.Redis}
	t.load = newTopicLoad(t.assembly, d.backend, d.opts.Rate)
	d.result.Connections = len(t.assembly.members)
	t.assembly.start(clients)
	defer t.assembly.wait()
	defer hangUp()
	d.say("connecting %d clients, members of %d topics", len(t.assembly.members), topicCount)
	if err := t.gather(ctx); err != nil {
		return err
	}
	if err := t.talk(ctx); err != nil {
		return err
	}
	if err := t.checkCounts(ctx); err != nil {
		return err
	}
	now, ever := t.assembly.forum.Memberships()
	hangUp()
	t.assembly.wait()
	t.account(now, ever)
	return nil
}

// gather waits until everybody is connected, a member, and known by its worker.
func (t *talks) gather(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if err := t.assembly.waitOpen(ctx); err != nil {
		return err
	}
	return t.locate(ctx)
}

func (t *talks) locate(ctx context.Context) error { return t.assembly.locate(ctx, t.holders) }

// talk runs the load, and the fault in the midst of it.
func (t *talks) talk(ctx context.Context) error {
	talking, stop := context.WithCancel(ctx)
	defer stop()
	var beside sync.WaitGroup
	beside.Go(func() { t.stalls.run(talking) })
	beside.Go(func() { t.watch(talking) })
	t.load.start(talking)
	err := t.breakIn(ctx)
	stop()
	t.load.wait()
	beside.Wait()
	if err != nil {
		return err
	}
	t.say("the load has ended; waiting until everybody is back")
	if err := t.gather(ctx); err != nil {
		t.result.breaks("%v", err)
	}
	return t.quiet(ctx)
}

// breakIn makes the fault after a while, and lets the load go on for a while.
func (t *talks) breakIn(ctx context.Context) error {
	if err := pause(ctx, warmUp); err != nil {
		return err
	}
	end := time.Now().Add(t.opts.After)
	if err := t.speaking.fault(ctx, t); err != nil {
		return err
	}
	if err := pause(ctx, time.Until(end)); err != nil {
		return err
	}
	return t.stack.Alive()
}

// watch prints a line a second, and finds the workers of new connections.
func (t *talks) watch(ctx context.Context) {
	var before int64
	for pause(ctx, time.Second) == nil {
		now := t.assembly.received.Load()
		t.say("  %d connected, %d deliveries/s, %d posts accepted, %d not", t.assembly.open.Load(), now-before, t.load.accepted.Load(), t.load.refused.Load())
		before = now
		if err := t.locate(ctx); err != nil {
			t.say("  %v", err)
		}
	}
}

// quiet waits until nothing arrives any more.
func (t *talks) quiet(ctx context.Context) error {
	deadline := time.Now().Add(returnWindow)
	heard, since := t.assembly.received.Load(), time.Now()
	for time.Now().Before(deadline) && time.Since(since) < quietFor {
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
		if now := t.assembly.received.Load(); now != heard {
			heard, since = now, time.Now()
		}
	}
	return nil
}

// checkCounts wants the servers to say of every topic what the clients know.
func (t *talks) checkCounts(ctx context.Context) error {
	within := countWithin
	if t.entrance.mixed {
		within = countPolled
	}
	deadline := time.Now().Add(within)
	for i, topic := range t.assembly.topics {
		for {
			var reply struct{ Connections int }
			want := t.assembly.forum.Members(topic)
			a := t.backend.call(ctx, "count members", http.MethodGet, t.backend.apis[i%len(t.backend.apis)]+"/topics/"+string(topic), nil)
			if a.ok() && a.parse(&reply) == nil && reply.Connections == want {
				break
			}
			if time.Now().After(deadline) {
				t.result.breaks("topic %s has %d members by the servers' word (%v), %d by the clients'", topic, reply.Connections, a, want)
				break
			}
			if err := pause(ctx, 100*time.Millisecond); err != nil {
				return err
			}
		}
	}
	return nil
}

// account settles the books; all clients and senders have stopped.
func (t *talks) account(now, ever int) {
	r := &t.result
	r.HarnessStallMS = t.stalls.longest().Milliseconds()
	r.FailedConnects = int(t.assembly.failed.Load())
	r.Books = unavailable + "members are not in them"
	r.Topics = &Topics{
		Topics: topicCount, Memberships: now, Joins: ever, Posted: int(t.load.accepted.Load()),
		Changed: int(t.load.changed.Load()), Thrown: int(t.assembly.ended.Load()), Refused: make(map[string]int),
	}
	for code, n := range t.assembly.refused() {
		r.Topics.Refused[code] = int(n)
	}
	entry := t.assembly.forum.SettleForum(ledger.ForumRules{
		Joined: time.Second, Stayed: stayed, Patience: memberPatience + t.stalls.longest(),
		Owed: t.audit.owed, Window: returnWindow, Keeps: keeps, Forgets: t.speaking.forgets, SentAway: t.sentAway,
	})
	for _, e := range entry.Examples {
		t.say("  %s", e)
	}
	if limit := t.speaking.gap + t.stalls.longest(); entry.LongestGap > limit {
		r.breaks("a delivery took %v, want less than %v", entry.LongestGap.Round(time.Millisecond), limit.Round(time.Millisecond))
	}
	if n := t.assembly.ended.Load(); t.speaking.stays && n > 0 {
		r.breaks("%d connections were ended, and nothing of theirs was broken", n)
	}
	if t.faultAt.IsZero() && t.load.refused.Load() > 0 {
		r.breaks("%d posts were refused, the last because: %v", t.load.refused.Load(), t.load.why())
	}
	r.settle(entry, t.faultAt)
	r.Topics.Published = entry.Notifications - r.Topics.Posted
	t.say("%d of %d deliveries written, %d of %d kept ones read: promise %s", r.Written, r.Accepted, r.Stored-r.StoredLost, r.Stored, r.Promise)
}

// cutTakes is how long after it was begun a cut may let somebody in.
const cutTakes = time.Second

// sentAway is ledger.ForumRules.SentAway.
func (t *talks) sentAway(e ledger.Ending) time.Time {
	if died := t.audit.diedAt(e); !died.IsZero() {
		return died
	}
	e.Opened = e.Opened.Add(-cutTakes)
	return t.audit.sentAway(e)
}

func goOn(context.Context, *talks) error { return nil }

func killServer(name string) func(ctx context.Context, t *talks) error {
	return func(ctx context.Context, t *talks) error { return t.operator.kill(ctx, name) }
}

// cutMembers cuts the front off, which must send its clients away, and waits until they
// are back. What was kept meanwhile is told to them then.
func cutMembers(ctx context.Context, t *talks) error {
	ready := &readiness{t.journal, t.backend}
	ready.wait(ctx, "the front", t.stack.Front.Admin(), time.Second)
	t.audit.sendsAway(time.Now(), awayFor+sentAwayWithin)
	if err := t.net.cutFor(ctx, awayFor, "the front loses every way to Redis and the Sentinels"); err != nil {
		return err
	}
	ready.wait(ctx, "the front", t.stack.Front.Admin(), readyAgain+t.stalls.longest())
	if t.assembly.ended.Load() == 0 {
		t.result.breaks("nobody was sent away")
	}
	return t.awaitReturn(ctx)
}

// awaitReturn waits until everybody is connected who was thrown off.
func (t *talks) awaitReturn(ctx context.Context) error {
	waiting, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	for t.assembly.thrown() > 0 {
		if pause(waiting, 20*time.Millisecond) != nil {
			t.result.breaks("%d of %d clients are not connected again", t.assembly.thrown(), len(t.assembly.members))
			return nil
		}
	}
	t.result.RecoveredMS = ms(time.Since(t.faultAt))
	return nil
}

func killInboxes(ctx context.Context, t *talks) error {
	return t.operator.kill(ctx, t.stack.Config.InboxMaster())
}

func killDataReplica(ctx context.Context, t *talks) error {
	replicas, err := t.stack.Redis.Replicas(ctx, stack.DataMaster)
	if err != nil {
		return err
	}
	t.faultAt = time.Now()
	t.say("killing %s, a replica of %s", replicas[0].Addr(), stack.DataMaster)
	replicas[0].Crash()
	return nil
}

// rollMembers has the front replace its workers, and waits until everybody is back.
func rollMembers(ctx context.Context, t *talks) error {
	old, err := t.stack.Front.Workers()
	if err != nil {
		return err
	}
	if err := t.audit.movesAll(t.stack.Front); err != nil {
		return err
	}
	t.faultAt = time.Now()
	t.say("replacing workers %v", old)
	if err := t.stack.Front.ReplaceWorkers(); err != nil {
		return err
	}
	pool := &workerPool{journal: t.journal, front: t.stack.Front}
	waiting, cancel := context.WithTimeout(ctx, replaceTimeout)
	defer cancel()
	for {
		gone, err := pool.gone(old)
		if err != nil {
			return err
		}
		if gone {
			return nil
		}
		if pause(waiting, 100*time.Millisecond) != nil {
			t.result.breaks("the front does not replace its workers")
			return nil
		}
	}
}

// killMembersWorker kills a worker; its clients come back as soon as they can.
func killMembersWorker(ctx context.Context, t *talks) error {
	if err := t.locate(ctx); err != nil {
		return err
	}
	pids, err := t.stack.Front.Workers()
	if err != nil {
		return err
	}
	victim := pids[len(pids)-1]
	t.faultAt = time.Now()
	t.audit.dies(victim, t.faultAt)
	t.say("killing worker %d, which holds %d connections", victim, t.assembly.heldBy(victim))
	if err := syscall.Kill(victim, syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill worker %d: %w", victim, err)
	}
	if err := pause(ctx, 200*time.Millisecond); err != nil {
		return err
	}
	return t.awaitReturn(ctx)
}
