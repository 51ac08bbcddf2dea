package loop

import (
	"bytes"
	"slices"
)

// Class says what becomes of a message that finds no room in a write queue.
type Class uint8

// The classes.
const (
	Control   Class = iota // of the protocol itself: it always fits and is never given up; it takes the place of an older one with its key
	Must                   // Send says Full
	Latest                 // it takes the place of an older one with its key; else Send says Full
	Droppable              // it is given up itself, after the older ones of its class
	Classes                // how many there are
)

// Message is bytes on their way to connections. All connections that they go to
// share them, and nobody changes them while Send has returned Queued.
type Message struct {
	Data  []byte
	Key   []byte // what Latest and Control replace by; empty: nothing
	Class Class
	Sent  Tick // about when it was sent: a Latest one gives way to a newer one with its key, whichever comes first; 0: not known
}

// Lost counts messages that were given up, by class. Control is not counted.
type Lost [Classes]int

// any reports whether there is one.
func (l *Lost) any() bool { return *l != Lost{} }

// replaces reports whether a newer message makes an older one with its key
// obsolete.
func (m *Message) replaces() bool {
	return len(m.Key) > 0 && (m.Class == Control || m.Class == Latest)
}

// ObsoleteBy reports whether newer takes the place of m.
func (m *Message) ObsoleteBy(newer *Message) bool {
	return newer.replaces() && m.Class == newer.Class && bytes.Equal(m.Key, newer.Key)
}

// Outdated reports whether m, which comes later than waiting, was sent before it and is
// to be given up for it.
func (m *Message) Outdated(waiting *Message) bool {
	return m.Class == Latest && m.Sent < waiting.Sent && waiting.ObsoleteBy(m)
}

// queue keeps, in order, what the kernel did not take for one connection. A
// connection has one only while something waits. The loop owns it.
//
//bound:write-queue
type queue struct {
	messages []Message
	head     int  // messages[:head] are written
	off      int  // bytes of messages[head] that are written
	bytes    int  // waiting, without control messages
	count    int  // waiting, without control messages
	progress Tick // when the kernel last took something
}

// bounds say how much may wait in one queue.
type bounds struct{ bytes, count int }

// verdict is what became of a message given to a queue.
type verdict uint8

const (
	queued   verdict = iota
	givenUp          // Droppable, and no room
	noRoom           // Must or Latest, and no room
	outdated         // Latest, and a newer one with its key waits
)

// displaced counts the messages that were given up for a newer one.
type displaced struct {
	replaced int // Latest, with its key
	evicted  int // Droppable
}

// push adds m at the end by the policy of its class. For a Latest message, the
// one with its key is taken out, unless it is newer: what was sent in between stays
// before m. When
// there is no room, the oldest Droppable messages are given up. A Control
// message takes the place of the one with its key.
func (q *queue) push(m *Message, limit bounds) (v verdict, lost displaced) {
	if m.Class == Control {
		q.pushControl(m)
		return queued, lost
	}
	if i := q.find(m); i >= 0 {
		lost.replaced++
		if m.Outdated(&q.messages[i]) {
			return outdated, lost
		}
		q.remove(i)
	}
	for !q.fits(m, limit) {
		if !q.evict() {
			if m.Class == Droppable {
				return givenUp, lost
			}
			return noRoom, lost
		}
		lost.evicted++
	}
	q.add(m)
	return queued, lost
}

func (q *queue) pushControl(m *Message) {
	if i := q.find(m); i >= 0 {
		q.messages[i] = *m
		return
	}
	q.add(m)
}

// begin adds m, of which the kernel took the first n bytes, to an empty queue.
// It fits always: what has begun must be finished.
func (q *queue) begin(m *Message, n int) {
	q.add(m)
	q.off = n
}

// prepend puts a Control message before all that waits but what has begun and
// other Control messages.
func (q *queue) prepend(m *Message) {
	i := q.started()
	for i < len(q.messages) && q.messages[i].Class == Control {
		i++
	}
	q.messages = slices.Insert(q.messages, i, *m)
}

func (q *queue) add(m *Message) {
	q.compact()
	q.messages = append(q.messages, *m)
	if m.Class != Control {
		q.bytes += len(m.Data)
		q.count++
	}
}

func (q *queue) fits(m *Message, limit bounds) bool {
	return q.bytes+len(m.Data) <= limit.bytes && q.count < limit.count
}

// started is the index of the first message of which nothing is written yet.
func (q *queue) started() int {
	if q.off > 0 {
		return q.head + 1
	}
	return q.head
}

// find returns the index of the message that m makes obsolete, or -1.
func (q *queue) find(m *Message) int {
	if !m.replaces() {
		return -1
	}
	for i := q.started(); i < len(q.messages); i++ {
		if q.messages[i].ObsoleteBy(m) {
			return i
		}
	}
	return -1
}

// evict gives up the oldest Droppable message that is not partly written.
func (q *queue) evict() bool {
	for i := q.started(); i < len(q.messages); i++ {
		if q.messages[i].Class == Droppable {
			q.remove(i)
			return true
		}
	}
	return false
}

// remove takes out message i. It must be no Control message, and no byte of it
// may be written. The shorter side of the queue closes the gap.
func (q *queue) remove(i int) {
	q.bytes -= len(q.messages[i].Data)
	q.count--
	if before, after := i-q.head, len(q.messages)-1-i; before < after {
		copy(q.messages[q.head+1:i+1], q.messages[q.head:i])
		q.messages[q.head] = Message{}
		q.head++
		return
	}
	copy(q.messages[i:], q.messages[i+1:])
	q.messages[len(q.messages)-1] = Message{}
	q.messages = q.messages[:len(q.messages)-1]
}

// maxVector is how many messages one system call writes.
const maxVector = 32

// vector appends what to write next to dst: at most maxVector slices.
func (q *queue) vector(dst [][]byte) [][]byte {
	off := q.off
	for i := q.head; i < len(q.messages) && len(dst) < maxVector; i++ {
		dst = append(dst, q.messages[i].Data[off:])
		off = 0
	}
	return dst
}

// wrote takes n bytes off the front and returns how many messages, Control
// aside, that finished.
func (q *queue) wrote(n int) (finished int) {
	for n > 0 {
		m := &q.messages[q.head]
		left := len(m.Data) - q.off
		if n < left {
			q.off += n
			break
		}
		n -= left
		q.off = 0
		if m.Class != Control {
			q.bytes -= len(m.Data)
			q.count--
			finished++
		}
		*m = Message{}
		q.head++
	}
	q.compact()
	return finished
}

// compact moves the queue to the front of its array once half of it is written
// or taken out, so that a connection that is always a little behind does not
// grow.
func (q *queue) compact() {
	if q.head < 32 || q.head < len(q.messages)/2 {
		return
	}
	n := copy(q.messages, q.messages[q.head:])
	clear(q.messages[n:])
	q.messages = q.messages[:n]
	q.head = 0
}

func (q *queue) empty() bool { return q.head == len(q.messages) }

// abandon gives up every message from index from on.
func (q *queue) abandon(from int) (lost Lost) {
	for i := from; i < len(q.messages); i++ {
		if m := &q.messages[i]; m.Class != Control {
			q.bytes -= len(m.Data)
			q.count--
			lost[m.Class]++
		}
	}
	clear(q.messages[from:])
	q.messages = q.messages[:from]
	return lost
}
