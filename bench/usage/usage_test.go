package usage

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"runtime/debug"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestCPUGrowsWithWork(t *testing.T) {
	before, own := cpuOf(t, os.Getpid()), Own()
	for start := time.Now(); time.Since(start) < 200*time.Millisecond; {
	}
	if used := cpuOf(t, os.Getpid()) - before; used < 20*time.Millisecond {
		t.Errorf("200 ms of work counted as %v", used)
	}
	if used := Own() - own; used < 20*time.Millisecond {
		t.Errorf("200 ms of our own work counted as %v", used)
	}
	if _, err := cpu(1 << 22); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("of a process that is not there: %v", err)
	}
}

func cpuOf(t *testing.T, pid int) time.Duration {
	t.Helper()
	used, err := cpu(pid)
	if err != nil {
		t.Fatal(err)
	}
	return used
}

func TestChildren(t *testing.T) {
	cmd := exec.Command("sleep", "10")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	pids, err := Children(os.Getpid())
	if err != nil || !slices.Contains(pids, cmd.Process.Pid) {
		t.Fatalf("Children = %v, %v; want %d among them", pids, err, cmd.Process.Pid)
	}
}

func TestMemory(t *testing.T) {
	debug.FreeOSMemory() // or the block is made of what another test has left
	before, err := Memory(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, 32<<20)
	for i := range block {
		block[i] = byte(i)
	}
	after, err := Memory(os.Getpid())
	if err != nil || after-before < 24<<20 {
		t.Fatalf("32 MiB counted as %d, %v", after-before, err)
	}
	if block[0] != 0 {
		t.Fatal("unreachable")
	}
	slab, sockets, err := KernelMemory()
	if err != nil || slab <= 0 || sockets < 0 {
		t.Fatalf("KernelMemory = %d, %d, %v", slab, sockets, err)
	}
}

func TestHolders(t *testing.T) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if n, err := Listeners(os.Getpid(), ln.Addr().(*net.TCPAddr).Port); err != nil || n != 1 {
		t.Errorf("Listeners = %d, %v", n, err)
	}
	client, err := net.Dial("tcp4", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	got, err := Holders(ln.Addr().(*net.TCPAddr).Port, []int{os.Getpid(), 1 << 30})
	if err != nil || len(got) != 1 || got[client.LocalAddr().String()] != os.Getpid() {
		t.Fatalf("Holders = %v, %v; want %v held by us", got, err, client.LocalAddr())
	}
}

func TestBusyCoresArePossible(t *testing.T) {
	start := time.Now()
	before := Reading{At: start, Machine: Machine{Cores: 2, Busy: time.Minute}}
	for spent, want := range map[time.Duration]float64{-30 * time.Millisecond: 0, 500 * time.Millisecond: 0.5, 2100 * time.Millisecond: 2} {
		after := Reading{At: start.Add(time.Second), Machine: Machine{Cores: 2, Busy: time.Minute + spent}}
		if got := after.Since(before).Busy; got < want-1e-9 || got > want+1e-9 {
			t.Errorf("%v in a second of 2 cores: %v busy, want %v", spent, got, want)
		}
	}
}
