package bees

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"
)

// state is how far a client has come.
type state uint8

const (
	idle       state = iota // no socket
	connecting              // TCP connect under way
	upgrading               // request sent
	greeting                // upgraded, waiting for hello
	open                    // registered
)

// bee is one client.
type bee struct {
	fd      int32
	state   state
	partial []byte   // bytes of a frame or reply that is not whole yet
	got     []uint32 // notifications read, in the order they came
}

// engine runs the clients of one process in one goroutine.
type engine struct {
	epoll  int
	bees   []bee
	first  int // the number of bees[0] in the whole run
	fronts []netip.AddrPort
	path   string
	token  func(user int) (string, error)
	events []unix.EpollEvent
	buf    []byte
	count  Counts
	lag    *hdrhistogram.Histogram // µs from the schedule's instant to the read
	failed string                  // the last reason why a client failed
	under  int                     // clients between connect and hello
}

// Counts are running totals of one process or of all.
type Counts struct {
	Open       int // registered now
	Failed     int // connects that did not reach hello
	Lost       int // connections that ended after hello
	Deliveries int // notifications read
	Violations int // messages that a front should not have sent
}

func (c Counts) plus(d Counts) Counts {
	return Counts{
		Open: c.Open + d.Open, Failed: c.Failed + d.Failed, Lost: c.Lost + d.Lost,
		Deliveries: c.Deliveries + d.Deliveries, Violations: c.Violations + d.Violations,
	}
}

func newEngine() (*engine, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("open epoll: %w", err)
	}
	return &engine{
		epoll:  fd,
		events: make([]unix.EpollEvent, 512),
		buf:    make([]byte, 64<<10),
		lag:    newHistogram(),
	}, nil
}

// newHistogram holds latencies from 1 µs to a minute, to three digits.
func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, 60_000_000, 3) }

// close ends all clients.
func (e *engine) close() {
	for i := range e.bees {
		e.drop(i)
	}
	_ = unix.Close(e.epoll)
}

// drop closes a client's socket, if it has one, whatever its state.
func (e *engine) drop(i int) {
	b := &e.bees[i]
	switch b.state {
	case idle:
		return
	case open:
		e.count.Open--
	default:
		e.under--
	}
	_ = unix.Close(int(b.fd))
	b.state, b.partial = idle, nil
}

// fail drops a client for a reason and counts it.
func (e *engine) fail(i int, reason error) {
	if e.bees[i].state == open {
		e.count.Lost++
	} else {
		e.count.Failed++
	}
	e.failed = reason.Error()
	e.drop(i)
}

// dial starts client i's connection.
func (e *engine) dial(i int) {
	to := e.fronts[i%len(e.fronts)]
	fd, err := connect(to, source(to, e.first+i))
	if err != nil {
		e.count.Failed++
		e.failed = err.Error()
		return
	}
	e.bees[i].fd, e.bees[i].state = int32(fd), connecting
	e.under++
	if err := e.watch(unix.EPOLL_CTL_ADD, i, unix.EPOLLOUT); err != nil {
		e.fail(i, err)
	}
}

func (e *engine) watch(op, i int, events uint32) error {
	ev := unix.EpollEvent{Events: events, Fd: int32(i)} // the client's number; its descriptor is in bees
	if err := unix.EpollCtl(e.epoll, op, int(e.bees[i].fd), &ev); err != nil {
		return fmt.Errorf("watch a socket: %w", err)
	}
	return nil
}

// turn waits up to timeout for sockets to become ready and serves those.
func (e *engine) turn(timeout time.Duration) error {
	n, err := unix.EpollWait(e.epoll, e.events, int(timeout.Milliseconds()))
	if errors.Is(err, unix.EINTR) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("wait for sockets: %w", err)
	}
	for _, ev := range e.events[:n] {
		e.serve(int(ev.Fd))
	}
	return nil
}

func (e *engine) serve(i int) {
	var err error
	switch e.bees[i].state {
	case idle: // dropped earlier in this turn
	case connecting:
		err = e.upgrade(i)
	default:
		err = e.read(i)
	}
	if err != nil {
		e.fail(i, err)
	}
}

// upgrade sends the handshake on a fresh connection.
func (e *engine) upgrade(i int) error {
	if err := connected(int(e.bees[i].fd)); err != nil {
		return err
	}
	token, err := e.token(e.first + i)
	if err != nil {
		return err
	}
	if err := send(int(e.bees[i].fd), e.request(token)); err != nil {
		return err
	}
	e.bees[i].state = upgrading
	return e.watch(unix.EPOLL_CTL_MOD, i, unix.EPOLLIN)
}

func (e *engine) request(token string) []byte {
	return fmt.Appendf(nil, "GET %s?token=%s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\n"+
		"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"+
		"Sec-WebSocket-Protocol: homing.v1\r\n\r\n", e.path, token, e.fronts[0])
}

// accepted is the reply's proof for the key above (RFC 6455 §1.3).
var accepted = []byte("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")

// read takes what the socket has and serves the whole frames in it.
func (e *engine) read(i int) error {
	b := &e.bees[i]
	n, err := unix.Read(int(b.fd), e.buf)
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return nil
	case err != nil:
		return fmt.Errorf("read: %w", err)
	case n == 0:
		return fmt.Errorf("read: %w", io.EOF)
	}
	in := e.buf[:n]
	if len(b.partial) > 0 {
		in = append(b.partial, in...)
	}
	rest, err := e.consume(i, in)
	if err != nil {
		return err
	}
	b.partial = append(b.partial[:0:0], rest...)
	if len(rest) == 0 {
		b.partial = nil
	}
	return nil
}

// consume serves all that is whole in in and returns what is left.
func (e *engine) consume(i int, in []byte) ([]byte, error) {
	if e.bees[i].state == upgrading {
		var err error
		if in, err = e.reply(i, in); err != nil || e.bees[i].state == upgrading {
			return in, err
		}
	}
	now := time.Now()
	for {
		f, n, err := parseFrame(in)
		if err != nil || n == 0 {
			return in, err
		}
		if err := e.frame(i, f, now); err != nil {
			return nil, err
		}
		in = in[n:]
	}
}

// reply reads the answer to the handshake, once it is whole.
func (e *engine) reply(i int, in []byte) ([]byte, error) {
	head, frames, whole := bytes.Cut(in, []byte("\r\n\r\n"))
	if !whole {
		return in, nil
	}
	if !bytes.HasPrefix(head, []byte("HTTP/1.1 101")) || !bytes.Contains(head, accepted) {
		line, _, _ := bytes.Cut(head, []byte("\r\n"))
		return nil, fmt.Errorf("handshake refused: %s", line)
	}
	e.bees[i].state = greeting
	return frames, nil
}

func (e *engine) frame(i int, f frame, now time.Time) error {
	switch f.op {
	case ws.OpText:
		e.text(i, f.payload, now)
	case ws.OpPing:
		answer, err := pong(f.payload)
		if err != nil {
			return err
		}
		return send(int(e.bees[i].fd), answer)
	case ws.OpClose:
		code, reason := ws.ParseCloseFrameData(f.payload)
		return fmt.Errorf("closed by the front: %d %s", code, reason)
	case ws.OpPong:
	default:
		return errBadFrame
	}
	return nil
}

func (e *engine) text(i int, text []byte, now time.Time) {
	b := &e.bees[i]
	switch {
	case b.state == greeting && bytes.HasPrefix(text, []byte(`{"t":"hello"`)):
		b.state = open
		e.under--
		e.count.Open++
	case b.state == open && bytes.HasPrefix(text, []byte(`{"t":"notify"`)):
		s, ok := parseStamp(text)
		if !ok {
			e.count.Violations++
			return
		}
		e.count.Deliveries++
		b.got = append(b.got, s.n)
		_ = e.lag.RecordValue(max(1, (now.UnixNano()-s.at)/1000)) // out of range: over a minute, and verify sees it
	default:
		e.count.Violations++
	}
}
