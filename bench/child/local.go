package child

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
)

// local is a link over pipes to a child of this process.
type local struct {
	cmd *exec.Cmd
	io.Reader
	io.WriteCloser
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
	return Over(&local{cmd: cmd, Reader: out, WriteCloser: in}), nil
}

// CloseWrite implements Link.
func (l *local) CloseWrite() error { return l.Close() }

// Kill implements Link.
func (l *local) Kill() { _ = l.cmd.Process.Kill() }

// Wait implements Link.
func (l *local) Wait() error { return l.cmd.Wait() }

// PID implements Link.
func (l *local) PID() int { return l.cmd.Process.Pid }

// String implements Link.
func (l *local) String() string { return fmt.Sprintf("helper %d", l.PID()) }

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
