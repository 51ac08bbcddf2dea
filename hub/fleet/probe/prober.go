package probe

import (
	"context"
	"log/slog"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/homing/homing/hub/fleet"
)

// stoodStill is how much longer than its timeout a probe takes when this process, and
// not the node, stood still.
const stoodStill = 300 * time.Millisecond

// Prober probes nodes. It is safe for concurrent use.
type Prober struct {
	cfg    Config
	dialer *dialer
	log    *slog.Logger
	met    metrics
	slots  chan struct{} // one for each probe under way
	wake   chan struct{} // one word that the nodes have changed

	mu      sync.Mutex
	nodes   map[string]fleet.Node // to be probed
	judge   *judge
	doubted bool // and it was told
}

// New returns a Prober; c must be valid. token gives the token that probes show, and is
// called for each. Run should be running.
func New(c Config, token func() (string, error), log *slog.Logger, reg prometheus.Registerer) (*Prober, error) {
	config, err := c.tlsConfig()
	if err != nil {
		return nil, err
	}
	p := &Prober{
		cfg: c, log: log, slots: make(chan struct{}, c.Parallel), wake: make(chan struct{}, 1),
		dialer: &dialer{path: c.Path, tls: c.TLS, origin: c.Origin, config: config, token: token},
		judge:  newJudge(policy{c.Failures, c.Successes, c.Grace}),
	}
	p.met = newMetrics(reg, p)
	return p, nil
}

// Watch says which nodes there are. Those that were there before go on as they were,
// unless their endpoint is another. It does not block, and keeps no part of nodes.
func (p *Prober) Watch(nodes []fleet.Node) {
	now := time.Now()
	next := make(map[string]fleet.Node, len(nodes))
	for _, n := range nodes {
		next[n.ID] = fleet.Node{ID: n.ID, Endpoint: n.Endpoint, Labels: maps.Clone(n.Labels)}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, old := range p.nodes {
		if n, here := next[id]; !here || n.Endpoint != old.Endpoint {
			p.judge.remove(id)
		}
	}
	for id := range next {
		p.judge.add(id, now)
	}
	p.nodes = next
	p.noteDoubtLocked()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Marks are what is known of the nodes that are watched, by their IDs. In doubt, when
// more than half of them fail, none is red: then it is the prober that reaches nobody.
func (p *Prober) Marks() (marks map[string]Mark, doubt bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.judge.marks()
}

// Run probes until ctx ends, and returns nil. When Config.Every is 0 it does nothing.
func (p *Prober) Run(ctx context.Context) error {
	if p.cfg.Every == 0 {
		<-ctx.Done()
		return nil
	}
	var probing sync.WaitGroup
	defer probing.Wait()
	under := make(map[string]context.CancelFunc) // nodes that are probed
	for {
		p.follow(ctx, under, &probing)
		select {
		case <-ctx.Done():
			return nil
		case <-p.wake:
		}
	}
}

// follow begins to probe nodes that are new, and ends it for those that are not watched
// any more.
func (p *Prober) follow(ctx context.Context, under map[string]context.CancelFunc, probing *sync.WaitGroup) {
	p.mu.Lock()
	nodes := p.nodes
	p.mu.Unlock()
	for id, end := range under {
		if _, here := nodes[id]; !here {
			end()
			delete(under, id)
		}
	}
	for id := range nodes {
		if under[id] == nil {
			one, end := context.WithCancel(ctx)
			under[id] = end
			probing.Go(func() { p.probe(one, id) })
		}
	}
}

// probe probes a node until ctx ends. The first time is by chance, so that nodes that
// were found together are not probed together for ever.
func (p *Prober) probe(ctx context.Context, id string) {
	wait := rand.N(p.cfg.Every)
	for sleep(ctx, wait) {
		if !p.take(ctx) {
			return
		}
		begun := time.Now()
		r := p.once(ctx, id)
		<-p.slots
		if ctx.Err() != nil {
			return // what came of it may be our own doing
		}
		p.note(id, r)
		every := p.cfg.Every
		if r.Outcome == Failed {
			every = min(every, p.cfg.Timeout)
		}
		wait = max(0, every-time.Since(begun))
	}
}

// sleep waits, and reports whether ctx has not ended.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// take waits for a slot.
func (p *Prober) take(ctx context.Context) bool {
	//bound:fleet-probes
	select {
	case p.slots <- struct{}{}:
		return true
	default:
	}
	p.met.crowded.Inc()
	select {
	case p.slots <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// once makes one probe.
func (p *Prober) once(ctx context.Context, id string) Result {
	p.mu.Lock()
	n := p.nodes[id]
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	begun := time.Now()
	outcome, why := p.dialer.probe(ctx, &n)
	r := Result{Outcome: outcome, Why: why, At: time.Now()}
	r.Took = r.At.Sub(begun)
	if outcome == Failed && r.Took > p.cfg.Timeout+stoodStill {
		r.Outcome, r.Why = Void, "this process stood still"
	}
	return r
}

// note takes a result, and tells what has changed by it.
func (p *Prober) note(id string, r Result) {
	p.met.probes.WithLabelValues(r.Outcome.String()).Inc()
	if r.Outcome == Answered {
		p.met.seconds.Observe(r.Took.Seconds())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.Outcome == Void {
		p.log.Warn("probe: what a probe came to is not counted", "node", id, "why", r.Why, "took", r.Took)
	}
	if p.judge.note(id, r) {
		if mark := p.judge.nodes[id].mark; mark.State == Red {
			p.log.Warn("probe: a node is red", "node", id, "why", mark.Why)
		} else {
			p.log.Info("probe: a node is green", "node", id)
		}
		p.noteDoubtLocked()
	}
}

// noteDoubtLocked tells when doubt begins and when it ends.
func (p *Prober) noteDoubtLocked() {
	doubt := p.judge.doubtful()
	if doubt == p.doubted {
		return
	}
	if p.doubted = doubt; doubt {
		p.log.Error("probe: more than half of the nodes fail: none counts as red by its probes, because it may be this machine that reaches nobody",
			"red", p.judge.failing(), "nodes", len(p.judge.nodes))
	} else {
		p.log.Info("probe: most nodes answer again: those that fail count as red")
	}
}

type metrics struct {
	probes  *prometheus.CounterVec
	seconds prometheus.Histogram
	crowded prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, p *Prober) metrics {
	f := promauto.With(reg)
	m := metrics{
		probes: f.NewCounterVec(prometheus.CounterOpts{
			Name: "homing_fleet_probes_total",
			Help: "Probes of nodes, by what they came to: answered, turned_away (the node drains or is crowded), failed, or void (it says nothing of the node: this process stood still, or had no token).",
		}, []string{"outcome"}),
		seconds: f.NewHistogram(prometheus.HistogramOpts{
			Name: "homing_fleet_probe_seconds", Help: "How long probes took that were answered.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5},
		}),
		crowded: f.NewCounter(prometheus.CounterOpts{
			Name: "homing_fleet_probes_waited_total", Help: "Probes that waited because as many were under way as may be.",
		}),
	}
	for _, o := range []Outcome{Answered, TurnedAway, Failed, Void} {
		m.probes.WithLabelValues(o.String())
	}
	locked := func(of func() float64) func() float64 {
		return func() float64 {
			p.mu.Lock()
			defer p.mu.Unlock()
			return of()
		}
	}
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "homing_fleet_probe_red_nodes", Help: "Nodes that fail their probes.",
	}, locked(func() float64 { return float64(p.judge.failing()) }))
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "homing_fleet_probe_doubt", Help: "1: more than half of the nodes fail, and none counts as red by its probes.",
	}, locked(func() float64 {
		if p.judge.doubtful() {
			return 1
		}
		return 0
	}))
	return m
}
