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
// whole is whether all
// of them are still there.
func (e *events) since(n uint64) (after []event, whole bool) {
	first := e.next - uint64(len(e.log)) // at least 1
	if n < first-1 {
		return e.log, false
	}
	return e.log[min(n-(first-1), uint64(len(e.log))):], true
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
