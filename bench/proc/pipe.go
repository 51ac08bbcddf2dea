package proc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
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

// pause ends the copying, keeps the pipe open and fills it up.
func (r *reader) pause() error {
	if r == nil {
		return nil
	}
	_ = r.pipe.SetReadDeadline(time.Unix(1, 0)) // a pipe that is closed is not read either
	<-r.done
	return fill(r.pipe)
}

// fill writes into the pipe at whose end we read until it takes no more.
func fill(pipe *os.File) error {
	raw, err := pipe.SyscallConn()
	if err != nil {
		return fmt.Errorf("fill a pipe: %w", err)
	}
	var full error
	err = raw.Control(func(fd uintptr) { full = fillUp(fmt.Sprintf("/proc/self/fd/%d", fd)) })
	if err = errors.Join(err, full); err != nil {
		return fmt.Errorf("fill a pipe: %w", err)
	}
	return nil
}

func fillUp(path string) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	line := bytes.Repeat([]byte{'\n'}, 4096)
	for size := len(line); size > 0; {
		n, err := unix.Write(fd, line[:size])
		switch {
		case errors.Is(err, unix.EAGAIN):
			size /= 2 // the last bytes fit one by one
		case err != nil:
			return err
		case n == 0:
			return io.ErrShortWrite
		}
	}
	return nil
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

// StopReading leaves what the process writes in its pipe, which is full from
// then on. The process must have been started with one.
func (p *Process) StopReading() error { return p.reader.pause() }

// CloseReader closes the pipe that the process writes into at our end. The
// process must have been started with one.
func (p *Process) CloseReader() { p.reader.close() }
