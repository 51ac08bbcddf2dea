package roster

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/fleet"
)

func TestSpreadIsEven(t *testing.T) {
	b := newBench(t, Config{})
	for i, id := range ids("n", 8) {
		b.node(id, func(r *Report) { r.Load.Connections = 10 * i }).report()
	}
	var callers sync.WaitGroup
	for c := range 20 {
		callers.Go(func() {
			for i := range 50 {
				if _, err := b.Assign(t.Context(), fleet.Request{ID: fmt.Sprintf("%d-%d", c, i)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	callers.Wait()
	for _, id := range ids("n", 8) { // 1,000 players come to 280
		if n := b.find(id); n.Load.Connections+n.Reserved != 160 {
			t.Errorf("%s: %d and %d on their way, want 160 in all", id, n.Load.Connections, n.Reserved)
		}
	}
}

func TestPackFillsOneNodeAfterTheOther(t *testing.T) {
	b := newBench(t, Config{Strategy: "pack", Mark: 0.9})
	for _, id := range ids("n", 5) {
		b.node(id, func(r *Report) { r.Capacity = 20 }).report()
	}
	for range 40 {
		b.assign(fleet.Request{})
	}
	used := 0
	for _, id := range ids("n", 5) {
		n := b.find(id)
		if n.Reserved > 18 {
			t.Errorf("%s is filled with %d, beyond the mark", id, n.Reserved)
		}
		if n.Reserved > 0 {
			used++
		}
	}
	if used != 3 {
		t.Errorf("%d nodes are used for 40 players, 18 on each at most: want 3", used)
	}
	b.node("unknown").report()
	b.refused(fleet.Request{Players: 19}, ErrNoCapacity)
}

func TestARequestThatIsRepeatedIsOne(t *testing.T) {
	b := newBench(t, Config{})
	w := b.node("n", func(r *Report) { r.Capacity = 10 })
	w.report()
	first := b.assign(fleet.Request{ID: "x", Players: 3})
	for range 5 {
		if again := b.assign(fleet.Request{ID: "x", Players: 3}); again != first {
			t.Errorf("%+v, want %+v", again, first)
		}
	}
	if n := b.find("n"); n.Reserved != 3 {
		t.Errorf("%d places, want 3", n.Reserved)
	}
	b.refused(fleet.Request{ID: "x", Players: 2}, ErrOther)
	// Players who have come are no reservations any more; a fourth with the ticket is
	// none of those.
	for range 4 {
		w.come(first)
	}
	arrived := w.Arrived
	w.report()
	if n := b.find("n"); n.Reserved != 0 || n.Load.Connections != 4 {
		t.Errorf("%+v", n)
	}
	if again := b.assign(fleet.Request{ID: "x", Players: 3}); again != first || b.find("n").Reserved != 0 {
		t.Errorf("%+v after they have come, %d places", again, b.find("n").Reserved)
	}
	// A batch whose confirmation was lost counts once.
	other := b.assign(fleet.Request{ID: "y", Players: 2})
	w.come(other)
	w.Batch++
	report := w.Report
	for range 3 {
		if _, err := b.Report(t.Context(), report); err != nil {
			t.Fatal(err)
		}
	}
	if n := b.find("n"); n.Reserved != 1 || len(arrived) != 4 {
		t.Errorf("%d places are kept, want 1", n.Reserved)
	}
}

func TestPlacesLapse(t *testing.T) {
	b := newBench(t, Config{})
	w := b.node("n", func(r *Report) { r.Capacity = 2 })
	w.report()
	a := b.assign(fleet.Request{ID: "x", Players: 2})
	b.refused(fleet.Request{}, ErrNoCapacity)
	// As if 15 s had gone by.
	b.do("ZADD", b.keys.Fleet("r:n"), "1", assignmentOf(b, a)+":1", "1", assignmentOf(b, a)+":2")
	w.report()
	if n := b.find("n"); n.Reserved != 0 {
		t.Errorf("%d places", n.Reserved)
	}
	b.assign(fleet.Request{Players: 2})
}

func assignmentOf(b *bench, a fleet.Assignment) string {
	t, _ := b.key.Load().parse(a.Ticket)
	return t.assignment
}

func TestRegionsAndVersions(t *testing.T) {
	b := newBench(t, Config{Shares: map[string]float64{"2": 10, "3": 0}})
	for _, n := range []string{"eu 1", "eu 2", "us 1", "us 3"} {
		region, version, _ := strings.Cut(n, " ")
		b.node(region+version, func(r *Report) { r.Region, r.Version, r.Capacity = region, version, 1000 }).report()
	}
	count := make(map[string]int)
	for i := range 1000 {
		count[b.assign(fleet.Request{ID: fmt.Sprint(i), Region: "eu"}).Node]++
	}
	if count["eu2"] < 60 || count["eu2"] > 140 || count["eu1"]+count["eu2"] != 1000 {
		t.Errorf("%v: want a tenth at version 2, all in eu", count)
	}
	if a := b.assign(fleet.Request{Version: "3", Region: "eu"}); a.Node != "us3" {
		t.Errorf("%s, want the only one of version 3", a.Node)
	}
	b.refused(fleet.Request{Version: "4"}, ErrNoCapacity)
	b.refused(fleet.Request{Cluster: "lobby"}, ErrNoCapacity)
	b.refused(fleet.Request{Region: "e|u"}, hub.ErrInvalid)
	b.refused(fleet.Request{Players: 65}, hub.ErrInvalid)
}

// TestWhatNobodyKnowsIsCountedOnce looks near first, and then everywhere, for several at
// once.
func TestWhatNobodyKnowsIsCountedOnce(t *testing.T) {
	b := newBench(t, Config{Strategy: "pack"})
	b.node("near", func(r *Report) { r.Region = "eu" }).report()
	b.node("far", func(r *Report) { r.Region = "us" }).report()
	b.node("full", func(r *Report) { r.Region, r.Capacity, r.Load.Connections = "eu", 10, 8 }).report()
	args := b.head()
	for i, players := range []int{3, 4, 3, 2} {
		q := fleet.Request{ID: fmt.Sprint(i), Region: "eu", Players: players}
		b.must(b.complete(&q))
		args = append(args, b.job(&q).args...)
	}
	reply, err := b.run(t.Context(), "assigning", assignScript, args...)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"[none 3 2]", "[none 3 2]", "[none 3 2]", "ok full"} {
		one, _ := reply[1+i].([]any)
		got := fmt.Sprint(one)
		if one[0] == "ok" {
			got = fmt.Sprint("ok ", one[1])
		}
		if got != want {
			t.Errorf("request %d: %s, want %s", i, got, want)
		}
	}
}

func TestABurstWaitsForRoom(t *testing.T) {
	b := newBench(t, Config{Waiting: 1})
	w := b.node("n", func(r *Report) { r.Capacity = 1 })
	w.report()
	b.assign(fleet.Request{})
	done := make(chan error, 1)
	go func() {
		_, err := b.AssignWithin(t.Context(), fleet.Request{ID: "waits"}, 5*time.Second)
		done <- err
	}()
	b.eventually("the first waits", func() bool { return b.parked.Load() == 1 })
	if _, err := b.AssignWithin(t.Context(), fleet.Request{}, time.Minute); !errors.Is(err, ErrNoCapacity) {
		t.Errorf("one more than may wait: %v", err)
	}
	w.Capacity = 2
	w.report()
	if err := <-done; err != nil || b.parked.Load() != 0 {
		t.Errorf("%v, %d wait", err, b.parked.Load())
	}
}

// TestTickets has a node shown all that a client may make up.
func TestTickets(t *testing.T) {
	b := newBench(t, Config{})
	w := b.node("n", func(r *Report) { r.Front = "" })
	w.report()
	b.node("other", func(r *Report) { r.Load.Connections = 100 }).report()
	a := b.assign(fleet.Request{})
	p := NewReporter(b.Roster, w.Identity, hub.NewProcessID(), 0, quiet, prometheus.NewRegistry())
	count := func(result string) float64 { return testutil.ToFloat64(p.met.tickets.WithLabelValues(result)) }
	p.Arrived("")
	p.Arrived("no.ticket")
	p.Arrived(a.Ticket[:len(a.Ticket)-2] + "AA")
	p.Arrived(strings.Repeat("x", 10_000))
	if n := count(ticketForged); n != 4 {
		t.Errorf("%v forged, want 4", n)
	}
	key := b.key.Load()
	p.Arrived(key.sign(&ticket{"x", 1, time.Now().Add(time.Minute), "other"}))
	p.Arrived(key.sign(&ticket{"x", 1, time.Now().Add(-time.Second), "n"}))
	if count(ticketOther) != 1 || count(ticketExpired) != 1 {
		t.Errorf("%v of others, %v expired, want 1 and 1", count(ticketOther), count(ticketExpired))
	}
	for range 10 { // ten times too many
		p.Arrived(a.Ticket)
	}
	o := &obedient{load: fleet.Load{Connections: 16}}
	p.report(t.Context(), o, false)
	if count(ticketArrived) != 1 || count(ticketMissing) != 9 {
		t.Errorf("%v arrived, %v for whom no place was kept, want 1 and 9", count(ticketArrived), count(ticketMissing))
	}
}

// TestACrowdThatArrives is more than one report carries.
func TestACrowdThatArrives(t *testing.T) {
	b := newBench(t, Config{})
	w := b.node("n", func(r *Report) { r.Front = "" })
	w.report()
	p := NewReporter(b.Roster, w.Identity, hub.NewProcessID(), 0, quiet, nil)
	const each, crowd = MaxPlayers, 2 * maxArrived
	for range crowd / each {
		a := b.assign(fleet.Request{Players: each})
		for range each {
			p.Arrived(a.Ticket)
		}
	}
	if n := b.find("n"); n.Reserved != crowd {
		t.Fatalf("%d are on their way, want %d", n.Reserved, crowd)
	}
	p.reportAll(t.Context(), &obedient{load: fleet.Load{Connections: crowd}})
	if n := b.find("n"); n.Reserved != 0 || n.Load.Connections != crowd {
		t.Errorf("%d have come, and %d are still on their way", n.Load.Connections, n.Reserved)
	}
}

// obedient is a worker that stays.
type obedient struct {
	load   fleet.Load
	orders []fleet.Orders
}

func (o *obedient) Load() (fleet.Load, fleet.Progress) { return o.load, fleet.Progress{} }
func (o *obedient) Order(x fleet.Orders)               { o.orders = append(o.orders, x) }
func (o *obedient) Leaving() <-chan struct{}           { return nil }

// TestOrdersThatRedisHasLostComeBack empties Redis under nodes that report.
func TestOrdersThatRedisHasLostComeBack(t *testing.T) {
	b := newBench(t, Config{})
	w := b.node("n")
	p := NewReporter(b.Roster, w.Identity, w.Process, 0, quiet, nil)
	o := &obedient{load: fleet.Load{Connections: 5}}
	p.report(t.Context(), o, false)
	b.must(b.Drain(t.Context(), Fence{}, "n", fleet.Drain{ID: "d", Deadline: time.Now().Add(time.Hour)}))
	p.report(t.Context(), o, false)
	b.do("FLUSHALL")
	p.report(t.Context(), o, false)
	if n := b.find("n"); n.State != fleet.Draining || n.Drain == nil || n.Drain.ID != "d" || n.Load.Connections != 5 {
		t.Errorf("%+v", n)
	}
	// An order that is newer than what a process knows stands.
	b.must(b.Undrain(t.Context(), Fence{}, "n"))
	p.report(t.Context(), o, false)
	if n := b.find("n"); n.State != fleet.Ready || o.orders[len(o.orders)-1].Drain != nil {
		t.Errorf("%+v", n)
	}
}

func TestRoomsAreKeptOffNodesThatDrainOrAreRed(t *testing.T) {
	b := newBench(t, Config{})
	fine, drains, red := b.node("fine"), b.node("drains"), b.node("red")
	for _, w := range []*worker{fine, drains, red} {
		w.report()
	}
	b.must(b.Drain(t.Context(), Fence{}, "drains", fleet.Drain{ID: "d", Deadline: time.Now().Add(time.Hour)}))
	b.must(b.Mark(t.Context(), Fence{}, "red", "hangs"))
	unfit := b.Unfit(t.Context())
	if len(unfit) != 2 || !unfit[drains.Process] || !unfit[red.Process] {
		t.Errorf("%v", unfit)
	}
}
