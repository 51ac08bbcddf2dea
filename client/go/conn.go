package client

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/gobwas/ws"
)

// Protocol is the WebSocket subprotocol spoken here.
const Protocol = "homing.v1"

// Options say where to connect and as whom.
type Options struct {
	URL   string                                    // ws:// or wss:// address of the front, with its path
	Token func(ctx context.Context) (string, error) // a fresh player token, asked for at each dial

	Header           http.Header   // sent with the handshake, Origin for example; may be nil
	TLS              *tls.Config   // for wss; nil means the system's roots
	HandshakeTimeout time.Duration // until hello; 0 means 10 s
	WriteTimeout     time.Duration // of one frame; 0 means 5 s
	// Silence is how long the server may say nothing, pings included, before
	// it counts as gone: 0 means 15 s more than its ping interval, a negative
	// value for ever.
	Silence      time.Duration
	MessageLimit int // bytes of one message; 0 means 1 MiB

	// After is where a Client resumes from first: the Position of an earlier
	// one, or empty for everything that is stored.
	After string
	// Pause says how long a Client waits before it dials again; nil means as a
	// Backoff says.
	Pause func(err error, hint *Reconnect) time.Duration

	// NetDial replaces the TCP dial, to bind a source address for example.
	NetDial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// StaticToken is a token source that always gives the same token.
func StaticToken(token string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return token, nil }
}

// RefusedError is a handshake that the server answered with an HTTP status
// instead of a WebSocket.
type RefusedError struct {
	Status int
	After  time.Duration // what the server asks to wait before the next attempt; 0: it did not say
}

// Error implements error.
func (e *RefusedError) Error() string { return fmt.Sprintf("handshake refused: HTTP %d", e.Status) }

// Conn is one connection that has had its hello. One goroutine at a time may
// call Receive; the other methods are safe for concurrent use.
type Conn struct {
	hello   Hello
	raw     net.Conn
	timeout time.Duration // of one write
	silence time.Duration // at most, between frames; not above 0: no limit

	frames frames // owned by Receive

	mu     sync.Mutex // guards writes to raw, and closing
	closed bool
}

// Dial connects, and returns once the server has said hello. It blocks for at
// most HandshakeTimeout. Errors: *RefusedError for an HTTP answer, *CloseError
// when the server closed instead of saying hello, ErrProtocol.
func Dial(ctx context.Context, opts Options) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, orDefault(opts.HandshakeTimeout, 10*time.Second))
	defer cancel()
	target, err := address(ctx, opts)
	if err != nil {
		return nil, err
	}
	raw, in, err := upgrade(ctx, opts, target)
	if err != nil {
		return nil, err
	}
	c := &Conn{raw: raw, timeout: orDefault(opts.WriteTimeout, 5*time.Second)}
	c.frames = frames{in: in, limit: orDefault(opts.MessageLimit, 1<<20), onControl: c.control}
	if err := c.readHello(ctx, opts.Silence); err != nil {
		raw.Close()
		return nil, fmt.Errorf("wait for hello: %w", err)
	}
	return c, nil
}

func address(ctx context.Context, opts Options) (string, error) {
	u, err := url.Parse(opts.URL)
	if err != nil {
		return "", fmt.Errorf("front address: %w", err)
	}
	if opts.Token == nil {
		return u.String(), nil
	}
	token, err := opts.Token(ctx)
	if err != nil {
		return "", fmt.Errorf("get a token: %w", err)
	}
	q := u.Query()
	q.Set("token", token)
	u.RawQuery = q.Encode()
	return u.String(), nil
}

func upgrade(ctx context.Context, opts Options, target string) (net.Conn, *bufio.Reader, error) {
	d := ws.Dialer{
		Protocols:      []string{Protocol},
		TLSConfig:      opts.TLS,
		NetDial:        opts.NetDial,
		ReadBufferSize: 1024, WriteBufferSize: 1024,
	}
	if opts.Header != nil {
		d.Header = ws.HandshakeHeaderHTTP(opts.Header)
	}
	var after time.Duration
	d.OnStatusError = func(_ int, _ []byte, resp io.Reader) { after = retryAfter(resp) }
	raw, in, hs, err := d.Dial(ctx, target)
	if status, ok := errors.AsType[ws.StatusError](err); ok {
		return nil, nil, &RefusedError{Status: int(status), After: after}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("connect to %s: %w", opts.URL, err)
	}
	if hs.Protocol != Protocol {
		raw.Close()
		return nil, nil, fmt.Errorf("%w: server chose subprotocol %q", ErrProtocol, hs.Protocol)
	}
	if in == nil {
		in = bufio.NewReaderSize(raw, 1024)
	}
	return raw, in, nil
}

// retryAfter reads Retry-After, in seconds, from a refusal; 0: it has none.
func retryAfter(reply io.Reader) time.Duration {
	resp, err := http.ReadResponse(bufio.NewReader(io.LimitReader(reply, maxReply)), nil)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	seconds, err := strconv.ParseUint(resp.Header.Get("Retry-After"), 10, 16)
	if err != nil {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

// maxReply bounds what is read of a refusal.
const maxReply = 16 << 10

func (c *Conn) readHello(ctx context.Context, silence time.Duration) error {
	text, err := c.read(ctx)
	if err != nil {
		return err
	}
	if c.hello, err = parseHello(text); err != nil {
		return err
	}
	c.silence = silence
	if silence == 0 && c.hello.Ping > 0 {
		c.silence = c.hello.Ping + 15*time.Second
	}
	return nil
}

// Hello returns what the server said first.
func (c *Conn) Hello() Hello { return c.hello }

// LocalAddr returns the address that the server sees, unless there is a proxy
// between.
func (c *Conn) LocalAddr() net.Addr { return c.raw.LocalAddr() }

// Receive blocks for the next message, answering pings meanwhile. After an
// error the connection is of no more use: *CloseError when the server closed
// it, ctx's error when ctx ended, os.ErrDeadlineExceeded when the server was
// silent for too long.
func (c *Conn) Receive(ctx context.Context) (Message, error) {
	text, err := c.read(ctx)
	if err != nil {
		return Message{}, err
	}
	return parseMessage(text)
}

// read returns the next message's bytes, or ctx's error once ctx has ended.
func (c *Conn) read(ctx context.Context) ([]byte, error) {
	stop := context.AfterFunc(ctx, func() { c.raw.Close() })
	defer stop()
	c.extend()
	text, err := c.frames.next()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return text, err
}

// extend gives the server another while to say something.
func (c *Conn) extend() {
	if c.silence > 0 {
		_ = c.raw.SetReadDeadline(time.Now().Add(c.silence)) // a closed connection says so at the read
	}
}

// control answers a server's control frame; it runs inside Receive.
func (c *Conn) control(op ws.OpCode, payload []byte) error {
	c.extend()
	switch op {
	case ws.OpPing:
		return c.write(ws.NewPongFrame(payload))
	case ws.OpClose:
		return c.write(ws.NewCloseFrame(payload))
	default:
		return nil
	}
}

// Send writes one client message, JSON text. It blocks for at most
// WriteTimeout.
func (c *Conn) Send(text []byte) error { return c.write(ws.NewTextFrame(text)) }

func (c *Conn) write(f ws.Frame) error {
	raw, err := ws.CompileFrame(ws.MaskFrame(f))
	if err != nil {
		return fmt.Errorf("build frame: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	if err := c.raw.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
		return fmt.Errorf("write frame: %w", err)
	}
	if _, err := c.raw.Write(raw); err != nil {
		return fmt.Errorf("write frame: %w", err)
	}
	return nil
}

// Close tells the server good-bye with code 1000 and ends the connection; a
// Receive under way returns an error. It does not wait for the server's
// answer. Closing again does nothing.
func (c *Conn) Close() error {
	_ = c.write(ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusNormalClosure, ""))) // best effort
	return c.Abort()
}

// Abort ends the connection without a word, as a lost network does.
func (c *Conn) Abort() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	if err := c.raw.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("close: %w", err)
	}
	return nil
}

func orDefault[T int | time.Duration](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}
