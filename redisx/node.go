package redisx

import (
	"bufio"
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// probeInterval is how often each node and each Sentinel is asked.
	probeInterval = time.Second
	// probeRetry is the first pause after a failure; it doubles up to probeInterval.
	probeRetry = 100 * time.Millisecond
	// hurryGap is the shortest pause between two looks at a node that
	// somebody's failing commands ask for.
	hurryGap = 50 * time.Millisecond
)

// node is one server of a shard: the client for its data traffic, and the
// goroutine that asks after its health.
type node struct {
	d       *dialect
	addr    string
	current atomic.Pointer[redis.Client]
	want    atomic.Pointer[string] // the role that new connections must find
	kick    chan struct{}          // holds 1: look now
}

func newNode(d *dialect, addr string) *node {
	n := &node{d: d, addr: addr, kick: make(chan struct{}, 1)}
	n.expect(roleReplica)
	n.current.Store(n.connect())
	return n
}

// client is the client for data traffic, until the node is left or renewed.
func (n *node) client() *redis.Client { return n.current.Load() }

// connect makes a client for data traffic.
func (n *node) connect() *redis.Client {
	o := n.d.options(n.addr)
	o.OnConnect = func(ctx context.Context, cn *redis.Conn) error {
		err := n.d.checkRole(ctx, cn, *n.want.Load())
		if errors.Is(err, ErrWrongRole) {
			n.hurry()
		}
		return err
	}
	return redis.NewClient(o)
}

// renew replaces the client of a node that is back after a failure. The old
// one may hold connections that lead nowhere, and replays dial errors for up
// to a second after the last.
func (n *node) renew() {
	old := n.current.Swap(n.connect())
	_ = old.Close() // what it had under way failed long ago
}

// expect sets the role that connections opened from now on must find.
func (n *node) expect(role string) { n.want.Store(&role) }

// hurry asks for a look at the node soon. It never blocks.
func (n *node) hurry() {
	select {
	case n.kick <- struct{}{}:
	default:
	}
}

// probe is what one look at a node found.
type probe struct {
	node *node
	at   time.Time // when the look began
	err  error     // when not nil, nothing below is known

	role   string
	runID  string // one life of the process
	replID string // one history of the data
	offset int64  // how much of that history the node has, in bytes
	linked bool   // a replica's connection to its master is up
}

// watch looks at the node each second, sooner after a failure and when told to
// hurry, and hands what it found to report, until ctx ends.
func (n *node) watch(ctx context.Context, report func(probe)) {
	client := n.prober()
	defer func() { client.Close() }()
	for health := (health{}); ; {
		p := look(ctx, n.d, client)
		if ctx.Err() != nil {
			return
		}
		p.node = n
		if p.err == nil && !health.alive() {
			n.renew()
		}
		health.take(&p)
		report(p)
		pause := probeInterval
		if health.failures > 0 {
			client.Close()
			client = n.prober()
			pause = min(pause, probeRetry<<min(health.failures-1, 5))
		}
		if !n.wait(ctx, pause) {
			return
		}
	}
}

// prober makes a client that asks after the node's health, so that it never
// waits behind data traffic. After a failure another is made: a client replays
// dial errors to us for up to a second.
func (n *node) prober() *redis.Client {
	o := n.d.options(n.addr)
	o.PoolSize = fewConns
	return redis.NewClient(o)
}

// health counts looks at a node that got no answer.
type health struct {
	failures int // in a row
	refused  bool
}

func (h *health) take(p *probe) {
	if p.err == nil {
		*h = health{}
		return
	}
	h.failures++
	h.refused = p.refused()
}

// alive forgives one unanswered look, as a busy moment, but no refusal.
func (h *health) alive() bool { return h.failures == 0 || h.failures == 1 && !h.refused }

// wait pauses for d, give or take a twentieth so that processes do not ask in
// step, or until told to hurry. It reports whether ctx goes on.
func (n *node) wait(ctx context.Context, d time.Duration) bool {
	gap := time.NewTimer(min(d, hurryGap))
	defer gap.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-gap.C:
	}
	rest := time.NewTimer(d - hurryGap + rand.N(d/10) - d/20)
	defer rest.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-rest.C:
	case <-n.kick:
	}
	return true
}

// look asks a server who it is, within the dial and the read timeout.
func look(ctx context.Context, d *dialect, client *redis.Client) probe {
	p := probe{at: time.Now()}
	ctx, cancel := context.WithTimeout(ctx, d.dial+d.read)
	defer cancel()
	pipe := client.Pipeline()
	server, replication := pipe.Info(ctx, "server"), pipe.Info(ctx, "replication")
	if _, p.err = pipe.Exec(ctx); p.err == nil {
		p.parse(server.Val())
		p.parse(replication.Val())
		return p
	}
	var reply redis.Error
	if d.master == "" && errors.As(p.err, &reply) {
		// An answer, though not to INFO: a server in miniature, which has no
		// replicas, or a user that may not ask.
		if p.err = client.Ping(ctx).Err(); p.err == nil {
			p.role = roleMaster
		}
	}
	return p
}

func (p *probe) parse(info string) {
	lines := bufio.NewScanner(strings.NewReader(info))
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), ":")
		switch key {
		case "run_id":
			p.runID = value
		case "role":
			p.role = value
		case "master_replid":
			p.replID = value
		case "master_link_status":
			p.linked = value == "up"
		case "master_repl_offset":
			// On a replica too: it is how far that has come in the same history.
			p.offset, _ = strconv.ParseInt(value, 10, 64) // Redis writes a number
		}
	}
}

// refused reports that the machine is there and the server is not: one such
// answer is enough, where a timeout may be a busy moment.
func (p *probe) refused() bool {
	return errors.Is(p.err, syscall.ECONNREFUSED)
}
