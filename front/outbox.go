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

// replaces reports whether a newer message makes an older one with its key
// obsolete.
func (m *message) replaces() bool {
	return len(m.key) > 0 && (m.control || m.class == hub.ClassLatest)
}

// obsoleteBy reports whether newer makes m obsolete.
func (m *message) obsoleteBy(newer *message) bool {
	return newer.replaces() && m.control == newer.control && m.class == newer.class && bytes.Equal(m.key, newer.key)
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
	queued  verdict = iota
	givenUp         // droppable, and no room
	noRoom          // must or latest, and no room: close the connection
)

// displaced counts the messages that were given up for a newer one.
type displaced struct {
	replaced int // latest, with its key
	evicted  int // droppable
}

// push adds m at the end by the policy of its class. For a latest message, the
// one with its key is taken out: what was sent in between stays before m. When
// there is no room, the oldest droppable messages are given up. A control
// message takes the place of the one with its key.
func (o *outbox) push(m message, limit bounds) (v verdict, lost displaced) {
	if m.control {
		o.pushControl(m)
		return queued, lost
	}
	if i := o.find(m); i >= 0 {
		o.remove(i)
		lost.replaced++
	}
	for !o.fits(m, limit) {
		if !o.evict() {
			if m.class == hub.ClassDroppable {
				return givenUp, lost
			}
			return noRoom, lost
		}
		lost.evicted++
	}
	o.add(m)
	return queued, lost
}

func (o *outbox) pushControl(m message) {
	if i := o.find(m); i >= 0 {
		o.queue[i] = m
		return
	}
	o.add(m)
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
	o.compact()
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

// find returns the index of the message that m makes obsolete, or -1.
func (o *outbox) find(m message) int {
	if !m.replaces() {
		return -1
	}
	for i := o.started(); i < len(o.queue); i++ {
		if o.queue[i].obsoleteBy(&m) {
			return i
		}
	}
	return -1
}

// evict gives up the oldest droppable message that is not partly written.
func (o *outbox) evict() bool {
	for i := o.started(); i < len(o.queue); i++ {
		if m := &o.queue[i]; m.class == hub.ClassDroppable && !m.control {
			o.remove(i)
			return true
		}
	}
	return false
}

// remove takes out message i, which is not a control message and of which
// nothing is written. The shorter side of the queue closes the gap.
func (o *outbox) remove(i int) {
	o.bytes -= len(o.queue[i].data)
	o.count--
	if before, after := i-o.head, len(o.queue)-1-i; before < after {
		copy(o.queue[o.head+1:i+1], o.queue[o.head:i])
		o.queue[o.head] = message{}
		o.head++
		return
	}
	copy(o.queue[i:], o.queue[i+1:])
	o.queue[len(o.queue)-1] = message{}
	o.queue = o.queue[:len(o.queue)-1]
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
// written or taken out, so that a connection that is always a little behind
// does not grow.
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
