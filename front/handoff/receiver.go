package handoff

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/homing/homing/hub"
)

const (
	// maxReceiving is how many connections may be on their way to one process,
	// each for two seconds at most; who wants to pass one more waits for an answer.
	//
	//bound:passed-in
	maxReceiving = 256
	// acceptPause is how long a receiver rests that cannot accept, as for want of
	// descriptors.
	acceptPause = 100 * time.Millisecond
)

// Receiver takes what other processes of this machine pass to this one.
type Receiver struct {
	ln  *net.UnixListener
	uid int
	log *slog.Logger
}

// Listen makes the process be found by others of the same user. Run or Close
// follows.
func Listen(process hub.ProcessID, log *slog.Logger) (*Receiver, error) {
	if err := process.Check(); err != nil {
		return nil, fmt.Errorf("listen for connections of other processes: %w", err)
	}
	uid := os.Getuid()
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: address(uid, process)})
	if err != nil {
		return nil, fmt.Errorf("listen for connections of other processes: %w", err)
	}
	return &Receiver{ln, uid, log}, nil
}

// Close ends a Receiver that was not Run.
func (r *Receiver) Close() { _ = r.ln.Close() }

// Run takes connections until ctx ends. ready is asked before each one whether
// there is room for it. take is given it: the descriptor is take's from then on,
// also when it reports that it had no room after all. Both are called from
// several goroutines and must not block.
func (r *Receiver) Run(ctx context.Context, ready func() bool, take func(Passed) bool) {
	stop := context.AfterFunc(ctx, r.Close)
	defer stop()
	var receiving sync.WaitGroup
	defer receiving.Wait()
	places := make(chan struct{}, maxReceiving)
	for ctx.Err() == nil {
		places <- struct{}{} // each is left within two seconds
		conn, err := r.ln.AcceptUnix()
		if err != nil {
			<-places
			pause(ctx)
			continue
		}
		receiving.Go(func() {
			if err := r.serve(ctx, conn, ready, take); err != nil { // the passer counts it
				r.log.Debug("connection not taken over", "err", err)
			}
			<-places
		})
	}
}

func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(acceptPause):
	}
}

// serve takes one connection from conn, which it closes.
func (r *Receiver) serve(ctx context.Context, conn *net.UnixConn, ready func() bool, take func(Passed) bool) error {
	defer conn.Close()
	if err := errors.Join(conn.SetDeadline(time.Now().Add(answerTime)), checkUser(conn, r.uid)); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
	defer stop()
	if !ready() {
		return ErrRefused
	}
	if _, err := conn.Write([]byte{version}); err != nil {
		return err
	}
	p, err := receive(conn)
	if err != nil {
		return err
	}
	if !take(p) {
		return ErrRefused
	}
	_, err = conn.Write([]byte{taken})
	return err
}
