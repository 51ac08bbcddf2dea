package tlsconn

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"

	"github.com/homing/homing/front/epoll"
)

const (
	maxPlaintext = 1 << 14 // bytes of one record (RFC 8446 §5.1)
	// maxPending is the ciphertext that may wait for one socket: that of one
	// Write, and then what crypto/tls answers by itself.
	maxPending = 2 * maxPlaintext
)

// The errors that a loop tells apart.
var (
	// ErrNoInput says that Next needs more ciphertext.
	ErrNoInput = errors.New("no more plaintext: the next record has not come")
	// ErrTooMuch says that a client has sent more before the end of its
	// handshake than the limit allows.
	ErrTooMuch = errors.New("too many bytes before the end of the TLS handshake")
	// ErrBacklog says that a client does not read and goes on asking for
	// answers of TLS itself, such as key updates.
	ErrBacklog = errors.New("the client does not read what TLS answers")
	errNotOpen = errors.New("the TLS handshake is not over")
)

// Buffers are what the connections of one loop use in turn. The zero value is
// ready.
type Buffers struct {
	plain  [maxPlaintext]byte // what Next returned
	gather [maxPlaintext]byte // what Writev encrypts
	out    []byte             // ciphertext on its way to a socket
}

// Conn is the TLS of one connection. The goroutine of the loop owns it and
// calls everything but Handshake. It reads nothing from the socket, which stays
// the loop's to close, and writes to it without blocking.
type Conn struct {
	tls       *tls.Conn
	transport transport
	fd        int
	hello     hello  // what came before the handshake began
	limit     int    // bytes of hello
	pending   []byte // ciphertext that the kernel did not take
	records   records
	broken    error // why Next can write no more of what TLS answers; nil: it can
	open      bool  // the handshake is over
	notified  bool  // our close_notify is on its way
}

// New prepares TLS on a connected, non-blocking socket. A client may send limit
// bytes more than the handshake has taken of them before it is over.
func New(fd int, cfg *tls.Config, buffers *Buffers, limit int) *Conn {
	c := &Conn{fd: fd, limit: limit, transport: transport{buffers: buffers}}
	c.tls = tls.Server(&c.transport, cfg)
	return c
}

// Hello takes the first ciphertext and reports whether it is a complete
// ClientHello: then Begin and Handshake can follow. Errors are ErrNotTLS and
// ErrTooMuch.
func (c *Conn) Hello(data []byte) (bool, error) {
	if len(c.hello.bytes)+len(data) > c.limit {
		return false, ErrTooMuch
	}
	c.records.count(data)
	return c.hello.add(data)
}

// Begin readies c for Handshake, which computes while it holds one of places.
// ready is called from the goroutine of Handshake when Flush has something to
// write; it must not block.
func (c *Conn) Begin(places *Places, ready func()) {
	places.want()
	c.transport.exchange = &exchange{limit: c.limit, places: places, ready: ready, wake: make(chan struct{}, 1), in: c.hello.bytes}
	c.hello = hello{}
}

// Handshake runs the handshake on the goroutine that calls it, once, and
// returns when it is over or End was called. The loop then calls Flush, and
// Opened if there was no error.
func (c *Conn) Handshake() error {
	places := c.transport.exchange.places
	places.take()
	defer places.leave()
	return c.tls.HandshakeContext(context.Background()) // End ends it
}

// Feed gives ciphertext to a handshake that runs. The error is ErrTooMuch.
func (c *Conn) Feed(data []byte) error {
	c.records.count(data)
	if !c.transport.exchange.feed(data) {
		return ErrTooMuch
	}
	return nil
}

// FeedEnd says that the client has ended its side: Handshake goes on with what
// was fed, which may say why, and returns.
func (c *Conn) FeedEnd() { c.transport.exchange.endInput() }

// End has Handshake return soon, if it runs.
func (c *Conn) End() {
	if x := c.transport.exchange; x != nil {
		x.end()
	}
}

// Opened begins the time after the handshake, and reports whether the client
// has resumed a session. What came with the end of the handshake can be read.
func (c *Conn) Opened() (resumed bool) {
	c.transport.input = c.transport.exchange.in
	c.transport.exchange = nil
	c.open = true
	return c.tls.ConnectionState().DidResume
}

// Open reports whether the handshake is over.
func (c *Conn) Open() bool { return c.open }

// Take lends ciphertext to c until Next has returned ErrNoInput, and returns
// how many records begin in it.
func (c *Conn) Take(data []byte) (records int) {
	c.transport.input = data
	return c.records.count(data)
}

// Next decrypts one record. The plaintext belongs to the Buffers: it holds until
// the next call for any connection of the loop, and may be overwritten. It
// returns ErrNoInput when what came is used up, and io.EOF after the client's
// close_notify. After any other error the connection is of no more use.
func (c *Conn) Next() ([]byte, error) {
	if c.broken != nil {
		return nil, c.broken
	}
	plain := c.transport.buffers.plain[:]
	n, err := c.tls.Read(plain)
	c.broken = c.push()
	switch {
	case n > 0:
		return plain[:n], nil // the next call repeats an error
	case c.broken != nil:
		return nil, c.broken
	case errors.Is(err, noInputError{}):
		c.transport.input = nil
		return nil, ErrNoInput
	case err == nil:
		return nil, io.ErrNoProgress // never: crypto/tls returns bytes or an error
	}
	return nil, err
}

// Move has c write to another descriptor of its socket from now on. Only after the
// handshake.
func (c *Conn) Move(fd int) { c.fd = fd }

// Write encrypts a front part of p and writes it to the socket; what the kernel
// does not take of the ciphertext is pending. It takes nothing, and returns
// epoll.ErrWouldBlock, while something is.
func (c *Conn) Write(p []byte) (n int, err error) {
	if !c.open {
		return 0, errNotOpen
	}
	if _, err := c.Flush(); err != nil {
		return 0, err
	}
	for n < len(p) && len(c.pending) == 0 {
		m := min(len(p)-n, maxPlaintext)
		if _, err := c.tls.Write(p[n : n+m]); err != nil {
			return n, err
		}
		n += m
		if err := c.push(); err != nil {
			return n, err
		}
	}
	if n == 0 && len(p) > 0 {
		return 0, epoll.ErrWouldBlock
	}
	return n, nil
}

// Writev is Write of a front part of bufs, as one stream, in as few records as
// one buffer holds.
func (c *Conn) Writev(bufs [][]byte) (n int, err error) {
	if len(bufs) == 1 || len(bufs[0]) >= maxPlaintext {
		return c.Write(bufs[0])
	}
	gather := c.transport.buffers.gather[:0]
	for _, b := range bufs {
		k := min(len(b), maxPlaintext-len(gather))
		gather = append(gather, b[:k]...)
		if k < len(b) {
			break
		}
	}
	return c.Write(gather)
}

// Pending reports whether ciphertext waits for the socket.
func (c *Conn) Pending() bool { return len(c.pending) > 0 }

// Flush writes what is pending, as much as the kernel takes, and returns how
// many bytes that was.
func (c *Conn) Flush() (int, error) {
	if x := c.transport.exchange; x != nil {
		c.pending = append(c.pending, x.written()...)
	}
	if len(c.pending) == 0 {
		return 0, nil
	}
	n, err := writeSome(c.fd, c.pending)
	if c.pending = c.pending[n:]; len(c.pending) == 0 {
		c.pending = nil
	}
	return n, err
}

// CloseNotify tells the client that nothing follows. It may leave ciphertext
// pending. Before the end of the handshake it does nothing.
func (c *Conn) CloseNotify() error {
	if !c.open || c.notified {
		return nil
	}
	c.notified = true
	if err := c.tls.CloseWrite(); err != nil {
		return err
	}
	return c.push()
}

// push writes to the socket what crypto/tls has encrypted; the rest is pending.
func (c *Conn) push() error {
	b := c.transport.buffers
	out := b.out
	b.out = b.out[:0]
	if len(out) == 0 {
		return nil
	}
	if len(c.pending) == 0 {
		n, err := writeSome(c.fd, out)
		if err != nil {
			return err
		}
		out = out[n:]
	}
	if len(c.pending)+len(out) > maxPending {
		return ErrBacklog
	}
	c.pending = append(c.pending, out...)
	return nil
}

// writeSome writes what the kernel takes, which may be nothing.
func writeSome(fd int, p []byte) (int, error) {
	n, err := epoll.Write(fd, p)
	if errors.Is(err, epoll.ErrWouldBlock) {
		return 0, nil
	}
	return n, err
}

// IsAlert reports whether err, of Handshake or Next, is an alert that the
// client sent, as when it does not trust the certificate.
func IsAlert(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "remote error"
}
