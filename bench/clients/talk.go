package clients

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"

	"github.com/homing/homing/bench/socket"
)

// upgrade sends the handshake's request on a fresh connection.
func (e *engine) upgrade(i int) error {
	fd, number := int(e.bees[i].fd), e.swarm.First+i
	if err := socket.Connected(fd); err != nil {
		return err
	}
	if err := e.watch(unix.EPOLL_CTL_MOD, i, unix.EPOLLIN); err != nil {
		return err
	}
	if e.bees[i].poll != nil {
		return e.connected(i)
	}
	e.out = e.speech.appendRequest(e.out[:0], e.swarm.front(number).String(), e.swarm.Path, e.tokens[i])
	e.bees[i].state = upgrading
	return socket.Send(fd, e.out)
}

// read takes what the socket has and serves the whole frames in it.
func (e *engine) read(i int) error {
	b := &e.bees[i]
	n, err := unix.Read(int(b.fd), e.in)
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return nil
	case err != nil:
		return fmt.Errorf("read: %w", err)
	case n == 0:
		return fmt.Errorf("read: %w", io.EOF)
	}
	in := e.in[:n]
	if len(b.partial) > 0 {
		in = append(b.partial, in...)
	}
	rest, err := e.consume(i, in)
	if err != nil {
		return err
	}
	b.partial = bytes.Clone(rest)
	if len(rest) == 0 {
		b.partial = nil
	}
	return nil
}

// consume serves all that is whole in in and returns what is left.
func (e *engine) consume(i int, in []byte) ([]byte, error) {
	if e.bees[i].poll != nil {
		return e.replies(i, in)
	}
	if e.bees[i].state == upgrading {
		rest, whole, err := e.speech.readReply(in)
		if err != nil || !whole {
			return rest, err
		}
		if err := e.greet(i); err != nil {
			return nil, err
		}
		in = rest
	}
	if e.speech.carrier == stream {
		return e.texts(i, in)
	}
	now := time.Now()
	for {
		f, n, err := socket.Parse(in)
		if err != nil || n == 0 {
			return in, err
		}
		if err := e.frame(i, f, now); err != nil {
			return nil, err
		}
		in = in[n:]
	}
}

// texts serves the whole texts of a stream in in and returns what is left.
func (e *engine) texts(i int, in []byte) ([]byte, error) {
	now := time.Now()
	for {
		text, rest, whole := bytes.Cut(in, endOfText)
		if !whole {
			return in, nil
		}
		if err := e.message(i, e.speech.read(text), now); err != nil {
			return nil, err
		}
		in = rest
	}
}

var endOfText = []byte("\n\n")

// greet begins the dialect's part, on a connection just upgraded.
func (e *engine) greet(i int) error {
	e.bees[i].state = greeting
	switch {
	case e.speech.carrier == upgrade:
		return e.say(i, ws.OpText, probe)
	case e.speech.login == nil || e.speech.invited:
		return nil
	}
	return e.say(i, ws.OpText, e.speech.login(e.tokens[i]))
}

// say sends one frame, or has the client post the payload when it polls.
func (e *engine) say(i int, op ws.OpCode, payload []byte) error {
	if p := e.bees[i].poll; p != nil {
		p.add(payload)
		return nil
	}
	e.out = socket.AppendMasked(e.out[:0], op, ws.NewMask(), payload)
	return socket.Send(int(e.bees[i].fd), e.out)
}

func (e *engine) frame(i int, f socket.Frame, now time.Time) error {
	switch f.Op {
	case ws.OpText:
		return e.text(i, f.Payload, now)
	case ws.OpPing:
		return e.say(i, ws.OpPong, f.Payload)
	case ws.OpClose:
		return closed(f.Payload)
	case ws.OpPong:
		return nil
	default:
		return socket.ErrBadFrame
	}
}

func (e *engine) text(i int, text []byte, now time.Time) error {
	one, more := text, e.speech.split != nil
	for {
		if more {
			one, text, more = bytes.Cut(text, e.speech.split)
		}
		if err := e.message(i, e.speech.read(one), now); err != nil || !more {
			return err
		}
	}
}

func (e *engine) message(i int, m message, now time.Time) error {
	state := e.bees[i].state
	switch {
	case m.kind == notification && state == open:
		e.deliver(i, m.stamp, now)
	case (m.kind == hello || m.kind == invitation || m.kind == probed) && state == greeting:
		return e.enter(i, m.kind)
	case m.kind == joined && e.joins > 0:
		e.joins--
	case m.kind == ping:
		return e.say(i, ws.OpText, e.speech.pong)
	case m.kind == goodbye:
		return m.end
	case m.kind == noise:
	default:
		e.count.Violations++
	}
	return nil
}

// enter goes on with the dialect's part of a client that is to be registered.
func (e *engine) enter(i int, k kind) error {
	login := func() error { return e.say(i, ws.OpText, e.speech.login(e.tokens[i])) }
	switch {
	case k == hello:
		e.register(i)
		return nil
	case k == probed:
		return errors.Join(e.say(i, ws.OpText, goOver), login())
	case e.speech.carrier == upgrade && e.bees[i].poll != nil: // first it goes over
		return nil
	default:
		return login()
	}
}

func (e *engine) deliver(i int, s stamp, now time.Time) {
	b := &e.bees[i]
	b.got = append(b.got, s.n)
	e.count.Deliveries++
	if e.swarm.Apart {
		return
	}
	lag := now.UnixNano() - e.swarm.Ahead.Nanoseconds() - s.at
	_ = e.recent.RecordValue(max(1, lag/1000)) // out of range: over three minutes, and verify sees it
}

func (e *engine) register(i int) {
	e.bees[i].state = open
	e.under--
	e.count.Open++
	if e.storm != nil {
		e.storm.isBack(i)
	}
}
