package loop

import (
	"errors"

	"github.com/homing/homing/front/epoll"
	"github.com/homing/homing/hub/drop"
)

// Status is what became of a message given to Send.
type Status uint8

// The statuses.
const (
	Gone    Status = iota // the connection has ended, perhaps by this Send, or is Ending
	Dropped               // a Droppable message found no room
	Full                  // no room for a Must or Latest message; whoever sent it ends the connection
	Queued                // it waits in the write queue
	Written               // the kernel, or TLS, has taken it
)

// writer writes to connections. The loop owns it.
type writer[S any] struct {
	*core[S]

	bounds   bounds
	vector   [][]byte
	later    gathering[S]
	wrote    int // messages written in full and not counted yet
	withheld bool
}

func newWriter[S any](k *core[S], cfg *Config) *writer[S] {
	return &writer[S]{core: k, bounds: bounds{cfg.QueueBytes, cfg.QueueMessages}, vector: make([][]byte, 0, maxVector)}
}

// Withhold has nothing that waits be written any more, but to connections that
// are Ending. It is for good.
func (w *writer[S]) Withhold() { w.withheld = true }

// Send writes m to c at once when nothing waits there; what the kernel does not
// take waits in the write queue, by the policy of m's class. It may drop c. One
// that is Ending is sent nothing more.
func (w *writer[S]) Send(c *Conn[S], m *Message) Status {
	if c.state >= stateEnding {
		return Gone
	}
	return w.send(c, m)
}

func (w *writer[S]) send(c *Conn[S], m *Message) Status {
	if c.is(delayed) {
		if w.flush(c); c.state == stateGone {
			return Gone
		}
	}
	if c.out != nil || c.held != 0 {
		return w.enqueue(c, m)
	}
	n, err := w.write(c, m.Data)
	w.m.writtenBytes.Add(float64(n))
	switch {
	case n == len(m.Data):
		if m.Class != Control {
			w.wrote++
		}
		w.awaitCipher(c)
		return Written
	case err != nil && !errors.Is(err, epoll.ErrWouldBlock):
		if m.Class != Control {
			w.h.Discarded(drop.Lost, lostOne(m.Class))
		}
		w.Drop(c, drop.Lost)
		return Gone
	case n > 0:
		w.queue(c).begin(m, n)
		w.await(c)
		return Queued
	}
	return w.enqueue(c, m)
}

func lostOne(of Class) (lost Lost) {
	lost[of] = 1
	return lost
}

// write hands p to the kernel or to TLS, which may take a front part.
func (w *writer[S]) write(c *Conn[S], p []byte) (int, error) {
	if t := c.tls(); t != nil {
		return t.Write(p)
	}
	return epoll.Write(int(c.fd), p)
}

// queue returns c's write queue, a new one when nothing waited so far.
func (w *writer[S]) queue(c *Conn[S]) *queue {
	if c.out == nil {
		c.out = &queue{progress: w.now}
		w.m.waiting.Inc()
	}
	return c.out
}

// enqueue has m wait, or applies what its class says when there is no room.
func (w *writer[S]) enqueue(c *Conn[S], m *Message) Status {
	v, lost := w.queue(c).push(m, w.bounds)
	w.discard(lost)
	w.await(c)
	switch v {
	case noRoom:
		w.h.Discarded(drop.SlowConsumer, lostOne(m.Class))
		return Full
	case givenUp:
		w.h.Discarded(drop.QueueFull, lostOne(m.Class))
		return Dropped
	case outdated: // which was said
		return Dropped
	case queued:
	}
	return Queued
}

// discard tells the handler of messages that were displaced.
func (w *writer[S]) discard(d displaced) {
	if d.replaced > 0 {
		w.h.Discarded(drop.Replaced, Lost{Latest: d.replaced})
	}
	if d.evicted > 0 {
		w.h.Discarded(drop.Evicted, Lost{Droppable: d.evicted})
	}
}

// await has the loop told when c can be written to.
func (w *writer[S]) await(c *Conn[S]) {
	if c.is(corked | delayed) {
		return
	}
	if c.is(detached) {
		w.h.Waits(c)
		w.Arm(c)
		return
	}
	if !c.polling {
		c.polling = true
		w.poll(c)
	}
	w.Arm(c)
}

// awaitCipher has the loop told when the ciphertext that waits for c's socket,
// if any does, can be written.
func (w *writer[S]) awaitCipher(c *Conn[S]) {
	if t := c.tls(); t != nil && t.Pending() && !t.hungUp && c.state != stateGone {
		w.queue(c)
		w.await(c)
	}
}

// Cork has messages for c wait in the write queue, within its bounds, until
// Uncork or End.
func (w *writer[S]) Cork(c *Conn[S]) {
	if c.state >= stateEnding {
		return
	}
	c.held |= corked
	w.unpoll(c) // the kernel would report c as writable all the time
	w.Arm(c)
}

// Uncork sends first, a Control message, unless it is empty, and then what has waited.
// It may drop c.
func (w *writer[S]) Uncork(c *Conn[S], first *Message) {
	if c.state >= stateEnding {
		return
	}
	w.pull(c)
	switch {
	case len(first.Data) == 0:
	case c.out == nil:
		w.send(c, first)
		return
	default:
		c.out.prepend(first)
	}
	w.flush(c)
}

// pull takes the cork out: what waits has the write timeout from now on.
func (w *writer[S]) pull(c *Conn[S]) {
	c.held &^= corked
	if c.out != nil {
		c.out.progress = w.now
	}
}

// flush writes what waits, until the kernel takes no more.
func (w *writer[S]) flush(c *Conn[S]) {
	c.held &^= delayed
	if c.out == nil || c.is(corked) || w.withheld && c.state < stateEnding {
		return
	}
	if c.is(detached) {
		w.h.Waits(c)
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
		w.Drop(c, drop.Lost)
		return
	}
	if w.flushCipher(c) {
		w.flushed(c)
	}
}

// flushCipher writes the ciphertext that waits for c's socket, and reports
// whether c can be written to.
func (w *writer[S]) flushCipher(c *Conn[S]) bool {
	t := c.tls()
	if t == nil {
		return true
	}
	n, err := t.Flush()
	if n > 0 {
		c.out.progress = w.now
	}
	switch {
	case err != nil:
		w.Drop(c, drop.Lost)
		return false
	case t.Pending():
		w.await(c)
		return false
	}
	return true
}

func (w *writer[S]) writeQueue(c *Conn[S]) (int, error) {
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

// flushed drops the queue when the last byte in it is written.
func (w *writer[S]) flushed(c *Conn[S]) {
	c.out = nil
	w.m.waiting.Dec()
	if c.state == stateOpen {
		w.h.Flushed(c)
	}
	if c.out != nil || c.state == stateGone {
		return
	}
	w.unpoll(c)
	if c.state == stateEnding {
		w.endWriting(c)
	}
	w.Arm(c)
}

// unpoll ends what await has begun.
func (w *writer[S]) unpoll(c *Conn[S]) {
	if c.polling {
		c.polling = false
		w.poll(c)
	}
}

// Abandon gives up what waits for c, what End was given included, but for a
// message that has begun.
func (w *writer[S]) Abandon(c *Conn[S], why drop.Reason) {
	if c.out != nil {
		w.discarded(why, c.out.abandon(c.out.started()))
	}
}

// End makes last the last that c is sent, after what waits; a corked connection
// gives up what waits. Then the loop ends our side, and drops c once the peer
// has ended its own, or after the close timeout. Until it is written it may take
// as long as the peer takes something within each write timeout; with soon, all
// that must be over within the close timeout from now. What comes from now on is
// charged and not looked at. A connection that is Handshaking is dropped. A second End does nothing.
func (w *writer[S]) End(c *Conn[S], last []byte, soon bool) {
	if c.state >= stateEnding {
		return
	}
	if c.Handshaking() {
		w.Drop(c, drop.Closed)
		return
	}
	if c.is(corked) {
		w.Abandon(c, drop.Closed)
		w.pull(c)
	}
	if c.is(delayed) {
		if w.flush(c); c.state == stateGone {
			return
		}
	}
	c.state = stateEnding
	w.SetReading(c, true) // for the peer's end
	c.setDeadline(0)
	w.finish(c, last)
	if soon && c.state == stateEnding {
		c.setDeadline(w.now + w.limits.close)
	}
	w.Arm(c)
}

// finish writes what waits for c, then last, and then the end.
func (w *writer[S]) finish(c *Conn[S], last []byte) {
	if len(last) > 0 {
		w.send(c, &Message{Data: last})
	}
	switch {
	case c.state == stateGone:
	case c.out == nil:
		w.endWriting(c)
	default:
		w.flush(c) // of a connection that was corked
	}
}

// endWriting ends our side; the peer reads everything and then the end.
func (w *writer[S]) endWriting(c *Conn[S]) {
	if c.is(detached) {
		w.Drop(c, drop.Closed)
		return
	}
	if c.deadline() == 0 {
		c.setDeadline(w.now + w.limits.close)
	}
	if t := c.tls(); t != nil {
		if err := t.CloseNotify(); err != nil {
			w.Drop(c, drop.Lost)
			return
		}
		if t.Pending() {
			w.awaitCipher(c) // this is called again when it is written
			return
		}
	}
	if err := epoll.CloseWrite(int(c.fd)); err != nil {
		w.Drop(c, drop.Lost)
	}
}
