package hook_test

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/homing/homing/hub/hook"
	"github.com/homing/homing/redisx/redisproc"
	"github.com/homing/homing/redisx/redistest"
)

// replicated is a process whose inbox role is a master with two replicas, which
// have been heard of.
func replicated(t *testing.T) (*process, *backend, *redisproc.Topology) {
	t.Helper()
	top := redistest.Topology(t, redisproc.TopologyOptions{Masters: []redisproc.MasterSpec{{Name: "data", Replicas: 2}}})
	b := newBackend(t)
	p := newProcess(t, redistest.Config(t, top.URLs()[0]), b)
	within(t, 20*time.Second, "the shard has two replicas", func() bool { return p.r.Inbox.Lead().Copies() == 2 })
	return p, b, top
}

// steady publishes to many subjects until stopped, and returns how many events
// were taken.
func steady(pub *hook.Publisher, stop <-chan struct{}) (taken int) {
	for n := 1; ; n++ {
		for s := range 20 {
			select {
			case <-stop:
				return taken
			case <-time.After(2 * time.Millisecond):
			}
			if pub.Publish(event(fmt.Sprint("room-", s), n)) {
				taken++
			}
		}
	}
}

// failingEverywhere publishes an event in each partition that the backend does not
// take until open, so that none is ever without one.
func failingEverywhere(t *testing.T, b *backend, pub *hook.Publisher, open *atomic.Bool) {
	t.Helper()
	bad := map[string]bool{}
	for n := range hook.Partitions {
		bad[inPartition(n)] = true
	}
	b.answers(func(_ http.ResponseWriter, _ *http.Request, e got) int {
		if bad[e.subject] && !open.Load() {
			return http.StatusInternalServerError
		}
		return http.StatusOK
	})
	for s := range bad {
		publish(t, pub, s, 1)
	}
}

// inPartition is a subject of partition n.
func inPartition(n int) string {
	for i := 0; ; i++ {
		if s := fmt.Sprint("bad-", i); hook.PartitionOf(s) == n {
			return s
		}
	}
}

// TestFailovers: whatever was published while masters were replaced, as planned and
// by a crash, is delivered, in order, and removed, also where a removal was undone.
func TestFailovers(t *testing.T) {
	p, b, top := replicated(t)
	pub := p.publisher()
	var open atomic.Bool
	failingEverywhere(t, b, pub, &open)
	p.sender((*hook.Sender).Tenacious)
	p.another().sender((*hook.Sender).Tenacious)
	stop, done := make(chan struct{}), make(chan int, 1)
	go func() { done <- steady(pub, stop) }()
	for range 2 {
		time.Sleep(time.Second)
		failOver(t, top)
	}
	time.Sleep(time.Second)
	master, err := top.Current(t.Context(), "data")
	if err != nil {
		t.Fatal(err)
	}
	before := b.distinct()
	master.Crash()
	within(t, 30*time.Second, "events are delivered after the crash", func() bool { return b.distinct() > before+200 })
	close(stop)
	taken := <-done
	flush(t, pub)
	within(t, 20*time.Second, "all that were taken came", func() bool { return b.distinct() == taken })
	b.ordered()
	within(t, 20*time.Second, "only what fails is left", func() bool { return p.left() == hook.Partitions })
	open.Store(true)
	within(t, 20*time.Second, "what failed came", func() bool { return b.distinct() == taken+hook.Partitions })
	deliveries, _ := b.count()
	t.Logf("%d events, %d deliveries", taken, deliveries)
	if taken < 500 || deliveries > taken*11/10 {
		t.Errorf("%d events, %d deliveries", taken, deliveries)
	}
	p.drained()
}

// left is how many events the streams hold, -1 while Redis does not say.
func (p *process) left() (sum int64) {
	c, err := p.r.Inbox.Lead().Master()
	if err != nil {
		return -1
	}
	for n := range hook.Partitions {
		held, err := c.XLen(p.t.Context(), p.stream(n)).Result()
		if err != nil {
			return -1
		}
		sum += held
	}
	return sum
}

// failOver asks for a planned failover and returns when there is another master.
func failOver(t *testing.T, top *redisproc.Topology) {
	t.Helper()
	before, err := top.Current(t.Context(), "data")
	if err != nil {
		t.Fatal(err)
	}
	c := top.Sentinels[0].Client()
	defer c.Close()
	asked := false
	within(t, 30*time.Second, "a failover", func() bool {
		time.Sleep(50 * time.Millisecond)
		if !asked { // it refuses while the last one is under way, or no replica is good enough
			asked = c.Do(t.Context(), "SENTINEL", "FAILOVER", "data").Err() == nil
		}
		now, err := top.Current(t.Context(), "data")
		return err == nil && now != before
	})
}

// TestShardsGrow: while partitions move to a new shard, what waits in their old
// home goes first.
func TestShardsGrow(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	old, added := redistest.Server(t), redistest.Server(t)
	rc := redistest.Config(t, old)
	rc.Inbox = []string{old}
	before := newProcess(t, rc, b)
	rc.Inbox, rc.InboxPrevious = []string{old, added}, []string{old}
	after := newProcess(t, rc, b)
	first, second := before.publisher(), after.publisher()
	const subjects = 100
	for s := range subjects {
		publish(t, first, fmt.Sprint("room-", s), 1)
	}
	flush(t, first)
	for s := range subjects {
		publish(t, second, fmt.Sprint("room-", s), 2)
	}
	flush(t, second)
	after.sender()
	within(t, 20*time.Second, "all came", func() bool { return b.distinct() == 2*subjects })
	b.ordered()
	if n := after.metric("homing_hook_partitions"); n <= hook.Partitions {
		t.Errorf("%v partitions: none has moved, the test shows nothing", n)
	}
}
