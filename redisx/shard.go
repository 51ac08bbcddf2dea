package redisx

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// Shard is one master and its replicas. Its methods may be called from any
// goroutine; only those that take a context block.
type Shard struct {
	dialect  *dialect
	metrics  *metrics
	refusals *refusalLog
	keeps    bool   // what it holds must not be forgotten; set before it runs
	seed     uint64 // of the rendezvous hash

	state atomic.Pointer[state]

	mu      sync.Mutex // orders publish with the exchange of changed
	changed chan struct{}
}

// state is what is known of a shard at one moment. It does not change.
type state struct {
	master   *node   // nil when none is reachable
	replicas []*node // those that are read from: healthy for readSettle
	stale    []*node // others that answer: the last resort of reads
	all      []*node // every one
	nodes    []Node  // all, by address
	copies   int     // see Copies
	err      error   // why there is no master
	epoch    uint64
	since    time.Time // the master has been reachable since; zero when it is not
	waiting  int       // nodes that have not been asked yet
}

// NodeRole is what discovery takes a server for.
type NodeRole string

// The two roles.
const (
	Master  NodeRole = "master"
	Replica NodeRole = "replica"
)

// Node is one server of a shard as last seen.
type Node struct {
	Addr     string
	Role     NodeRole
	Healthy  bool          // it may be read from and subscribed at, or is the reachable master
	Reason   string        // why it is not healthy
	LagBytes int64         // of the replication stream that a replica lacked when last asked
	Lag      time.Duration // how long it had lacked some, in steps of a second

	answers bool      // as what it is taken for
	since   time.Time // healthy since, or restarted then
	memory  *memory   // as last told; nil before
}

func newShard(d *dialect, m *metrics, r *refusalLog) *Shard {
	s := &Shard{dialect: d, metrics: m, refusals: r, seed: hash(d.name), changed: make(chan struct{})}
	s.state.Store(&state{err: ErrNotAsked})
	return s
}

// Name is the Sentinels' name of the master, or host:port. It is unique within
// a Redis and serves as the metrics' label "shard".
func (s *Shard) Name() string { return s.dialect.name }

// Master returns a client to the current master, or an error that wraps
// ErrNoMaster and says why there is none. The client stays the Shard's: do not
// close it, and ask again for each use: it closes when the server leaves the
// shard or comes back after a failure.
func (s *Shard) Master() (*redis.Client, error) {
	st := s.state.Load()
	if st.master == nil {
		return nil, st.err
	}
	return st.master.client(), nil
}

// Epoch increases whenever the master may not hold what was written before:
// another address, process or replication history. It is 0 until the first
// master has been reached, and true to within about a second.
func (s *Shard) Epoch() uint64 { return s.state.Load().epoch }

// Stable is how long the master has been reachable without a break under the
// present Epoch, as seen once a second; 0 when it is not reachable now.
func (s *Shard) Stable() time.Duration {
	since := s.state.Load().since
	if since.IsZero() {
		return 0
	}
	return time.Since(since)
}

// Nodes returns every server of the shard, by address. The caller must not
// change the slice.
func (s *Shard) Nodes() []Node { return s.state.Load().nodes }

// Changed returns a channel that is closed when Epoch or any node's address,
// role or health changes after the call.
func (s *Shard) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// publish makes st the state that others see, and wakes those who wait for a
// change if there is one.
func (s *Shard) publish(st *state) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.state.Swap(st)
	if !old.same(st) {
		close(s.changed)
		s.changed = make(chan struct{})
	}
}

func (st *state) same(other *state) bool {
	return st.epoch == other.epoch && st.master == other.master && st.waiting == other.waiting &&
		slices.EqualFunc(st.nodes, other.nodes, func(a, b Node) bool {
			return a.Addr == b.Addr && a.Role == b.Role && a.Healthy == b.Healthy
		})
}

// Write runs f once with a client of the master. It returns f's error, wrapped
// as ErrUnavailable when it says that the master could not be reached or could
// not serve; then the commands may have been carried out or not. What must
// survive a failover goes through WriteCopied: a master that has just been
// replaced takes writes until we notice, and forgets them.
func (s *Shard) Write(ctx context.Context, f func(context.Context, *redis.Client) error) error {
	st := s.state.Load()
	if st.master == nil {
		s.metrics.unavailable.WithLabelValues(s.Name(), "write").Inc()
		return st.err
	}
	err := f(ctx, st.master.client())
	if err == nil || !unavailable(err) {
		return s.dialect.veil(err)
	}
	if passes(err) {
		st.master.hurry()
	}
	s.metrics.unavailable.WithLabelValues(s.Name(), "write").Inc()
	return s.failed("write", st.master.addr, err)
}

// WithScript runs f, which calls script by its hash on the master, and runs it
// once more after it has loaded the script when the server did not know it: one
// that was restarted, or promoted before the script came to it.
func (s *Shard) WithScript(ctx context.Context, script *redis.Script, f func() error) error {
	err := f()
	if !redis.HasErrorPrefix(err, "NOSCRIPT") {
		return err
	}
	err = s.Write(ctx, func(ctx context.Context, c *redis.Client) error { return script.Load(ctx, c).Err() })
	if err != nil {
		return fmt.Errorf("load a script: %w", err)
	}
	return f()
}

// failed is err as callers see it: with what was being done, and without
// passwords.
func (s *Shard) failed(verb, addr string, err error) error {
	return failed(s.Name(), verb, addr, s.dialect.veil(err))
}

// readPause is between the two rounds of a Read during a failover: the replicas
// drop their clients one after the other as they are given another role.
const readPause = 25 * time.Millisecond

// readSettle is how long a replica must be healthy before it is read from. So
// long others may take to learn that it is back: until then what they write and
// wait for (WriteCopied) may not be there. It is a look's interval, a look, and
// half a second for the replica to have what was acknowledged without it.
const readSettle = 2 * time.Second

// Read runs f with a client of a replica chosen at random among those that have
// been healthy for two seconds. When that
// cannot be reached or cannot serve it runs f again on another, then on the
// master. When there is none it goes on with those that answer at
// least, twice: while a master is being replaced they are all cut off from it,
// and what they hold is what there is. So f must bear repetition. Read returns
// the last run's error, wrapped as Write does. Replies, redis.Nil among them,
// are not tried again.
func (s *Shard) Read(ctx context.Context, f func(context.Context, *redis.Client) error) error {
	st := s.state.Load()
	again, err := s.readOnce(ctx, st, f)
	if !again || len(st.stale) == 0 {
		return err
	}
	select {
	case <-ctx.Done():
		return err
	case <-time.After(readPause):
	}
	_, err = s.readOnce(ctx, s.state.Load(), f)
	return err
}

// readOnce runs f on one node after the other until one serves. again is
// whether none did and there is still time.
func (s *Shard) readOnce(ctx context.Context, st *state, f func(context.Context, *redis.Client) error) (again bool, err error) {
	var order [5]*node
	err = st.err
	for _, n := range st.readOrder(order[:0]) {
		if err = f(ctx, n.client()); err == nil || !unavailable(err) {
			return false, s.dialect.veil(err)
		}
		err = s.failed("read", n.addr, err)
		if passes(err) {
			n.hurry()
		}
		if ctx.Err() != nil {
			break
		}
	}
	s.metrics.unavailable.WithLabelValues(s.Name(), "read").Inc()
	return ctx.Err() == nil, err
}

// readOrder appends two random healthy replicas and the master, and, when no
// replica is healthy, two that are not, as far as there are any.
func (st *state) readOrder(to []*node) []*node {
	to = appendTwo(to, st.replicas)
	healthy := len(to)
	if st.master != nil {
		to = append(to, st.master)
	}
	if healthy == 0 {
		to = appendTwo(to, st.stale)
	}
	return to
}

// appendTwo appends two of nodes, chosen at random, as far as there are any.
func appendTwo(to, nodes []*node) []*node {
	n := len(nodes)
	if n == 0 {
		return to
	}
	i := rand.IntN(n)
	to = append(to, nodes[i])
	if n > 1 {
		to = append(to, nodes[(i+1+rand.IntN(n-1))%n])
	}
	return to
}

// Visit runs f for every node that answers, one after the other, with a client
// of its own that is closed afterwards, so that f may leave it in any state.
// What servers refuse to it is counted and logged by nobody else. It stops when
// ctx ends.
func (s *Shard) Visit(ctx context.Context, f func(context.Context, Node, *redis.Client)) {
	st := s.state.Load()
	for _, n := range st.nodes {
		if ctx.Err() != nil {
			return
		}
		if !n.answers {
			continue
		}
		o := s.dialect.options(n.Addr)
		o.PoolSize = fewConns
		c := redis.NewClient(o)
		f(ctx, n, c)
		_ = c.Close() // nothing is under way
	}
}

// waitReady waits until the master is reachable and every node has been asked
// once. Its error says what is missing.
func (s *Shard) waitReady(ctx context.Context) error {
	for {
		changed := s.Changed()
		st := s.state.Load()
		if st.master != nil && st.waiting == 0 {
			return nil
		}
		select {
		case <-changed:
		case <-time.After(probeInterval): // the reason may be another by now
		case <-ctx.Done():
			return s.notReady(ctx)
		}
	}
}

// MaxMemory returns the server's maxmemory in bytes, 0 when it sets none. It is
// not known before the server was asked.
func (n Node) MaxMemory() (limit int64, known bool) {
	if n.memory == nil {
		return 0, false
	}
	return n.memory.limit, true
}

// Memory returns the bytes that the server used when it was asked last, which may
// be some ten seconds ago, and its maxmemory; zeros before it was asked.
func (n Node) Memory() (used, limit int64) {
	if n.memory == nil {
		return 0, 0
	}
	return n.memory.used, n.memory.limit
}
