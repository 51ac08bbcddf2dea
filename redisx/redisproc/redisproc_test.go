package redisproc_test

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/homing/homing/redisx/redisproc"
)

func short(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestTopology(t *testing.T) {
	t.Parallel()
	start := time.Now()
	top, err := redisproc.StartTopology(short(t), redisproc.TopologyOptions{
		Masters: []redisproc.MasterSpec{{Name: "data", Replicas: 2}, {Name: "pubsub-1", Replicas: 2}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(top.Close)
	t.Logf("started in %s", time.Since(start))
	s, err := top.Current(short(t), "data")
	if err != nil || s != top.Groups[0].Master {
		t.Errorf("current master of data: %v, %v", s, err)
	}
}

// TestPlace starts servers where a hook says, under another command.
func TestPlace(t *testing.T) {
	t.Parallel()
	var names []string
	top, err := redisproc.StartTopology(short(t), redisproc.TopologyOptions{
		Masters: []redisproc.MasterSpec{{Name: "data", Replicas: 1}}, Sentinels: 1,
		Place: func(o *redisproc.ServerOptions) {
			names = append(names, o.Name)
			o.Under = []string{"nice"}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(top.Close)
	if want := []string{"data-0", "data-1", "sentinel-0"}; !slices.Equal(names, want) {
		t.Errorf("placed %v, want %v", names, want)
	}
}

func TestNotInstalled(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := redisproc.StartServer(t.Context(), redisproc.ServerOptions{})
	if !errors.Is(err, redisproc.ErrNotInstalled) {
		t.Errorf("error %v, want ErrNotInstalled", err)
	}
}

func TestPortTaken(t *testing.T) {
	t.Parallel()
	s, err := redisproc.StartServer(short(t), redisproc.ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Kill()
	c := s.Client()
	port := c.Options().Addr
	c.Close()
	_, err = redisproc.StartServer(short(t), redisproc.ServerOptions{Port: portOf(t, port)})
	if err == nil {
		t.Fatal("a second server on the same port started")
	}
	t.Log(err)
}

func TestDetached(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := redisproc.StartServer(short(t), redisproc.ServerOptions{Name: "d", Dir: dir, Detach: true})
	if err != nil {
		t.Fatal(err)
	}
	if names, err := redisproc.Detached(dir); err != nil || len(names) != 1 || names[0] != "d" {
		t.Errorf("detached: %v, %v", names, err)
	}
	if n, err := redisproc.StopDetached(short(t), dir); n != 1 || err != nil {
		t.Errorf("stopped %d, %v", n, err)
	}
	<-s.Exited()
	if _, err := os.Stat(dir + "/d.pid"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the pid file stays: %v", err)
	}
}

func portOf(t *testing.T, addr string) int {
	t.Helper()
	_, p, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(p)
	if err != nil {
		t.Fatal(err)
	}
	return port
}
