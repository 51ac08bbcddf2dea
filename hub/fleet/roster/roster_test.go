package roster

import (
	"errors"
	"testing"
	"time"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/fleet"
)

func TestANodeIsTheSumOfItsWorkers(t *testing.T) {
	b := newBench(t, Config{})
	two := func(slot int) func(*Report) {
		return func(r *Report) {
			r.Workers, r.Slot, r.Region, r.Version, r.Capacity = 2, slot, "eu", "1.4", 100
			r.Labels = map[string]string{"zone": "a"}
			r.Load = fleet.Load{Connections: 10 + slot, Rooms: 2, Seats: 5, CPU: 0.25, Memory: 1 << 33, LagMillis: float64(3 + slot)}
		}
	}
	first, second := b.node("n", two(0)), b.node("n", two(1))
	first.report()
	b.state("n", fleet.Starting, "1 of 2 workers report")
	if o := second.report(); o.Share < 0.52 || o.Share > 0.53 || o.Drain != nil || o.Red != "" {
		t.Errorf("orders %+v, want a share of 11 in 21", o)
	}
	b.state("n", fleet.Ready, "")
	n := b.find("n")
	want := fleet.Load{Connections: 21, Rooms: 4, Seats: 10, CPU: 0.5, Memory: 1 << 34, LagMillis: 4}
	if n.Load != want || n.Endpoint != "n:8081" || n.Region != "eu" || n.Version != "1.4" || n.Labels["zone"] != "a" || n.Capacity != 100 || n.Processes != 2 {
		t.Errorf("%+v", n)
	}
	// Counts are set, not added up.
	first.Load.Connections = 1
	first.report()
	first.report()
	if n := b.find("n"); n.Load.Connections != 12 {
		t.Errorf("%d connections, want 12", n.Load.Connections)
	}
	first.Last, second.Last = true, true
	first.report()
	if n := b.find("n"); n.Load.Connections != 11 || n.Processes != 1 {
		t.Errorf("%+v after one has left", n)
	}
	second.report()
	if _, _, err := b.Find(t.Context(), "n"); !errors.Is(err, ErrNoNode) {
		t.Errorf("a node whose workers have all left: %v", err)
	}
	if s, err := b.Snapshot(t.Context()); err != nil || len(s.Nodes) != 0 || time.Since(s.At).Abs() > time.Minute {
		t.Errorf("snapshot %+v, %v", s, err)
	}
}

func TestASilentWorkerMakesItsNodeRed(t *testing.T) {
	b := newBench(t, Config{})
	of := func(slot int) *worker {
		return b.node("n", func(r *Report) { r.Workers, r.Slot, r.Load.Connections = 2, slot, 5 })
	}
	first, second, other := of(0), of(1), b.node("other", func(r *Report) { r.Load.Connections = 50 })
	second.report()
	started := time.Now()
	for time.Since(started) < 3200*time.Millisecond {
		first.report()
		other.report()
		time.Sleep(200 * time.Millisecond)
	}
	b.state("n", fleet.Red, "worker 1 is silent")
	if a := b.assign(fleet.Request{}); a.Node != "other" {
		t.Errorf("assigned to %s, one of whose workers is silent", a.Node)
	}
	if n := b.find("n"); n.Load.Connections != 5 {
		t.Errorf("%d connections: the silent worker's count as well", n.Load.Connections)
	}
	second.report()
	first.report()
	b.state("n", fleet.Ready, "")

	// One that is known to be dead is not waited for, nor one that has a successor.
	time.Sleep(3200 * time.Millisecond)
	second.report()
	b.state("n", fleet.Red, "worker 0 is silent")
	b.do("SET", b.keys.Tombstone(first.Process), "declared")
	second.report()
	b.state("n", fleet.Ready, "") // for a moment, in which the dead worker's successor starts
	for range 3 {
		time.Sleep(700 * time.Millisecond)
		second.report()
	}
	b.state("n", fleet.Starting, "1 of 2 workers report")
	of(0).report()
	second.report()
	b.state("n", fleet.Ready, "")
}

func TestNobodyIsAssignedToANodeThatIsSilentAsAWhole(t *testing.T) {
	b := newBench(t, Config{})
	w := b.node("n")
	w.report()
	b.assign(fleet.Request{})
	time.Sleep(3100 * time.Millisecond)
	b.refused(fleet.Request{}, ErrNoCapacity)
	b.state("n", fleet.Red, "worker 0 is silent")
	w.report()
	b.assign(fleet.Request{})
}

func TestOrders(t *testing.T) {
	b := newBench(t, Config{})
	ctx := t.Context()
	w, other := b.node("n", func(r *Report) { r.Load.Connections = 7 }), b.node("other", func(r *Report) { r.Capacity, r.Load.Connections = 50, 20 })
	w.report()
	other.report()
	d := fleet.Drain{ID: "d1", Rate: 10, Deadline: time.Now().Add(time.Hour), Why: "maintenance"}
	b.must(b.Drain(ctx, Fence{}, "n", d))
	b.state("n", fleet.Draining, "")
	for range 3 {
		if a := b.assign(fleet.Request{}); a.Node != "other" {
			t.Errorf("assigned to %s, which drains", a.Node)
		}
	}
	o := w.report()
	if o.Drain == nil || o.Drain.ID != "d1" || o.Drain.Rate != 10 || o.Drain.Why != "maintenance" || !o.Drain.Deadline.Equal(d.Deadline.Round(time.Millisecond)) || o.Share != 1 {
		t.Fatalf("orders %+v", o)
	}
	if len(o.Targets) != 1 || o.Targets[0] != (fleet.Target{Endpoint: "other:8081", Free: 27}) {
		t.Errorf("targets %+v, want other:8081 with 27 free: 50 less 20 and 3 on their way", o.Targets)
	}
	w.Progress = fleet.Progress{ID: "d1", Told: 4, Left: 3, Rooms: 2}
	w.report()
	if n := b.find("n"); n.Progress == nil || *n.Progress != w.Progress {
		t.Errorf("progress %+v", n.Progress)
	}
	// The same drain with another rate began when it began.
	since := b.find("n").Drain.Since
	time.Sleep(5 * time.Millisecond)
	d.Rate = 20
	b.must(b.Drain(ctx, Fence{}, "n", d))
	if n := b.find("n"); n.Drain.Rate != 20 || !n.Drain.Since.Equal(since) {
		t.Errorf("%+v, want since %v", n.Drain, since)
	}
	b.must(b.Undrain(ctx, Fence{}, "n"))
	b.state("n", fleet.Ready, "")
	if o := w.report(); o.Drain != nil {
		t.Errorf("orders %+v after the drain was ended", o)
	}
	b.must(b.Mark(ctx, Fence{}, "n", "does not answer"))
	b.state("n", fleet.Red, "does not answer")
	if o := w.report(); o.Red != "does not answer" {
		t.Errorf("orders %+v", o)
	}
	b.must(b.Mark(ctx, Fence{}, "n", ""))
	b.state("n", fleet.Ready, "")
	if err := b.Drain(ctx, Fence{}, "nobody", d); !errors.Is(err, ErrNoNode) {
		t.Errorf("a node that is not there: %v", err)
	}
}

func TestALeaderWhoseTermIsOverOrdersNothing(t *testing.T) {
	b := newBench(t, Config{})
	ctx := t.Context()
	b.node("n").report()
	d := fleet.Drain{ID: "d", Deadline: time.Now().Add(time.Hour)}
	for _, err := range []error{
		b.Drain(ctx, Fence{3}, "n", d), b.Mark(ctx, Fence{3}, "n", "red"), b.Undrain(ctx, Fence{3}, "n"), b.Probing(ctx, Fence{3}),
	} {
		if !errors.Is(err, ErrFenced) {
			t.Errorf("without a term: %v", err)
		}
	}
	b.do("SET", b.keys.FleetTerm(), "4")
	if err := b.Drain(ctx, Fence{3}, "n", d); !errors.Is(err, ErrFenced) {
		t.Errorf("with an old term: %v", err)
	}
	b.state("n", fleet.Ready, "")
	b.must(b.Drain(ctx, Fence{4}, "n", d))
	b.must(b.Undrain(ctx, Fence{4}, "n"))
	// What an operator has ordered is the operator's.
	b.must(b.Drain(ctx, Fence{}, "n", d))
	if err := b.Undrain(ctx, Fence{4}, "n"); !errors.Is(err, ErrOperator) {
		t.Errorf("a leader has ended an operator's drain: %v", err)
	}
	b.state("n", fleet.Draining, "")
}

func TestANewNodeIsProbedFirst(t *testing.T) {
	b := newBench(t, Config{})
	old := b.node("old", func(r *Report) { r.Cluster = "other" })
	old.report()
	b.must(b.Probing(t.Context(), Fence{}))
	old.report()
	b.state("old", fleet.Ready, "") // it was there before anybody looked
	w := b.node("n")
	w.report()
	b.state("n", fleet.Starting, "no probe has found that it answers")
	b.refused(fleet.Request{}, ErrNoCapacity)
	b.must(b.Mark(t.Context(), Fence{}, "n", ""))
	b.state("n", fleet.Ready, "")
	b.assign(fleet.Request{})
}

func TestTwoFrontsOfOneName(t *testing.T) {
	b := newBench(t, Config{})
	w, twin := b.node("n"), b.node("n", func(r *Report) { r.Front, r.Endpoint = "twin", "elsewhere:8081" })
	w.report()
	twin.Batch++
	_, err := b.Report(t.Context(), twin.Report)
	if conflict, ok := errors.AsType[*ConflictError](err); !ok || conflict.Endpoint != "n:8081" {
		t.Fatalf("the twin's report: %v, want a conflict with n:8081", err)
	}
	if n := b.find("n"); n.Conflict != "elsewhere:8081" || n.Endpoint != "n:8081" || n.Processes != 1 {
		t.Errorf("%+v, want the first one's, in conflict", n)
	}
	// A front that was started again takes the name over when the one before stops.
	w.Stopping = true
	w.report()
	b.state("n", fleet.Draining, "it stops")
	twin.report()
	w.Load.Connections = 3
	w.report()
	if n := b.find("n"); n.State != fleet.Ready || n.Endpoint != "elsewhere:8081" || n.Load.Connections != 3 {
		t.Errorf("%+v after it was taken over", n)
	}
	w.Last = true
	w.report()
	if n := b.find("n"); n.State != fleet.Ready || n.Processes != 1 {
		t.Errorf("%+v after the one before has left", n)
	}
}

func TestIdentitiesAreChecked(t *testing.T) {
	good := Identity{Node: "[fd00::1]:8081", Endpoint: "[fd00::1]:8081", Cluster: "game", Version: "1.4.2+5", Workers: 2, Labels: map[string]string{"zone": "a b"}}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	for field, spoil := range map[string]func(*Identity){
		"node":     func(i *Identity) { i.Node = "a b" },
		"cluster":  func(i *Identity) { i.Cluster = "" },
		"region":   func(i *Identity) { i.Region = "eu|us" },
		"version":  func(i *Identity) { i.Version = "\n" },
		"workers":  func(i *Identity) { i.Workers = 0 },
		"capacity": func(i *Identity) { i.Capacity = -1 },
		"labels":   func(i *Identity) { i.Labels = map[string]string{"": "x"} },
	} {
		bad := good
		spoil(&bad)
		if wrong, ok := errors.AsType[*hub.FieldError](bad.Check()); !ok || wrong.Field != field {
			t.Errorf("%s: %v", field, wrong)
		}
	}
	for in, want := range map[string]string{
		"front-1.example.com": "front-1.example.com:8081", "10.0.0.1:99": "10.0.0.1:99", "[fd00::1]": "[fd00::1]:8081", "[fd00::1]:7": "[fd00::1]:7",
		"fd00::1": "", "a b": "", "ws://host": "", "host:0": "", "host:70000": "", "": "", "-x": "",
	} {
		if got, err := Endpoint(in, "8081"); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v, want %q", in, got, err, want)
		}
	}
}
