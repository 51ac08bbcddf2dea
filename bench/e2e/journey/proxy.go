package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
)

// proxy is the network between clients and the front: it cuts connections.
type proxy struct {
	listener net.Listener
	to       string

	mu    sync.Mutex
	conns map[net.Conn]net.Conn // each client's, and what it leads to
}

func newProxy(ctx context.Context, to string) (*proxy, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	p := &proxy{listener: l, to: to, conns: make(map[net.Conn]net.Conn)}
	go p.serve(ctx)
	return p, nil
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

func (p *proxy) serve(ctx context.Context) {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		go p.carry(ctx, c)
	}
}

func (p *proxy) carry(ctx context.Context, c net.Conn) {
	defer c.Close()
	up, err := new(net.Dialer).DialContext(ctx, "tcp", p.to)
	if err != nil {
		return
	}
	defer up.Close()
	p.mu.Lock()
	p.conns[c] = up
	p.mu.Unlock()
	done := make(chan struct{}, 2)
	pass := func(to, from net.Conn) {
		_, _ = io.Copy(to, from)
		done <- struct{}{}
	}
	go pass(up, c)
	go pass(c, up)
	<-done
	p.mu.Lock()
	delete(p.conns, c)
	p.mu.Unlock()
}

// cut ends some connection without a word, and reports whether there was one.
func (p *proxy) cut() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.conns)
	if n == 0 {
		return false
	}
	skip := rand.N(n)
	for c, up := range p.conns {
		if skip--; skip < 0 {
			if tcp, ok := c.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0) // a reset; what is on its way is lost
			}
			_, _ = c.Close(), up.Close()
			return true
		}
	}
	return false
}

func (p *proxy) close() {
	_ = p.listener.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}
