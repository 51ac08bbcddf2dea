package redisx

import (
	"context"
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
	dialect *dialect
	metrics *metrics
	seed    uint64 // of the rendezvous hash

	state atomic.Pointer[state]

	mu      sync.Mutex // orders publish with the exchange of changed
	changed chan struct{}
}

// state is what is known of a shard at one moment. It does not change.
type state struct {
	master   *node   // nil when none is reachable
	replicas []*node // the healthy ones
	nodes    []Node  // all, by address
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

	since time.Time // healthy since
}

func newShard(d *dialect, m *metrics) *Shard {
	s := &Shard{dialect: d, metrics: m, seed: hash(d.name), changed: make(chan struct{})}
	s.state.Store(&state{err: ErrNoMaster})
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
// not serve; then the commands may have been carried out or not.
func (s *Shard) Write(ctx context.Context, f func(context.Context, *redis.Client) error) error {
	st := s.state.Load()
	if st.master == nil {
		s.metrics.unavailable.WithLabelValues(s.Name(), "write").Inc()
		return st.err
	}
	err := f(ctx, st.master.client())
	if err == nil || !unavailable(err) {
		return err
	}
	st.master.hurry()
	s.metrics.unavailable.WithLabelValues(s.Name(), "write").Inc()
	return failed(s.Name(), "write", st.master.addr, err)
}

// Read runs f with a client of a healthy replica chosen at random. When that
// cannot be reached or cannot serve it runs f again on another, and at last on
// the master, three times at most; so f must bear repetition. It returns the
// last run's error, wrapped as Write does. Replies, redis.Nil among them, are
// not tried again.
func (s *Shard) Read(ctx context.Context, f func(context.Context, *redis.Client) error) error {
	st := s.state.Load()
	var order [3]*node
	nodes := st.readOrder(order[:0])
	if len(nodes) == 0 {
		s.metrics.unavailable.WithLabelValues(s.Name(), "read").Inc()
		return st.err
	}
	var err error
	for _, n := range nodes {
		if err = f(ctx, n.client()); err == nil || !unavailable(err) {
			return err
		}
		err = failed(s.Name(), "read", n.addr, err)
		n.hurry()
		s.metrics.unavailable.WithLabelValues(s.Name(), "read").Inc()
		if ctx.Err() != nil {
			break
		}
	}
	return err
}

// readOrder appends two random healthy replicas and the master, as far as
// there are any.
func (st *state) readOrder(to []*node) []*node {
	if n := len(st.replicas); n > 0 {
		i := rand.IntN(n)
		to = append(to, st.replicas[i])
		if n > 1 {
			to = append(to, st.replicas[(i+1+rand.IntN(n-1))%n])
		}
	}
	if st.master != nil {
		to = append(to, st.master)
	}
	return to
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
