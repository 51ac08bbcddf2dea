package stack

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if dir := binaryDir; dir != "" {
		_ = os.RemoveAll(dir) // a temporary one
	}
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

var binaryDir string

// built builds the homing binary once for all tests.
var built = sync.OnceValues(func() (string, error) {
	var err error
	if binaryDir, err = os.MkdirTemp("", "homing-test-"); err != nil {
		return "", err
	}
	binary := filepath.Join(binaryDir, "homing")
	if out, err := exec.Command("go", "build", "-o", binary, "github.com/homing/homing/cmd/homing").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build homing: %w\n%s", err, out)
	}
	return binary, nil
})

func build(t *testing.T) string {
	t.Helper()
	binary, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

// TestStackOnPlainRedis starts the smallest stack and stops it.
func TestStackOnPlainRedis(t *testing.T) {
	s, err := Start(t.Context(), Options{Binary: build(t), APIs: 2, Workers: 2})
	if err != nil {
		t.Fatal(err)
	}
	workers, err := s.Front.Workers()
	if err != nil || len(workers) != 2 || len(s.API.URLs()) != 2 || len(s.API.PIDs()) != 2 || len(s.Redis.PIDs()) != 2 {
		t.Errorf("workers %v (%v), APIs %v %v, Redis %v", workers, err, s.API.URLs(), s.API.PIDs(), s.Redis.PIDs())
	}
	front, err := s.Front.PIDs()
	if err != nil || len(front) != 3 || s.Alive() != nil {
		t.Errorf("front %v (%v), %v", front, err, s.Alive())
	}
	for _, name := range s.Redis.masters() {
		if srv, err := s.Redis.Master(t.Context(), name); err != nil || srv.PID() == 0 {
			t.Errorf("master %s: %v", name, err)
		}
	}
	if _, err := s.Redis.Master(t.Context(), "nonsense"); err == nil {
		t.Error("a master of no name was found")
	}
	pids := append(append(front, s.API.PIDs()...), s.Redis.PIDs()...)
	if err := s.Stop(false); err != nil {
		t.Error(err)
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("process %d is still there: %v", pid, err)
		}
	}
	if _, err := os.Stat(s.LogDir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("logs are still there: %v", err)
	}
}

func TestStartSaysWhatTheLogSays(t *testing.T) {
	script := filepath.Join(t.TempDir(), "homing")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho out of order >&2\nexit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := Start(t.Context(), Options{Binary: script})
	if err == nil || !strings.Contains(err.Error(), "api-0 ended before it was ready") || !strings.Contains(err.Error(), "out of order") {
		t.Fatalf("error = %v", err)
	}
}
