package master

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"golang.org/x/sys/unix"

	"github.com/homing/homing/front"
	"github.com/homing/homing/hub"
)

// envStandings names a directory with a file for each slot whose worker is to
// have another standing than good.
const envStandings = "HOMING_TEST_STANDINGS"

func testStanding(slot int) hub.Standing {
	b, err := os.ReadFile(filepath.Join(os.Getenv(envStandings), strconv.Itoa(slot)))
	if err != nil {
		return hub.StandingGood
	}
	return parseStanding(string(b))
}

// hangOnSignal has the loop of w hang for good at SIGUSR1: only the loop, the
// rest of the process goes on.
func hangOnSignal(w *front.Worker) {
	hang := make(chan os.Signal, 1)
	signal.Notify(hang, unix.SIGUSR1)
	go func() {
		<-hang
		w.Post(func() { select {} })
	}()
}

// quick is a configuration with timeouts that a test can wait for, and that a
// busy machine does not exceed.
func quick(c *Config) {
	c.HeartbeatTimeout, c.HungTimeout, c.DoubtTimeout = 600*time.Millisecond, 3*time.Second, 300*time.Millisecond
}

func (r *rig) in(slot int, c condition) func() bool {
	return func() bool { return r.slots[slot].condition() == c }
}

// joinOnce connects a user and returns the pid of the worker.
func (r *rig) joinOnce() int {
	r.t.Helper()
	conn, hello, err := join(r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	_ = conn.Close()
	_, rest, _ := strings.Cut(hello, `"conn":"pid-`)
	pid, _, _ := strings.Cut(rest, ".")
	n, err := strconv.Atoi(pid)
	if err != nil {
		r.t.Fatalf("hello %q: %v", hello, err)
	}
	return n
}

func TestDefaultsKeepTheDeadlines(t *testing.T) {
	var c Config
	if err := kong.ApplyDefaults(&c); err != nil {
		t.Fatal(err)
	}
	beat := c.HeartbeatTimeout / beatsPerTimeout
	if out := c.HeartbeatTimeout + 2*beat; out > 2*time.Second {
		t.Errorf("a worker that hangs is out of the listeners after up to %v, want 2s", out)
	}
	if killed := c.HungTimeout + beat; killed > 9500*time.Millisecond {
		t.Errorf("a worker that hangs is killed after up to %v: want some time left to replace it within 10s", killed)
	}
	for _, bad := range []func(*Config){
		func(c *Config) { c.HeartbeatTimeout = time.Millisecond },
		func(c *Config) { c.HungTimeout = c.HeartbeatTimeout },
		func(c *Config) { c.DoubtTimeout = 0 },
	} {
		d := c
		bad(&d)
		if d.Validate() == nil {
			t.Errorf("%+v was taken", d)
		}
	}
}

func TestPulseCountsOnlyTicksThatCameInTime(t *testing.T) {
	now := time.Now()
	p := newPulse(600*time.Millisecond, now)
	tick := func(d time.Duration) time.Duration {
		now = now.Add(d)
		p.tick(now)
		return p.silent
	}
	const beat = 100 * time.Millisecond
	if got := tick(beat); got != 0 || !p.owed {
		t.Errorf("silent for %v when the first ping is sent", got)
	}
	p.sent = true
	for range 4 {
		tick(beat)
	}
	if got := tick(2 * beat); got != 6*beat {
		t.Errorf("silent for %v after six intervals, want %v", got, 6*beat)
	}
	if got := tick(time.Hour); got != 0 {
		t.Errorf("silent for %v after the master stood still: want a new start", got)
	}
	if got := tick(beat); got != beat {
		t.Errorf("silent for %v after a new start, want %v", got, beat)
	}
	p.answered()
	if p.owed || p.sent || p.silent != 0 {
		t.Errorf("%+v after an answer", p)
	}
}

// TestHungWorkerLeavesTheListenersAndIsReplaced hangs one of three workers, as a
// whole or its loop alone, while clients connect.
func TestHungWorkerLeavesTheListenersAndIsReplaced(t *testing.T) {
	for name, sig := range map[string]unix.Signal{"process": unix.SIGSTOP, "loop": unix.SIGUSR1} {
		t.Run(name, func(t *testing.T) {
			r := start(t, quick)
			var hung atomic.Int64
			c := r.connect(4, &hung)
			before := r.pids()
			time.Sleep(200 * time.Millisecond)
			sendSignal(t, before[1], sig)
			time.Sleep(10 * time.Millisecond) // until the loop has it
			began := time.Now()
			hung.Store(began.UnixNano())
			c.slowest.Store(0)
			r.wait("the worker to be out", r.slots[1].out.Load)
			out := time.Since(began)
			r.wait("a new worker", func() bool { p := r.pids()[1]; return p != 0 && p != before[1] })
			replaced := time.Since(began)
			time.Sleep(300 * time.Millisecond)
			c.stop()
			t.Logf("out after %v, replaced after %v, %d connects, the slowest %d ms", out, replaced, c.joined.Load(), c.slowest.Load())
			if limit := r.cfg.HeartbeatTimeout * 8 / 6; out > limit+300*time.Millisecond {
				t.Errorf("out of the listeners after %v, want %v", out, limit)
			}
			if limit := r.cfg.HungTimeout + 2*time.Second; replaced > limit {
				t.Errorf("replaced after %v, want %v", replaced, limit)
			}
			if n := c.failed.Load(); n != 0 {
				t.Errorf("%d connects failed", n)
			}
			if limit := out + 500*time.Millisecond; c.slowest.Load() > limit.Milliseconds() {
				t.Errorf("a connect took %d ms, want at most %v", c.slowest.Load(), limit)
			}
			if n := value(t, r.m.hung); n != 1 {
				t.Errorf("%v workers counted as hung, want 1", n)
			}
			if r.slots[1].out.Load() {
				t.Error("the new worker is not in the listeners")
			}
		})
	}
}

func TestWorkerThatWakesIsKept(t *testing.T) {
	r := start(t, quick)
	before := r.pids()
	sendSignal(t, before[2], unix.SIGSTOP)
	r.wait("the worker to be out", r.slots[2].out.Load)
	for range 40 {
		if r.joinOnce() == before[2] {
			t.Fatal("a connect reached the worker that hangs")
		}
	}
	sendSignal(t, before[2], unix.SIGCONT)
	r.wait("the worker to be back", func() bool { return !r.slots[2].out.Load() })
	r.wait("a connect to it", func() bool { return r.joinOnce() == before[2] })
	if after := r.pids(); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("workers %v, before %v: want the same", after, before)
	}
	if n := value(t, r.m.hung); n != 0 {
		t.Errorf("%v workers counted as hung", n)
	}
}

func TestLoneWorkerThatHangsKeepsItsQueueForItsSuccessor(t *testing.T) {
	r := start(t, func(c *Config) { quick(c); c.Workers = 1 })
	before := r.pids()[0]
	sendSignal(t, before, unix.SIGSTOP)
	r.wait("silence", r.in(0, silent))
	pid := r.joinOnce()
	if pid == before {
		t.Fatal("served by the worker that hangs")
	}
	r.wait("the master to know the one that served", func() bool { return r.pids()[0] == pid })
	if r.slots[0].out.Load() {
		t.Error("the only slot was closed")
	}
}

func setStanding(t *testing.T, dir string, slot int, s hub.Standing) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, strconv.Itoa(slot)), []byte(s.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestWorkerInDoubtLeavesTheListenersUntilItIsGood(t *testing.T) {
	dir := t.TempDir()
	t.Setenv(envStandings, dir)
	r := start(t, quick)
	before := r.pids()
	var out atomic.Int64
	out.Store(time.Now().Add(time.Hour).UnixNano()) // what it does to those who come before is not asked here
	c := r.connect(4, &out)
	setStanding(t, dir, 0, hub.StandingDoubt)
	r.wait("the worker to be out", r.slots[0].out.Load)
	time.Sleep(2 * r.cfg.HeartbeatTimeout / beatsPerTimeout) // it was told first
	out.Store(time.Now().UnixNano())
	for range 40 {
		if r.joinOnce() == before[0] {
			t.Fatal("a connect reached the worker in doubt")
		}
	}
	setStanding(t, dir, 0, hub.StandingGood)
	r.wait("the worker to be back", func() bool { return !r.slots[0].out.Load() })
	r.wait("a connect to it", func() bool { return r.joinOnce() == before[0] })
	c.stop()
	if n := c.failed.Load(); n != 0 {
		t.Errorf("%d connects failed of %d", n, n+c.joined.Load())
	}
}

func TestWhenAllAreInDoubtSomebodyListens(t *testing.T) {
	dir := t.TempDir()
	t.Setenv(envStandings, dir)
	r := start(t, quick)
	for slot := range 3 {
		setStanding(t, dir, slot, hub.StandingDoubt)
	}
	r.wait("doubt everywhere", func() bool { return r.Ready() != nil })
	time.Sleep(4 * r.cfg.DoubtTimeout)
	if n := count(r.slots, isOut); n == 3 {
		t.Error("nobody listens")
	}
	if err := r.Ready(); !strings.Contains(err.Error(), "0 of 3 workers serve: worker 0 cannot show") {
		t.Errorf("not ready because %q", err)
	}
	conn, err := net.DialTimeout("tcp", r.addr, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
}

// TestLostWorkerIsSucceededAtOnce has clients on a worker that is taken for
// dead, who do not answer its farewell: the worker lives as long as that takes,
// its successor need not wait.
func TestLostWorkerIsSucceededAtOnce(t *testing.T) {
	dir := t.TempDir()
	t.Setenv(envStandings, dir)
	r := start(t, quick)
	before := r.pids()
	for range 30 {
		conn, _, err := join(r.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	setStanding(t, dir, 1, hub.StandingLost)
	r.wait("no worker", r.in(1, vacant))
	if state := processState(before[1]); state == "" || state == "Z" {
		t.Error("the worker had to end before its slot was known to be vacant")
	}
	if err := os.Remove(filepath.Join(dir, "1")); err != nil {
		t.Fatal(err)
	}
	r.wait("a successor", func() bool { p := r.pids()[1]; return p != 0 && p != before[1] })
	r.wait("the end of the worker", func() bool { return unix.Kill(before[1], 0) != nil })
}

// TestStandstillOfAllIsNotHeldAgainstTheWorkers stops a master and its workers
// for longer than a worker may hang, as a machine that is paused does.
func TestStandstillOfAllIsNotHeldAgainstTheWorkers(t *testing.T) {
	const heartbeat = 600 * time.Millisecond
	m, a, b, _ := otherMaster(t, heartbeat)
	for _, pid := range []int{a, b, m} {
		sendSignal(t, pid, unix.SIGSTOP)
		time.Sleep(2 * heartbeat / beatsPerTimeout) // pings to the workers are under way when the master stops
	}
	time.Sleep(6 * heartbeat)
	// The workers wake a little later than the master.
	for _, pid := range []int{m, a, b} {
		sendSignal(t, pid, unix.SIGCONT)
		time.Sleep(heartbeat / 4)
	}
	time.Sleep(2 * heartbeat)
	for _, pid := range []int{a, b} {
		if state := processState(pid); state == "" || state == "Z" {
			t.Errorf("worker %d was ended: state %q", pid, state)
		}
	}
}

// processState is the state of a process in /proc; empty when there is none.
func processState(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return rest[:1]
}

// sendSignal sends a signal to a worker; pid 0 would be the test's own group.
func sendSignal(t *testing.T, pid int, sig unix.Signal) {
	t.Helper()
	if pid == 0 {
		t.Fatalf("no worker for signal %v", sig)
	}
	if err := unix.Kill(pid, sig); err != nil {
		t.Fatal(err)
	}
}

func TestMetricsDoNotWaitForAWorkerThatHangs(t *testing.T) {
	r := start(t, func(c *Config) { quick(c); c.HungTimeout = time.Minute })
	sendSignal(t, r.pids()[1], unix.SIGSTOP)
	r.wait("silence", r.in(1, silent))
	srv := httptest.NewServer(r.Handler())
	defer srv.Close()
	began := time.Now()
	status, body := get(t, srv.URL+"/metrics")
	if took := time.Since(began); status != http.StatusOK || took > scrapeTimeout/2 {
		t.Errorf("status %d after %v", status, took)
	}
	for _, want := range []string{
		"homing_front_master_unresponsive_workers 1", `homing_front_master_standing_workers{standing="good"} 2`,
		"homing_front_master_hung_total 0", `homing_front_connections{worker="0"}`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no line %q", want)
		}
	}
	if strings.Contains(body, `worker="1"`) {
		t.Error("metrics of the worker that hangs")
	}
	sendSignal(t, r.pids()[1], unix.SIGCONT)
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	defer http.DefaultClient.CloseIdleConnections()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

// TestWorkerWaits: what a worker that starts waits for is said, and does not
// keep it from being taken for late.
func TestWorkerWaits(t *testing.T) {
	name := filepath.Join(t.TempDir(), "wait")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv(envWait, name)
	r := launch(t, func(c *Config) { quick(c); c.Workers, c.ReadyTimeout = 1, 4*time.Second })
	r.wait("what it waits for", func() bool {
		err := r.Ready()
		return err != nil && strings.Contains(err.Error(), "has no worker for ") && strings.HasSuffix(err.Error(), ", the next one waits: for "+name)
	})
	r.wait("the late one's end", func() bool { return testutil.ToFloat64(r.m.deaths) > 0 })
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	r.wait("a worker", func() bool { return r.Ready() == nil })
}

func TestHealthOfTheMaster(t *testing.T) {
	r := start(t, func(c *Config) { quick(c); c.Workers = 1 })
	srv := httptest.NewServer(r.Handler())
	defer srv.Close()
	if status, body := get(t, srv.URL+"/readyz"); status != http.StatusOK || body != `{"status":"ready"}` {
		t.Errorf("ready: %d %s", status, body)
	}
	sendSignal(t, r.pids()[0], unix.SIGSTOP)
	r.wait("silence", r.in(0, silent))
	status, body := get(t, srv.URL+"/readyz")
	if status != http.StatusServiceUnavailable || !strings.Contains(body, `"code":"not_ready","detail":"0 of 1 workers serve: worker 0 does not answer for `) {
		t.Errorf("the only worker hangs: %d %s", status, body)
	}
	if status, _ := get(t, srv.URL+"/healthz"); status != http.StatusOK {
		t.Errorf("health: %d", status)
	}
	for request, want := range map[string]string{
		"HEAD /readyz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n": "HTTP/1.1 503 Service Unavailable",
		"HEAD /healthz HTTP/1.0\r\n\r\n":                                "HTTP/1.0 200 OK",
		"GET /healthz HTTP/1.0\r\n\r\n":                                 "HTTP/1.0 200 OK",
		"POST /healthz HTTP/1.0\r\n\r\n":                                "HTTP/1.0 405 Method Not Allowed",
	} {
		got := raw(t, srv.Listener.Addr().String(), request)
		head, body, _ := strings.Cut(got, "\r\n\r\n")
		if line, _, _ := strings.Cut(head, "\r\n"); line != want {
			t.Errorf("%q: %q, want %q", request, line, want)
		}
		if strings.HasPrefix(request, "HEAD") && body != "" {
			t.Errorf("%q: a body %q", request, body)
		}
	}
}

// raw sends a request as it stands and returns all that comes back.
func raw(t *testing.T, addr, request string) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(bufio.NewReader(conn))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestHangupReplacesAWorkerThatHangs has SIGHUP come while one hangs: it does
// not hear that it is to stop.
func TestHangupReplacesAWorkerThatHangs(t *testing.T) {
	r := start(t, quick)
	before := r.pids()
	sendSignal(t, before[0], unix.SIGSTOP)
	r.wait("silence", r.in(0, silent))
	if err := r.slots[0].renew(context.Background()); err != nil {
		t.Fatal(err)
	}
	if r.slots[0].out.Load() || r.slots[0].condition() != fit {
		t.Errorf("the new worker %v, out %v", r.slots[0].condition(), r.slots[0].out.Load())
	}
	r.wait("the end of the worker that hangs", func() bool { return unix.Kill(before[0], 0) != nil })
}

// TestAWorkerThatIsAwayIsNotReady: a slot between two processes answers as a
// server that is not ready does.
func TestAWorkerThatIsAwayIsNotReady(t *testing.T) {
	m := &Master{slots: []*slot{{}}}
	rec := httptest.NewRecorder()
	m.Handler().ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/workers/0/readyz", nil))
	if rec.Code != http.StatusServiceUnavailable || rec.Header().Get("Content-Type") != "application/problem+json" ||
		!strings.Contains(rec.Body.String(), `"code":"not_ready"`) {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}
