package redisproc

import (
	"context"
	"fmt"
	"os"
	"syscall"
)

// Stop halts the process with SIGSTOP: its sockets stay open and answer
// nothing, as if the machine hung.
func (s *Server) Stop() error { return s.signal(syscall.SIGSTOP) }

// Cont lets a process that Stop halted go on.
func (s *Server) Cont() error { return s.signal(syscall.SIGCONT) }

// Crash ends the process with SIGKILL, waits for its end and keeps its files,
// so that Restart can bring it back. Killing a dead process does nothing.
func (s *Server) Crash() {
	s.mu.Lock()
	cmd, exited := s.cmd, s.exited
	s.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Kill() // it fails only when the process has ended
	<-exited
}

// Kill ends the process with SIGKILL, waits for its end and removes its
// temporary directory. It may be called twice.
func (s *Server) Kill() {
	s.Crash()
	if s.proxy != nil {
		s.proxy.Close()
	}
	if s.tempDir {
		_ = os.RemoveAll(s.opts.Dir) // what stays is in the temporary directory of the system
	}
}

// Terminate asks the process to end with SIGTERM and waits for it, at most
// until ctx ends.
func (s *Server) Terminate(ctx context.Context) error {
	if err := s.signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-s.Exited():
		return nil
	case <-ctx.Done():
		return fmt.Errorf("terminate %s: %w", s.opts.Name, ctx.Err())
	}
}

// Restart starts a process that has ended again on the same address, empty,
// as a replica of replicaOf or, when that is empty, as a master, and returns
// when it answers.
func (s *Server) Restart(ctx context.Context, replicaOf string) error {
	select {
	case <-s.Exited():
	default:
		return fmt.Errorf("restart %s: it is still running", s.opts.Name)
	}
	s.opts.ReplicaOf = replicaOf
	if s.program == serverProgram {
		if err := s.writeConfig(serverConfig(s.opts)); err != nil {
			return err
		}
	}
	return s.run(ctx)
}

func (s *Server) signal(sig syscall.Signal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("signal %s to %s: %w", sig, s.opts.Name, err)
	}
	return nil
}
