package loop

import (
	"errors"
	"io"

	"github.com/homing/homing/front/epoll"
	"github.com/homing/homing/hub/drop"
)

// ReadBuffer is how many bytes one read of a socket takes at most.
const ReadBuffer = 64 << 10

// reader reads what clients send, and takes ciphertext apart. The loop owns it.
type reader[S any] struct {
	*writer[S]

	handshakes *handshakes[S]
	buf        [ReadBuffer]byte // what every socket is read into
}

// read takes what has arrived for c, as much as one buffer holds; more makes the
// connection ready again, after the others had their turn.
func (r *reader[S]) read(c *Conn[S]) {
	n, err := epoll.Read(int(c.fd), r.buf[:])
	switch {
	case err == nil:
		r.arrived(c, r.buf[:n])
	case !errors.Is(err, epoll.ErrWouldBlock) && !r.handshakes.hangsUp(c):
		r.hungUp(c, err)
	}
}

// arrived takes bytes as they came from c's socket, which it may overwrite. They
// are charged before they are looked at, whatever they are.
func (r *reader[S]) arrived(c *Conn[S], data []byte) {
	if r.h.Charge(c, max(len(data), ReadCost)) {
		if t := c.tls(); t != nil {
			r.cipher(c, t, data)
			return
		}
		r.received(c, data)
		return
	}
	if c.Handshaking() && c.state != stateGone {
		r.handshakes.fail(c, tlsTooLarge, errOverread)
		return
	}
	if t := c.tls(); t != nil {
		t.deaf = true // a part of its ciphertext is missing now
	}
}

// errOverread is why a TLS handshake ends whose client sends it in too many pieces.
var errOverread = errors.New("too many bytes, or too many pieces, before the end of the TLS handshake")

// received takes bytes that a client sent, which it may overwrite.
func (r *reader[S]) received(c *Conn[S], data []byte) {
	r.m.receivedBytes.Add(float64(len(data)))
	c.heard = r.now
	if c.state == stateOpen {
		r.h.Received(c, data)
	}
}

// hungUp ends a connection whose peer has ended its side: nothing that we could
// still write would be answered.
func (r *reader[S]) hungUp(c *Conn[S], err error) {
	if c.state == stateGone {
		return
	}
	r.h.HungUp(c, err)
	r.Drop(c, drop.Lost)
}

// cipher takes ciphertext that a client sent.
func (r *reader[S]) cipher(c *Conn[S], t *secure[S], data []byte) {
	switch {
	case t.deaf:
	case !t.Open():
		r.handshakes.shake(c, t, data)
	case !r.handshakes.creditRecords(t, t.Take(data)):
		t.deaf = true // what it sends from now on is not looked at
		r.exceeded(c, TLSRecords)
	default:
		r.decrypt(c, t)
	}
}

func (r *reader[S]) exceeded(c *Conn[S], what Budget) {
	r.h.Exceeded(c, what)
	if c.state < stateEnding {
		r.Drop(c, drop.Lost)
	}
}

// decrypt hands on the plaintext of what has come, record by record.
func (r *reader[S]) decrypt(c *Conn[S], t *secure[S]) {
	for c.state != stateGone && !t.deaf {
		plain, err := t.Next()
		switch {
		case errors.Is(err, errNoInput):
			r.awaitCipher(c)
			return
		case errors.Is(err, errBacklog):
			r.h.Exceeded(c, TLSAnswers)
			r.hungUp(c, err)
			return
		case err != nil:
			r.hungUp(c, err) // the alert that says why is written already
			return
		}
		r.received(c, plain)
	}
}

// opened goes on after a TLS handshake, with what came behind it already.
func (r *reader[S]) opened(c *Conn[S], t *secure[S]) {
	r.decrypt(c, t)
	if t.hungUp {
		r.hungUp(c, io.EOF)
	}
}
