package control_test

import (
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/homing/homing/hub/fleet"
	"github.com/homing/homing/hub/fleet/control"
	"github.com/homing/homing/hub/fleet/probe"
	"github.com/homing/homing/hub/fleet/scale"
	"github.com/homing/homing/redisx/redisproc"
	"github.com/homing/homing/redisx/redistest"
)

// TestTheLeaderIsKilled while its driver is starting nodes: another one takes over, tells
// that nobody knows what came of that, and does not begin it again before its time.
func TestTheLeaderIsKilled(t *testing.T) {
	t.Parallel()
	url := redistest.Server(t)
	b := newBench(t, redistest.Config(t, url))
	orders := filepath.Join(t.TempDir(), "orders")
	a := b.process(url, "a", orders)
	grown := b.wait("a to order", decides(scale.Grow))
	z := b.process(url, "z", orders)
	time.Sleep(2 * time.Second) // z watches
	_ = z
	killed := time.Now()
	if err := a.Kill(); err != nil {
		t.Fatal(err)
	}
	took := b.wait("z to lead", leads("z")).At.Sub(killed)
	t.Logf("another leads %v after the leader was killed", took)
	if took > 5*time.Second {
		t.Errorf("that took longer than 5 s")
	}
	unknown := b.wait("the outcome", func(e *control.Entry) bool { return e.Kind == control.KindOutcome })
	if unknown.Action != grown.Action || unknown.Result != control.Unknown || unknown.Term != 2 {
		t.Errorf("%s is %s, want %s unknown", unknown.Action, unknown.Result, grown.Action)
	}
	late := b.wait("patience to end", decides(scale.Late))
	again := b.wait("z to order", func(e *control.Entry) bool { return decides(scale.Grow)(e) && e.Term == 2 })
	if since := late.Decision.At.Sub(grown.Decision.At); since < 12*time.Second || again.Decision.At.Before(late.Decision.At) {
		t.Errorf("ordered again at %v, told late at %v", again.Decision.At, late.Decision.At)
	}
	time.Sleep(time.Second)
	if got := lines(orders); len(got) != 2 || got[0] != grown.Action+" 2" || got[1] != again.Action+" 2" {
		t.Errorf("the driver had %q", got)
	}
}

// TestTheLeaderStandsStill for longer than its lease, and goes on: it does nothing any
// more.
func TestTheLeaderStandsStill(t *testing.T) {
	t.Parallel()
	url := redistest.Server(t)
	b := newBench(t, redistest.Config(t, url))
	dir := t.TempDir()
	a := b.process(url, "a", filepath.Join(dir, "a"))
	b.wait("a to order", decides(scale.Grow))
	b.process(url, "z", filepath.Join(dir, "z"))
	time.Sleep(time.Second)
	if err := a.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	b.wait("z to lead", leads("z"))
	if err := a.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	b.wait("z to order", func(e *control.Entry) bool { return decides(scale.Grow)(e) && e.Leader == "z" })
	time.Sleep(3 * time.Second)
	if got := lines(filepath.Join(dir, "a")); len(got) != 1 {
		t.Errorf("the driver of a had %q", got)
	}
	if got := lines(filepath.Join(dir, "z")); len(got) != 1 {
		t.Errorf("the driver of z had %q", got)
	}
	b.ordered()
}

// ordered checks that terms in the journal never go back, and that each has one leader.
func (b *bench) ordered() {
	b.Helper()
	last, of := int64(0), make(map[int64]string)
	for _, e := range b.journal() {
		if e.Term < last || of[e.Term] != "" && of[e.Term] != e.Leader {
			b.tell()
			b.Fatalf("an entry of %s in term %d comes after term %d", e.Leader, e.Term, last)
		}
		last, of[e.Term] = e.Term, e.Leader
	}
}

// TestAFailoverOfRedis under two controllers that share nothing else: each order is given
// once.
func TestAFailoverOfRedis(t *testing.T) {
	t.Parallel()
	top := redistest.Topology(t, redisproc.TopologyOptions{Masters: []redisproc.MasterSpec{{Name: "data", Replicas: 2}}})
	b := newBench(t, redistest.TopologyConfig(t, top))
	b.controller("a", b.park).start(t)
	b.controller("z", b.park).start(t)
	b.wait("nodes", func(e *control.Entry) bool { return e.Kind == control.KindOutcome && e.Result == control.Done })
	top.Groups[0].Master.Kill()
	killed := time.Now()
	b.park.load(150)
	b.wait("a third node", func(e *control.Entry) bool {
		return e.Kind == control.KindOutcome && e.Result == control.Done && e.Decision.Action == scale.Grow && e.At.After(killed)
	})
	t.Logf("the next order was carried out %v after the master was killed", time.Since(killed).Round(10*time.Millisecond))
	b.ordered()
	grown, given := 0, 0
	for _, e := range b.journal() {
		switch {
		case decides(scale.Grow)(&e.Entry):
			grown += e.Decision.Nodes
		case e.Kind == control.KindOutcome && e.Result == control.Done:
			given += e.Decision.Nodes
		case decides(scale.Lost)(&e.Entry):
			t.Errorf("%s", e.String())
		}
	}
	if n := b.park.size(); grown != n || given != n {
		b.tell()
		t.Errorf("%d nodes were ordered, %d outcomes told of, %d are there", grown, given, n)
	}
}

// TestANodeThatIsStartedAgain under its name is marked as one that answers again, or it
// would be starting for ever.
func TestANodeThatIsStartedAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t, redistest.Config(t, redistest.Server(t)))
	c := b.controller("a", b.park)
	c.Prober = answering{}
	c.start(t)
	ready := func() (n int) {
		snap, err := b.park.roster.Snapshot(t.Context())
		if err != nil {
			return -1 // the machine is busy
		}
		for i := range snap.Nodes {
			if snap.Nodes[i].State == fleet.Ready {
				n++
			}
		}
		return n
	}
	eventually := func(what string, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				b.tell()
				t.Fatalf("waited in vain for %s", what)
			}
		}
	}
	eventually("two nodes to be ready", func() bool { return ready() == 2 })
	b.park.restart(t.Context(), "node-01")
	eventually("one to be starting", func() bool { return ready() == 1 })
	eventually("it to be ready again", func() bool { return ready() == 2 })
}

// answering is a prober that every node answers.
type answering struct{}

func (answering) Watch([]fleet.Node) {}

func (answering) Marks() (map[string]probe.Mark, bool) {
	green := probe.Mark{State: probe.Green}
	return map[string]probe.Mark{"node-01": green, "node-02": green}, false
}
