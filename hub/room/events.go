package room

import "github.com/homing/homing/hub"

// event is something that was said once.
type event struct {
	n    uint64 // its number in the room, from 1
	to   Audience
	from hub.UserID // may be empty
	data []byte
}

const eventOverhead = 96 // bytes that an event costs beside its data

// events are the last ones of a room, oldest first.
type events struct {
	limit int // bytes that are remembered once they were sent

	log   []event
	bytes int
	told  int    // of those, bytes of events that were sent
	next  uint64 // number of the next event
	sent  uint64 // number of the last event that was sent
	lost  lost
}

// lost are the numbers from..until-1 of events that may have been told in a life of
// the room that it does not remember: it went on from a checkpoint before.
type lost struct {
	from, until uint64 // 0: there are none
}

// maxTold is more events than any room tells under one owner.
const maxTold = 1 << 32

// lose has the numbers of the events to come begin beyond all that an owner before
// that of epoch may have told since.
func (e *events) lose(epoch uint64) {
	from := e.next
	if e.lost.from != 0 { // it has lost some before
		from = e.lost.from
	}
	e.lost = lost{from, max(e.next, epoch*maxTold) + 1}
	e.next = e.lost.until
	e.sent = e.next - 1
	e.log, e.bytes, e.told = nil, 0, 0 // what is before the gap is not told again
}

func newEvents(c *Class) events { return events{limit: c.LogBytes, next: 1} }

func (e *events) add(to Audience, from hub.UserID, data []byte) {
	e.log = append(e.log, event{n: e.next, to: to, from: from, data: data})
	e.bytes += len(data) + eventOverhead
	e.next++
}

// unsent is the bytes of events that wait for the end of the tick.
func (e *events) unsent() int { return e.bytes - e.told }

// since returns the events after the one with the number n, which is below next.
// whole is whether all of them are still there, and n is of a life of the room that
// it remembers.
func (e *events) since(n uint64) (after []event, whole bool) {
	if n+1 == e.lost.from {
		n = e.lost.until - 1 // it has read all that is before the gap
	}
	first := e.next - uint64(len(e.log)) // at least 1
	i := min(max(n+1, first)-first, uint64(len(e.log)))
	return e.log[i:], n+1 >= first
}

// settle notes that all were sent, and forgets the oldest.
func (e *events) settle() {
	e.sent = e.next - 1
	drop := 0
	for e.bytes > e.limit && drop < len(e.log) {
		e.bytes -= len(e.log[drop].data) + eventOverhead
		e.log[drop] = event{}
		drop++
	}
	if e.log = e.log[drop:]; len(e.log) == 0 {
		e.log = nil
	}
	e.told = e.bytes
}
