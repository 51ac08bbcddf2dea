package redisx

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
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
	// probeUrgent is how often each node is asked while a replica is being promoted.
	probeUrgent = 100 * time.Millisecond
	// hurryGap is the shortest pause between two looks at a node that
	// somebody's failing commands ask for.
	hurryGap = 50 * time.Millisecond
)

// node is one server of a shard: the client for its data traffic, and the
// goroutine that asks after its health.
type node struct {
	d       *dialect
	addr    string
	witness *witness
	current atomic.Pointer[clients]
	want    atomic.Pointer[wanted] // what new connections must find
	urgent  atomic.Bool            // look every probeUrgent
	kick    chan struct{}          // holds 1: look now
}

func newNode(d *dialect, addr string, r *refusalLog) *node {
	n := &node{d: d, addr: addr, witness: &witness{r, d.name, addr}, kick: make(chan struct{}, 1)}
	n.expect(wanted{role: roleReplica})
	n.current.Store(n.connect())
	return n
}

// clients are those for data traffic. What waits for replicas has connections
// of its own, so that replicas that are slow keep nobody else from the server.
type clients struct{ data, copied *redis.Client }

// copiedPools is how many times PoolSize writes may wait for replicas at once.
const copiedPools = 4

// client is the client for data traffic, until the node is left or renewed.
func (n *node) client() *redis.Client { return n.current.Load().data }

// copied is the client for writes that wait for replicas, for as long.
func (n *node) copied() *redis.Client { return n.current.Load().copied }

// connect makes the clients for data traffic. They open no connection yet.
func (n *node) connect() *clients {
	return &clients{data: n.dataClient(n.d.poolSize), copied: n.dataClient(n.d.poolSize * copiedPools)}
}

// close ends the clients: commands under way fail, as if the server had gone.
func (c *clients) close() {
	_ = c.data.Close()
	_ = c.copied.Close()
}

func (n *node) dataClient(poolSize int) *redis.Client {
	o := n.d.options(n.addr)
	o.PoolSize = poolSize
	o.OnConnect = func(ctx context.Context, cn *redis.Conn) error {
		want := n.want.Load()
		p, err := n.d.checkRole(ctx, cn, want.role)
		if err == nil {
			err = want.check(&p)
		}
		if errors.Is(err, ErrWrongRole) {
			n.hurry()
		}
		return err
	}
	return n.open(o)
}

// open makes a client whose server's refusals are noted.
func (n *node) open(o *redis.Options) *redis.Client {
	c := redis.NewClient(o)
	c.AddHook(n.witness)
	return c
}

// renew replaces the clients of a node that is back after a failure. The old
// ones may hold connections that lead nowhere, and replay dial errors for up
// to a second after the last.
func (n *node) renew() {
	n.current.Swap(n.connect()).close() // what they had under way failed long ago
}

// wanted is what a new connection must find, or it is given up.
type wanted struct {
	role string
	life string // a replica's run id when it was judged; "": not known
}

// check reports whether p, which has the role, may be talked to. A replica that
// was restarted holds nothing, or what it held long ago, until it has been
// synchronized, and is behind for a moment after that. It is to be judged first:
// others may not count it yet among those that must have what they write. A reader
// that has chosen it just before it was judged is let in all the same.
func (w *wanted) check(p *probe) error {
	if w.role == roleReplica && w.life != "" && p.runID != "" && p.runID != w.life {
		return fmt.Errorf("%w: restarted a moment ago", ErrWrongRole)
	}
	return nil
}

// expect sets what connections opened from now on must find.
func (n *node) expect(w wanted) {
	if old := n.want.Load(); old == nil || *old != w {
		n.want.Store(&w)
	}
}

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

	done     time.Time // when the look ended
	role     string
	runID    string   // one life of the process
	replID   string   // one history of the data
	replID2  string   // the history that this one continues; zeros when it continues none
	offset   int64    // how much of that history the node has, in bytes
	linked   bool     // a replica's connection to its master is up
	replicas []string // addresses of those that the node feeds, without those that it synchronizes
	memory   *memory  // nil when the look did not ask
}

// memory is how full a server is.
type memory struct {
	used, limit int64 // in bytes; limit 0: none
	policy      string
}

// evicts reports whether the server forgets keys when it is full.
func (m *memory) evicts() bool { return m.limit > 0 && m.policy != "noeviction" }

// memoryEvery is how many looks at a node there are to one at its memory.
const memoryEvery = 10

// watch looks at the node each second, sooner after a failure and when told to
// hurry, and hands what it found to report, until ctx ends.
func (n *node) watch(ctx context.Context, report func(probe)) {
	client := n.prober()
	defer func() { client.Close() }()
	health := health{}
	for i := 0; ; i++ {
		p := look(ctx, n.d, client, i%memoryEvery == 0)
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
		if n.urgent.Load() {
			pause = probeUrgent
		}
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
	return n.open(o)
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

// look asks a server who it is, within the dial and the read timeout, and, if
// it is to, how full it is.
func look(ctx context.Context, d *dialect, client *redis.Client, memory bool) probe {
	p := probe{at: time.Now()}
	ctx, cancel := context.WithTimeout(ctx, d.dial+d.read)
	defer cancel()
	pipe := client.Pipeline()
	infos := []*redis.StringCmd{pipe.Info(ctx, "server"), pipe.Info(ctx, "replication")}
	if memory {
		infos = append(infos, pipe.Info(ctx, "memory"))
	}
	cmds, err := pipe.Exec(ctx)
	p.done = time.Now()
	if err == nil {
		for _, i := range infos {
			p.parse(i.Val())
		}
		return p
	}
	p.err = refusedCommand(cmds, err)
	if d.answersOtherwise(err) {
		if p.err = client.Ping(ctx).Err(); p.err == nil {
			p.role = roleMaster
		}
	}
	return p
}

// refusedCommand is err with the name of the command that the server refused.
func refusedCommand(cmds []redis.Cmder, err error) error {
	for _, c := range cmds {
		if reply, ok := c.Err().(redis.Error); ok { //nolint:errorlint // a wrapped one is of the handshake
			return fmt.Errorf("%s: %w", strings.ToUpper(c.Name()), reply)
		}
	}
	return err
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
		case "master_replid2":
			p.replID2 = value
		case "master_link_status":
			p.linked = value == "up"
		case "master_repl_offset":
			// On a replica too: it is how far that has come in the same history.
			p.offset = number(value)
		case "used_memory", "maxmemory", "maxmemory_policy":
			p.parseMemory(key, value)
		default:
			if addr := parseReplica(key, value); addr != "" {
				p.replicas = append(p.replicas, addr)
			}
		}
	}
}

func (p *probe) parseMemory(key, value string) {
	if p.memory == nil {
		p.memory = &memory{}
	}
	switch key {
	case "used_memory":
		p.memory.used = number(value)
	case "maxmemory":
		p.memory.limit = number(value)
	case "maxmemory_policy":
		p.memory.policy = value
	}
}

func number(s string) int64 {
	n, _ := strconv.ParseInt(s, 10, 64) // Redis writes a number
	return n
}

// parseReplica returns the address in a master's line about a replica that it
// feeds, and "" for every other line:
//
//	slave0:ip=127.0.0.1,port=6380,state=online,offset=42,lag=0
func parseReplica(key, value string) string {
	if !strings.HasPrefix(key, "slave") || !strings.Contains(value, ",state=online,") {
		return ""
	}
	host, rest, _ := strings.Cut(strings.TrimPrefix(value, "ip="), ",port=")
	port, _, _ := strings.Cut(rest, ",")
	return net.JoinHostPort(host, port)
}

// refused reports that the machine is there and the server is not: one such
// answer is enough, where a timeout may be a busy moment.
func (p *probe) refused() bool {
	return errors.Is(p.err, syscall.ECONNREFUSED)
}
