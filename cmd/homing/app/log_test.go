package app

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"golang.org/x/sys/unix"

	client "github.com/homing/homing/client/go"
	"github.com/homing/homing/front/auth"
	"github.com/homing/homing/hub"
	"github.com/homing/homing/redisx/redisproc"
	"github.com/homing/homing/redisx/redistest"
)

// program is the real thing, two processes and their workers, each server with
// a pipe of the test's for a log.
type program struct {
	t      *testing.T
	redis  *redisproc.Server
	secret []byte
	key    string
	api    *process
	front  *process
	apiURL string
	player string
	admins []string // where metrics are
}

// process is one server and the pipe that is its standard error.
type process struct {
	*exec.Cmd

	log  *os.File // the reader's end
	gone chan struct{}
}

func startProgram(t *testing.T, args ...string) *program {
	t.Helper()
	redis := redistest.Process(t, redisproc.ServerOptions{})
	p := launch(t, "redis://"+redis.Addr(), args...)
	p.redis = redis
	p.waitReady()
	return p
}

// launch starts the program on the Redis at a URL, and does not wait for it.
func launch(t *testing.T, redisURL string, args ...string) *program {
	t.Helper()
	p := &program{t: t, secret: []byte(newSecret())}
	dir := t.TempDir()
	keys, secret := filepath.Join(dir, "keys.yaml"), filepath.Join(dir, "player.secret")
	if err := os.WriteFile(secret, p.secret, 0o600); err != nil {
		t.Fatal(err)
	}
	code, key, stderr := start(t, "token", "key", "--name", "test", "--scopes", "notify,presence", "--file", keys)
	if code != 0 {
		t.Fatal(stderr)
	}
	p.key = strings.TrimSpace(key)
	apiAddr, apiAdmin := freeAddr(t), freeAddr(t)
	frontAddr, frontAdmin := freeAddr(t), freeAddr(t)
	p.apiURL, p.player, p.admins = "http://"+apiAddr, "ws://"+frontAddr+"/ws", []string{apiAdmin, frontAdmin}
	common := append([]string{"--redis-data", redisURL, "--log-level", "debug"}, args...)
	p.api = p.start(append([]string{"api", "--api-listen", apiAddr, "--admin-listen", apiAdmin, "--api-keys", keys}, common...))
	p.front = p.start(append([]string{
		"front", "--workers", "2", "--front-listen", frontAddr, "--admin-listen", frontAdmin,
		"--auth-hs256-secret-file", secret, "--front-drain-window", "0s",
	}, common...))
	return p
}

func freeAddr(t *testing.T) string {
	t.Helper()
	port, err := redisproc.FreePort(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

func (p *program) start(args []string) *process {
	p.t.Helper()
	out, in, err := os.Pipe()
	if err != nil {
		p.t.Fatal(err)
	}
	defer in.Close()
	// As small as it gets: one page.
	if _, err := unix.FcntlInt(in.Fd(), unix.F_SETPIPE_SZ, os.Getpagesize()); err != nil {
		p.t.Fatal(err)
	}
	s := &process{Cmd: exec.Command(os.Args[0], args...), log: out, gone: make(chan struct{})}
	s.Env = append(os.Environ(), envMain+"=1")
	s.Stderr = in
	if err := s.Start(); err != nil {
		p.t.Fatal(err)
	}
	go func() { _ = s.Wait(); close(s.gone) }()
	p.t.Cleanup(func() { p.end(s) })
	return s
}

// end stops a server in good order, whatever has become of its log's reader.
func (p *program) end(s *process) {
	_ = s.Process.Signal(unix.SIGTERM)
	select {
	case <-s.gone:
	case <-time.After(20 * time.Second):
		p.t.Errorf("%s does not stop", s.Args[1])
		_ = s.Process.Kill()
		<-s.gone
	}
	_ = s.log.Close()
}

// alive fails the test when a server has ended.
func (p *program) alive() {
	p.t.Helper()
	for _, s := range []*process{p.api, p.front} {
		select {
		case <-s.gone:
			p.t.Fatalf("%s ended: %v", s.Args[1], s.ProcessState)
		default:
		}
	}
}

func (p *program) waitFor(what string, ok func() bool) {
	p.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			p.t.Fatalf("waited 30s for %s", what)
		}
		p.alive()
	}
}

// waitReady waits until the API server and the front's master are ready.
func (p *program) waitReady() {
	p.t.Helper()
	for _, base := range []string{p.apiURL, "http://" + p.admins[1]} {
		p.waitFor(base+"/readyz", func() bool { return status(p.t.Context(), base+"/readyz") == http.StatusOK })
	}
}

// restartRedis has Redis be away for a moment, with everything in it.
func (p *program) restartRedis() {
	p.t.Helper()
	p.redis.Crash()
	p.waitFor("the API server to notice", func() bool {
		return status(p.t.Context(), p.apiURL+"/readyz") == http.StatusServiceUnavailable
	})
	time.Sleep(time.Second)
	if err := p.redis.Restart(p.t.Context(), ""); err != nil {
		p.t.Fatal(err)
	}
	p.waitReady()
}

// metric returns one metric of the processes behind an admin address.
func (p *program) metric(admin, name string) []*dto.Metric {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, "http://"+admin+"/metrics", http.NoBody)
	if err != nil {
		p.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(res.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return families[name].GetMetric()
}

func labelOf(m *dto.Metric, name string) string {
	for _, l := range m.Label {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

// dropped sums the log lines dropped by all processes, by reason.
func (p *program) dropped() map[string]float64 {
	p.t.Helper()
	sum := make(map[string]float64)
	for i, admin := range p.admins {
		series := p.metric(admin, "homing_log_lines_dropped_total")
		for _, m := range series {
			sum[labelOf(m, "reason")] += m.GetCounter().GetValue()
		}
		if want := []int{5, 15}[i]; len(series) != want { // five reasons; a master and two workers
			p.t.Errorf("%s counts dropped lines in %d series, want %d", admin, len(series), want)
		}
	}
	return sum
}

// workers are when the front's workers started, by slot.
func (p *program) workers() map[string]float64 {
	p.t.Helper()
	out := make(map[string]float64)
	for _, m := range p.metric(p.admins[1], "process_start_time_seconds") {
		if slot := labelOf(m, "worker"); slot != "" {
			out[slot] = math.Round(m.GetGauge().GetValue() * 100)
		}
	}
	return out
}

// watcher is a player who counts.
type watcher struct{ up, down, got atomic.Int64 }

func (p *program) watch(user hub.UserID) *watcher {
	p.t.Helper()
	w := &watcher{}
	token, err := auth.Mint(p.secret, auth.Identity{User: user}, time.Hour)
	if err != nil {
		p.t.Fatal(err)
	}
	c := client.New(client.Options{URL: p.player, Token: client.StaticToken(token)}, client.Handler{
		Up:     func(client.Hello) { w.up.Add(1) },
		Down:   func(error, time.Duration) { w.down.Add(1) },
		Notify: func(client.Notification) { w.got.Add(1) },
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = c.Run(ctx) }()
	p.t.Cleanup(func() { cancel(); <-done })
	p.waitFor("the player", func() bool { return w.up.Load() > 0 })
	return w
}

// reach sends to user until w has heard something more.
func (p *program) reach(user string, w *watcher) {
	p.t.Helper()
	had := w.got.Load()
	p.waitFor("a notification", func() bool {
		req, err := http.NewRequestWithContext(p.t.Context(), http.MethodPost, p.apiURL+"/notify",
			bytes.NewReader(fmt.Appendf(nil, `{"users":[%q],"data":1}`, user)))
		if err != nil {
			p.t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+p.key)
		if res, err := http.DefaultClient.Do(req); err == nil {
			_ = res.Body.Close()
		}
		time.Sleep(50 * time.Millisecond)
		return w.got.Load() > had
	})
}

func TestWorkersOfAFrontAnswerForTheirHealth(t *testing.T) {
	p := startProgram(t)
	for _, path := range []string{"/healthz", "/readyz", "/workers/0/healthz", "/workers/1/readyz"} {
		// The front is ready with its first worker; the other one may be later.
		p.waitFor("200 of "+path, func() bool { return status(t.Context(), "http://"+p.admins[1]+path) == http.StatusOK })
	}
}

// TestALogWithoutAReaderStopsNobody has whoever reads the logs go away.
func TestALogWithoutAReaderStopsNobody(t *testing.T) {
	p := startProgram(t)
	w := p.watch("ann")
	p.reach("ann", w)
	for _, s := range []*process{p.api, p.front} {
		if err := s.log.Close(); err != nil {
			t.Fatal(err)
		}
	}
	p.restartRedis()
	p.reach("ann", w)
	p.alive()
	if n := w.down.Load(); n != 0 {
		t.Errorf("the player lost the connection %d times", n)
	}
	if d := p.dropped(); d["broken"] < 3 || d["full"] != 0 {
		t.Errorf("dropped lines %v: want some of each process, because the reader has gone", d)
	}
}

// TestALogThatNobodyReadsHoldsUpNobody has whoever reads the logs stop, and go
// on much later.
func TestALogThatNobodyReadsHoldsUpNobody(t *testing.T) {
	p := startProgram(t, "--log-queue", "1024")
	w := p.watch("ann")
	p.reach("ann", w)
	p.waitFor("dropped lines", func() bool {
		p.restartRedis()
		return p.dropped()["full"] > 0
	})
	p.reach("ann", w)
	if n := w.down.Load(); n != 0 {
		t.Errorf("the player lost the connection %d times", n)
	}
	before := p.workers()
	if err := p.front.Process.Signal(unix.SIGHUP); err != nil {
		t.Fatal(err)
	}
	p.waitFor("new workers", func() bool {
		after := p.workers()
		return len(after) == 2 && after["0"] != before["0"] && after["1"] != before["1"]
	})
	p.waitFor("the player to be back", func() bool { return w.up.Load() > 1 })
	p.reach("ann", w)

	text := make(chan string, 1)
	go func() {
		b, _ := io.ReadAll(p.front.log)
		text <- string(b)
	}()
	time.Sleep(500 * time.Millisecond)
	p.end(p.front)
	if got := <-text; !strings.Contains(got, `msg="log lines were dropped" lines=`) {
		t.Errorf("whoever reads on is not told that lines are missing: %s", got)
	}
}
