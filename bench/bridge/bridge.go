// Package bridge has clients of homing.v1 reach a front by Socket.IO. A client dials
// through a bridge, which answers its WebSocket by itself, and says on as events what the
// client says, and the other way round. So whatever plays, keeps books or breaks things
// with the client library does it over Socket.IO, too.
package bridge

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/homing/homing/hub"
)

// Way is how a client reaches the front.
type Way uint8

// The ways.
const (
	Direct   Way = iota // without a bridge: homing.v1
	Socket              // Socket.IO over WebSocket
	Polling             // Socket.IO over long-polling
	Upgraded            // Socket.IO that begins by polling and goes over to a WebSocket
)

// Mixed is the way of client i where a third of all speak Socket.IO, in each of its ways.
func Mixed(i int) Way {
	if i%3 != 2 {
		return Direct
	}
	return Socket + Way(i/3%3)
}

// Dial connects over TCP.
type Dial = func(ctx context.Context, network, addr string) (net.Conn, error)

// Bridges are all bridges of a run. They are safe for concurrent use. Close them.
type Bridges struct {
	// Fronts are the addresses that requests of polled sessions go to, each to any of
	// them. None: to the one that the client has dialed.
	Fronts []string

	// Unknown counts requests of polled sessions that were answered with code 1, and
	// Kept sessions that were to go over to a WebSocket and could not.
	Unknown, Kept atomic.Int64

	mu     sync.Mutex
	losses []string

	once      sync.Once
	transport *http.Transport // its connections carry requests of many sessions
	life      context.Context
	end       context.CancelFunc
	running   sync.WaitGroup
}

// connsPerFront are those that are kept between requests.
const connsPerFront = 512

func (b *Bridges) prepare() {
	b.once.Do(func() {
		b.life, b.end = context.WithCancel(context.Background())
		b.transport = &http.Transport{MaxIdleConnsPerHost: connsPerFront, DisableCompression: true, IdleConnTimeout: 30 * time.Second}
	})
}

// Close ends all bridges, without a word to clients or fronts.
func (b *Bridges) Close() {
	b.prepare()
	b.end()
	b.running.Wait()
	b.transport.CloseIdleConnections()
}

// mostLosses is how many losses are kept.
const mostLosses = 20

// lost notes that a session ended without a word of the front.
func (b *Bridges) lost(way Way, addr string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.losses) < mostLosses {
		b.losses = append(b.losses, fmt.Sprintf("%s, way %d, to %s: %v", time.Now().Format("15:04:05.000"), way, addr, err))
	}
}

// Losses says of the first sessions that ended without a word of the front why.
func (b *Bridges) Losses() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.losses)
}

// Dialer returns what a client is to dial with (NetDial of its options), so that it goes
// that way. Sockets are dialed by dial; nil: plainly. For Direct it returns dial.
func (b *Bridges) Dialer(way Way, dial Dial) Dial {
	if way == Direct {
		return dial
	}
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	b.prepare()
	return func(_ context.Context, _, addr string) (net.Conn, error) {
		if b.life.Err() != nil {
			return nil, fmt.Errorf("dial %s: %w", addr, net.ErrClosed)
		}
		near, far := net.Pipe()
		c := &conn{Conn: near}
		x := &crossing{bridges: b, way: way, dial: dial, addr: addr, far: far, known: func(a net.Addr) { c.addr.Store(&a) }}
		b.running.Go(func() { x.run(b.life) })
		return c, nil
	}
}

// conn is a client's end of a bridge.
type conn struct {
	net.Conn

	addr atomic.Pointer[net.Addr]
}

// LocalAddr is the one that the front sees; that of a polled session is an Owner. It is
// known once the client has had its hello.
func (c *conn) LocalAddr() net.Addr {
	if a := c.addr.Load(); a != nil {
		return *a
	}
	return c.Conn.LocalAddr()
}

// Owner is in place of the address of a polled session, which has no socket: the process
// that has it.
type Owner hub.ProcessID

// Network implements net.Addr.
func (Owner) Network() string { return "polling" }

// String implements net.Addr.
func (o Owner) String() string { return string(o) }
