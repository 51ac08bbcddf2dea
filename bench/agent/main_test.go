package agent

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/homing/homing/bench/bare"
	"github.com/homing/homing/bench/clients"
)

// The test binary is its own helper, or an agent, when the variable names one.
const helperVar = "HOMING_TEST_HELPER"

var secret = bytes.Repeat([]byte("s"), MinSecret)

func TestMain(m *testing.M) {
	serve := map[string]func() error{
		"bee":      func() error { return clients.Serve(context.Background(), os.Stdin, os.Stdout) },
		"bare":     func() error { return bare.Serve(context.Background(), os.Stdin, os.Stdout) },
		"deaf":     func() error { time.Sleep(time.Hour); return nil },
		"agent":    serveAgent,
		"ordering": orderAndHang,
	}[os.Getenv(helperVar)]
	if serve == nil {
		goleak.VerifyTestMain(m)
		return
	}
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func options(most int) Options {
	roles := make(map[string]Helper)
	for _, role := range []string{"bee", "deaf"} {
		roles[role] = Helper{Argv: []string{os.Args[0]}, Env: []string{helperVar + "=" + role}}
	}
	return Options{Secret: secret, MaxProcesses: most, Helpers: roles, Stderr: os.Stderr}
}

// serveAgent is an agent process: it prints its address.
func serveAgent() error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(ln.Addr())
	return Serve(context.Background(), ln, options(0), slog.New(slog.DiscardHandler))
}

// orderAndHang is a coordinator process: it says when it has its helper.
func orderAndHang() error {
	if _, err := Dial(context.Background(), os.Args[1], secret, "deaf"); err != nil {
		return err
	}
	fmt.Println("ordered")
	time.Sleep(time.Hour)
	return nil
}

// log is a log that a test can read while it is written.
type log struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// await waits until the log has a line with all the words n times.
func (l *log) await(t *testing.T, n int, words string) {
	t.Helper()
	var text string
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		l.mu.Lock()
		text = l.text.String()
		l.mu.Unlock()
		if strings.Count(text, words) >= n {
			return
		}
	}
	t.Fatalf("%q not logged %d times:\n%s", words, n, text)
}

// startAgent runs an agent in this process until the test ends or end is called.
func startAgent(t *testing.T, opts Options) (string, *log, func()) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &log{}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, ln, opts, slog.New(slog.NewTextHandler(l, nil))) }()
	end := sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
	t.Cleanup(end)
	return ln.Addr().String(), l, end
}

// startProcess runs the test binary in a role and returns its first line.
func startProcess(t *testing.T, role string, args ...string) (p *exec.Cmd, line string) {
	t.Helper()
	p = exec.Command(os.Args[0], args...)
	p.Env = append(os.Environ(), helperVar+"="+role)
	p.Stderr = os.Stderr
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.Process.Kill()
		_ = p.Wait()
	})
	if _, err := fmt.Fscanln(out, &line); err != nil {
		t.Fatal(err)
	}
	return p, line
}
