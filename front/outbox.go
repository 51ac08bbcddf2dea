package front

import (
	"bytes"
	"slices"

	"github.com/homing/homing/hub"
)

// message is one frame (or HTTP reply) on its way to a connection. Its bytes
// are shared by every connection that it goes to and never changed.
type message struct {
	data    []byte
	key     []byte // what ClassLatest replaces by; also of control messages, of which the newest counts
	class   hub.Class
	control bool // of the protocol itself: always fits and is never given up
}

// outbox keeps, in order, what the kernel did not take for one connection. A
// connection has one only while something waits. Owned by the loop.
type outbox struct {
	queue    []message
	head     int    // queue[:head] is written
	off      int    // bytes of queue[head] that are written
	bytes    int    // waiting, without control messages
	count    int    // waiting, without control messages
	progress uint32 // the tick at which the kernel last took something
}

// bounds say how much may wait in one outbox.
type bounds struct{ bytes, count int }

// verdict is what became of a message given to an outbox.
type verdict uint8

const (
	queued   verdict = iota
	replaced         // queued in the place of an older one with its key
	givenUp          // droppable, and no room
	noRoom           // must or latest, and no room: close the connection
)

// push adds m by the policy of its class. A latest message takes the place of
// the one with its key, as does a control message. Otherwise, when there is no
// room, the oldest droppable messages are given up for it: evicted counts them.
func (o *outbox) push(m message, limit bounds) (v verdict, evicted int) {
	if i := o.find(m); i >= 0 {
		if !m.control {
			o.bytes += len(m.data) - len(o.queue[i].data)
		}
		o.queue[i] = m
		return replaced, 0
	}
	if m.control {
		o.queue = append(o.queue, m)
		return queued, 0
	}
	for !o.fits(m, limit) {
		if !o.evict() {
			if m.class == hub.ClassDroppable {
				return givenUp, evicted
			}
			return noRoom, evicted
		}
		evicted++
	}
	o.add(m)
	return queued, evicted
}

// begin adds m, of which the kernel took the first n bytes, to an empty
// outbox. It fits always: a frame that has begun must be finished.
func (o *outbox) begin(m message, n int) {
	o.add(m)
	o.off = n
}

// prepend puts a control message before all that waits but what has begun and
// other control messages.
func (o *outbox) prepend(m message) {
	i := o.started()
	for i < len(o.queue) && o.queue[i].control {
		i++
	}
	o.queue = slices.Insert(o.queue, i, m)
}

func (o *outbox) add(m message) {
	o.queue = append(o.queue, m)
	if !m.control {
		o.bytes += len(m.data)
		o.count++
	}
}

func (o *outbox) fits(m message, limit bounds) bool {
	return o.bytes+len(m.data) <= limit.bytes && o.count < limit.count
}

// started is the index of the first message of which nothing is written yet.
func (o *outbox) started() int {
	if o.off > 0 {
		return o.head + 1
	}
	return o.head
}

// find returns the index of the message that m takes the place of, or -1.
func (o *outbox) find(m message) int {
	if len(m.key) == 0 || !m.control && m.class != hub.ClassLatest {
		return -1
	}
	for i := o.started(); i < len(o.queue); i++ {
		q := &o.queue[i]
		if q.control == m.control && q.class == m.class && bytes.Equal(q.key, m.key) {
			return i
		}
	}
	return -1
}

// evict gives up the oldest droppable message that is not partly written.
func (o *outbox) evict() bool {
	for i := o.started(); i < len(o.queue); i++ {
		if m := &o.queue[i]; m.class == hub.ClassDroppable && !m.control {
			o.bytes -= len(m.data)
			o.count--
			copy(o.queue[i:], o.queue[i+1:])
			o.queue[len(o.queue)-1] = message{}
			o.queue = o.queue[:len(o.queue)-1]
			return true
		}
	}
	return false
}

// maxVector is how many messages one system call writes.
const maxVector = 32

// vector appends what to write next to dst: at most maxVector slices.
func (o *outbox) vector(dst [][]byte) [][]byte {
	off := o.off
	for i := o.head; i < len(o.queue) && len(dst) < maxVector; i++ {
		dst = append(dst, o.queue[i].data[off:])
		off = 0
	}
	return dst
}

// wrote takes n bytes off the front and returns how many messages, control
// messages aside, that finished.
func (o *outbox) wrote(n int) (finished int) {
	for n > 0 {
		m := &o.queue[o.head]
		left := len(m.data) - o.off
		if n < left {
			o.off += n
			break
		}
		n -= left
		o.off = 0
		if !m.control {
			o.bytes -= len(m.data)
			o.count--
			finished++
		}
		*m = message{}
		o.head++
	}
	o.compact()
	return finished
}

// compact moves the queue to the front of its array once half of it is
// written, so that a connection that is always a little behind does not grow.
func (o *outbox) compact() {
	if o.head < 32 || o.head < len(o.queue)/2 {
		return
	}
	n := copy(o.queue, o.queue[o.head:])
	clear(o.queue[n:])
	o.queue = o.queue[:n]
	o.head = 0
}

func (o *outbox) empty() bool { return o.head == len(o.queue) }

// classCounts counts messages by their class.
type classCounts [hub.ClassDroppable + 1]int

// abandon gives up every message from index from on and counts them by class;
// control messages vanish uncounted.
func (o *outbox) abandon(from int) (lost classCounts) {
	for i := from; i < len(o.queue); i++ {
		if m := &o.queue[i]; !m.control {
			o.bytes -= len(m.data)
			o.count--
			lost[m.class]++
		}
	}
	clear(o.queue[from:])
	o.queue = o.queue[:from]
	return lost
}
