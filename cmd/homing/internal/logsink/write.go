package logsink

import (
	"bytes"
	"errors"
	"syscall"
	"time"
)

// run writes what is queued until the sink is closed and the queue is empty.
func (s *Sink) run() {
	defer close(s.done)
	var batch []byte
	for {
		var lost Loss
		batch, lost = s.take(batch)
		if len(batch) == 0 && lost.Lines == 0 {
			select {
			case <-s.fresh:
				continue
			case <-s.closing:
			}
			if batch, lost = s.take(batch); len(batch) == 0 && lost.Lines == 0 {
				return
			}
		}
		s.writeAll(batch)
		s.pending.add(lost)
		if !s.refused {
			s.report()
		}
	}
}

// take returns the lines that wait and what was dropped after them. It leaves
// spare, emptied, to be filled next.
func (s *Sink) take(spare []byte) ([]byte, Loss) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cap(spare) > keptBuffer {
		spare = nil
	}
	full, lost := s.queue, s.lost
	s.queue, s.lost = spare[:0], Loss{}
	return full, lost
}

// writeAll writes batch in chunks of whole lines.
func (s *Sink) writeAll(batch []byte) {
	for len(batch) > 0 {
		chunk := batch[:chunkEnd(batch)]
		batch = batch[len(chunk):]
		s.report()
		s.writeChunk(chunk)
		s.mu.Lock()
		s.waiting -= len(chunk)
		s.mu.Unlock()
	}
}

// chunkEnd is the length of the lines at the head of b that one write takes.
func chunkEnd(b []byte) int {
	if len(b) <= maxChunk {
		return len(b)
	}
	if i := bytes.LastIndexByte(b[:maxChunk], '\n'); i >= 0 {
		return i + 1
	}
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		return i + 1
	}
	return len(b)
}

// writeChunk writes whole lines; those that the other end refuses are lost.
func (s *Sink) writeChunk(chunk []byte) {
	n, err := s.write(chunk)
	if err == nil {
		return
	}
	written := bytes.Count(chunk[:n], []byte{'\n'})
	lost := lines(chunk) - written
	s.metrics.count(reasonOf(err), lost)
	s.pending.add(Loss{lost, time.Now()})
}

// report writes the note of what was lost, if anything was. When that fails it
// is tried again before the next line.
func (s *Sink) report() {
	if s.pending.Lines == 0 || s.opts.Note == nil {
		return
	}
	if _, err := s.write(s.opts.Note(s.pending)); err == nil {
		s.pending = Loss{}
	}
}

// write is one write of whole lines, on a line of its own when the last write
// broke off within one. A descriptor that has no room and does not block has it
// wait, until Close gives up.
func (s *Sink) write(p []byte) (int, error) {
	lead := 0
	if s.torn {
		p = append([]byte{'\n'}, p...)
		lead = 1
	}
	n := 0
	for {
		m, err := s.w.Write(p[n:])
		n += m
		if n > 0 {
			s.torn = p[n-1] != '\n'
		}
		s.refused = err != nil
		if !errors.Is(err, syscall.EAGAIN) {
			return max(0, n-lead), err
		}
		select {
		case <-s.expired:
			return max(0, n-lead), err
		case <-time.After(againPause):
		}
	}
}
