// Package proc runs server processes on this machine for measurements and
// drills: each with a log of its own, none of which outlives this process.
package proc

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// Command says what to run.
type Command struct {
	Name   string // of the process, in messages and of its log
	LogDir string // NAME.log in it gets what the process writes
	Args   []string
	Env    []string // beside this process's own
	Pipe   bool     // what it writes goes through a pipe on its way to the log; see StopReading
}

// Process is a process that Start started. Its methods may be called from
// several goroutines.
type Process struct {
	name   string
	cmd    *exec.Cmd
	log    string // path of its log
	exited chan struct{}
	killed atomic.Bool // on purpose
	reader *reader     // of the pipe; nil: there is none
}

// Start starts the program Args[0]. It dies with this process; the caller
// stops or kills it.
func Start(c Command) (*Process, error) {
	p := &Process{name: c.Name, log: filepath.Join(c.LogDir, c.Name+".log"), exited: make(chan struct{})}
	out, err := p.openLog(c.Pipe)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Name, err)
	}
	defer out.Close()
	p.cmd = exec.Command(c.Args[0], c.Args[1:]...) //nolint:noctx // Stop ends it, in good order
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.Env = append(os.Environ(), c.Env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		p.reader.close()
		return nil, fmt.Errorf("start %s: %w", c.Name, err)
	}
	go func() {
		_ = p.cmd.Wait() // how it ended is in its log, and for those who look at the state
		p.reader.finish()
		close(p.exited)
	}()
	return p, nil
}

// openLog opens what the process writes to, the log or a pipe on the way to it.
func (p *Process) openLog(pipe bool) (*os.File, error) {
	log, err := os.Create(p.log)
	if err != nil || !pipe {
		return log, err
	}
	var out *os.File
	p.reader, out, err = readInto(log)
	return out, err
}

// PID is the process's id, also after its end.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Exited is closed when the process has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Check reports a process that has ended although nobody killed it.
func (p *Process) Check() error {
	select {
	case <-p.exited:
	default:
		return nil
	}
	if p.killed.Load() {
		return nil
	}
	return fmt.Errorf("%s has ended; its log ends:\n%s", p.name, p.Tail())
}

// Signal sends the process a signal.
func (p *Process) Signal(sig os.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("signal %v to %s: %w", sig, p.name, err)
	}
	return nil
}

// Kill ends the process with SIGKILL and waits for its end.
func (p *Process) Kill() error {
	p.killed.Store(true)
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill %s: %w", p.name, err)
	}
	<-p.exited
	return nil
}

// Stop asks the process to end, waits for up to grace and then kills it,
// which is an error. A process that has ended is none.
func (p *Process) Stop(grace time.Duration) error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // fails when it has ended
	select {
	case <-p.exited:
		return nil
	case <-time.After(grace):
	}
	if err := p.Kill(); err != nil {
		return err
	}
	return fmt.Errorf("stop %s: still running after %v, killed", p.name, grace)
}

// Tail returns the last lines of the process's log, for error messages.
func (p *Process) Tail() string {
	raw, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "\n")
}
