package front

import (
	"bytes"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/homing/homing/front/http1"
	"github.com/homing/homing/front/loop"
	"github.com/homing/homing/front/ws"
)

// pipes carry what goes between clients whose TLS ends here and the processes
// that serve them, which are given the far ends of socket pairs. A pipe is two
// connections of this loop: the client's, and the near end. What comes from one
// is sent to the other, whatever it means: the other process knows, counts it and
// looks after the client.
//
// Nothing is read from one side while something waits for the other, so that a
// client that does not keep up fills the write queue of its process, and no more
// than one read waits here in each direction. The loop owns it.
//
//bound:pipes
type pipes struct {
	loop       *loop.Loop[client]
	sessions   *sessions
	protocol   protocolID // under which the pipes themselves are one
	m          *metrics
	sendBuffer int // of the socket pairs; 0: the kernel's choice
}

// open makes a pipe of c, whose room is being found, and returns its far end.
func (p *pipes) open(c *conn) (far int, err error) {
	fds, err := p.socketPair()
	if err != nil {
		return -1, err
	}
	var end client
	end.protocol = p.protocol
	end.stage = stageRegister // nobody tells it to leave: it ends with the client
	end.more().piped = c
	near := p.loop.Attach(fds[0], end)
	if near == nil {
		_ = unix.Close(fds[1])
		return -1, fmt.Errorf("poll the near end of a pipe: descriptor %d", fds[0])
	}
	x := c.State.more()
	x.request, x.piped = nil, near
	c.State.protocol, c.State.stage = p.protocol, stageOpen
	p.loop.TakeIn(c, 0)
	p.m.piped.Inc()
	return fds[1], nil
}

func (p *pipes) socketPair() (fds [2]int, err error) {
	fds, err = unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fds, fmt.Errorf("make a pipe: %w", err)
	}
	if p.sendBuffer == 0 {
		return fds, nil
	}
	for _, fd := range fds {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, p.sendBuffer); err != nil {
			_, _ = unix.Close(fds[0]), unix.Close(fds[1])
			return fds, fmt.Errorf("set SO_SNDBUF of a pipe to %d: %w", p.sendBuffer, err)
		}
	}
	return fds, nil
}

// received sends on what has come.
func (p *pipes) received(c *conn, data []byte) {
	other := c.State.piped()
	p.loop.Send(other, &loop.Message{Data: bytes.Clone(data)}) // Control: what was read is never given up
	if other.Waiting() {
		p.loop.SetReading(c, false)
	}
}

// flushed goes on reading what goes to c, for which nothing waits any more.
func (p *pipes) flushed(c *conn) {
	if other := c.State.piped(); other != nil {
		p.loop.SetReading(other, true)
	}
}

// ended ends the other end of c's pipe, if it has one, after what waits there.
func (p *pipes) ended(c *conn) {
	other := c.State.piped()
	if other == nil {
		return
	}
	p.m.piped.Dec()
	for _, end := range []*conn{c, other} {
		end.State.extra.piped = nil
		end.State.spare()
	}
	c.State.stage = stageClosing // it was no session of this process
	p.sessions.finish(other, nil, false)
}

// The rest is what a protocol has. A pipe says nothing of its own: it does not
// know where in a message it is.

func (p *pipes) upgrade(*conn, *http1.Request) error         { return errNotFound } // no path leads here
func (p *pipes) due(*conn) loop.Tick                         { return 0 }
func (p *pipes) check(*conn)                                 {}
func (p *pipes) greeted(*conn)                               {}
func (p *pipes) silence() loop.Tick                          { return 0 }
func (p *pipes) appendMessage(b []byte, _ outgoing) []byte   { return b }
func (p *pipes) farewell(*conn, ws.CloseCode, string) []byte { return nil }
