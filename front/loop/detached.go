package loop

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/homing/homing/front/epoll"
	"github.com/homing/homing/hub/drop"
)

// Detach makes a connection that has no socket: what is sent to it waits in its
// write queue, within the same bounds and for as long, until it is taken with
// TakeWaiting. It is pending, at the account of where it comes from, as if it had
// come to a listener. It takes a descriptor, which is its place. Detach returns nil
// when that address, or the process, has too many.
func (ls *listeners[S]) Detach(from netip.Addr, state S) *Conn[S] {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK) // of what there is it takes least
	if err != nil {
		ls.log.Error("make a connection without a socket", "err", err)
		return nil
	}
	c := ls.newConn(fd)
	c.State, c.held = state, detached
	if !ls.arrivals.arrive(c, from) || c.Gone() {
		return nil
	}
	ls.Arm(c)
	return c
}

// TakeWaiting takes what waits for c, which is detached, as if it had been written.
// The bytes may be shared with other connections: nobody may change them. One that is
// Ending is dropped with it. Flushed may be called.
func (w *writer[S]) TakeWaiting(c *Conn[S]) (data [][]byte) {
	if c.out == nil || c.is(corked) || w.withheld && c.state < stateEnding {
		return nil
	}
	size := 0
	for _, m := range c.out.messages[c.out.head:] {
		data = append(data, m.Data)
		size += len(m.Data)
	}
	w.m.writtenBytes.Add(float64(size))
	w.m.written.Add(float64(c.out.wrote(size)))
	w.flushed(c)
	return data
}

// Land gives c, which is detached, the socket of on: c keeps its place, and on is
// Gone. What waits for c is sent there, each message as convert has it, which must not
// change the bytes that it is given. It reports false, and has dropped on, when that
// does not work. on must be in service, and nothing may wait for it.
func (l *Loop[S]) Land(c, on *Conn[S], convert func([]byte) []byte) bool {
	if c.state != stateOpen || on.state != stateOpen || on.out != nil || on.Handshaking() {
		l.Drop(on, drop.Closed)
		return false
	}
	if err := l.move(c, on); err != nil {
		l.log.Error("give a connection the socket of another", "err", err)
		l.Drop(on, drop.Lost)
		return false
	}
	t := on.tls()
	if t != nil {
		on.aux.tls = nil // it goes on
		if c.aux == nil {
			c.aux = &aux[S]{}
		}
		c.aux.tls = t
		t.Move(int(c.fd))
	}
	l.Drop(on, drop.Closed)
	c.held &^= detached
	c.heard = l.now
	if err := l.poller.Add(int(c.fd), c.token(), epoll.ForRead); err != nil {
		l.log.Error("poll a connection", "err", err)
		l.Drop(c, drop.Lost)
		return false
	}
	l.convert(c, convert)
	if t != nil {
		l.Post(func() { l.landed(c, t) }) // refused: its next byte brings it on
	}
	return c.state != stateGone
}

// move makes on's socket that of c's descriptor, too.
func (l *Loop[S]) move(c, on *Conn[S]) error {
	if err := l.poller.Remove(int(on.fd)); err != nil {
		return err
	}
	return unix.Dup3(int(on.fd), int(c.fd), unix.O_CLOEXEC)
}

// convert has what waits for c, of which nothing is written, go over another wire.
func (l *Loop[S]) convert(c *Conn[S], convert func([]byte) []byte) {
	if c.out == nil {
		return
	}
	q := c.out
	for i := q.head; i < len(q.messages); i++ {
		m := &q.messages[i]
		before := len(m.Data)
		m.Data = convert(m.Data)
		if m.Class != Control {
			q.bytes += len(m.Data) - before
		}
	}
	q.progress = l.now
	l.flush(c)
	if c.out != nil {
		l.await(c)
	}
}

// landed goes on with what TLS has decrypted already of c's socket.
func (l *Loop[S]) landed(c *Conn[S], t *secure[S]) {
	if c.state != stateGone && c.tls() == t {
		l.reader.decrypt(c, t)
	}
}
