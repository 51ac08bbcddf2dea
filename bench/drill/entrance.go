package drill

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/bench/bridge"
	"github.com/homing/homing/bench/stack"
	"github.com/homing/homing/bench/usage"
	client "github.com/homing/homing/client/go"
	"github.com/homing/homing/hub"
)

// What --clients may be.
const (
	mixedClients = "mixed"
	nativeOnly   = "native"
)

// entrance is where clients of a drill connect, and by which way.
type entrance struct {
	fronts  []string // WebSocket URLs
	secret  []byte
	mixed   bool                   // a third of the clients speak Socket.IO
	way     func(i int) bridge.Way // of client i, in place of that; nil: none is
	bridges *bridge.Bridges
	out     atomic.Int32 // 1 and more: that front is out of service, as a load balancer would know
}

// newEntrance is the entrance of a stack. Close its bridges.
func newEntrance(s *stack.Stack, mixed bool) *entrance {
	e := &entrance{secret: s.Access.Secret(), mixed: mixed, bridges: &bridge.Bridges{}}
	for _, f := range s.Fronts {
		e.fronts = append(e.fronts, f.URL())
	}
	return e
}

// front is the one that client i dials.
func (e *entrance) front(i int) string {
	at := i % len(e.fronts)
	if at+1 == int(e.out.Load()) {
		at = (at + 1) % len(e.fronts)
	}
	return e.fronts[at]
}

// leaveOut has clients dial another front than front i, until it is let in again.
func (e *entrance) leaveOut(i int) { e.out.Store(int32(i + 1)) }

func (e *entrance) letIn() { e.out.Store(0) }

// host is the host and port of that front.
func (e *entrance) host(i int) string {
	u, _ := url.Parse(e.front(i)) // the stack made it
	return u.Host
}

// wayOf is how client i reaches it.
func (e *entrance) wayOf(i int) bridge.Way {
	switch {
	case e.way != nil:
		return e.way(i)
	case e.mixed:
		return bridge.Mixed(i)
	default:
		return bridge.Direct
	}
}

// dialer is what client i dials with. What it opens sockets with is d. On the loopback
// interface it comes from an address that few others have: one to one port there are
// 28,000 connections at most, with those that ended within a minute, and the kernel
// searches long for the last of them.
func (e *entrance) dialer(i int, d net.Dialer) bridge.Dial {
	if host, _, err := net.SplitHostPort(e.host(i)); err == nil && net.ParseIP(host).IsLoopback() {
		d.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 2, byte(i/200%200), byte(1+i%200))}
	}
	return e.bridges.Dialer(e.wayOf(i), d.DialContext)
}

// player is what player i dials with, and whether it hears late what it is told: when it
// asks, or once it is over a bridge.
func (e *entrance) player(i int) (dial bridge.Dial, late bool) {
	return e.dialer(i, net.Dialer{}), e.wayOf(i) != bridge.Direct
}

// options are those of client i.
func (e *entrance) options(i int, token func(context.Context) (string, error), d net.Dialer) client.Options {
	return client.Options{URL: e.front(i), Token: token, HandshakeTimeout: handshakeTime, NetDial: e.dialer(i, d)}
}

// handshakeTime is how long a client waits for its hello.
const handshakeTime = 5 * time.Second

// forNewcomers is the entrance for clients of whom is asked how they get in: by sockets of
// their own. Requests of those that poll go over connections that are there.
func (e *entrance) forNewcomers() *entrance {
	sockets := &entrance{fronts: e.fronts, secret: e.secret, mixed: e.mixed, bridges: e.bridges}
	sockets.way = func(i int) bridge.Way {
		if e.wayOf(i) == bridge.Direct {
			return bridge.Direct
		}
		return bridge.Socket
	}
	return sockets
}

// holders finds the worker processes that hold connections.
type holders struct {
	fronts []*stack.Front
	redis  *stack.Redis
	keys   hub.Keys

	mu    sync.Mutex
	known map[hub.ProcessID]int // operating system's ids; those of a process never change
}

func newHolders(s *stack.Stack) *holders {
	return &holders{fronts: s.Fronts, redis: s.Redis, keys: s.Keys(), known: make(map[hub.ProcessID]int)}
}

// find returns who holds each of the connections, by the client's address: a socket's
// by the kernel's word, a polled session's by the lease of the process that its id names.
func (h *holders) find(ctx context.Context, addrs []string) (map[string]int, error) {
	all := make(map[string]int)
	for _, f := range h.fronts {
		workers, err := f.Workers()
		if err != nil {
			return nil, err
		}
		held, err := usage.Holders(f.Port(), workers)
		if err != nil {
			return nil, fmt.Errorf("find who holds the connections: %w", err)
		}
		maps.Copy(all, held)
	}
	for _, addr := range addrs {
		if isSession(addr) {
			if pid := h.pid(ctx, hub.ProcessID(addr)); pid != 0 {
				all[addr] = pid
			}
		}
	}
	return all, nil
}

// isSession reports whether an address is that of a polled session.
func isSession(addr string) bool { return !strings.Contains(addr, ":") }

// isPolled reports whether a connection is a polled session.
func isPolled(a net.Addr) bool { return isSession(a.String()) }

// pid is the operating system's id of a process, which its lease has; 0: it has none, or
// cannot be read now.
func (h *holders) pid(ctx context.Context, p hub.ProcessID) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	if pid := h.known[p]; pid != 0 {
		return pid
	}
	pid, err := readPID(ctx, h.redis, h.keys, p)
	if err != nil {
		return 0
	}
	h.known[p] = pid
	return pid
}

var errNoPID = errors.New("it names no process")

// readPID reads the operating system's id of a process from its lease.
func readPID(ctx context.Context, servers *stack.Redis, keys hub.Keys, p hub.ProcessID) (int, error) {
	var owner hub.Process
	err := atMaster(ctx, servers, stack.DataMaster, func(c *redis.Client) error {
		lease, err := c.Get(ctx, keys.Lease(p)).Result()
		if err != nil {
			return err
		}
		return json.Unmarshal([]byte(lease[max(0, strings.IndexByte(lease, '{')):]), &owner)
	})
	if err == nil && owner.PID == 0 {
		err = errNoPID
	}
	if err != nil {
		return 0, fmt.Errorf("read the lease of %s: %w", p, err)
	}
	return owner.PID, nil
}
