package front

import (
	"sync"

	"github.com/homing/homing/hub"
)

// envelopeOverhead is what one waiting envelope costs besides its bytes; with
// it the bound on bytes bounds the count of small envelopes too.
const envelopeOverhead = 64

// parcel is one envelope on its way to the loop.
type parcel struct {
	body   []byte
	report bool              // done wants statuses
	done   func(hub.Outcome) // nil: nobody asks
}

// envelopeQueue holds envelopes between the relay's receiving goroutine and the
// loop. It is safe for concurrent use; put never blocks.
//
//bound:envelopes
type envelopeQueue struct {
	limit int // bytes

	mu    sync.Mutex
	queue []parcel
	bytes int
}

// put queues p; first is true when the queue was empty, so that somebody
// must wake the loop. It reports false when there is no room.
func (q *envelopeQueue) put(p parcel) (first, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	cost := len(p.body) + envelopeOverhead
	if q.bytes+cost > q.limit {
		return false, false
	}
	q.bytes += cost
	q.queue = append(q.queue, p)
	return len(q.queue) == 1, true
}

// take returns all that waits and leaves spare, emptied, to be filled next.
// What was taken counts against the limit until done is called with it.
func (q *envelopeQueue) take(spare []parcel) []parcel {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.queue) == 0 {
		return spare[:0]
	}
	full := q.queue
	q.queue = spare[:0]
	return full
}

// done gives back the room of one envelope that take returned.
func (q *envelopeQueue) done(body []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.bytes -= len(body) + envelopeOverhead
}

// size is the bytes that wait, overhead included.
func (q *envelopeQueue) size() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.bytes
}
