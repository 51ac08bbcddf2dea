package proc

import (
	"context"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, script string, env ...string) *Process {
	t.Helper()
	p, err := Start(Command{Name: "it", LogDir: t.TempDir(), Args: []string{"/bin/sh", "-c", script}, Env: env})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Kill() })
	return p
}

func TestAnEndNobodyAskedForIsReported(t *testing.T) {
	p := start(t, `echo "out of $WHAT" >&2; exit 1`, "WHAT=order")
	<-p.Exited()
	if err := p.Check(); err == nil || !strings.Contains(err.Error(), "out of order") {
		t.Errorf("Check = %v", err)
	}
	err := p.WaitReady(t.Context(), "http://127.0.0.1:1/")
	if err == nil || !strings.Contains(err.Error(), "it ended before it was ready") || !strings.Contains(err.Error(), "out of order") {
		t.Errorf("WaitReady = %v", err)
	}
	if err := p.Stop(time.Second); err != nil {
		t.Errorf("Stop = %v", err)
	}
}

func TestKillIsOnPurpose(t *testing.T) {
	p := start(t, "exec sleep 60")
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(p.Check(), p.Kill()); err != nil {
		t.Error(err)
	}
	if err := syscall.Kill(p.PID(), 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("still there: %v", err)
	}
}

func TestStopKillsWhoDoesNotListen(t *testing.T) {
	p := start(t, `trap "" TERM; echo up; while :; do sleep 0.1; done`)
	if err := p.WaitFor(t.Context(), func() error { return up(p) }); err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(100 * time.Millisecond); err == nil || !strings.Contains(err.Error(), "still running") {
		t.Errorf("Stop = %v", err)
	}
}

func up(p *Process) error {
	if p.Tail() != "up" {
		return errors.New("silent")
	}
	return nil
}

func TestWaitForEndsWithItsContext(t *testing.T) {
	p := start(t, "exec sleep 60")
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := p.WaitReady(ctx, "http://127.0.0.1:1/"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("WaitReady = %v", err)
	}
}

// piped starts a process that writes a line every 10 ms through a pipe.
func piped(t *testing.T) *Process {
	t.Helper()
	p, err := Start(Command{
		Name: "it", LogDir: t.TempDir(), Pipe: true,
		Args: []string{"/bin/sh", "-c", "while echo line; do sleep 0.01; done; exit 1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Kill() })
	if err := p.WaitFor(t.Context(), func() error { return said(p, "line") }); err != nil {
		t.Fatal(err)
	}
	return p
}

func said(p *Process, what string) error {
	if !strings.Contains(p.Tail(), what) {
		return errors.New("silent")
	}
	return nil
}

func TestReaderGoesAway(t *testing.T) {
	p := piped(t)
	p.CloseReader()
	select {
	case <-p.Exited(): // by SIGPIPE
	case <-time.After(5 * time.Second):
		t.Error("the process can still write")
	}
}

func TestReaderStopsReading(t *testing.T) {
	p := piped(t)
	if err := p.StopReading(); err != nil {
		t.Fatal(err)
	}
	const least = 60 << 10 // of the 64 KiB that a pipe holds
	if n, err := unix.IoctlGetInt(int(p.reader.pipe.Fd()), unix.TIOCINQ); err != nil || n < least {
		t.Errorf("%d bytes wait in the pipe (%v), want %d", n, err, least)
	}
	before := logSize(t, p)
	time.Sleep(100 * time.Millisecond)
	if after := logSize(t, p); p.Check() != nil || after != before {
		t.Errorf("the process ended (%v), or its log grew from %d to %d bytes", p.Check(), before, after)
	}
}

func logSize(t *testing.T, p *Process) int64 {
	t.Helper()
	info, err := os.Stat(p.log)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}
