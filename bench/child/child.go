// Package child runs helpers of the benchmarks as processes of their own, so
// that their CPU and descriptors count apart, and talks to them over pipes:
// one JSON object a line; for every call some progress and then one reply.
package child

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// call is a line from parent to child.
type call struct {
	Do   string          `json:"do"`
	With json.RawMessage `json:"with,omitempty"`
}

// answer is a line from child to parent: progress, until one is last.
type answer struct {
	Last  bool            `json:"last,omitempty"`
	Error string          `json:"error,omitempty"`
	Value json.RawMessage `json:"value,omitempty"`
}

// ErrFailed marks what a child reports about its own work.
var ErrFailed = errors.New("helper process failed")

// Process is a running child. One call at a time.
type Process struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	mu  sync.Mutex // one call at a time
	out *bufio.Scanner
}

// Start runs a program as a child that dies with this process. What it writes
// to standard error goes to stderr.
func Start(argv []string, env []string, stderr io.Writer) (*Process, error) {
	cmd := exec.Command(argv[0], argv[1:]...) //nolint:noctx,gosec // Stop ends it, after the context of any call; the caller chooses the program
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start helper: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start helper: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start helper: %w", err)
	}
	lines := bufio.NewScanner(out)
	lines.Buffer(make([]byte, 64<<10), 64<<20)
	return &Process{cmd: cmd, in: in, out: lines}, nil
}

// PID returns the child's process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Call asks the child to do something with a value, hands each step of
// progress to onProgress (may be nil), and decodes the reply into reply (may
// be nil). It blocks until the reply; when ctx ends first it kills the child.
func (p *Process) Call(ctx context.Context, do string, with, reply any, onProgress func(json.RawMessage)) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { _ = p.cmd.Process.Kill() })
	defer stop()
	a, err := p.exchange(do, with, onProgress)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("helper %d, %s: %w", p.PID(), do, err)
	case a.Error != "":
		return fmt.Errorf("helper %d, %s: %w: %s", p.PID(), do, ErrFailed, a.Error)
	case reply == nil || a.Value == nil:
		return nil
	}
	if err := json.Unmarshal(a.Value, reply); err != nil {
		return fmt.Errorf("helper %d, %s: reply: %w", p.PID(), do, err)
	}
	return nil
}

func (p *Process) exchange(do string, with any, onProgress func(json.RawMessage)) (answer, error) {
	value, err := json.Marshal(with)
	if err != nil {
		return answer{}, err
	}
	if err := json.NewEncoder(p.in).Encode(call{Do: do, With: value}); err != nil {
		return answer{}, err
	}
	for p.out.Scan() {
		var a answer
		if err := json.Unmarshal(p.out.Bytes(), &a); err != nil {
			return a, fmt.Errorf("%q: %w", p.out.Text(), err)
		}
		if a.Last {
			return a, nil
		}
		if onProgress != nil {
			onProgress(a.Value)
		}
	}
	return answer{}, errors.Join(io.ErrUnexpectedEOF, p.out.Err())
}

// Stop closes the child's input, which ends a child in good order, waits up
// to five seconds and then kills it.
func (p *Process) Stop() error {
	_ = p.in.Close()
	kill := time.AfterFunc(5*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer kill.Stop()
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("stop helper %d: %w", p.PID(), err)
	}
	return nil
}

// Shared returns a writer to w that this program and its helpers may use at once.
func Shared(w io.Writer) io.Writer { return &sharedWriter{w: w} }

type sharedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

// Write implements io.Writer.
func (s *sharedWriter) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(p)
}
