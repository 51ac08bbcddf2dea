package front

import (
	"errors"

	"github.com/homing/homing/front/epoll"
	"github.com/homing/homing/front/ws"
	"github.com/homing/homing/hub"
)

// send writes m to c at once when nothing waits there; what the kernel does
// not take waits in the outbox, by the policy of m's class. It may close c.
func (w *Worker) send(c *conn, m *message) hub.Status {
	if c.out != nil || c.held() {
		return w.enqueue(c, m)
	}
	n, err := w.write(c, m.data)
	w.m.writtenBytes.Add(float64(n))
	switch {
	case n == len(m.data):
		if !m.control {
			w.wrote++
		}
		w.pend(c)
		return hub.StatusWritten
	case err != nil && !errors.Is(err, epoll.ErrWouldBlock):
		if !m.control {
			w.m.dropped[dropLost][m.class].Inc()
		}
		w.drop(c, dropLost)
		return hub.StatusMissed
	case n > 0:
		w.outbox(c).begin(*m, n)
		w.retained = true
		w.await(c)
		return hub.StatusQueued
	}
	return w.enqueue(c, m)
}

// write hands p to the kernel or to TLS, which may take a front part.
func (w *Worker) write(c *conn, p []byte) (int, error) {
	if t := c.tls(); t != nil {
		return t.Write(p)
	}
	return epoll.Write(int(c.fd), p)
}

// outbox returns c's outbox, a new one when nothing waited so far.
func (w *Worker) outbox(c *conn) *outbox {
	if c.out == nil {
		c.out = &outbox{progress: w.now}
		w.m.waiting.Inc()
	}
	return c.out
}

// enqueue has m wait, or applies what its class says when there is no room.
func (w *Worker) enqueue(c *conn, m *message) hub.Status {
	v, lost := w.outbox(c).push(*m, w.bounds)
	w.m.dropped[dropReplaced][hub.ClassLatest].Add(float64(lost.replaced))
	w.m.dropped[dropEvicted][hub.ClassDroppable].Add(float64(lost.evicted))
	switch v {
	case noRoom:
		w.m.dropped[dropSlow][m.class].Inc()
		w.cut(c, dropSlow, closeSlowConsumer, "slow consumer")
		return hub.StatusDropped
	case givenUp:
		w.m.dropped[dropFull][m.class].Inc()
		w.await(c)
		return hub.StatusDropped
	case queued:
	}
	w.retained = true
	w.await(c)
	return hub.StatusQueued
}

// await has the loop told when c can be written to.
func (w *Worker) await(c *conn) {
	if c.held() {
		return
	}
	if !c.polling {
		w.poll(c, epoll.ForRead|epoll.ForWrite)
		c.polling = true
	}
	w.arm(c)
}

func (w *Worker) poll(c *conn, what epoll.Interest) {
	if err := w.poller.Modify(int(c.fd), c.token(), what); err != nil {
		w.log.Error("poll a connection", "err", err)
	}
}

// flush writes what waits, until the kernel takes no more.
func (w *Worker) flush(c *conn) {
	if c.out == nil || c.held() || w.banished(c) {
		return
	}
	if !w.flushCipher(c) {
		return
	}
	for !c.out.empty() {
		n, err := w.writeQueue(c)
		if n > 0 {
			c.out.progress = w.now
			w.m.writtenBytes.Add(float64(n))
			w.m.written.Add(float64(c.out.wrote(n)))
			continue
		}
		if errors.Is(err, epoll.ErrWouldBlock) {
			w.await(c)
			return
		}
		w.drop(c, dropLost)
		return
	}
	if w.flushCipher(c) {
		w.flushed(c)
	}
}

func (w *Worker) writeQueue(c *conn) (int, error) {
	bufs := c.out.vector(w.vector[:0])
	defer clear(bufs)
	if t := c.tls(); t != nil {
		return t.Writev(bufs)
	}
	if len(bufs) == 1 {
		return epoll.Write(int(c.fd), bufs[0])
	}
	return epoll.Writev(int(c.fd), bufs)
}

// flushed drops the outbox when the last byte in it is written.
func (w *Worker) flushed(c *conn) {
	c.out = nil
	w.m.waiting.Dec()
	if r := c.resuming(); r != nil && r.phase == resumeSending {
		w.feed(c, r)
	}
	if c.out != nil || c.state == stateGone {
		return
	}
	if c.polling {
		c.polling = false
		w.poll(c, epoll.ForRead)
	}
	if c.state == stateClosing {
		w.endWriting(c)
	}
	w.arm(c)
}

// close begins the closing handshake: a close frame after what waits already,
// then the end of our side; the peer's end, or the close timeout after that,
// ends the connection. Until then it may take as long as the peer takes
// something within each write timeout.
func (w *Worker) close(c *conn, code ws.CloseCode, reason string) {
	if c.state >= stateClosing {
		return
	}
	w.m.closed(code)
	w.trace(c, "connection closed", "code", int(code), "reason", reason)
	w.endWith(c, ws.CloseFrame(code, reason))
}

// cut closes a connection that does not keep up or has fallen silent: what
// waits is given up, and the close timeout begins at once.
func (w *Worker) cut(c *conn, why reason, code ws.CloseCode, text string) {
	w.abandon(c, why)
	w.close(c, code, text)
	if c.state == stateClosing {
		c.deadline = w.now + w.limits.close
		w.arm(c)
	}
}

// abandon gives up what waits, but for a message that has begun.
func (w *Worker) abandon(c *conn, why reason) {
	if c.out != nil {
		w.m.lost(why, c.out.abandon(c.out.started()))
	}
}

// endWith makes data the last that c is sent.
func (w *Worker) endWith(c *conn, data []byte) {
	w.unregister(c)
	if c.held() { // nothing goes before hello, and there will be no hello
		w.abandon(c, dropClosed)
	}
	c.state = stateClosing
	c.deadline = 0
	c.used = usage{} // its user's is kept; what is on its way is let in once more
	w.send(c, &message{data: data, control: true})
	switch {
	case c.state == stateGone:
		return
	case c.out == nil:
		w.endWriting(c)
	default:
		w.flush(c) // of a connection that was held
	}
	w.arm(c)
}

// endWriting ends our side; the peer reads everything and then the end.
func (w *Worker) endWriting(c *conn) {
	c.deadline = w.now + w.limits.close
	if t := c.tls(); t != nil {
		if err := t.CloseNotify(); err != nil {
			w.drop(c, dropLost)
			return
		}
		if t.Pending() {
			w.pend(c) // this is called again when it is written
			return
		}
	}
	if err := epoll.CloseWrite(int(c.fd)); err != nil {
		w.drop(c, dropLost)
	}
}

// unregister makes c's user forget c, and the index learn of it.
func (w *Worker) unregister(c *conn) {
	if c.user == "" {
		return
	}
	w.endResume(c)
	user := c.user
	w.m.forgottenUsage.Add(float64(w.users.remove(c, w.now)))
	w.deps.Presence.Set(user, w.users.counts(user), nil)
}

// drop ends c at once. What waits is counted as given up for why.
func (w *Worker) drop(c *conn, why reason) {
	if c.state == stateGone {
		return
	}
	if c.state == stateRegister || c.state == stateOpen {
		w.m.closed(ws.CloseAbnormal)
		w.trace(c, "connection ended")
	}
	w.unregister(c)
	c.state = stateGone
	if c.out != nil {
		w.m.lost(why, c.out.abandon(c.out.head))
		w.m.waiting.Dec()
		c.out = nil
	}
	w.arrivals.Leave(w.guest(c))
	w.table.remove(c)
	if t := c.tls(); t != nil {
		w.endTLS(t)
	}
	if err := epoll.Close(int(c.fd)); err != nil {
		w.log.Error("close a connection", "err", err)
	}
}
