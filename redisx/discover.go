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

// follower keeps a shard's state true. Everything in it belongs to the
// goroutine of run, which hears the watchers and the nodes through channels.
type follower struct {
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

func newFollower(s *Shard, log *slog.Logger) *follower {
	return &follower{
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
func (f *follower) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer f.close(cancel)
	f.begin(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-f.statements:
			f.hear(ctx, s)
		case p := <-f.probes:
			f.learn(p)
		}
		f.settle(ctx, time.Now())
	}
}

func (f *follower) begin(ctx context.Context) {
	d := f.shard.dialect
	if d.master != "" {
		for _, addr := range d.addrs {
			f.watch(ctx, addr)
		}
		return
	}
	// A single address is what one Sentinel would say if there were any.
	f.opinions[""] = opinion{master: d.addrs[0]}
	f.settle(ctx, time.Now())
}

func (f *follower) close(cancel func()) {
	cancel()
	f.tasks.Wait() // they close the clients
	f.shard.publish(&state{err: fmt.Errorf("redis %s: %w: stopped", f.shard.Name(), ErrNoMaster), epoch: f.epoch})
}

// watch starts to ask the Sentinel at addr, unless that is done already.
func (f *follower) watch(ctx context.Context, addr string) {
	if f.watchers[addr] != nil || len(f.watchers) >= maxSentinels {
		return
	}
	ctx, stop := context.WithCancel(ctx)
	f.watchers[addr] = &watched{stop: stop}
	w := newWatcher(f.shard.dialect, addr, f.shard.refusals)
	f.tasks.Go(func() {
		w.run(ctx, func(s statement) { send(ctx, f.statements, s) })
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
func (f *follower) hear(ctx context.Context, s statement) {
	w := f.watchers[s.addr]
	if w == nil {
		return // forgotten meanwhile
	}
	if (s.err == nil) != (w.lastErr == nil) || !w.asked {
		f.logSentinel(s)
	}
	w.asked, w.lastErr = true, s.err
	if s.err != nil {
		if len(f.opinions) > 1 {
			delete(f.opinions, s.addr)
		}
		return
	}
	f.opinions[s.addr] = s.opinion
	f.dropSilenced()
	for _, addr := range s.opinion.sentinels {
		f.watch(ctx, addr)
	}
	f.forgetSentinels()
	if s.event {
		f.hurryAll()
	}
}

func (f *follower) hurryAll() {
	for _, m := range f.members {
		m.hurry()
	}
}

// dropSilenced takes the vote from Sentinels that kept it only because no
// other answered.
func (f *follower) dropSilenced() {
	for addr := range f.opinions {
		if f.watchers[addr].lastErr != nil {
			delete(f.opinions, addr)
		}
	}
}

// forgetSentinels stops asking Sentinels that were discovered, do not answer,
// and that no other names any more.
func (f *follower) forgetSentinels() {
	for addr, w := range f.watchers {
		if w.lastErr == nil || slices.Contains(f.shard.dialect.addrs, addr) || f.named(addr) {
			continue
		}
		w.stop()
		delete(f.watchers, addr)
		delete(f.opinions, addr)
	}
}

func (f *follower) named(sentinel string) bool {
	for _, o := range f.opinions {
		if slices.Contains(o.sentinels, sentinel) {
			return true
		}
	}
	return false
}

func (f *follower) logSentinel(s statement) {
	if _, refused := refusedBySentinel(s.err); refused {
		f.log.Warn("sentinel refuses", slog.String("sentinel", s.addr), slog.Any("err", s.err))
		return
	}
	if s.err != nil {
		f.log.Warn("sentinel does not answer", slog.String("sentinel", s.addr), slog.Any("err", s.err))
		return
	}
	f.log.Info("sentinel answers", slog.String("sentinel", s.addr), slog.String("master", s.opinion.master))
}

// learn takes in what a look at a node found.
func (f *follower) learn(p probe) {
	m := f.members[p.node.addr]
	if m == nil || m.node != p.node {
		return // left meanwhile
	}
	m.take(p)
	f.warn(m)
}

// warn says once per node when it may forget what it is to keep.
func (f *follower) warn(m *member) {
	if !f.shard.keeps || m.memory == nil || !m.memory.evicts() || f.warned[m.addr] {
		return
	}
	f.warned[m.addr] = true
	f.log.Warn("redis evicts keys when it is full: players and stored notifications would be lost in silence: set maxmemory-policy noeviction",
		slog.String("node", m.addr), slog.String("maxmemory_policy", m.memory.policy), slog.Int64("maxmemory", m.memory.limit))
}

// settle draws the conclusions from all that is known and publishes them.
func (f *follower) settle(ctx context.Context, now time.Time) {
	f.enlist(ctx)
	if addr := elect(f.opinions, f.members, f.master, f.heirs); addr != "" && addr != f.master {
		if f.shard.dialect.master != "" { // a single address is nobody's choice
			f.log.Info("sentinels name the master", slog.String("master", addr), slog.String("before", f.master))
		}
		f.master = addr
		f.hurryAll()
	}
	f.watchPromotion()
	master := f.members[f.master]
	f.expectRoles()
	if master != nil && master.answersAs(roleMaster) {
		f.identify(master, now)
	} else {
		f.since = time.Time{}
		master = nil
	}
	st := f.conclude(master, now)
	f.shard.publish(st)
	f.warnAway(st.err, now)
}

// warnAway says why the shard has no master, at once and every awayEvery while
// that lasts. why is nil when it has one.
func (f *follower) warnAway(why error, now time.Time) {
	switch {
	case why == nil:
		f.away, f.told = time.Time{}, time.Time{}
		return
	case !f.questioned():
		return
	case f.away.IsZero():
		f.away = now
	}
	if now.Sub(f.told) >= awayEvery {
		f.told = now
		f.log.Warn("redis does not serve", slog.Any("err", why), slog.Duration("for", now.Sub(f.away).Round(time.Second)))
	}
}

// questioned reports whether whoever must answer first was asked once.
func (f *follower) questioned() bool {
	if m := f.members[f.master]; m != nil {
		return m.asked
	}
	for _, w := range f.watchers {
		if !w.asked {
			return false
		}
	}
	return true
}

// watchPromotion makes the nodes be looked at often while a Sentinel promotes a
// replica, so that the old master is left at once.
func (f *follower) watchPromotion() {
	urgent := promoting(f.opinions)
	for _, m := range f.members {
		if m.urgent.Swap(urgent) != urgent && urgent {
			m.hurry()
		}
	}
}

// enlist starts to look after the nodes that the Sentinels name and lets go of
// those that none names any more.
func (f *follower) enlist(ctx context.Context) {
	if len(f.opinions) == 0 {
		return
	}
	addrs := known(f.opinions)
	for _, addr := range addrs {
		if f.members[addr] == nil && len(f.members) < maxNodes {
			f.members[addr] = f.startNode(ctx, addr)
		}
	}
	for addr, m := range f.members {
		if !slices.Contains(addrs, addr) {
			m.stop()
			delete(f.members, addr)
		}
	}
}

func (f *follower) startNode(ctx context.Context, addr string) *member {
	ctx, stop := context.WithCancel(ctx)
	n := newNode(f.shard.dialect, addr, f.shard.refusals)
	f.tasks.Go(func() {
		n.watch(ctx, func(p probe) { send(ctx, f.probes, p) })
		n.current.Load().close()
	})
	return &member{node: n, stop: stop}
}

func (f *follower) expectRoles() {
	for addr, m := range f.members {
		if addr == f.master {
			m.expect(wanted{role: roleMaster})
		} else {
			m.expect(wanted{role: roleReplica, life: m.known.runID})
		}
	}
}

// identify begins a new epoch when the master is not the one it was, or is
// another life of it: a memory-only server that restarts comes back empty.
func (f *follower) identify(master *member, now time.Time) {
	id := identity{addr: master.addr, runID: master.known.runID, replID: master.known.replID}
	if id != f.identity {
		if f.identity.addr != "" {
			f.shard.metrics.masterChanges.WithLabelValues(f.shard.Name()).Inc()
		}
		f.identity, f.since, f.history = id, time.Time{}, history{}
		f.epoch++
		f.log.Info("master reachable", slog.String("master", id.addr), slog.String("run_id", id.runID), slog.Uint64("epoch", f.epoch))
	}
	if f.since.IsZero() {
		f.since = now
	}
	if n := len(f.history.samples); n == 0 || !f.history.samples[n-1].at.Equal(master.known.done) {
		f.history.add(master.known.done, master.known.offset)
	}
}

// conclude makes the state that others read. master is nil while there is
// none that answers.
func (f *follower) conclude(master *member, now time.Time) *state {
	st := &state{epoch: f.epoch, since: f.since, waiting: f.waiting()}
	if master == nil {
		st.err = f.noMaster()
	} else {
		st.master = master.node
	}
	for _, addr := range slices.Sorted(maps.Keys(f.members)) {
		m := f.members[addr]
		n := Node{Addr: addr, Role: Replica}
		if addr == f.master {
			n.Role = Master
			if n.Healthy = master != nil; !n.Healthy {
				n.Reason = f.whyNoMaster()
			}
			n.answers = n.Healthy
		} else {
			n.LagBytes, n.Lag = f.history.lag(m.known.at, m.known.offset)
			m.catchUp(master, n.Lag)
			n.Reason = judge(m, master, shunned(f.opinions, addr), n.Lag)
			n.Healthy = n.Reason == ""
			n.answers = m.answersAs(roleReplica)
		}
		n.memory = m.memory
		f.note(m, &n, now)
		switch {
		case n.Role != Replica:
		case n.Healthy && now.Sub(m.since) >= readSettle:
			st.replicas = append(st.replicas, m.node)
		case m.answersAs(roleReplica):
			st.stale = append(st.stale, m.node)
		}
		st.nodes, st.all = append(st.nodes, n), append(st.all, m.node)
	}
	st.copies = f.copies(master, now)
	return st
}

// note remembers and logs a change of a node's health.
func (f *follower) note(m *member, n *Node, now time.Time) {
	if n.Healthy != m.healthy {
		if n.Healthy {
			m.since = now
			f.log.Info("node healthy", slog.String("node", n.Addr), slog.String("role", string(n.Role)))
		} else {
			f.log.Warn("node not healthy", slog.String("node", n.Addr), slog.String("role", string(n.Role)), slog.String("reason", n.Reason))
		}
		m.healthy = n.Healthy
	}
	if n.Healthy {
		n.since = m.since
	}
}

// noMaster is what callers are told while there is no master.
func (f *follower) noMaster() error {
	if !f.questioned() {
		return fmt.Errorf("redis %s: %w", f.shard.Name(), ErrNotAsked)
	}
	return fmt.Errorf("redis %s: %w: %s", f.shard.Name(), ErrNoMaster, f.whyNoMaster())
}

func (f *follower) whyNoMaster() string {
	m := f.members[f.master]
	switch {
	case m == nil:
		return f.whyNoSentinel()
	case !m.asked:
		return m.addr + " not asked yet"
	case !m.alive():
		return m.addr + ": " + lastWords(m)
	default:
		return m.addr + " answers as a " + m.known.role
	}
}

func (f *follower) whyNoSentinel() string {
	var why []string
	for _, addr := range slices.Sorted(maps.Keys(f.watchers)) {
		if err := f.watchers[addr].lastErr; err != nil {
			why = append(why, fmt.Sprintf("%s: %v", addr, err))
		}
	}
	if why == nil {
		return "no Sentinel has answered yet"
	}
	return "no Sentinel has answered, " + strings.Join(why, ", ")
}

// waiting counts nodes that have not been asked yet.
func (f *follower) waiting() int {
	n := 0
	for _, m := range f.members {
		if !m.asked {
			n++
		}
	}
	return n
}
