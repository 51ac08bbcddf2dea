package driver

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/homing/homing/hub/fleet"
)

func local(t *testing.T, ports int, script string) (*Local, *journal, string) {
	t.Helper()
	j, dir := &journal{}, t.TempDir()
	d := NewLocal(LocalConfig{
		Command: func(n LocalNode) []string {
			return []string{"/bin/sh", "-c", script, n.Name, n.Endpoint}
		},
		Host: "::1", First: 9000, Ports: ports, LogDir: dir, Grace: 5 * time.Second,
	}, j.logger())
	t.Cleanup(func() { _ = d.Close() })
	return d, j, dir
}

func names(d *Local) (all []string) {
	for name := range d.PIDs() {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

func TestLocalNodes(t *testing.T) {
	d, j, dir := local(t, 3, `echo "$0 at $1"; exec sleep 60`)
	if err := d.Grow(t.Context(), Order{Nodes: 2}); err != nil {
		t.Fatal(err)
	}
	if got := names(d); !slices.Equal(got, []string{"front-1", "front-2"}) {
		t.Fatalf("nodes %v", got)
	}
	until(t, "the log", func() bool { return string(read(t, dir, "front-2.log")) == "front-2 at [::1]:9001\n" })

	pid := d.PIDs()["front-1"]
	if err := d.Remove(t.Context(), removal, fleet.Node{ID: "front-1"}); err != nil {
		t.Fatal(err)
	}
	if alive(pid) {
		t.Error("the node that was removed still runs")
	}
	if err := d.Remove(t.Context(), removal, fleet.Node{ID: "front-1"}); err != nil {
		t.Errorf("once more: %v", err)
	}
	// The port that was used last comes last.
	if err := d.Grow(t.Context(), Order{Nodes: 1}); err != nil {
		t.Fatal(err)
	}
	if got := names(d); !slices.Equal(got, []string{"front-2", "front-3"}) {
		t.Errorf("nodes %v", got)
	}
	err := d.Grow(t.Context(), Order{Nodes: 2})
	if !errors.Is(err, errNoPort) || !strings.Contains(err.Error(), "1 of 2") {
		t.Errorf("more nodes than ports: %v", err)
	}
	if strings.Contains(j.String(), "nobody had asked") {
		t.Errorf("log: %s", j)
	}
}

func TestLocalRestartsNothing(t *testing.T) {
	d, j, dir := local(t, 3, `exec sleep 60`)
	if err := d.Grow(t.Context(), Order{Nodes: 2}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(d.PIDs()["front-2"], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	until(t, "the word of its end", func() bool { return strings.Contains(j.String(), "nobody had asked") })
	if got := names(d); !slices.Equal(got, []string{"front-1"}) {
		t.Errorf("nodes %v", got)
	}
	if !strings.Contains(j.String(), filepath.Join(dir, "front-2.log")) {
		t.Errorf("its log is not named: %s", j)
	}
}

func TestLocalLeavesNoneBehind(t *testing.T) {
	d, _, dir := local(t, 3, `trap "" TERM; echo up; while :; do sleep 0.1; done`)
	d.cfg.Grace = 200 * time.Millisecond
	if err := d.Grow(t.Context(), Order{Nodes: 3}); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		until(t, "its start", func() bool { return string(read(t, dir, fmt.Sprintf("front-%d.log", i+1))) == "up\n" })
	}
	pids := d.PIDs()
	if err := d.Close(); err == nil || !strings.Contains(err.Error(), "front-3 had not ended in time") {
		t.Errorf("Close = %v", err)
	}
	for name, pid := range pids {
		if alive(pid) {
			t.Errorf("%s still runs", name)
		}
	}
	if err := d.Grow(t.Context(), Order{Nodes: 1}); !errors.Is(err, errClosed) {
		t.Errorf("Grow after Close = %v", err)
	}
}
