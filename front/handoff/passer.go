package handoff

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/homing/homing/hub"
)

// Line leads to a process that has said that it takes one connection.
type Line struct{ conn *net.UnixConn }

// Dial asks a process of this machine whether it takes a connection. It blocks
// until the process has answered or ctx ends. Whoever does not live here is
// ErrNotHere at once. The Line must be ended by Pass or Close, soon: the process
// waits two seconds.
func Dial(ctx context.Context, to hub.ProcessID) (*Line, error) { return dial(ctx, to, os.Getuid()) }

func dial(ctx context.Context, to hub.ProcessID, uid int) (*Line, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", address(os.Getuid(), to))
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		return nil, ErrNotHere
	case errors.Is(err, unix.EAGAIN): // more connect than it accepts
		return nil, ErrSilent
	case err != nil:
		return nil, fmt.Errorf("reach process %s: %w", to, err)
	}
	l := &Line{conn.(*net.UnixConn)}
	if err := l.greeted(ctx, uid); err != nil {
		l.Close()
		return nil, fmt.Errorf("reach process %s: %w", to, err)
	}
	return l, nil
}

// greeted waits for the first word of the other side.
func (l *Line) greeted(ctx context.Context, uid int) error {
	if err := checkUser(l.conn, uid); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = l.conn.SetReadDeadline(time.Now()) })
	defer stop()
	var word [1]byte
	_, err := l.conn.Read(word[:])
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, unix.ECONNRESET), err == nil && word[0] != version:
		return ErrRefused
	case err != nil:
		return timedOut(err)
	}
	return nil
}

// Close ends a line on which nothing was passed.
func (l *Line) Close() { _ = l.conn.Close() }

// Pass hands p over, and ends the line. p's descriptor belongs to Pass. nil says
// that the other process has it; after an error the connection has ended for
// everybody. It blocks for two seconds at most.
func (l *Line) Pass(p Passed) error {
	defer l.Close()
	err := l.give(&p)
	if err != nil { // also for one who finds it later in what was sent
		_ = unix.Shutdown(p.FD, unix.SHUT_RDWR)
		err = fmt.Errorf("pass a connection: %w", err)
	}
	_ = unix.Close(p.FD)
	return err
}

func (l *Line) give(p *Passed) error {
	if len(p.Head) > MaxHead {
		return fmt.Errorf("a head of %d bytes, want at most %d", len(p.Head), MaxHead)
	}
	if err := l.conn.SetDeadline(time.Now().Add(answerTime)); err != nil {
		return err
	}
	b := p.append(make([]byte, 0, headerSize+len(p.Head)))
	n, _, err := l.conn.WriteMsgUnix(b, unix.UnixRights(p.FD), nil)
	if err == nil && n < len(b) {
		_, err = l.conn.Write(b[n:])
	}
	if err != nil {
		return timedOut(err)
	}
	var word [1]byte
	if _, err := l.conn.Read(word[:]); err != nil {
		return timedOut(err)
	}
	return nil
}
