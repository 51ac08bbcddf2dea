package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"
)

// Helper is a program that an agent may start.
type Helper struct {
	Argv []string
	Env  []string // beside the agent's own
}

// Options of an agent.
type Options struct {
	Secret       []byte            // what coordinators must know, at least MinSecret bytes
	MaxProcesses int               // helpers at a time; 0 means DefaultMaxProcesses
	Helpers      map[string]Helper // by role: all that a coordinator can have started
	Stderr       io.Writer         // where helpers write their errors, several at a time
}

// DefaultMaxProcesses is for the clients of about a million connections.
const DefaultMaxProcesses = 64

// strangers is how many connections may be on their way to prove themselves;
// the kernel queues those beyond.
const strangers = 64

// server is a running agent.
type server struct {
	opts     Options
	log      *slog.Logger
	tls      *tls.Config
	helpers  chan struct{} // holds one for each helper under way
	entrance chan struct{} // holds one for each connection that has not proved itself
}

// Serve starts helpers for coordinators that connect to ln until ctx ends,
// then ends the helpers, in good order where they let it, closes ln and
// returns nil.
func Serve(ctx context.Context, ln net.Listener, opts Options, log *slog.Logger) error {
	if err := checkSecret(opts.Secret); err != nil {
		return err
	}
	certified, err := serverTLS()
	if err != nil {
		return err
	}
	if opts.MaxProcesses == 0 {
		opts.MaxProcesses = DefaultMaxProcesses
	}
	s := &server{
		opts: opts, log: log, tls: certified,
		helpers:  make(chan struct{}, opts.MaxProcesses),
		entrance: make(chan struct{}, strangers),
	}
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	log.Info("agent ready", "addr", ln.Addr(), "max_processes", opts.MaxProcesses)
	err = s.accept(ctx, ln)
	log.Info("agent ended")
	return err
}

// accept serves connections until ln is closed, and returns when all have ended.
func (s *server) accept(ctx context.Context, ln net.Listener) error {
	var sessions sync.WaitGroup
	defer sessions.Wait()
	for {
		s.entrance <- struct{}{} // frees up within handshakeTimeout
		conn, err := ln.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				conn.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept: %w", err)
		case err != nil: // out of descriptors, most likely
			s.log.Error("accept", "err", err)
			<-s.entrance
			time.Sleep(100 * time.Millisecond)
			continue
		}
		sessions.Go(func() { s.serve(ctx, conn.(*net.TCPConn)) })
	}
}

// serve takes one connection from its first byte to its last.
func (s *server) serve(ctx context.Context, conn *net.TCPConn) {
	defer conn.Close()
	log := s.log.With("coordinator", conn.RemoteAddr())
	o, err := s.enter(ctx, conn)
	<-s.entrance
	if err != nil {
		log.Warn("coordinator refused", "err", err)
		return
	}
	defer o.conn.Close() // after the helper's place is free: a coordinator may take it at once
	select {
	case s.helpers <- struct{}{}:
		defer func() { <-s.helpers }()
	default:
		err := fmt.Errorf("%d helper processes are running, which is this agent's limit", cap(s.helpers))
		log.Warn("helper refused", "role", o.role, "err", err)
		_ = writeLine(o.conn, receipt{Error: err.Error()}) // one that is gone need not know
		return
	}
	if err := s.run(ctx, o, log); err != nil {
		log.Error("helper failed", "role", o.role, "err", err)
	}
}
