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

// inbox holds envelopes between the relay's receiving goroutine and the loop.
// Safe for concurrent use; put never blocks.
type inbox struct {
	limit int

	mu    sync.Mutex
	queue []parcel
	bytes int
}

// put queues p; first is true when the queue was empty, so that somebody
// must wake the loop. It reports false when there is no room.
func (in *inbox) put(p parcel) (first, ok bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	cost := len(p.body) + envelopeOverhead
	if in.bytes+cost > in.limit {
		return false, false
	}
	in.bytes += cost
	in.queue = append(in.queue, p)
	return len(in.queue) == 1, true
}

// take returns all that waits and leaves spare, emptied, to be filled next.
// What was taken counts against the limit until done is called with it.
func (in *inbox) take(spare []parcel) []parcel {
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.queue) == 0 {
		return spare[:0]
	}
	full := in.queue
	in.queue = spare[:0]
	return full
}

// done gives back the room of one envelope that take returned.
func (in *inbox) done(body []byte) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.bytes -= len(body) + envelopeOverhead
}

// size is the bytes that wait, overhead included.
func (in *inbox) size() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.bytes
}

// posts carries the results of what other goroutines did for the loop: checked
// tokens, registered users, bytes of TLS connections. Each connection has at
// most a few outstanding, which bounds it. Safe for concurrent use.
type posts struct {
	mu     sync.Mutex
	queue  []func()
	closed bool
}

// put queues f for the loop; first is true when somebody must wake it. It
// reports false when the loop has ended.
func (p *posts) put(f func()) (first, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false, false
	}
	p.queue = append(p.queue, f)
	return len(p.queue) == 1, true
}

// close refuses further posts and returns those that still wait.
func (p *posts) close() []func() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	return p.queue
}

// take returns all that waits and leaves spare, emptied, to be filled next.
func (p *posts) take(spare []func()) []func() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.queue) == 0 {
		return spare[:0]
	}
	full := p.queue
	p.queue = spare[:0]
	return full
}
