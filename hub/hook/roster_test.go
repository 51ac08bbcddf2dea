package hook_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/homing/homing/hub/hook"
	"github.com/homing/homing/redisx"
	"github.com/homing/homing/redisx/redisproc"
	"github.com/homing/homing/redisx/redistest"
)

// follower is a process that has no endpoint of its own, as a front.
func (p *process) follower() *process {
	p.t.Helper()
	q := p.another()
	q.list = hook.NewRoster(q.r, q.keys, quiet)
	q.list.Fast()
	q.background(q.list.Run)
	return q
}

// lists waits until the process knows of these endpoints and no others.
func (p *process) lists(want ...string) {
	p.t.Helper()
	var got []string
	defer func() {
		if p.t.Failed() {
			p.t.Logf("it lists %v", got)
		}
	}()
	within(p.t, 10*time.Second, fmt.Sprint("it lists ", want), func() bool {
		names, known := p.list.Targets()
		got = names
		return known && slices.Equal(got, want)
	})
}

// TestTheRoster: who publishes hears of the endpoints that others send to, of what they
// want, and of their end; and writes what was published before it knew for all of them.
func TestTheRoster(t *testing.T) {
	t.Parallel()
	p, b := alone(t)
	front := p.follower()
	pub := front.publisher()
	publish(t, pub, "room", 1) // nobody is known who wants it
	p.has = []hook.Target{{Name: "a", Events: []string{"room.*"}}, {Name: "b", Events: []string{"*"}}}
	p.name = "a"
	p.sender()
	front.lists("a:room.*", "b:*")
	within(t, 10*time.Second, "what was published first came", func() bool { return len(b.has("room")) == 1 })
	if n := front.metric("homing_hook_published_total"); n != 2 {
		t.Errorf("%v events were written, want one for each", n)
	}
	p.list.Have(p.targets()[:1])
	front.lists("a:room.*")
	publish(t, pub, "room", 2)
	flush(t, pub)
	if n := front.metric("homing_hook_published_total"); n != 3 {
		t.Errorf("%v events were written, want no further one for b", n)
	}
	p.has = []hook.Target{{Name: "a", Events: []string{"match.*"}}, {Name: "b", Events: []string{"*"}}}
	p.list.Have(p.targets())
	front.lists("a:match.*", "b:*")
	publish(t, pub, "room", 3)
	flush(t, pub)
	if n := front.metric("homing_hook_published_total"); n != 4 {
		t.Errorf("%v events were written, want one more for b", n)
	}
	c, err := p.r.Inbox.Lead().Master()
	if err != nil {
		t.Fatal(err)
	}
	if n := c.XLen(t.Context(), p.keys.Hook("b").Stream(hook.PartitionOf("room"))).Val(); n != 2 {
		t.Errorf("%d events wait for b, whose numbers go on, want 2", n)
	}
}

// TestTheRosterIsLost: a list that Redis has lost takes nobody off, and is there again
// soon.
func TestTheRosterIsLost(t *testing.T) {
	t.Parallel()
	p, b := alone(t)
	front := p.follower()
	pub := front.publisher()
	p.sender()
	front.lists("default:*")
	c, err := p.r.Inbox.Lead().Master()
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= 50; n++ {
		c.Del(t.Context(), p.keys.HookEndpoints())
		publish(t, pub, "room", n)
		time.Sleep(5 * time.Millisecond)
	}
	within(t, 10*time.Second, "all came", func() bool { return len(b.has("room")) == 50 })
	p.follower().lists("default:*")
}

// TestNobodySends: without endpoints events are for nobody, and nothing waits; one that
// nobody sends to any more is withdrawn by those who send to others, and by nobody else.
func TestNobodySends(t *testing.T) {
	t.Parallel()
	p, _ := alone(t)
	front := p.follower()
	pub := front.publisher()
	front.lists()
	publish(t, pub, "room", 1)
	flush(t, pub)
	if n := front.metric("homing_hook_published_total"); n != 0 || pub.Wants("room.ended") {
		t.Errorf("%v events were written", n)
	}
	gone := p.another()
	gone.list = hook.NewRoster(gone.r, gone.keys, quiet)
	gone.list.Fast()
	gone.list.Have([]hook.Target{{Name: "old", Events: []string{"*"}, StreamBytes: hook.MinStreamBytes}})
	stop := gone.background(gone.list.Run)
	front.lists("old:*")
	stop()
	time.Sleep(time.Second) // longer than it takes a sender of others
	front.lists("old:*")
	p.roster() // of a server that was started with another file
	front.lists("default:*")
	c, err := p.r.Inbox.Lead().Master()
	if err != nil {
		t.Fatal(err)
	}
	within(t, 10*time.Second, "it is forgotten", func() bool {
		return !c.HExists(t.Context(), p.keys.HookEndpoints(), "old").Val()
	})
}

// TestARosterOfNonsense: what cannot be an endpoint is passed over, and so are too many.
func TestARosterOfNonsense(t *testing.T) {
	t.Parallel()
	p, _ := alone(t)
	c, err := p.r.Inbox.Lead().Master()
	if err != nil {
		t.Fatal(err)
	}
	key := p.keys.HookEndpoints()
	for name, said := range map[string]string{
		"Upper": "1 67108864 *", "bytes": "1 many *", "none": "1 67108864", "little": "1 1 *", "pattern": "1 67108864 a*b", "empty": "", "text": "whatever",
	} {
		c.HSet(t.Context(), key, name, said)
	}
	p.roster()
	front := p.follower()
	front.lists("default:*")
	for i := range 100 {
		c.HSet(t.Context(), key, fmt.Sprint("e", i), "1 67108864 *")
	}
	within(t, 10*time.Second, "some are taken up", func() bool {
		names, _ := front.list.Targets()
		return len(names) == 2*hook.MaxEndpoints
	})
}

// onTwo is a process with two inbox shards, one of which, the lead or the other, is a
// server that can be stopped. here and there are subjects of partitions on either.
func onTwo(t *testing.T, lead bool) (p *process, b *backend, away *redisproc.Server, here, there string) {
	t.Helper()
	b = newBackend(t)
	away, other := redistest.Process(t, redisproc.ServerOptions{}), redistest.Process(t, redisproc.ServerOptions{})
	rc := redistest.Config(t, redistest.Server(t))
	rc.Inbox = []string{"redis://" + other.Addr(), "redis://" + away.Addr()}
	p = newProcess(t, rc, b)
	addr := func(s *redisx.Shard) string {
		c, err := s.Master()
		if err != nil {
			t.Fatal(err)
		}
		return c.Options().Addr
	}
	if lead != (addr(p.r.Inbox.Lead()) == away.Addr()) {
		away = other
	}
	for n := range hook.Partitions {
		if addr(p.r.Inbox.Shard(p.stream(n))) == away.Addr() {
			there = inPartition(n)
		} else {
			here = inPartition(n)
		}
	}
	if here == "" || there == "" {
		t.Fatal("all partitions are on one shard")
	}
	return p, b, away, here, there
}

// TestTheLeadIsAway: a sender that cannot be counted takes what is free.
func TestTheLeadIsAway(t *testing.T) {
	t.Parallel()
	p, b, away, here, _ := onTwo(t, true)
	pub := p.publisher()
	publish(t, pub, here, 1)
	flush(t, pub)
	if err := away.Stop(); err != nil {
		t.Fatal(err)
	}
	p.sender()
	publish(t, pub, here, 2)
	within(t, 20*time.Second, "both came", func() bool { return len(b.has(here)) == 2 })
	b.ordered()
}

// TestOneShardIsAway: what waits for it leaves room for what is written elsewhere, and
// the rest that is for it alone is lost for those endpoints alone.
func TestOneShardIsAway(t *testing.T) {
	t.Parallel()
	p, b, away, here, there := onTwo(t, false)
	p.cfg.QueueBytes = hook.MinQueueBytes
	pub := p.publisher()
	p.sender()
	publish(t, pub, here, 1)
	publish(t, pub, there, 1)
	within(t, 10*time.Second, "the first came", func() bool { n, _ := b.count(); return n == 2 })
	if err := away.Stop(); err != nil {
		t.Fatal(err)
	}
	refused := 0
	for n := 2; refused == 0 && n < 50_000; n++ {
		if !pub.Publish(event(there, n)) {
			refused++
		}
	}
	if n := p.metric("homing_hook_lost_total", "queue_full"); refused == 0 || int(n) != refused {
		t.Errorf("%v are counted as lost, of %d", n, refused)
	}
	gone := pub.Written(there)
	for n := 2; n <= 20; n++ {
		publish(t, pub, here, n)
	}
	kept := pub.Written(here)
	within(t, 20*time.Second, "what is elsewhere came", func() bool { return len(b.has(here)) == 20 && kept() })
	if gone() {
		t.Error("what waits is said to be written")
	}
	if err := away.Cont(); err != nil {
		t.Fatal(err)
	}
	within(t, 20*time.Second, "what waited is written", gone)
	b.ordered()
}
