package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/fleet"
	"github.com/homing/homing/hub/fleet/driver"
	"github.com/homing/homing/hub/fleet/leader"
	"github.com/homing/homing/hub/fleet/probe"
	"github.com/homing/homing/hub/fleet/roster"
	"github.com/homing/homing/hub/fleet/scale"
	"github.com/homing/homing/redisx"
	"github.com/homing/homing/redisx/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// town is a fleet of nodes that do nothing but report, on a Redis of its own.
type town struct {
	t    *testing.T
	cfg  redisx.Config
	keys hub.Keys
	*roster.Roster
	store *Store

	sent func(players int64) // takes those whom nodes send away; nil: they are forgotten

	mu    sync.Mutex
	nodes map[string]*node
	made  int
}

// node reports until it is told to end.
type node struct {
	players atomic.Int64
	drained atomic.Bool
	end     context.CancelFunc
	ended   chan struct{}
}

func newTown(t *testing.T) *town {
	t.Helper()
	cfg := redistest.Config(t, redistest.Server(t))
	r, keys := redistest.Open(t, cfg), hub.NewKeys(cfg.Prefix)
	w := &town{t: t, cfg: cfg, keys: keys, Roster: roster.New(roster.Config{}, r, keys, prometheus.NewRegistry()), store: NewStore(r, keys), nodes: make(map[string]*node)}
	t.Cleanup(func() {
		for _, id := range w.names() {
			w.remove(id)
		}
	})
	return w
}

// add starts a node.
func (w *town) add() string {
	w.mu.Lock()
	w.made++
	id := fmt.Sprintf("node-%02d", w.made)
	w.mu.Unlock()
	w.start(id)
	return id
}

// start starts a node of a name.
func (w *town) start(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	ctx, end := context.WithCancel(context.Background())
	n := &node{end: end, ended: make(chan struct{})}
	w.nodes[id] = n
	report := roster.Report{Identity: roster.Identity{Node: id, Endpoint: id + ":8081", Cluster: "game", Front: "front-of-" + id, Workers: 1}, Process: hub.NewProcessID()}
	go func() {
		defer close(n.ended)
		for batch := uint64(1); ; batch++ {
			report.Load.Connections, report.Batch = int(n.players.Load()), batch
			orders, err := w.Report(ctx, report)
			if err == nil && orders.Drain != nil { // players leave at once
				if left := n.players.Swap(0); w.sent != nil {
					w.sent(left)
				}
				report.Progress = fleet.Progress{ID: orders.Drain.ID}
			}
			if err == nil {
				n.drained.Store(orders.Drain != nil)
			}
			select {
			case <-ctx.Done():
				report.Last = true
				_, _ = w.Report(context.Background(), report)
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	}()
}

func (w *town) remove(id string) {
	w.mu.Lock()
	n := w.nodes[id]
	delete(w.nodes, id)
	w.mu.Unlock()
	if n != nil {
		n.end()
		<-n.ended
	}
}

func (w *town) names() (ids []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id := range w.nodes {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// fill gives each node so many players.
func (w *town) fill(players int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range w.nodes {
		if !n.drained.Load() {
			n.players.Store(int64(players))
		}
	}
}

// hands are a driver that starts and ends nodes of a town.
type hands struct {
	*town

	lies   atomic.Bool // it says yes and does nothing
	hold   chan struct{}
	orders chan driver.Order
	mu     sync.Mutex
	log    []string
}

func newHands(w *town) *hands { return &hands{town: w, orders: make(chan driver.Order, 100)} }

func (h *hands) Name() string { return "hands" }

func (h *hands) Grow(ctx context.Context, o driver.Order) error {
	h.note(o, fmt.Sprintf("grow %d", o.Nodes))
	if h.hold != nil {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-h.hold:
		}
	}
	for range o.Nodes {
		if !h.lies.Load() {
			h.add()
		}
	}
	return nil
}

func (h *hands) Remove(_ context.Context, o driver.Order, n fleet.Node) error {
	h.note(o, "remove "+n.ID)
	if n.Load.Connections > 0 || n.State != fleet.Draining {
		return errors.New("it is in use")
	}
	h.remove(n.ID)
	return nil
}

func (h *hands) note(o driver.Order, what string) {
	h.orders <- o
	h.mu.Lock()
	defer h.mu.Unlock()
	h.log = append(h.log, what)
}

func (h *hands) done() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Join(h.log, ", ")
}

// controller is one that runs; cut takes its Redis away, as a network does.
type controller struct {
	*Controller

	cut  func()
	stop func()
}

func (w *town) run(id string, rules string, d driver.Driver, more func(*Deps)) *controller {
	w.t.Helper()
	all, err := scale.Parse(strings.NewReader(rules))
	if err != nil {
		w.t.Fatal(err)
	}
	r, err := redisx.New(w.cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		w.t.Fatal(err)
	}
	var running sync.WaitGroup
	online, cut := context.WithCancel(context.Background())
	running.Go(func() { _ = r.Run(online) })
	if err := r.WaitReady(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	deps := Deps{
		ID: id, Rules: all, Roster: roster.New(roster.Config{}, r, w.keys, prometheus.NewRegistry()),
		Lease: leader.New(r, w.keys, id, leader.DefaultTiming(), log, prometheus.NewRegistry()),
		Store: NewStore(r, w.keys), Driver: d, Epoch: r.Data.Lead().Epoch, Log: log, Reg: prometheus.NewRegistry(),
	}
	if more != nil {
		more(&deps)
	}
	c := &controller{Controller: New(Config{DrainDeadline: time.Minute, ActionTimeout: time.Minute}, deps), cut: cut}
	ctx, end := context.WithCancel(context.Background())
	running.Go(func() { _ = c.Lease.Run(ctx) })
	running.Go(func() { _ = c.Run(ctx) })
	c.stop = func() {
		end()
		time.AfterFunc(2*time.Second, cut) // the lease is given back before
		running.Wait()
		cut()
	}
	w.t.Cleanup(c.stop)
	return c
}

func (w *town) eventually(what string, ok func() bool) time.Duration {
	w.t.Helper()
	began := time.Now()
	for !ok() {
		if time.Since(began) > 60*time.Second {
			w.t.Fatalf("waited in vain for %s; the journal:\n%s", what, w.told())
		}
		time.Sleep(10 * time.Millisecond)
	}
	return time.Since(began)
}

// told is the journal in words.
func (w *town) told() string {
	all, err := w.store.Journal(context.Background(), "", 1000)
	if err != nil {
		return err.Error()
	}
	var b strings.Builder
	for i := range all {
		fmt.Fprintf(&b, "%s\n", all[i].String())
	}
	return b.String()
}

func (w *town) snapshot() fleet.Snapshot {
	w.t.Helper()
	s, err := w.Snapshot(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

const quick = `
clusters:
- cluster: game
  min_ready: 2
  max: 6
  node: {players: 100}
  start_up: 3s
  trend: -1s
  out: {every: 1s}
  in: {every: 2s}
`

// TestAFleetFollowsItsLoad, and the record of it decides the same when it is replayed.
func TestAFleetFollowsItsLoad(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	h := newHands(w)
	var record bytes.Buffer
	rec := NewRecorder(&record, 1<<30, func(int64) { t.Error("the record is full") })
	c := w.run("a", quick, h, func(d *Deps) { d.Record = rec.Add })
	ready := func(n int) func() bool {
		return func() bool {
			s := w.snapshot()
			return len(s.Nodes) == n && !slices.ContainsFunc(s.Nodes, func(n fleet.Node) bool { return n.State != fleet.Ready })
		}
	}
	w.eventually("the minimum", ready(2))
	w.fill(90)
	w.eventually("a third node", func() bool { return len(w.names()) >= 3 })
	w.fill(5)
	w.eventually("the minimum again", ready(2))
	w.eventually("the last outcome", func() bool { return strings.Count(w.told(), "of hands: done") == strings.Count(h.done(), ",")+1 })
	c.stop()
	for _, want := range []string{"a leads", "game: start 2: ", "game: drain node-", "of roster: done", "game: remove node-", "of hands: done"} {
		if !strings.Contains(w.told(), want) {
			t.Errorf("the journal does not say %q:\n%s", want, w.told())
		}
	}
	rules, err := scale.Parse(strings.NewReader(quick))
	if err != nil {
		t.Fatal(err)
	}
	result, err := Replay(bytes.NewReader(record.Bytes()), rules)
	if err != nil || result.Steps < 5 || result.Decisions < 4 || len(result.Differences) > 0 {
		t.Errorf("replay: %+v, %v", result, err)
	}
	other, err := scale.Parse(strings.NewReader(strings.Replace(quick, "min_ready: 2", "min_ready: 3", 1)))
	if err != nil {
		t.Fatal(err)
	}
	if result, err := Replay(bytes.NewReader(record.Bytes()), other); err != nil || len(result.Differences) == 0 {
		t.Errorf("replayed with other rules: %+v, %v", result, err)
	}
}

// TestTheLeaderIsCutOff while its driver works: another goes on from what it has left, and
// does nothing of it again.
func TestTheLeaderIsCutOff(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	h := newHands(w)
	h.hold = make(chan struct{})
	a := w.run("a", quick, h, nil)
	first := <-h.orders
	b := w.run("b", quick, h, nil)
	began := time.Now()
	a.cut()
	w.eventually("b to lead", func() bool { return b.Lease.Term() != 0 })
	t.Logf("b leads after %v", time.Since(began))
	w.eventually("b to say that nobody knows", func() bool { return strings.Contains(w.told(), first.ID+" of hands: unknown") })
	if n := a.Lease.Term(); n != 0 {
		t.Errorf("a acts in term %d still", n)
	}
	second := <-h.orders // when the nodes have not come in twice the start-up time
	if took := time.Since(began); took < 3*time.Second || second.ID == first.ID {
		t.Errorf("ordered again as %s (first %s) after %v", second.ID, first.ID, took)
	}
	if !strings.Contains(w.told(), "late: 2 nodes ordered") {
		t.Errorf("nobody was told why:\n%s", w.told())
	}
	close(h.hold)
}

// TestAStaleLeaderIsFenced: a process that takes itself for the leader of an old term
// changes nothing.
func TestAStaleLeaderIsFenced(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	w.add()
	c := w.run("a", quick, newHands(w), nil)
	w.eventually("a node to be ordered", func() bool { return strings.Contains(w.told(), "start") })
	before, term := w.told(), c.Lease.Term()
	old := term - 1
	if err := w.store.save(t.Context(), old, &memory{}, []Entry{{Kind: KindLeader, Leader: "stale"}}); !errors.Is(err, ErrFenced) {
		t.Errorf("save: %v", err)
	}
	if err := w.Drain(t.Context(), roster.Fence{Term: term + 7}, "node-01", fleet.Drain{ID: "x", Deadline: time.Now().Add(time.Hour)}); !errors.Is(err, roster.ErrFenced) {
		t.Errorf("drain: %v", err)
	}
	if strings.Contains(w.told(), "stale") || !strings.HasPrefix(w.told(), before) {
		t.Errorf("the journal:\n%s", w.told())
	}
}

// TestALyingDriver says yes and does nothing: that is told, and ordered again.
func TestALyingDriver(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	h := newHands(w)
	h.lies.Store(true)
	w.run("a", quick, h, nil)
	w.eventually("it to be found out", func() bool { return strings.Contains(w.told(), "late: 2 nodes ordered") })
	h.lies.Store(false)
	w.eventually("the nodes", func() bool { return len(w.names()) == 2 })
}

// probes are what a test says of nodes.
type probes struct {
	mu    sync.Mutex
	marks map[string]probe.Mark
	doubt bool
}

func (p *probes) Watch([]fleet.Node) {}

func (p *probes) Marks() (map[string]probe.Mark, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.marks), p.doubt
}

func (p *probes) set(id string, m probe.Mark) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.marks[id] = m
}

// TestRedNodes are told, replaced, and used again when they answer.
func TestRedNodes(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	p := &probes{marks: make(map[string]probe.Mark)}
	for range 2 {
		p.set(w.add(), probe.Mark{State: probe.Green})
	}
	w.run("a", quick, newHands(w), func(d *Deps) { d.Prober = p })
	state := func(id string, want fleet.State) func() bool {
		return func() bool {
			for _, n := range w.snapshot().Nodes {
				if n.ID == id {
					return n.State == want
				}
			}
			return false
		}
	}
	w.eventually("node 1 to be ready", state("node-01", fleet.Ready))
	p.set("node-01", probe.Mark{State: probe.Red, Why: "no answer"})
	w.eventually("node 1 to be red", state("node-01", fleet.Red))
	w.eventually("another node", func() bool { return len(w.names()) == 3 })
	p.set("node-01", probe.Mark{State: probe.Green})
	w.eventually("node 1 to be ready again", state("node-01", fleet.Ready))
	for _, want := range []string{"node-01 is red: no answer", "node-01 answers", "min_ready"} {
		if !strings.Contains(w.told(), want) {
			t.Errorf("the journal does not say %q:\n%s", want, w.told())
		}
	}
}

// TestShadowRules decide nothing, and say where they differ.
func TestShadowRules(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	shadow, err := scale.Parse(strings.NewReader(strings.Replace(quick, "min_ready: 2", "min_ready: 4", 1)))
	if err != nil {
		t.Fatal(err)
	}
	w.run("a", quick, newHands(w), func(d *Deps) { d.Shadow = []Shadow{{"four.yaml", shadow}} })
	w.eventually("the difference", func() bool {
		return strings.Contains(w.told(), "in the shadow, four.yaml: game wants 4 nodes (min_ready is 4), the rules that run want 2")
	})
	w.eventually("the nodes", func() bool { return len(w.names()) == 2 })
	time.Sleep(2 * time.Second)
	if n := len(w.names()); n != 2 {
		t.Errorf("%d nodes", n)
	}
}
