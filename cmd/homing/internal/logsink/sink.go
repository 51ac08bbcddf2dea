package logsink

import (
	"bytes"
	"io"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// maxChunk is how many bytes of whole lines one write takes: what a pipe
	// takes without mixing it with what other processes write (PIPE_BUF). A
	// longer line is written alone.
	maxChunk = 4096
	// keptBuffer is the capacity of a queue that is used again when it is empty.
	keptBuffer = 64 << 10
	// againPause is the wait before a descriptor that has no room, and does not
	// block, is tried again.
	againPause = 20 * time.Millisecond
)

// Options are a Sink's properties.
type Options struct {
	// Bytes bounds the lines that wait, those being written included. 0: 1 MiB.
	Bytes int
	// Note returns the line that tells of lost lines, with its newline.
	Note func(Loss) []byte
}

// Loss is what was dropped since the last line that went through.
type Loss struct {
	Lines int
	Since time.Time
}

func (l *Loss) add(more Loss) {
	if l.Lines == 0 {
		l.Since = more.Since
	}
	l.Lines += more.Lines
}

// Sink is an io.Writer for whole lines, safe for concurrent use.
//
//bound:log
type Sink struct {
	w       io.Writer
	opts    Options
	metrics *metrics
	closing chan struct{} // closed by Close: write what waits, then end
	expired chan struct{} // closed by Close: stop trying
	done    chan struct{} // closed when the goroutine has ended

	mu      sync.Mutex
	queue   []byte // lines in order
	waiting int    // bytes of queue, and of what was taken from it and is not written
	lost    Loss   // for want of room, since the queue was taken last
	fresh   chan struct{}
	started bool
	closed  bool

	// Owned by the goroutine.
	pending Loss // what the next line has to be preceded by a note of
	torn    bool // the last write ended in the middle of a line
	refused bool // the last write failed
}

// New returns a Sink in front of w, which only the sink may write to from then
// on. Its goroutine starts with the first line; Close ends it.
func New(w io.Writer, o Options) *Sink {
	if o.Bytes == 0 {
		o.Bytes = 1 << 20
	}
	return &Sink{
		w: w, opts: o, metrics: newMetrics(),
		closing: make(chan struct{}), expired: make(chan struct{}), done: make(chan struct{}),
		fresh: make(chan struct{}, 1),
	}
}

// Collector has the sink's metrics.
func (s *Sink) Collector() prometheus.Collector { return s.metrics.dropped }

// Write queues p, one or more whole lines, and never blocks: what does not fit
// is dropped and counted. It always reports success, because no caller could do
// better.
func (s *Sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		s.metrics.count(reasonClosed, lines(p))
	case s.waiting+len(p) > s.opts.Bytes:
		s.lost.add(Loss{lines(p), time.Now()})
		s.metrics.count(reasonFull, lines(p))
	default:
		s.put(p)
	}
	return len(p), nil
}

// put must be called with mu held.
func (s *Sink) put(p []byte) {
	s.queue = append(s.queue, p...)
	s.waiting += len(p)
	if !s.started {
		s.started = true
		go s.run()
	}
	select {
	case s.fresh <- struct{}{}:
	default:
	}
}

// Close writes what waits, for limit at most, and reports whether it came to an
// end with that. Later lines are dropped. A write that blocks for longer keeps
// the goroutine. Close is called once.
func (s *Sink) Close(limit time.Duration) bool {
	s.mu.Lock()
	s.closed = true
	started := s.started
	s.mu.Unlock()
	close(s.closing)
	defer close(s.expired)
	if !started {
		return true
	}
	select {
	case <-s.done:
		return true
	case <-time.After(limit):
		return false
	}
}

// lines counts the lines of p; what has no newline counts as one.
func lines(p []byte) int { return max(1, bytes.Count(p, []byte{'\n'})) }
