package master

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/pprof"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/homing/homing/front"
	"github.com/homing/homing/front/auth"
	"github.com/homing/homing/front/epoll"
	"github.com/homing/homing/hub"
)

// TestMain is also the worker's main: the master runs the test binary again.
func TestMain(m *testing.M) {
	if _, ok := WorkerSlot(); ok {
		if err := workerMain(); err != nil {
			fmt.Fprintln(os.Stderr, "worker:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if os.Getenv(envMaster) != "" {
		masterMain()
	}
	goleak.VerifyTestMain(m)
}

// envMaster makes the test binary a master that prints its workers' pids; its
// value is the heartbeat timeout.
const envMaster = "HOMING_TEST_MASTER"

func masterMain() {
	heartbeat, err := time.ParseDuration(os.Getenv(envMaster))
	if err != nil {
		panic(err)
	}
	_ = os.Unsetenv(envMaster)
	cfg := Config{
		Workers: 2, ReadyTimeout: time.Minute, StopTimeout: time.Minute, UnlistenAfter: time.Minute, BackoffMax: time.Minute,
		HeartbeatTimeout: heartbeat, HungTimeout: 4 * heartbeat, DoubtTimeout: time.Minute,
	}
	m, err := New(cfg, []Address{{Addr: "127.0.0.1:0"}}, epoll.Options{}, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		panic(err)
	}
	go func() { _ = m.Run(context.Background()) }()
	for count(m.slots, isServing) < 2 {
		time.Sleep(time.Millisecond)
	}
	fmt.Println((&rig{Master: m}).pids(), m.dir)
	select {}
}

// envFail makes workers of one slot exit at once, while the file it names exists.
const envFail = "HOMING_TEST_FAIL"

// envWait makes workers wait while the file it names exists.
const envWait = "HOMING_TEST_WAIT"

func waitForFile(ctx context.Context, child *Child) {
	name := os.Getenv(envWait)
	if name == "" {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	told := make(chan struct{})
	go func() {
		defer close(told)
		child.Waits(ctx, func() error { return errors.New("for " + name) })
	}()
	for _, err := os.Stat(name); err == nil && ctx.Err() == nil; _, err = os.Stat(name) {
		time.Sleep(10 * time.Millisecond)
	}
	cancel()
	<-told
}

func workerMain() error {
	slot, _ := WorkerSlot()
	if name := os.Getenv(envFail); name != "" {
		if b, err := os.ReadFile(name); err == nil && string(b) == strconv.Itoa(slot) {
			return errors.New("told to fail")
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	child, err := Inherit()
	if err != nil {
		return err
	}
	var cfg front.Config
	if err := kong.ApplyDefaults(&cfg); err != nil {
		return err
	}
	cfg.DrainWindow, cfg.DrainTimeout = 300*time.Millisecond, time.Second
	cfg.TLSCert, cfg.TLSKey = os.Getenv(envCert), os.Getenv(envCert)
	cfg.AdmitRate = 0 // the tests connect as fast as they can, and refuse to be refused
	reg := prometheus.NewRegistry()
	standing := func() hub.Standing { return testStanding(slot) }
	w, err := front.NewWorker(cfg, child.Listeners, front.Deps{
		Process: hub.ProcessID(fmt.Sprint("pid-", os.Getpid())), Auth: anybody{}, Presence: nowhere{}, Standing: standing,
		Log: slog.New(slog.DiscardHandler), Registry: reg, NeedCertificate: child.Succeeds,
	})
	if err != nil {
		return err
	}
	ln, err := child.AdminListener(ctx)
	if err != nil {
		return err
	}
	hangOnSignal(w)
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/inherited", func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprint(rw, child.Process, " ", child.Ended) })
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: time.Second}
	go func() { _ = srv.Serve(ln) }()
	defer srv.Close()
	waitForFile(ctx, child)
	if err := child.Ready(); err != nil {
		return err
	}
	return child.Run(ctx, w)
}

type anybody struct{}

func (anybody) MayWait() bool { return false }

func (a anybody) VerifyNow(token string) (auth.Identity, error) {
	return a.Verify(context.Background(), token)
}

func (anybody) Verify(_ context.Context, token string) (auth.Identity, error) {
	return auth.Identity{User: hub.UserID(token)}, nil
}

type nowhere struct{}

func (nowhere) SetConnections(int) {}
func (nowhere) Set(_ hub.UserID, _ []hub.ServiceCount, done func(error)) {
	if done != nil {
		done(nil)
	}
}

// rig is a running master.
type rig struct {
	*Master
	t    *testing.T
	addr string
	stop func() error
}

func start(t *testing.T, change func(*Config)) *rig {
	t.Helper()
	r := launch(t, change)
	r.wait("all workers", func() bool { return count(r.slots, isServing) == r.cfg.Workers })
	return r
}

// launch starts a master and does not wait for its workers.
func launch(t *testing.T, change func(*Config)) *rig {
	t.Helper()
	var cfg Config
	if err := kong.ApplyDefaults(&cfg); err != nil {
		t.Fatal(err)
	}
	cfg.Workers = 3
	if change != nil {
		change(&cfg)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("HOMING_TEST_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	m, err := New(cfg, []Address{{Addr: "127.0.0.1:0"}}, epoll.Options{}, log, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{Master: m, t: t, addr: m.Addresses()[0].Addr}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	r.stop = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func (r *rig) wait(what string, ok func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("waited 20s for %s", what)
		}
	}
}

// pids returns the process of each slot; 0 where none serves.
func (r *rig) pids() []int {
	var out []int
	for _, s := range r.slots {
		pid := 0
		if c := s.serving.Load(); c != nil {
			pid = c.pid()
		}
		out = append(out, pid)
	}
	return out
}

// joins counts the calls of join.
var joins atomic.Int64

// join connects a user, reads hello, and returns the connection and what hello
// says. It is somebody else's WebSocket client in as few lines as possible.
func join(addr string) (net.Conn, string, error) {
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return nil, "", err
	}
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	user := "ann" + strconv.FormatInt(joins.Add(1), 10) // each of its own: one user may not connect that often
	_, err = io.WriteString(conn, "GET /ws?token="+user+" HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	br := bufio.NewReader(conn)
	var res *http.Response
	if err == nil {
		res, err = http.ReadResponse(br, nil)
	}
	var hello string
	switch {
	case err != nil:
	case res.StatusCode != http.StatusSwitchingProtocols:
		err = fmt.Errorf("status %d", res.StatusCode)
	default:
		hello, err = frame(br)
	}
	if err != nil {
		_ = conn.Close()
		return nil, "", err
	}
	return conn, hello, nil
}

// frame reads one short frame.
func frame(br *bufio.Reader) (string, error) {
	var head [2]byte
	if _, err := io.ReadFull(br, head[:]); err != nil {
		return "", err
	}
	body := make([]byte, head[1])
	_, err := io.ReadFull(br, body)
	return string(body), err
}

// connector joins and leaves all the time and counts.
type connector struct {
	joined, failed atomic.Int64
	slowest        atomic.Int64 // milliseconds that a join took
	stop           func()
}

// A connect that began before killed, in Unix nanoseconds, may fail: what the
// dead worker had accepted already dies with it.
func (r *rig) connect(workers int, killed *atomic.Int64) *connector {
	c := &connector{}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for ctx.Err() == nil {
				began := time.Now()
				conn, _, err := join(r.addr)
				switch {
				case err == nil:
					c.joined.Add(1)
					c.took(time.Since(began))
					_ = conn.Close()
				case began.UnixNano() > killed.Load():
					c.failed.Add(1)
					r.t.Logf("connect: %v", err)
				}
			}
		})
	}
	c.stop = func() { cancel(); wg.Wait() }
	return c
}

func (c *connector) took(d time.Duration) {
	for {
		was := c.slowest.Load()
		if d.Milliseconds() <= was || c.slowest.CompareAndSwap(was, d.Milliseconds()) {
			return
		}
	}
}

func TestWorkersShareThePort(t *testing.T) {
	r := start(t, nil)
	seen := map[string]int{}
	for range 60 {
		conn, hello, err := join(r.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_, rest, _ := strings.Cut(hello, `"conn":"`)
		process, _, _ := strings.Cut(rest, ".")
		seen[process]++
	}
	if len(seen) != 3 {
		t.Errorf("60 connections went to %v, want 3 processes", seen)
	}
	if err := r.Ready(); err != nil {
		t.Error(err)
	}
}

func TestKilledWorkerIsReplacedAndNoLaterConnectFails(t *testing.T) {
	r := start(t, nil)
	var killed atomic.Int64
	c := r.connect(4, &killed)
	before := r.pids()
	time.Sleep(200 * time.Millisecond)
	if err := unix.Kill(before[1], unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	killed.Store(time.Now().UnixNano())
	r.wait("a new worker", func() bool { p := r.pids()[1]; return p != 0 && p != before[1] })
	time.Sleep(200 * time.Millisecond)
	c.stop()
	t.Logf("%d connects", c.joined.Load())
	if n := c.failed.Load(); n != 0 {
		t.Errorf("%d connects failed", n)
	}
	if after := r.pids(); after[0] != before[0] || after[2] != before[2] {
		t.Errorf("workers %v, before %v: want only the second changed", after, before)
	}
}

// TestSuccessorLearnsWhoHasEnded: the master knows that a worker is dead, so
// nobody has to find out.
func TestSuccessorLearnsWhoHasEnded(t *testing.T) {
	r := start(t, nil)
	inherited := func() string {
		rec := httptest.NewRecorder()
		r.Handler().ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/workers/1/inherited", nil))
		return rec.Body.String()
	}
	first, ended, _ := strings.Cut(inherited(), " ")
	if hub.ProcessID(first).Check() != nil || ended != "[]" {
		t.Fatalf("the first worker is %q, after %s; want a process id, after nobody", first, ended)
	}
	before := r.pids()[1]
	if err := unix.Kill(before, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	r.wait("a new worker", func() bool { p := r.pids()[1]; return p != 0 && p != before })
	if next, ended, _ := strings.Cut(inherited(), " "); next == first || ended != "["+first+"]" {
		t.Errorf("its successor is %q, after %s; want another, after it", next, ended)
	}
	if list := r.obituary(time.Now().Add(2 * endedKept)); list != "" {
		t.Errorf("%q are passed on for ever", list)
	}
}

func TestHangupReplacesAllWorkersAndNoConnectFails(t *testing.T) {
	r := start(t, nil)
	conn, _, err := join(r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := r.connect(4, new(atomic.Int64))
	before := r.pids()
	if err := unix.Kill(os.Getpid(), unix.SIGHUP); err != nil {
		t.Fatal(err)
	}
	r.wait("three new workers", func() bool {
		for i, p := range r.pids() {
			if p == 0 || p == before[i] {
				return false
			}
		}
		return true
	})
	msg, err := frame(bufio.NewReader(conn))
	if err != nil || !strings.Contains(msg, "reconnect") {
		t.Errorf("the old connection read %q, error %v; want reconnect", msg, err)
	}
	r.wait("the old workers' end", func() bool {
		for _, p := range before {
			if unix.Kill(p, 0) == nil {
				return false
			}
		}
		return true
	})
	c.stop()
	t.Logf("%d connects", c.joined.Load())
	if n := c.failed.Load(); n != 0 || c.joined.Load() == 0 {
		t.Errorf("%d connects failed of %d", n, n+c.joined.Load())
	}
}

func TestSlotThatCannotStartIsClosedAndItsQueueHandedOver(t *testing.T) {
	name := t.TempDir() + "/fail"
	t.Setenv(envFail, name)
	r := start(t, func(c *Config) { c.UnlistenAfter, c.BackoffMax = 100*time.Millisecond, 500*time.Millisecond })
	if err := os.WriteFile(name, []byte("1"), 0o600); err != nil {
		t.Fatal(err)
	}
	pid := r.pids()[1]
	var killed atomic.Int64
	c := r.connect(8, &killed)
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	killed.Store(time.Now().UnixNano())
	time.Sleep(time.Second)
	seen := c.joined.Load()
	time.Sleep(200 * time.Millisecond)
	if c.joined.Load() == seen {
		t.Error("connects hang while a slot has no worker")
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	r.wait("the slot's worker", func() bool { return r.pids()[1] != 0 })
	time.Sleep(100 * time.Millisecond)
	c.stop()
	if n := c.failed.Load(); n != 0 {
		t.Errorf("%d connects failed of %d", n, n+c.joined.Load())
	}
	if n := value(t, r.m.handed); n == 0 {
		t.Error("no connection was handed over")
	}
	if n := value(t, r.m.lost); n != 0 {
		t.Errorf("%v connections were lost", n)
	}
}

func TestFailedReplacementKeepsTheOldWorkers(t *testing.T) {
	name := t.TempDir() + "/fail"
	t.Setenv(envFail, name)
	r := start(t, nil)
	if err := os.WriteFile(name, []byte("0"), 0o600); err != nil {
		t.Fatal(err)
	}
	before := r.pids()
	if err := r.slots[0].renew(context.Background()); err == nil {
		t.Error("a replacement by a worker that dies was reported as done")
	}
	if after := r.pids(); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("workers %v, before %v", after, before)
	}
}

func TestStopDrainsAndEndsAllWorkers(t *testing.T) {
	r := start(t, nil)
	conn, _, err := join(r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	pids := r.pids()
	began := time.Now()
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("stopped after %v", took)
	}
	if msg, err := frame(bufio.NewReader(conn)); err != nil || !strings.Contains(msg, "reconnect") {
		t.Errorf("read %q, error %v; want reconnect", msg, err)
	}
	for _, p := range pids {
		if unix.Kill(p, 0) == nil {
			t.Errorf("worker %d lives on", p)
		}
	}
	if _, err := net.Dial("tcp", r.addr); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("dial after the stop: %v", err)
	}
}

func TestHungWorkerIsKilledOnStop(t *testing.T) {
	r := start(t, func(c *Config) { c.Workers, c.StopTimeout = 1, 300*time.Millisecond })
	if err := unix.Kill(r.pids()[0], unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("stopped after %v", took)
	}
}

func TestAdminMergesMetricsAndReachesProfiles(t *testing.T) {
	r := start(t, nil)
	srv := httptest.NewServer(r.Handler())
	defer srv.Close()
	get := func(path string) (int, string) {
		res, err := srv.Client().Get(srv.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(body)
	}
	status, body := get("/metrics")
	for _, want := range []string{
		`homing_front_connections{worker="0"} 0`, `homing_front_connections{worker="2"} 0`,
		"homing_front_master_ready_workers 3",
	} {
		if status != 200 || !strings.Contains(body, want) {
			t.Errorf("status %d, no line %q", status, want)
		}
	}
	if status, body := get("/workers/1/debug/pprof/"); status != 200 || !strings.Contains(body, "goroutine") {
		t.Errorf("profiles of worker 1: %d %s", status, body)
	}
	if status, _ := get("/workers/7/metrics"); status != 404 {
		t.Errorf("a slot that does not exist: %d", status)
	}
}

func value(t *testing.T, c prometheus.Counter) float64 {
	t.Helper()
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}

// otherMaster starts a master in a process of its own, and returns its pid, its workers
// and what kills it.
func otherMaster(t *testing.T, heartbeat time.Duration) (master, a, b int, kill func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envMaster+"="+heartbeat.String())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var dir string
	if _, err := fmt.Fscanf(out, "[%d %d] %s\n", &a, &b, &dir); err != nil {
		t.Fatalf("read the pids: %v", err)
	}
	kill = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = os.RemoveAll(dir)
	})
	t.Cleanup(kill)
	return cmd.Process.Pid, a, b, kill
}

func TestWorkersEndWithAKilledMaster(t *testing.T) {
	_, a, b, kill := otherMaster(t, time.Minute)
	kill()
	r := rig{t: t}
	r.wait("the workers' end", func() bool { return unix.Kill(a, 0) != nil && unix.Kill(b, 0) != nil })
}

func TestASecondMasterIsRefusedUntilTheFirstStopsListening(t *testing.T) {
	r := start(t, func(c *Config) { c.Workers = 2 })
	second := func() (*Master, error) {
		return New(r.cfg, []Address{{Addr: r.addr}}, epoll.Options{}, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	}
	_, err := second()
	used, ok := errors.AsType[*epoll.InUseError](err)
	if !ok || used.PID != os.Getpid() || !strings.Contains(err.Error(), "front.listen") || !strings.Contains(err.Error(), r.addr) {
		t.Errorf("a second master on the port: %v", err)
	}
	conn, _, err := join(r.addr) // which the workers of the first master keep while they drain
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	m, err := second()
	if err != nil {
		t.Fatalf("after the first one stopped: %v", err)
	}
	m.close()
}
