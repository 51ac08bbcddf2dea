package proc

import (
	"fmt"
	"io"
	"os"
	"time"
)

// reader copies what a process writes into a pipe to its log, until it is
// told not to. A nil *reader does nothing.
type reader struct {
	pipe *os.File
	done chan struct{} // closed when nothing is copied any more
}

// lastWords is how long children of a process that has ended may still write.
const lastWords = time.Second

// readInto makes a pipe and copies what comes through it to log, which it
// owns from now on. The caller closes the pipe's other end.
func readInto(log *os.File) (*reader, *os.File, error) {
	ours, theirs, err := os.Pipe()
	if err != nil {
		log.Close()
		return nil, nil, fmt.Errorf("make a pipe: %w", err)
	}
	r := &reader{pipe: ours, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		defer log.Close()
		_, _ = io.Copy(log, ours) // ends when we say so, or all who write have ended
	}()
	return r, theirs, nil
}

// pause ends the copying and keeps the pipe open.
func (r *reader) pause() {
	if r != nil {
		_ = r.pipe.SetReadDeadline(time.Unix(1, 0)) // a pipe that is closed is not read either
		<-r.done
	}
}

// close ends the copying and closes the pipe.
func (r *reader) close() {
	if r != nil {
		_ = r.pipe.Close() // it may have been closed before
		<-r.done
	}
}

// finish copies what is left and closes the pipe.
func (r *reader) finish() {
	if r != nil {
		_ = r.pipe.SetReadDeadline(time.Now().Add(lastWords))
		<-r.done
		r.close()
	}
}

// StopReading leaves what the process writes in its pipe, which fills up. The
// process must have been started with one.
func (p *Process) StopReading() { p.reader.pause() }

// CloseReader closes the pipe that the process writes into at our end. The
// process must have been started with one.
func (p *Process) CloseReader() { p.reader.close() }
