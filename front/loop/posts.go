package loop

import "sync"

const (
	// maxPosts is how many posts may wait: some 16 MB of them. As many again may
	// be on their way to be called. Who posts has a time limit of its own, so
	// that what is refused ends there.
	maxPosts = 1 << 18
	// maxCommands is how many may wait beyond maxPosts of those that nobody would
	// repeat, as what a master says.
	maxCommands = 1 << 10
)

// posts carries to the loop what other goroutines did for it. Safe for
// concurrent use.
//
//bound:posts
type posts struct {
	mu     sync.Mutex
	queue  []func()
	closed bool

	// Owned by the loop.
	called []func() // being called
	at     int      // the next of them
}

// put queues f; first is true when somebody must wake the loop. It reports false
// when the loop has ended, or as many as limit wait.
func (p *posts) put(f func(), limit int) (first, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.queue) >= limit {
		return false, false
	}
	p.queue = append(p.queue, f)
	return len(p.queue) == 1, true
}

// call calls at most budget of those that wait, and reports whether that was all.
func (p *posts) call(budget int) (all bool) {
	if p.at == len(p.called) {
		p.called, p.at = p.take(p.called), 0
	}
	for ; p.at < len(p.called); budget-- {
		if budget == 0 {
			return false
		}
		f := p.called[p.at]
		p.called[p.at] = nil
		p.at++
		f()
	}
	return true
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

// close refuses further posts and calls those that still wait.
func (p *posts) close() {
	p.mu.Lock()
	p.closed = true
	left := append(p.called[p.at:], p.queue...)
	p.mu.Unlock()
	for _, f := range left {
		f()
	}
}
