package tlsconn

import (
	"io"
	"net"
	"sync"
)

// exchange carries ciphertext between the loop and the goroutine of one
// handshake. Safe for concurrent use.
type exchange struct {
	limit  int           // bytes of in
	places *Places       // held by those who compute
	ready  func()        // tells the loop that out is to be written
	wake   chan struct{} // capacity 1: in has grown, or the end has come

	mu    sync.Mutex
	in    []byte // guarded by mu: came, and is not read
	out   []byte // guarded by mu: to be written
	last  bool   // guarded by mu: nothing follows in
	ended bool   // guarded by mu: the loop has dropped the connection
}

// read waits for ciphertext and lets others compute meanwhile. First it has
// written what the client waits for.
func (x *exchange) read(p []byte) (int, error) {
	for {
		n, unwritten, err := x.take(p)
		switch {
		case err != nil:
			return 0, err
		case n > 0:
			return n, nil
		case unwritten:
			x.ready()
		}
		x.places.leave()
		<-x.wake
		x.places.want()
		x.places.take()
	}
}

func (x *exchange) take(p []byte) (n int, unwritten bool, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.ended:
		return 0, false, net.ErrClosed
	case x.last && len(x.in) == 0:
		return 0, false, io.EOF
	}
	n = copy(p, x.in)
	x.in = x.in[n:]
	return n, len(x.out) > 0, nil
}

func (x *exchange) write(p []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ended {
		return 0, net.ErrClosed
	}
	x.out = append(x.out, p...)
	return len(p), nil
}

// feed gives the goroutine more ciphertext and reports whether there was room.
func (x *exchange) feed(data []byte) bool {
	x.mu.Lock()
	room := len(x.in)+len(data) <= x.limit
	if room {
		x.in = append(x.in, data...)
	}
	x.mu.Unlock()
	x.poke()
	return room
}

// written takes what is to be written.
func (x *exchange) written() []byte {
	x.mu.Lock()
	defer x.mu.Unlock()
	out := x.out
	x.out = nil
	return out
}

// endInput says that nothing follows what feed has given.
func (x *exchange) endInput() {
	x.mu.Lock()
	x.last = true
	x.mu.Unlock()
	x.poke()
}

// end has the goroutine end soon.
func (x *exchange) end() {
	x.mu.Lock()
	x.ended = true
	x.mu.Unlock()
	x.poke()
}

func (x *exchange) poke() {
	select {
	case x.wake <- struct{}{}:
	default:
	}
}
