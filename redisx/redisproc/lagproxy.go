package redisproc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Proxy stands between one server and all that connect to it, and can cut
// their traffic and delay the replication stream alone. A replica's stream is
// known by the PSYNC that it asks for it with, so that the server must talk
// plain TCP; over TLS only Cut, Mend and Reset work. Its methods may be called
// from any goroutine.
type Proxy struct {
	target   string
	listener net.Listener
	ctx      context.Context //nolint:containedctx // the life of the proxy, which Close ends
	stop     func()
	running  sync.WaitGroup

	mu      sync.Mutex
	cut     bool
	delay   time.Duration         // of replicas that delays does not name
	delays  map[int]time.Duration // by the port that a replica announces
	changed chan struct{}         // closed and replaced when one of the three changes
	conns   map[*proxied]struct{}
}

// StartProxy starts a proxy before the server at target, on listen or, when
// that is empty, on a free port of 127.0.0.1. ctx bounds the start alone. The
// caller closes it.
func StartProxy(ctx context.Context, listen, target string) (*Proxy, error) {
	if listen == "" {
		port, err := FreePort(ctx, "")
		if err != nil {
			return nil, err
		}
		listen = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", listen)
	if err != nil {
		return nil, fmt.Errorf("start a proxy before %s: %w", target, err)
	}
	p := &Proxy{
		target: target, listener: l,
		delays: map[int]time.Duration{}, changed: make(chan struct{}), conns: map[*proxied]struct{}{},
	}
	p.ctx, p.stop = context.WithCancel(context.WithoutCancel(ctx))
	p.running.Go(p.accept)
	return p, nil
}

// Addr is the host:port that the proxy listens on.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Cut stops all traffic in both directions: connections stay open and nothing
// comes through, as when a cable is pulled. What was sent waits for Mend.
func (p *Proxy) Cut() { p.change(func() { p.cut = true }) }

// Mend lets traffic flow again, first what was sent while it was cut.
func (p *Proxy) Mend() { p.change(func() { p.cut = false }) }

// SetDelay makes replicas receive what the server sends them later by d: those
// at the given addresses, or all when there are none. Nobody else's traffic is
// delayed. A replica is known by the port that it announces.
func (p *Proxy) SetDelay(d time.Duration, replicas ...string) {
	p.change(func() {
		if len(replicas) == 0 {
			p.delay = d
			clear(p.delays)
		}
		for _, addr := range replicas {
			_, port, _ := net.SplitHostPort(addr)
			n, _ := strconv.Atoi(port) // what is no address delays nobody
			p.delays[n] = d
		}
	})
}

// Reset ends all connections of the moment with a TCP reset. New ones may be
// opened at once.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.reset()
	}
}

// Close ends the proxy and all its connections. It may be called twice.
func (p *Proxy) Close() {
	p.stop()
	_ = p.listener.Close() // a second time it says that it is closed
	p.Reset()
	p.running.Wait()
}

func (p *Proxy) change(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *Proxy) accept() {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			time.Sleep(pollInterval) // out of descriptors, for example
			continue
		}
		p.running.Go(func() { p.serve(conn) })
	}
}

// serve carries one connection until either side ends it.
func (p *Proxy) serve(client net.Conn) {
	c := &proxied{proxy: p, client: client, done: make(chan struct{})}
	if !p.add(c) {
		c.reset()
		return
	}
	defer p.remove(c)
	if !c.wait(time.Now(), false) {
		return
	}
	server, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(p.ctx, "tcp", p.target)
	if err != nil || !c.connect(server) {
		c.reset()
		return
	}
	queue := make(chan chunk, proxyQueue)
	var pumps sync.WaitGroup
	pumps.Go(c.upstream)
	pumps.Go(func() { c.read(queue) })
	pumps.Go(func() { c.write(queue) })
	pumps.Wait()
}

// add reports whether c may be served: the proxy may be closing.
func (p *Proxy) add(c *proxied) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[c] = struct{}{}
	return p.ctx.Err() == nil
}

func (p *Proxy) remove(c *proxied) {
	c.close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

const (
	proxyChunk = 32 << 10
	proxyQueue = 1024 // chunks that wait for one client; beyond it the server is not read
)

// chunk is some bytes of the server and when they came.
type chunk struct {
	at    time.Time
	bytes []byte
}

// proxied is one connection through a proxy.
type proxied struct {
	proxy   *Proxy
	client  net.Conn
	replica atomic.Bool  // it has asked for the replication stream
	port    atomic.Int64 // that it announced; 0: none

	mu     sync.Mutex
	server net.Conn // nil before it is connected
	ended  bool
	done   chan struct{} // closed with both connections
}

// connect notes the server's connection, unless c has ended meanwhile.
func (c *proxied) connect(server net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		_ = server.Close()
		return false
	}
	c.server = server
	return true
}

func (c *proxied) close() { c.end(false) }

// reset closes both connections so that the peers see an error, not an end.
func (c *proxied) reset() { c.end(true) }

func (c *proxied) end(hard bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return
	}
	c.ended = true
	close(c.done)
	for _, conn := range []net.Conn{c.client, c.server} {
		if conn == nil {
			continue
		}
		if tcp, ok := conn.(*net.TCPConn); ok && hard {
			_ = tcp.SetLinger(0) // without it the close is an orderly one, which serves too
		}
		_ = conn.Close()
	}
}

// wait blocks while what came at the given moment must not go on yet. It
// returns false when the connection has ended.
func (c *proxied) wait(at time.Time, toClient bool) bool {
	for {
		pause, changed := c.pause(at, toClient)
		if pause <= 0 {
			return true
		}
		timer := time.NewTimer(pause)
		select {
		case <-c.done:
			timer.Stop()
			return false
		case <-changed:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// pause is how long bytes that came at the given moment must wait as things
// are, and what closes when things change.
func (c *proxied) pause(at time.Time, toClient bool) (time.Duration, <-chan struct{}) {
	p := c.proxy
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut {
		return time.Hour, p.changed
	}
	if !toClient || !c.replica.Load() {
		return 0, p.changed
	}
	d, ok := p.delays[int(c.port.Load())]
	if !ok {
		d = p.delay
	}
	return d - time.Since(at), p.changed
}

// upstream carries what the client sends, until that ends.
func (c *proxied) upstream() {
	defer c.close()
	var hello handshake
	for b := make([]byte, proxyChunk); ; {
		n, err := c.client.Read(b)
		if !c.wait(time.Now(), false) {
			return
		}
		if n > 0 {
			if hello.take(b[:n]); hello.sync {
				c.port.Store(int64(hello.port))
				c.replica.Store(true)
			}
			if _, err := c.server.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// read queues what the server sends, until that ends.
func (c *proxied) read(to chan<- chunk) {
	defer close(to)
	for {
		b := make([]byte, proxyChunk)
		n, err := c.server.Read(b)
		if n > 0 {
			select {
			case to <- chunk{time.Now(), b[:n:n]}:
			case <-c.done:
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// write carries the queue to the client, each chunk when it is due, and the
// end of the stream after them.
func (c *proxied) write(from <-chan chunk) {
	defer c.close()
	for chunk := range from {
		if !c.wait(chunk.at, true) {
			return
		}
		if _, err := c.client.Write(chunk.bytes); err != nil {
			return
		}
	}
	c.wait(time.Now(), false) // an end, too, does not come through a cut
}
