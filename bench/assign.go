package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/alecthomas/kong"

	"github.com/homing/homing/bench/load"
	"github.com/homing/homing/bench/stack"
	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/fleet"
	"github.com/homing/homing/hub/fleet/roster"
	"github.com/homing/homing/redisx"
)

var assignScenario = scenario{
	name: "assign", measure: measureAssign, own: own{apis: 2},
	headline: []string{"assigned_per_s", "inside_per_s", "max_over_mean", "stale_max_over_mean", "pack_nodes", "second_reservations", "p99_ms"},
}

// Help is shown below the flags.
func (AssignFlags) Help() string {
	return `It starts Redis and two API servers, and reports for 8 nodes, once a second each, as
their workers would. Then as many players as --conns says are assigned over HTTP, by
64 callers as fast as they can, once spread and once packed. Each player comes to its
node 50 ms to 1.5 s after it was assigned, with its ticket. One caller in twenty gives
up after 2 ms and asks again with the same id. Then once more, spread, without HTTP, as
a process of ours asks that places rooms (inside_per_s).

Beside it, the same requests choose the node with the fewest connections by counts of
up to one second ago, as a load balancer would that reads metrics
(stale_max_over_mean).

It fails, with status 1, when a place was given twice (second_reservations), a player
was not assigned, the fullest node has more than 1.05 times the mean, or pack uses more
than one node beyond the least that would do.

Example:

  homing bench assign --conns 10000 --json`
}

const (
	assignNodes    = 8
	assignCallers  = 64
	assignMark     = 0.9 // the API servers' default
	assignTimeout  = 5 * time.Second
	assignGivesUp  = 2 * time.Millisecond
	assignUnevenly = 1.05
)

var errAssign = errors.New("assignment has not kept what is promised")

// measureAssign assigns players to nodes that report.
func measureAssign(ctx context.Context, r *run) error {
	so := r.opts.stack()
	so.APIArgs = []string{"--api-key-rate", "0"}
	r.say("starting Redis and %d API processes", r.opts.APIs)
	s, err := stack.Start(ctx, so)
	if err != nil {
		return err
	}
	return errors.Join(r.assignAll(ctx, s), s.Stop(false))
}

func (r *run) assignAll(ctx context.Context, s *stack.Stack) error {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	var cfg redisx.Config
	if err := kong.ApplyDefaults(&cfg); err != nil {
		return fmt.Errorf("configure the roster's Redis: %w", err)
	}
	cfg.Data, cfg.PubSub = s.Redis.DataURLs(), s.Redis.PubSubURLs()
	rx, err := redisx.New(cfg, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		return fmt.Errorf("follow the roster's Redis: %w", err)
	}
	running.Go(func() { _ = rx.Run(ctx) })
	if err := rx.WaitReady(ctx); err != nil {
		return err
	}
	nodes := roster.New(roster.Config{}, rx, s.Keys(), nil)
	running.Go(func() { _ = nodes.Run(ctx) })
	spread, err := r.assignTo(ctx, s, nodes, &assigning{cluster: "spread", strategy: fleet.Spread})
	if err != nil {
		return err
	}
	pack, err := r.assignTo(ctx, s, nodes, &assigning{cluster: "pack", strategy: fleet.Pack})
	if err != nil {
		return err
	}
	inside, err := r.assignTo(ctx, s, nodes, &assigning{cluster: "inside", strategy: fleet.Spread, inside: nodes})
	if err != nil {
		return err
	}
	return r.judgeAssigned(spread, pack, inside)
}

// assigning is one cluster to which players are assigned.
type assigning struct {
	cluster  string
	strategy fleet.Strategy
	inside   *roster.Roster // that is asked; nil: the API servers are
	nodes    []*assignNode
	callers  []*load.Poster

	took              time.Duration
	second            int
	failed            atomic.Int64
	repeated          atomic.Int64
	mu                sync.Mutex
	times             *hdrhistogram.Histogram
	stale, fewest     [assignNodes]int // as counted up to a second ago; by choosing the fewest of those
	firstErr          error
	arrivals          sync.WaitGroup
	players, capacity int
}

// assignNode is a node whose worker is played.
type assignNode struct {
	reporter *roster.Reporter
	id       string
	players  atomic.Int64
}

// Load implements roster.Worker.
func (n *assignNode) Load() (fleet.Load, fleet.Progress) {
	return fleet.Load{Connections: int(n.players.Load())}, fleet.Progress{}
}

// Order implements roster.Worker.
func (n *assignNode) Order(fleet.Orders) {}

// Leaving implements roster.Worker.
func (n *assignNode) Leaving() <-chan struct{} { return nil }

// assignTo assigns all players to nodes of a's cluster, and waits until they have come.
func (r *run) assignTo(ctx context.Context, s *stack.Stack, ro *roster.Roster, a *assigning) (*assigning, error) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	a.players, a.capacity, a.times = r.opts.Conns, r.opts.Conns/2, hdrhistogram.New(1, 60_000_000, 3)
	for i := range assignNodes {
		n := &assignNode{id: fmt.Sprintf("%s-%d:8081", a.cluster, i)}
		n.reporter = roster.NewReporter(ro, roster.Identity{
			Node: n.id, Front: n.id, Endpoint: n.id, Cluster: a.cluster, Capacity: a.capacity, Workers: 1,
		}, hub.NewProcessID(), 0, slog.New(slog.DiscardHandler), nil)
		a.nodes = append(a.nodes, n)
		running.Go(func() { _ = n.reporter.Run(ctx, n) })
	}
	for _, url := range s.API.URLs() {
		a.callers = append(a.callers, load.NewPoster(url, s.Access.Key(), assignTimeout))
	}
	defer func() {
		for _, p := range a.callers {
			p.Close()
		}
	}()
	if err := a.warm(ctx); err != nil {
		return nil, err
	}
	running.Go(func() { a.count(ctx) })
	r.say("assigning %d players to %d nodes: %s", a.players, assignNodes, a.cluster)
	start := time.Now()
	a.callAll(ctx)
	a.took = time.Since(start)
	var err error
	if a.second, err = a.surplus(ctx, ro); err != nil {
		return nil, err
	}
	a.arrivals.Wait()
	return a, a.firstErr
}

// warm waits until all nodes take players, and opens the callers' connections.
func (a *assigning) warm(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	var last error
	for {
		var all struct {
			Nodes []fleet.Node `json:"nodes"`
		}
		if err := a.callers[0].Nodes(ctx, &all); err != nil {
			last = err
		}
		ready := 0
		for _, n := range all.Nodes {
			if n.Cluster == a.cluster && n.State == fleet.Ready {
				ready++
			}
		}
		if ready == assignNodes {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the nodes: %w", errors.Join(last, ctx.Err()))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// count takes the connections of all nodes once a second, as one that reads metrics does.
func (a *assigning) count(ctx context.Context) {
	for {
		a.mu.Lock()
		a.stale = a.fewest
		a.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Second):
		}
	}
}

// callAll has all players assigned.
func (a *assigning) callAll(ctx context.Context) {
	var next atomic.Int64
	var callers sync.WaitGroup
	for c := range assignCallers {
		callers.Go(func() {
			for i := next.Add(1); i <= int64(a.players); i = next.Add(1) {
				a.call(ctx, a.callers[c%len(a.callers)], i)
			}
		})
	}
	callers.Wait()
}

// call has one player assigned, who comes a while later.
func (a *assigning) call(ctx context.Context, p *load.Poster, i int64) {
	id := strconv.FormatInt(i, 10) + "-" + a.cluster
	if i%20 == 0 {
		early, cancel := context.WithTimeout(ctx, assignGivesUp)
		_, _, err := a.ask(early, p, id)
		cancel()
		if err != nil {
			a.repeated.Add(1)
		}
	}
	start := time.Now()
	node, ticket, err := a.ask(ctx, p, id)
	took := time.Since(start)
	a.mu.Lock()
	defer a.mu.Unlock()
	_ = a.times.RecordValue(took.Microseconds()) // within its range, by the timeout
	if err != nil {
		a.failed.Add(1)
		a.firstErr = errors.Join(a.firstErr, err)
		return
	}
	least := slices.Index(a.stale[:], slices.Min(a.stale[:]))
	a.fewest[least]++
	at := slices.IndexFunc(a.nodes, func(n *assignNode) bool { return n.id == node })
	a.arrivals.Add(1)
	time.AfterFunc(50*time.Millisecond+rand.N(1450*time.Millisecond), func() {
		defer a.arrivals.Done()
		a.nodes[at].players.Add(1)
		a.nodes[at].reporter.Arrived(ticket)
	})
}

// ask asks for one player's place.
func (a *assigning) ask(ctx context.Context, p *load.Poster, id string) (node, ticket string, err error) {
	if a.inside == nil {
		return p.Assign(ctx, []byte(`{"id":"`+id+`","cluster":"`+a.cluster+`","strategy":"`+string(a.strategy)+`","wait_ms":3000}`))
	}
	got, err := a.inside.Assign(ctx, fleet.Request{ID: id, Cluster: a.cluster, Strategy: a.strategy})
	return got.Node, got.Ticket, err
}

// surplus is how many places there are beyond one for each player, once all of those who
// have come are reported.
func (a *assigning) surplus(ctx context.Context, ro *roster.Roster) (int, error) {
	a.arrivals.Wait()
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(2 * roster.Period):
	}
	s, err := ro.Snapshot(ctx)
	n := -a.players + int(a.failed.Load())
	for i := range s.Nodes {
		if s.Nodes[i].Cluster == a.cluster {
			n += s.Nodes[i].Load.Connections + s.Nodes[i].Reserved
		}
	}
	return n, err
}

// evenness is the most that a node has, by the mean of all.
func evenness(counts []int) float64 {
	sum := 0
	for _, n := range counts {
		sum += n
	}
	return float64(slices.Max(counts)) * float64(len(counts)) / float64(max(sum, 1))
}

func (a *assigning) counts() (counts []int, used int) {
	for _, n := range a.nodes {
		counts = append(counts, int(n.players.Load()))
		if counts[len(counts)-1] > 0 {
			used++
		}
	}
	return counts, used
}

func (r *run) judgeAssigned(spread, pack, inside *assigning) error {
	even, _ := spread.counts()
	_, used := pack.counts()
	carries := int(assignMark * float64(pack.capacity))
	least := (pack.players + carries - 1) / max(carries, 1)
	var second, failed, repeated int
	for _, a := range []*assigning{spread, pack, inside} {
		second += a.second
		failed += int(a.failed.Load())
		repeated += int(a.repeated.Load())
	}
	r.Add("assigned_per_s", float64(spread.players)/spread.took.Seconds(), "players assigned a second over HTTP, spread")
	r.Add("pack_assigned_per_s", float64(pack.players)/pack.took.Seconds(), "the same, packed")
	r.Add("inside_per_s", float64(inside.players)/inside.took.Seconds(), "the same without HTTP, spread")
	r.Add("max_over_mean", evenness(even), "connections of the fullest node by the mean, spread")
	r.Add("stale_max_over_mean", evenness(spread.fewest[:]), "the same when the fewest connections of up to a second ago are chosen")
	r.Add("pack_nodes", float64(used), "nodes with players, packed")
	r.Add("pack_least_nodes", float64(least), "the fewest that would do")
	r.Add("p50_ms", float64(spread.times.ValueAtPercentile(50))/1000, "ms of one assignment, spread")
	r.Add("p99_ms", float64(spread.times.ValueAtPercentile(99))/1000, "the same, p99")
	r.Add("repeated", float64(repeated), "requests given up by their callers and asked again with the same id")
	r.Add("second_reservations", float64(second), "places beyond one for each player")
	r.Add("failed", float64(failed), "players who were not assigned")
	var broke []string
	if second != 0 || failed != 0 {
		broke = append(broke, fmt.Sprintf("%d second places, %d players not assigned", second, failed))
	}
	if e := evenness(even); e > assignUnevenly {
		broke = append(broke, fmt.Sprintf("the fullest node has %.3f of the mean", e))
	}
	if used > least+1 {
		broke = append(broke, fmt.Sprintf("pack uses %d nodes, and %d would do", used, least))
	}
	if len(broke) > 0 {
		return fmt.Errorf("%w: %v", errAssign, broke)
	}
	return nil
}
