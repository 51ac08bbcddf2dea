package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"
)

// Conn is one connection that has had its hello. One goroutine at a time may
// call Receive; the other methods are safe for concurrent use.
type Conn struct {
	hello   Hello
	socket  *socket
	stream  net.Conn      // the socket, or TLS on it
	timeout time.Duration // of one write

	frames frames // owned by Receive

	closed   atomic.Bool
	deadline atomic.Pointer[time.Time] // of all writes; nil: none

	mu      sync.Mutex // guards writes to stream, and what follows
	failed  error      // why a write failed; after that none is tried
	goodbye bool       // a close frame is written; nothing may follow it
}

// lastWords is how long a connection that takes no more bytes is still read:
// why the server left, and when to come back, may be on the way.
const lastWords = 2 * time.Second

func (c *Conn) readHello(ctx context.Context, silence time.Duration) error {
	text, err := c.read(ctx)
	if err != nil {
		return err
	}
	if c.hello, err = parseHello(text); err != nil {
		return err
	}
	if silence == 0 && c.hello.Ping > 0 {
		silence = c.hello.Ping + 15*time.Second
	}
	c.socket.allowSilence(silence)
	return nil
}

// Hello returns what the server said first.
func (c *Conn) Hello() Hello { return c.hello }

// LocalAddr returns the address that the server sees, unless there is a proxy
// between.
func (c *Conn) LocalAddr() net.Addr { return c.socket.LocalAddr() }

// Receive blocks for the next message, answering pings meanwhile. After an
// error the connection is of no more use: *CloseError when the server closed
// it, ctx's error when ctx ended, os.ErrDeadlineExceeded when no byte came for
// too long, ErrProtocol. A failed write does not end it at once: what the
// server has said already is still read.
func (c *Conn) Receive(ctx context.Context) (Message, error) {
	text, err := c.read(ctx)
	if err != nil {
		return Message{}, err
	}
	return parseMessage(text)
}

// read returns the next message's bytes, or ctx's error once ctx has ended.
func (c *Conn) read(ctx context.Context) ([]byte, error) {
	stop := context.AfterFunc(ctx, func() { _ = c.Abort() })
	defer stop()
	text, err := c.frames.next()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, c.cause(err)
	}
	return text, nil
}

// cause adds to a read's error the failed write that came before it.
func (c *Conn) cause(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed == nil {
		return err
	}
	return fmt.Errorf("%w; then %w", c.failed, err)
}

// control answers a server's control frame; it runs inside Receive. An answer
// that cannot be written ends the reading soon.
func (c *Conn) control(op ws.OpCode, payload []byte) {
	if op == ws.OpPing {
		_ = c.write(ws.NewPongFrame(payload))
	}
	if op == ws.OpClose {
		_ = c.write(ws.NewCloseFrame(payload))
	}
}

// Send writes one client message, JSON text. It blocks for at most
// WriteTimeout. After one write has failed, all do.
func (c *Conn) Send(text []byte) error { return c.write(ws.NewTextFrame(text)) }

func (c *Conn) write(f ws.Frame) error {
	raw, err := ws.CompileFrame(ws.MaskFrame(f))
	if err != nil {
		return fmt.Errorf("build frame: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed.Load() || c.goodbye:
		return net.ErrClosed
	case c.failed != nil:
		return c.failed
	}
	c.goodbye = f.Header.OpCode == ws.OpClose
	if err := c.writeLocked(raw); err != nil {
		c.failed = fmt.Errorf("write frame: %w", err)
		c.socket.endReading(time.Now().Add(lastWords))
		return c.failed
	}
	return nil
}

func (c *Conn) writeLocked(raw []byte) error {
	by := time.Now().Add(c.timeout)
	if d := c.deadline.Load(); d != nil && d.Before(by) {
		by = *d
	}
	if err := c.stream.SetWriteDeadline(by); err != nil {
		return err
	}
	_, err := c.stream.Write(raw)
	return err
}

// finishBy bounds all that is still read and written, a write under way
// included.
func (c *Conn) finishBy(t time.Time) {
	c.deadline.Store(&t)
	_ = c.socket.SetWriteDeadline(t) // a closed connection has nothing to bound
	c.socket.endReading(t)
}

// Close tells the server good-bye with code 1000 and ends the connection; a
// Receive under way returns an error. It does not wait for the server's
// answer. Closing again does nothing.
func (c *Conn) Close() error {
	c.sayClose(ws.StatusNormalClosure) // best effort
	return c.Abort()
}

func (c *Conn) sayClose(code ws.StatusCode) {
	_ = c.write(ws.NewCloseFrame(ws.NewCloseFrameBody(code, "")))
}

// Abort ends the connection without a word, as a lost network does. It does
// not wait for a write under way.
func (c *Conn) Abort() error {
	if c.closed.Swap(true) {
		return nil
	}
	if err := c.socket.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("close: %w", err)
	}
	return nil
}
