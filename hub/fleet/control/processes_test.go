package control_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/fleet"
	"github.com/homing/homing/hub/fleet/control"
	"github.com/homing/homing/hub/fleet/driver"
	"github.com/homing/homing/hub/fleet/leader"
	"github.com/homing/homing/hub/fleet/roster"
	"github.com/homing/homing/hub/fleet/scale"
	"github.com/homing/homing/redisx"
	"github.com/homing/homing/redisx/redistest"
)

// A controller that is killed or stopped is a process of its own: this program again,
// with these in its environment.
const (
	envURL    = "CONTROL_TEST_REDIS"
	envPrefix = "CONTROL_TEST_PREFIX"
	envID     = "CONTROL_TEST_ID"
	envOrders = "CONTROL_TEST_ORDERS"
)

// TestAlone is no test: it is such a process, which ends by a signal.
func TestAlone(t *testing.T) {
	if os.Getenv(envURL) == "" {
		t.Skip("other tests start it")
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	var cfg redisx.Config
	if err := kong.ApplyDefaults(&cfg); err != nil {
		panic(err)
	}
	cfg.Data, cfg.PubSub, cfg.Inbox, cfg.Prefix = []string{os.Getenv(envURL)}, nil, nil, os.Getenv(envPrefix)
	r, err := redisx.New(cfg, log, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background() // it ends with the process
	go func() { _ = r.Run(ctx) }()
	c := newController(r, cfg.Prefix, os.Getenv(envID), hangs{os.Getenv(envOrders)}, log)
	go func() { _ = c.lease.Run(ctx) }()
	_ = c.Run(ctx)
}

// hangs is a driver that notes each order in a file, and never returns.
type hangs struct{ file string }

func (hangs) Name() string { return "hangs" }

func (h hangs) Grow(ctx context.Context, o driver.Order) error {
	f, err := os.OpenFile(h.file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	fmt.Fprintf(f, "%s %d\n", o.ID, o.Nodes)
	_ = f.Close()
	<-ctx.Done()
	return ctx.Err()
}

func (h hangs) Remove(ctx context.Context, o driver.Order, _ fleet.Node) error { return h.Grow(ctx, o) }

// twoNodes are rules that want two nodes at any time.
func twoNodes() *scale.Rules {
	r := &scale.Rules{
		Cluster: "game", MinReady: new(2), Max: 8, Node: scale.Capacity{Players: 100},
		StartUp: 6 * time.Second, Trend: -1,
		Out: scale.Pace{Every: time.Second}, In: scale.Pace{Every: 2 * time.Second},
	}
	if err := r.Complete(); err != nil {
		panic(err)
	}
	return r
}

func newController(r *redisx.Redis, prefix, id string, d driver.Driver, log *slog.Logger) *one {
	keys, reg := hub.NewKeys(prefix), prometheus.NewRegistry()
	lease := leader.New(r, keys, id, leader.DefaultTiming(), log, reg)
	return &one{lease, control.New(control.Config{DrainDeadline: time.Minute, ActionTimeout: time.Minute}, control.Deps{
		ID: id, Rules: []*scale.Rules{twoNodes()}, Driver: d, Lease: lease,
		Roster: roster.New(roster.Config{}, r, keys, reg), Store: control.NewStore(r, keys),
		Epoch: r.Data.Lead().Epoch, Log: log, Reg: reg,
	})}
}

// one is a controller with its lease.
type one struct {
	lease *leader.Lease
	*control.Controller
}

// start has c lead or watch until the test ends.
func (c *one) start(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = c.lease.Run(ctx) })
	running.Go(func() { _ = c.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
}

// bench is a fleet on a Redis of the test's own.
type bench struct {
	*testing.T

	cfg   redisx.Config
	r     *redisx.Redis
	store *control.Store
	park  *park
}

func newBench(t *testing.T, cfg redisx.Config) *bench {
	t.Helper()
	r := redistest.Open(t, cfg)
	keys := hub.NewKeys(cfg.Prefix)
	b := &bench{T: t, cfg: cfg, r: r, store: control.NewStore(r, keys)}
	b.park = &park{roster: roster.New(roster.Config{}, r, keys, nil), nodes: make(map[string]*parked)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); b.park.run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return b
}

// controller is one on a connection of its own.
func (b *bench) controller(id string, d driver.Driver) *one {
	b.Helper()
	return newController(redistest.Open(b.T, b.cfg), b.cfg.Prefix, id, d, slog.New(slog.DiscardHandler))
}

// process starts a controller as a process; see hangs for what it does.
func (b *bench) process(url, id, orders string) *os.Process {
	b.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestAlone$")
	cmd.Env = append(os.Environ(), envURL+"="+url, envPrefix+"="+b.cfg.Prefix, envID+"="+id, envOrders+"="+orders)
	out, err := os.Create(filepath.Join(b.TempDir(), id+".log"))
	if err != nil {
		b.Fatal(err)
	}
	cmd.Stderr = out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = out.Close()
		if text, err := os.ReadFile(out.Name()); err == nil && b.Failed() {
			b.Logf("%s:\n%s", id, text)
		}
	})
	return cmd.Process
}

func (b *bench) journal() []control.Noted {
	b.Helper()
	all, err := b.store.Journal(b.Context(), "", 1000)
	if err != nil {
		return nil // a failover is under way
	}
	return all
}

// wait waits until the journal has an entry that suits.
func (b *bench) wait(what string, suits func(*control.Entry) bool) *control.Entry {
	b.Helper()
	for end := time.Now().Add(40 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		all := b.journal()
		for i := range all {
			if suits(&all[i].Entry) {
				return &all[i].Entry
			}
		}
		if time.Now().After(end) {
			b.tell()
			b.Fatalf("waited in vain for %s", what)
		}
	}
}

func (b *bench) tell() {
	b.Helper()
	for _, e := range b.journal() {
		b.Logf("%s term %d %s: %s", e.At.Format("05.000"), e.Term, e.Leader, e.String())
	}
}

func decides(a scale.Action) func(*control.Entry) bool {
	return func(e *control.Entry) bool { return e.Kind == control.KindDecision && e.Decision.Action == a }
}

func leads(id string) func(*control.Entry) bool {
	return func(e *control.Entry) bool { return e.Kind == control.KindLeader && e.Leader == id }
}

// lines are what a file has; none when it is not there.
func lines(file string) []string {
	text, _ := os.ReadFile(file)
	return strings.FieldsFunc(string(text), func(r rune) bool { return r == '\n' })
}

// park is nodes that report, and the driver that starts them and takes them away.
type park struct {
	roster *roster.Roster

	mu      sync.Mutex
	nodes   map[string]*parked
	serial  int
	players int // of all nodes together
}

type parked struct {
	roster.Report

	drained bool
}

func (*park) Name() string { return "park" }

func (p *park) Grow(_ context.Context, o driver.Order) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for range o.Nodes {
		p.serial++
		id := fmt.Sprintf("node-%02d", p.serial)
		p.nodes[id] = &parked{Report: roster.Report{
			Identity: roster.Identity{Node: id, Front: "front-" + id, Endpoint: id + ":8081", Cluster: o.Cluster, Workers: 1},
			Process:  hub.NewProcessID(),
		}}
	}
	return nil
}

func (p *park) Remove(ctx context.Context, _ driver.Order, n fleet.Node) error {
	p.mu.Lock()
	x := p.nodes[n.ID]
	delete(p.nodes, n.ID)
	p.mu.Unlock()
	if x == nil {
		return fmt.Errorf("there is no %s", n.ID)
	}
	if x.Load.Connections > 0 {
		return fmt.Errorf("%s has %d players", n.ID, x.Load.Connections)
	}
	x.Last = true
	x.Batch++
	_, err := p.roster.Report(ctx, x.Report)
	return err
}

// restart has another front come under a node's name, before the node is found missing.
func (p *park) restart(ctx context.Context, id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	x := p.nodes[id]
	x.Last = true
	x.Batch++
	_, _ = p.roster.Report(ctx, x.Report)
	x.Last, x.Batch, x.Front, x.Process = false, 0, x.Front+"-again", hub.NewProcessID()
	_, _ = p.roster.Report(ctx, x.Report)
}

// load has all nodes together have that many players.
func (p *park) load(players int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.players = players
}

func (p *park) size() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.nodes)
}

// run has the nodes report. Those that drain send everybody away at once.
func (p *park) run(ctx context.Context) {
	for ctx.Err() == nil {
		p.mu.Lock()
		for _, x := range p.nodes {
			x.Batch++
			x.Load.Connections = p.players / len(p.nodes)
			if x.drained {
				x.Load.Connections = 0
			}
			if o, err := p.roster.Report(ctx, x.Report); err == nil {
				x.drained = o.Drain != nil
			}
		}
		p.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(300 * time.Millisecond):
		}
	}
}
