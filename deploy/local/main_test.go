package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testLayout does not meet a topology that make up started.
func testLayout(t *testing.T) layout {
	t.Helper()
	l := layout{dir: t.TempDir(), basePort: 21100}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), downTimeout)
		defer cancel()
		if err := down(ctx, l, &bytes.Buffer{}); err != nil {
			t.Error(err)
		}
	})
	return l
}

func kill(t *testing.T, l layout, name string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(l.dir, name+".pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for {
		running, err := l.running()
		if err != nil {
			t.Fatal(err)
		}
		if !running[name] {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestUpRepairsWithoutEmptyMaster(t *testing.T) {
	l := testLayout(t)
	ctx, cancel := context.WithTimeout(t.Context(), upTimeout)
	defer cancel()
	mustUp := func(want string) {
		t.Helper()
		var out bytes.Buffer
		if err := up(ctx, l, &out); err != nil {
			t.Fatalf("up: %v\n%s", err, &out)
		}
		if !strings.Contains(out.String(), want) || strings.Contains(out.String(), "not running") {
			t.Fatalf("up printed, without %q or with what does not run:\n%s", want, &out)
		}
	}
	mustUp("Starting 9 Redis servers")
	mustUp("already running")

	data := l.of("data")
	c := client(data[0].addr)
	defer c.Close()
	if err := c.Set(ctx, "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	// A replica fresh from its sync is fed up to a second late.
	if n, err := c.Wait(ctx, replicas, 5*time.Second).Result(); err != nil || n != replicas {
		t.Fatalf("%d replicas have k: %v", n, err)
	}
	kill(t, l, "data-0")
	kill(t, l, "sentinel-2")
	mustUp("Starting data-0")

	if isMaster(ctx, data[0].addr) {
		t.Error("the killed master came back as a master")
	}
	addr, ok := l.ask(ctx, "data")
	if !ok || addr == data[0].addr {
		t.Fatalf("Sentinel names %q as the master", addr)
	}
	now := client(addr)
	defer now.Close()
	if v, err := now.Get(ctx, "k").Result(); err != nil || v != "v" {
		t.Errorf("after the failover k is %q, %v", v, err)
	}
}

func TestDownWithoutUp(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), []string{"down"}, t.TempDir(), &out); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); got != "Stopped 0 processes\n" {
		t.Errorf("down printed %q", got)
	}
}

// TestUsage: what cannot be is refused before anything is started.
func TestUsage(t *testing.T) {
	for _, args := range [][]string{nil, {"sideways"}, {"up", "down"}, {"up", "0"}} {
		dir := t.TempDir()
		if err := run(t.Context(), args, dir, &bytes.Buffer{}); err == nil {
			t.Errorf("%q: no error", args)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("%q: something was begun: %v, %v", args, left, err)
		}
	}
}
