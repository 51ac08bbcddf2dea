package drill

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestStandStillEnds(t *testing.T) {
	p := exec.CommandContext(t.Context(), "sleep", "60")
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Process.Kill(); _ = p.Wait() }()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := standStill(ctx, time.Minute, p.Process.Pid); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("standStill = %v", err)
	}
	for end := time.Now().Add(5 * time.Second); state(t, p.Process.Pid) == "T"; {
		if time.Now().After(end) {
			t.Fatal("the process still stands still")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// state is a process's state as ps shows it.
func state(t *testing.T, pid int) string {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(raw), ") ")
	return rest[:1]
}
