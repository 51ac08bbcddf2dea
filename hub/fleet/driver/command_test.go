package driver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/homing/homing/hub/fleet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// journal is a log that tests read.
type journal struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(b)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.String()
}

func (j *journal) logger() *slog.Logger { return slog.New(slog.NewTextHandler(j, nil)) }

var (
	growth  = Order{ID: "7-3", Cluster: "game", Region: "eu", Nodes: 2, Why: "players; `touch /tmp/x` $(id)"}
	removal = Order{ID: "7-4", Cluster: "game", Why: "drained"}
)

func command(t *testing.T, line string, timeout time.Duration) (*Command, *journal) {
	t.Helper()
	j := &journal{}
	return NewCommand(CommandConfig{Line: line, Timeout: timeout}, j.logger()), j
}

func TestCommandGetsTheOrder(t *testing.T) {
	dir := t.TempDir()
	d, log := command(t, `cat > `+dir+`/in; env | grep ^HOMING_ | sort > `+dir+`/env; echo all "well"`, time.Minute)
	node := fleet.Node{ID: "front-3", Endpoint: "[::1]:9000", Labels: map[string]string{"pod": "p-3"}}
	if err := d.Remove(t.Context(), removal, node); err != nil {
		t.Fatal(err)
	}
	var got message
	if err := json.Unmarshal(read(t, dir, "in"), &got); err != nil {
		t.Fatal(err)
	}
	if got.Action != "remove" || got.Order != removal || got.Node.ID != node.ID || got.Node.Labels["pod"] != "p-3" {
		t.Errorf("standard input: %+v", got)
	}
	if err := d.Grow(t.Context(), growth); err != nil {
		t.Fatal(err)
	}
	want := "HOMING_ACTION=grow\nHOMING_CLUSTER=game\nHOMING_NODES=2\nHOMING_ORDER=7-3\nHOMING_REGION=eu\nHOMING_WHY=" + growth.Why + "\n"
	if env := string(read(t, dir, "env")); env != want {
		t.Errorf("environment:\n%s\nwant\n%s", env, want)
	}
	if !strings.Contains(log.String(), "all well") {
		t.Errorf("its output is not logged: %s", log)
	}
}

func TestCommandThatFails(t *testing.T) {
	d, _ := command(t, `echo starting; echo "no quota" >&2; exit 3`, time.Minute)
	err := d.Grow(t.Context(), growth)
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "no quota") {
		t.Errorf("Grow = %v", err)
	}
}

// alive reports whether a process is there and has not ended.
func alive(pid int) bool {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(raw), ") Z ")
}

func pidFrom(t *testing.T, dir, name string) int {
	t.Helper()
	var raw []byte
	until(t, "the pid of "+name, func() bool {
		raw, _ = os.ReadFile(filepath.Join(dir, name))
		return len(raw) > 0 && raw[len(raw)-1] == '\n'
	})
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func TestCommandIsStoppedWithItsGroup(t *testing.T) {
	dir := t.TempDir()
	// The child does not hear SIGTERM, and the shell ends by it.
	d, _ := command(t, `sh -c 'trap "" TERM; echo $$ > `+dir+`/child; while :; do sleep 0.1; done' & wait`, time.Second)
	err := d.Grow(t.Context(), growth)
	if err == nil || !strings.Contains(err.Error(), "stopped after 1s") {
		t.Errorf("Grow = %v", err)
	}
	child := pidFrom(t, dir, "child")
	until(t, "the end of the child", func() bool { return !alive(child) })
}

func TestCommandEndsWithItsContext(t *testing.T) {
	dir := t.TempDir()
	d, _ := command(t, `echo $$ > `+dir+`/pid; exec sleep 60`, time.Minute)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { pidFrom(t, dir, "pid"); cancel() }()
	if err := d.Grow(ctx, growth); !errors.Is(err, context.Canceled) {
		t.Errorf("Grow = %v", err)
	}
	if pid := pidFrom(t, dir, "pid"); alive(pid) {
		t.Errorf("process %d is still there", pid)
	}
}

func TestCommandMayLeaveServersRunning(t *testing.T) {
	dir := t.TempDir()
	d, _ := command(t, `sleep 60 & echo $! > `+dir+`/pid`, time.Minute)
	if err := d.Grow(t.Context(), growth); err != nil {
		t.Errorf("Grow = %v", err)
	}
	pid := pidFrom(t, dir, "pid")
	if !alive(pid) {
		t.Error("what it has started was stopped")
	}
	_ = syscall.Kill(pid, syscall.SIGKILL)
}

func TestCommandOutputIsBounded(t *testing.T) {
	d, log := command(t, `head -c 1000000 /dev/zero | tr '\0' x; echo; yes $(head -c 2000 /dev/zero | tr '\0' y) | head -n 200`, time.Minute)
	if err := d.Grow(t.Context(), growth); err != nil {
		t.Fatal(err)
	}
	if n := len(log.String()); n > 2*maxOutput {
		t.Errorf("%d bytes are logged", n)
	}
	if !strings.Contains(log.String(), "bytes_left_out=") {
		t.Error("what was left out is not told")
	}
}

func TestDryRunTells(t *testing.T) {
	j := &journal{}
	d := DryRun{Log: j.logger()}
	if err := errors.Join(d.Grow(t.Context(), growth), d.Remove(t.Context(), removal, fleet.Node{ID: "front-3"})); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"nodes=2", "node=front-3", "order=7-3"} {
		if !strings.Contains(j.String(), want) {
			t.Errorf("%s is not told: %s", want, j)
		}
	}
}

func read(t *testing.T, dir, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// until waits for a condition.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("wait for %s: it does not come", what)
		}
	}
}
