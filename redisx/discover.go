package redisx

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// maxSentinels bounds how many Sentinels of one master are watched.
	maxSentinels = 16
	// maxNodes bounds how many servers of one shard are watched.
	maxNodes = 32
	// awayEvery is between two lines about a shard that has no master.
	awayEvery = 5 * time.Second
)

// topologyWatcher keeps a shard's state true. Everything in it belongs to the
// goroutine of run, which hears the Sentinels' watchers and the nodes through channels.
type topologyWatcher struct {
	shard *Shard
	log   *slog.Logger

	statements chan statement
	probes     chan probe
	tasks      sync.WaitGroup // watchers and nodes

	watchers map[string]*watched // by Sentinel address
	members  map[string]*member  // by server address
	opinions map[string]opinion  // by Sentinel address; of those that answered last time

	master   string            // the address elected, "" before the first
	heirs    map[string]string // see elect
	identity identity
	epoch    uint64
	since    time.Time // when the master was last found reachable; zero while it is not
	history  history
	fed      time.Time       // when a replica last answered; zero: never
	warned   map[string]bool // of nodes that evict, by address
	away     time.Time       // since when there has been no master; zero while there is one
	told     time.Time       // when that was logged last
}

// watched is a Sentinel that has a watcher.
type watched struct {
	stop    func()
	lastErr error
	asked   bool
}

// identity tells one life of a master from another.
type identity struct{ addr, runID, replID string }

func newTopologyWatcher(s *Shard, log *slog.Logger) *topologyWatcher {
	return &topologyWatcher{
		shard:      s,
		log:        log.With(slog.String("shard", s.Name())),
		statements: make(chan statement),
		probes:     make(chan probe),
		watchers:   map[string]*watched{},
		members:    map[string]*member{},
		opinions:   map[string]opinion{},
		warned:     map[string]bool{},
		heirs:      map[string]string{},
	}
}

// run follows the shard until ctx ends, and closes its clients.
func (t *topologyWatcher) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer t.close(cancel)
	t.begin(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-t.statements:
			t.hear(ctx, s)
		case p := <-t.probes:
			t.learn(p)
		}
		t.update(ctx, time.Now())
	}
}

func (t *topologyWatcher) begin(ctx context.Context) {
	d := t.shard.dialect
	if d.master != "" {
		for _, addr := range d.addrs {
			t.watch(ctx, addr)
		}
		return
	}
	// A single address is what one Sentinel would say if there were any.
	t.opinions[""] = opinion{master: d.addrs[0]}
	t.update(ctx, time.Now())
}

func (t *topologyWatcher) close(cancel func()) {
	cancel()
	t.tasks.Wait() // they close the clients
	t.shard.publish(&state{err: fmt.Errorf("redis %s: %w: stopped", t.shard.Name(), ErrNoMaster), epoch: t.epoch})
}

// watch starts to ask the Sentinel at addr, unless that is done already.
func (t *topologyWatcher) watch(ctx context.Context, addr string) {
	if t.watchers[addr] != nil || len(t.watchers) >= maxSentinels {
		return
	}
	ctx, stop := context.WithCancel(ctx)
	t.watchers[addr] = &watched{stop: stop}
	w := newSentinelWatcher(t.shard.dialect, addr, t.shard.refusals)
	t.tasks.Go(func() {
		w.run(ctx, func(s statement) { send(ctx, t.statements, s) })
	})
}

func send[T any](ctx context.Context, to chan<- T, v T) {
	select {
	case to <- v:
	case <-ctx.Done():
	}
}

// hear takes in what a Sentinel said. One that does not answer loses its vote,
// but when none answers the last that was heard stands: Redis goes on without
// Sentinels.
func (t *topologyWatcher) hear(ctx context.Context, s statement) {
	w := t.watchers[s.addr]
	if w == nil {
		return // forgotten meanwhile
	}
	if (s.err == nil) != (w.lastErr == nil) || !w.asked {
		t.logSentinel(s)
	}
	w.asked, w.lastErr = true, s.err
	if s.err != nil {
		if len(t.opinions) > 1 {
			delete(t.opinions, s.addr)
		}
		return
	}
	t.opinions[s.addr] = s.opinion
	t.dropSilenced()
	for _, addr := range s.opinion.sentinels {
		t.watch(ctx, addr)
	}
	t.forgetSentinels()
	if s.event {
		t.hurryAll()
	}
}

func (t *topologyWatcher) hurryAll() {
	for _, m := range t.members {
		m.hurry()
	}
}

// dropSilenced takes the vote from Sentinels that kept it only because no
// other answered.
func (t *topologyWatcher) dropSilenced() {
	for addr := range t.opinions {
		if t.watchers[addr].lastErr != nil {
			delete(t.opinions, addr)
		}
	}
}

// forgetSentinels stops asking Sentinels that were discovered, do not answer,
// and that no other names any more.
func (t *topologyWatcher) forgetSentinels() {
	for addr, w := range t.watchers {
		if w.lastErr == nil || slices.Contains(t.shard.dialect.addrs, addr) || t.named(addr) {
			continue
		}
		w.stop()
		delete(t.watchers, addr)
		delete(t.opinions, addr)
	}
}

func (t *topologyWatcher) named(sentinel string) bool {
	for _, o := range t.opinions {
		if slices.Contains(o.sentinels, sentinel) {
			return true
		}
	}
	return false
}

func (t *topologyWatcher) logSentinel(s statement) {
	if _, refused := refusedBySentinel(s.err); refused {
		t.log.Warn("sentinel refuses", slog.String("sentinel", s.addr), slog.Any("err", s.err))
		return
	}
	if s.err != nil {
		t.log.Warn("sentinel does not answer", slog.String("sentinel", s.addr), slog.Any("err", s.err))
		return
	}
	t.log.Info("sentinel answers", slog.String("sentinel", s.addr), slog.String("master", s.opinion.master))
}

// learn takes in what a look at a node found.
func (t *topologyWatcher) learn(p probe) {
	m := t.members[p.node.addr]
	if m == nil || m.node != p.node {
		return // left meanwhile
	}
	m.take(p)
	t.warn(m)
}

// warn says once per node when it may forget what it is to keep.
func (t *topologyWatcher) warn(m *member) {
	if !t.shard.keeps || m.memory == nil || !m.memory.evicts() || t.warned[m.addr] {
		return
	}
	t.warned[m.addr] = true
	t.log.Warn("redis evicts keys when it is full: players and stored notifications would be lost in silence: set maxmemory-policy noeviction",
		slog.String("node", m.addr), slog.String("maxmemory_policy", m.memory.policy), slog.Int64("maxmemory", m.memory.limit))
}

// update draws the conclusions from all that is known and publishes them.
func (t *topologyWatcher) update(ctx context.Context, now time.Time) {
	t.enlist(ctx)
	if addr := elect(t.opinions, t.members, t.master, t.heirs); addr != "" && addr != t.master {
		if t.shard.dialect.master != "" { // a single address is nobody's choice
			t.log.Info("sentinels name the master", slog.String("master", addr), slog.String("before", t.master))
		}
		t.master = addr
		t.hurryAll()
	}
	t.watchPromotion()
	master := t.members[t.master]
	if master != nil {
		master.expect(wanted{role: roleMaster})
	}
	if master != nil && master.answersAs(roleMaster) {
		t.identify(master, now)
	} else {
		t.since = time.Time{}
		master = nil
	}
	st := t.conclude(master, now)
	t.shard.publish(st)
	t.expectReplicas()
	t.warnAway(st.err, now)
}

// warnAway says why the shard has no master, at once and every awayEvery while
// that lasts. why is nil when it has one.
func (t *topologyWatcher) warnAway(why error, now time.Time) {
	switch {
	case why == nil:
		t.away, t.told = time.Time{}, time.Time{}
		return
	case !t.questioned():
		return
	case t.away.IsZero():
		t.away = now
	}
	if now.Sub(t.told) >= awayEvery {
		t.told = now
		t.log.Warn("redis does not serve", slog.Any("err", why), slog.Duration("for", now.Sub(t.away).Round(time.Second)))
	}
}

// questioned reports whether the master, or before it is known every Sentinel,
// was asked once.
func (t *topologyWatcher) questioned() bool {
	if m := t.members[t.master]; m != nil {
		return m.asked
	}
	for _, w := range t.watchers {
		if !w.asked {
			return false
		}
	}
	return true
}

// watchPromotion makes the nodes be looked at often while a Sentinel promotes a
// replica, so that the old master is left at once.
func (t *topologyWatcher) watchPromotion() {
	urgent := promoting(t.opinions)
	for _, m := range t.members {
		if m.urgent.Swap(urgent) != urgent && urgent {
			m.hurry()
		}
	}
}

// enlist starts to look after the nodes that the Sentinels name and lets go of
// those that none names any more.
func (t *topologyWatcher) enlist(ctx context.Context) {
	if len(t.opinions) == 0 {
		return
	}
	addrs := known(t.opinions)
	for _, addr := range addrs {
		if t.members[addr] == nil && len(t.members) < maxNodes {
			t.members[addr] = t.startNode(ctx, addr)
		}
	}
	for addr, m := range t.members {
		if !slices.Contains(addrs, addr) {
			m.stop()
			delete(t.members, addr)
		}
	}
}

func (t *topologyWatcher) startNode(ctx context.Context, addr string) *member {
	ctx, stop := context.WithCancel(ctx)
	n := newNode(t.shard.dialect, addr, t.shard.refusals)
	t.tasks.Go(func() {
		n.watch(ctx, func(p probe) { send(ctx, t.probes, p) })
		n.current.Load().close()
	})
	return &member{node: n, stop: stop}
}

// expectReplicas says which life of each replica new connections must find. It
// comes after the state was published in which one that was restarted is not read
// from: else its new life were let in before.
func (t *topologyWatcher) expectReplicas() {
	for addr, m := range t.members {
		if addr != t.master {
			m.expect(wanted{role: roleReplica, life: m.known.runID})
		}
	}
}

// identify begins a new epoch when the master is not the one it was, or is
// another life of it: a memory-only server that restarts comes back empty.
func (t *topologyWatcher) identify(master *member, now time.Time) {
	id := identity{addr: master.addr, runID: master.known.runID, replID: master.known.replID}
	if id != t.identity {
		if t.identity.addr != "" {
			t.shard.metrics.masterChanges.WithLabelValues(t.shard.Name()).Inc()
		}
		t.identity, t.since, t.history = id, time.Time{}, history{}
		t.epoch++
		t.log.Info("master reachable", slog.String("master", id.addr), slog.String("run_id", id.runID), slog.Uint64("epoch", t.epoch))
	}
	if t.since.IsZero() {
		t.since = now
	}
	if n := len(t.history.samples); n == 0 || !t.history.samples[n-1].at.Equal(master.known.done) {
		t.history.add(master.known.done, master.known.offset)
	}
}

// conclude makes the state that others read. master is nil while there is
// none that answers.
func (t *topologyWatcher) conclude(master *member, now time.Time) *state {
	st := &state{epoch: t.epoch, since: t.since, waiting: t.waiting()}
	if master == nil {
		st.err = t.noMaster()
	} else {
		st.master = master.node
	}
	for _, addr := range slices.Sorted(maps.Keys(t.members)) {
		m := t.members[addr]
		n := Node{Addr: addr, Role: Replica}
		if addr == t.master {
			n.Role = Master
			if n.Healthy = master != nil; !n.Healthy {
				n.Reason = t.whyNoMaster()
			}
			n.answers = n.Healthy
		} else {
			n.LagBytes, n.Lag = t.history.lag(m.known.at, m.known.offset)
			m.catchUp(master, n.Lag)
			n.Reason = judge(m, master, shunned(t.opinions, addr), n.Lag)
			n.Healthy = n.Reason == ""
			n.answers = m.answersAs(roleReplica)
		}
		n.memory = m.memory
		t.note(m, &n, now)
		switch {
		case n.Role != Replica:
		case n.Healthy && now.Sub(m.since) >= readSettle:
			st.replicas = append(st.replicas, m.node)
		case m.answersAs(roleReplica):
			st.stale = append(st.stale, m.node)
		}
		st.nodes, st.all = append(st.nodes, n), append(st.all, m.node)
	}
	st.copies = t.copies(master, now)
	return st
}

// note remembers and logs a change of a node's health.
func (t *topologyWatcher) note(m *member, n *Node, now time.Time) {
	if n.Healthy != m.healthy {
		if n.Healthy {
			m.since = now
			t.log.Info("node healthy", slog.String("node", n.Addr), slog.String("role", string(n.Role)))
		} else {
			t.log.Warn("node not healthy", slog.String("node", n.Addr), slog.String("role", string(n.Role)), slog.String("reason", n.Reason))
		}
		m.healthy = n.Healthy
	}
	if n.Healthy {
		n.since = m.since
	}
}

// noMaster is what callers are told while there is no master.
func (t *topologyWatcher) noMaster() error {
	if !t.questioned() {
		return fmt.Errorf("redis %s: %w", t.shard.Name(), ErrNotAsked)
	}
	return fmt.Errorf("redis %s: %w: %s", t.shard.Name(), ErrNoMaster, t.whyNoMaster())
}

func (t *topologyWatcher) whyNoMaster() string {
	m := t.members[t.master]
	switch {
	case m == nil:
		return t.whyNoSentinel()
	case !m.asked:
		return m.addr + " not asked yet"
	case !m.alive():
		return m.addr + ": " + lastWords(m)
	default:
		return m.addr + " answers as a " + m.known.role
	}
}

func (t *topologyWatcher) whyNoSentinel() string {
	var why []string
	for _, addr := range slices.Sorted(maps.Keys(t.watchers)) {
		if err := t.watchers[addr].lastErr; err != nil {
			why = append(why, fmt.Sprintf("%s: %v", addr, err))
		}
	}
	if why == nil {
		return "no Sentinel has answered yet"
	}
	return "no Sentinel has answered, " + strings.Join(why, ", ")
}

// waiting counts nodes that have not been asked yet.
func (t *topologyWatcher) waiting() int {
	n := 0
	for _, m := range t.members {
		if !m.asked {
			n++
		}
	}
	return n
}
