package app

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// shout is what a command says on its standard error.
type shout struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (s *shout) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(b)
}

func (s *shout) find(pattern string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return regexp.MustCompile(pattern).FindStringSubmatch(s.buf.String())
}

// await waits until the command has said something, and returns the match and its groups.
func (s *shout) await(t *testing.T, pattern string) []string {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if m := s.find(pattern); m != nil {
			return m
		}
	}
	t.Fatalf("it does not say %q:\n%s", pattern, s.buf.String())
	return nil
}

// TestFleetStart starts three fronts by one command and kills one: another comes. When
// the command ends nothing is left.
func TestFleetStart(t *testing.T) {
	const first = 24101
	apiAddr, dir, said := freeAddr(t), t.TempDir(), &shout{}
	cmd := exec.Command(os.Args[0], "fleet", "start", "--nodes", "3", "--first-port", strconv.Itoa(first), "--api-listen", apiAddr, "--dir", dir)
	cmd.Env = append(os.Environ(), envMain+"=1")
	cmd.Stderr = said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	go func() { _ = cmd.Wait(); close(gone) }()
	stop := sync.OnceFunc(func() {
		_ = cmd.Process.Signal(unix.SIGTERM)
		select {
		case <-gone:
		case <-time.After(time.Minute):
			t.Error("it does not stop")
			_ = cmd.Process.Kill()
			<-gone
		}
	})
	t.Cleanup(stop)

	pids := make(map[string]int)
	for i := range 3 {
		node := fmt.Sprintf("front-%d", i+1)
		pid := said.await(t, `node started" node=`+node+` endpoint=\S+ pid=(\d+)`)[1]
		pids[node], _ = strconv.Atoi(pid)
		said.await(t, `a node is green" node=`+node)
	}
	resp, err := http.Get("http://" + apiAddr + "/readyz")
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("the API: %v, %v", resp, err)
	} else {
		_ = resp.Body.Close()
	}
	if err := unix.Kill(pids["front-2"], unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	said.await(t, `game: lost: front-2 is gone`)
	pid := said.await(t, `node started" node=front-4 endpoint=\S+ pid=(\d+)`)[1]
	pids["front-4"], _ = strconv.Atoi(pid)
	said.await(t, `a node is green" node=front-4`)

	stop()
	for node, pid := range pids {
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err == nil {
			t.Errorf("%s, pid %d, is still there", node, pid)
		}
	}
	if log, err := os.ReadFile(filepath.Join(dir, "front-1.log")); err != nil || !bytes.Contains(log, []byte("draining")) {
		t.Errorf("front-1 did not end in good order: %v\n%s", err, log)
	}
}
