package inbox

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/redisx/redisproc"
	"github.com/homing/homing/redisx/redistest"
)

var failovers = flag.Int("inbox.failovers", 3, "planned failovers in a row of TestStoresSurviveFailovers")

// load stores one notification after the other, from several goroutines, each
// for a user of its own.
type load struct {
	b     *box
	stop  context.CancelFunc
	tasks sync.WaitGroup

	mu     sync.Mutex
	stored []hub.UserID
	failed []error
	last   time.Time     // of a success
	gap    time.Duration // the longest between two
}

func (b *box) load(goroutines int) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{b: b, stop: cancel, last: time.Now()}
	for g := range goroutines {
		l.tasks.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				l.one(hub.UserID(fmt.Sprintf("user-%d-%d", g, i)))
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	b.t.Cleanup(func() { cancel(); l.tasks.Wait() })
	return l
}

func (l *load) one(user hub.UserID) {
	m := &hub.Stored{ID: "a", Payload: []byte("payload of a")}
	err := l.b.Store(l.b.t.Context(), []hub.UserID{user}, m, time.Hour)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.failed = append(l.failed, err)
		return
	}
	l.stored = append(l.stored, user)
	l.gap = max(l.gap, time.Since(l.last))
	l.last = time.Now()
}

// end stops the load and looks for everything that was stored.
func (l *load) end() {
	l.b.t.Helper()
	l.stop()
	l.tasks.Wait()
	l.b.t.Logf("%d stored, %d refused, the longest time without a success %v", len(l.stored), len(l.failed), l.gap)
	lost := 0
	for _, u := range l.stored {
		if got := l.b.read(u, ""); got != "a" {
			if lost == 0 {
				l.b.t.Log(got)
			}
			lost++
		}
	}
	if lost > 0 || len(l.stored) < 100 {
		l.b.t.Errorf("%d of %d are lost", lost, len(l.stored))
	}
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
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if !asked { // it refuses while the last one is under way, or no replica is good enough
			asked = c.Do(t.Context(), "SENTINEL", "FAILOVER", "data").Err() == nil
		}
		now, err := top.Current(t.Context(), "data")
		switch {
		case err == nil && now != before:
			return
		case time.Now().After(deadline):
			t.Fatalf("no failover in 30s: asked %v, %v", asked, err)
		}
	}
}

// replicated returns a box on a data master with two replicas, which have been
// heard of.
func replicated(t *testing.T) (*box, *redisproc.Topology) {
	t.Helper()
	top := redistest.Topology(t, redisproc.TopologyOptions{Masters: []redisproc.MasterSpec{{Name: "data", Replicas: 2}}})
	b := newBox(t, nil, top.URLs()...)
	for start := time.Now(); b.role.Shards()[0].Copies() < 2; time.Sleep(20 * time.Millisecond) {
		if time.Since(start) > 20*time.Second {
			t.Fatal("the shard has no two replicas: the test shows nothing")
		}
	}
	b.want("nobody", "", "")
	return b, top
}

// TestStoresSurviveFailovers asks for one planned failover after the other
// while notifications are stored: all that were accepted are there afterwards.
func TestStoresSurviveFailovers(t *testing.T) {
	b, top := replicated(t)
	l := b.load(4)
	for range *failovers {
		time.Sleep(500 * time.Millisecond)
		failOver(t, top)
	}
	time.Sleep(500 * time.Millisecond)
	l.end()
	if l.gap > 3*time.Second {
		t.Errorf("nothing could be stored for %v, want less than 2s", l.gap)
	}
	if len(l.failed) > 0 {
		t.Errorf("%d refused, such as %v", len(l.failed), l.failed[0])
	}
}

// TestStoresSurviveTheMaster kills the master in the middle of a planned
// failover's aftermath.
func TestStoresSurviveTheMaster(t *testing.T) {
	b, top := replicated(t)
	l := b.load(4)
	time.Sleep(300 * time.Millisecond)
	failOver(t, top)
	master, err := top.Current(t.Context(), "data")
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	n := len(l.snapshot())
	master.Crash()
	for deadline := time.Now().Add(30 * time.Second); len(l.snapshot()) < n+100; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nothing can be stored for 30s")
		}
	}
	l.end()
}

func (l *load) snapshot() []hub.UserID {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.stored)
}
