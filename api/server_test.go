package api

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/homing/homing/api/apikey"
)

func testDeps(h *fakeHub) Deps {
	return Deps{Hub: h, Once: newFakeOnce(), Log: slog.New(slog.DiscardHandler), Reg: prometheus.NewRegistry()}
}

func TestServerWithoutKeysRefusesToStart(t *testing.T) {
	_, err := New(defaults(t), testDeps(newFakeHub()))
	if err == nil || !strings.Contains(err.Error(), "homing token key --name backend") {
		t.Errorf("got %v", err)
	}
	cfg := defaults(t)
	cfg.Keys = filepath.Join(t.TempDir(), "missing.yaml")
	if _, err := New(cfg, testDeps(newFakeHub())); err == nil || !strings.Contains(err.Error(), "missing.yaml") {
		t.Errorf("got %v", err)
	}
}

func TestConfigNamesWhatIsWrong(t *testing.T) {
	cfg := defaults(t)
	if err := cfg.Validate(); err != nil {
		t.Fatalf("defaults: %v", err)
	}
	cfg.Listen, cfg.RequestTimeout, cfg.BodyLimit, cfg.KeyRate, cfg.KeyBurst = "", 26*time.Second, 0, -1, -1
	cfg.IdleTimeout, cfg.DrainDelay = 0, -time.Second
	cfg.KeyInFlight, cfg.KeyOpen, cfg.MaxOpen, cfg.KeyConnections, cfg.MaxConnections, cfg.AddressConnections = 0, 0, 0, 0, 0, -1
	cfg.BodyMemory = 4 * batchMemory
	err := cfg.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"api.key-in-flight: 0: want", "api.key-open: 0: want", "api.max-open: 0: want", "api.key-connections: 0: want",
		"api.max-connections: 0: want", "api.address-connections: -1: want",
		`api.listen: "": want`, "api.request-timeout: 26s: want at most 25s", "api.body-limit: 0: want more than 0",
		"api.key-rate: -1: want", "api.key-burst: -1: want", "api.idle-timeout: 0s: want more than 0", "api.drain-delay: -1s: want",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\ndoes not say %q", err, want)
		}
	}
}

func TestConfigIsFlags(t *testing.T) {
	var cli struct {
		API Config `embed:"" prefix:"api-"`
	}
	p, err := kong.New(&cli)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Parse([]string{"--api-listen=127.0.0.1:8080", "--no-api-reuse-port", "--api-key-rate=1.5"}); err != nil {
		t.Fatal(err)
	}
	if c := cli.API; c.Listen != "127.0.0.1:8080" || c.ReusePort || c.KeyRate != 1.5 || c.AllowLoopback {
		t.Errorf("got %+v", c)
	}
}

// start runs a server until the test ends or stop is called.
func start(t *testing.T, cfg Config, h *fakeHub) (s *Server, stop func() error) {
	t.Helper()
	s, err := New(cfg, testDeps(h))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	run := s.Run
	go func() { done <- run(ctx) }()
	stopped := false
	stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-done
	}
	t.Cleanup(func() { _ = stop() })
	return s, stop
}

func get(t *testing.T, url, key string) (int, string) {
	t.Helper()
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+key)
	res, err := tr.RoundTrip(r)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(b)
}

func TestTwoServersShareAnAddress(t *testing.T) {
	cfg := defaults(t)
	cfg.Keys, _ = keyFile(t, nil)
	cfg.Listen = "127.0.0.1:0"
	first, stopFirst := start(t, cfg, newFakeHub())
	cfg.Listen = first.Addr().String()
	_, stopSecond := start(t, cfg, newFakeHub())
	if err := stopFirst(); err != nil {
		t.Fatal(err)
	}
	if status, body := get(t, "http://"+cfg.Listen+"/healthz", ""); status != http.StatusOK {
		t.Errorf("the second does not serve: %d %s", status, body)
	}
	cfg.ReusePort = false
	third, err := New(cfg, testDeps(newFakeHub()))
	if err != nil {
		t.Fatal(err)
	}
	if err := third.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "api.listen: ") {
		t.Errorf("a server that does not share got %v", err)
	}
	if err := stopSecond(); err != nil {
		t.Fatal(err)
	}
}

// TestDrain: a request at hand is answered, readiness is off meanwhile, and
// a batch is told to come back.
func TestDrain(t *testing.T) {
	cfg := defaults(t)
	var key string
	cfg.Keys, key = keyFile(t, nil)
	cfg.Listen, cfg.DrainDelay = "127.0.0.1:0", 100*time.Millisecond
	h := newFakeHub()
	h.block = make(chan struct{})
	s, stop := start(t, cfg, h)
	url := "http://" + s.Addr().String()

	slow := make(chan int, 1)
	go func() {
		status, _ := get(t, url+"/users/ann", key)
		slow <- status
	}()
	for s.gate.share.Working() == 0 {
		time.Sleep(time.Millisecond)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	for !s.probes.draining.Load() {
		time.Sleep(time.Millisecond)
	}
	if status, body := get(t, url+"/readyz", ""); status != http.StatusServiceUnavailable || !strings.Contains(body, "shutting down") {
		t.Errorf("readyz: %d %s", status, body)
	}
	for !s.notifications.closing.Load() {
		time.Sleep(time.Millisecond)
	}
	close(h.block)
	if status := <-slow; status != http.StatusOK {
		t.Errorf("the request at hand got %d", status)
	}
	if err := <-stopped; err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestBatchEndsAtShutdown(t *testing.T) {
	w := newWorld(t)
	w.server.notifications.closing.Store(true)
	lines := w.batch(someone + "\n" + someone + "\n")
	if len(lines) != 1 || parseLine(t, lines[0]).Code != CodeUnavailable || len(w.hub.notifications()) != 0 {
		t.Errorf("got %s", lines)
	}
}

// TestDrainGivesUp cuts off what does not end.
func TestDrainGivesUp(t *testing.T) {
	cfg := defaults(t)
	var key string
	cfg.Keys, key = keyFile(t, nil)
	cfg.Listen, cfg.DrainTimeout = "127.0.0.1:0", 50*time.Millisecond
	h := newFakeHub()
	h.block = make(chan struct{})
	s, stop := start(t, cfg, h)
	done := make(chan int, 1)
	go func() {
		status, _ := get(t, "http://"+s.Addr().String()+"/users/ann", key)
		done <- status
	}()
	for s.gate.share.Working() == 0 {
		time.Sleep(time.Millisecond)
	}
	if err := stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
	if status := <-done; status != 0 {
		t.Errorf("got %d", status)
	}
}

func TestKeysReloadWhileServing(t *testing.T) {
	cfg := defaults(t)
	var key string
	cfg.Keys, key = keyFile(t, nil)
	cfg.Listen, cfg.KeysPoll = "127.0.0.1:0", 10*time.Millisecond
	s, _ := start(t, cfg, newFakeHub())
	url := "http://" + s.Addr().String() + "/users/ann"
	if status, body := get(t, url, key); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	other, spec, err := apikey.Generate("other", apikey.AllScopes())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cfg.Keys, []byte("keys:\n"+spec.YAML()), 0o600); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if status, _ := get(t, url, other); status == http.StatusOK {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the new key never worked")
		}
	}
	if status, _ := get(t, url, key); status != http.StatusUnauthorized {
		t.Errorf("the removed key got %d", status)
	}
}

func TestScopes(t *testing.T) {
	w := newWorld(t)
	routes := []struct {
		method, path, body string
		scope              apikey.Scope
	}{
		{http.MethodPost, "/notify", someone, apikey.ScopeNotify},
		{http.MethodPost, "/notify/batch", someone, apikey.ScopeNotify},
		{http.MethodPost, "/broadcast", `{"data":1}`, apikey.ScopeBroadcast},
		{http.MethodGet, "/users/ann", "", apikey.ScopePresence},
		{http.MethodPost, "/users/query", `{"users":["ann"]}`, apikey.ScopePresence},
		{http.MethodDelete, "/users/ann/connections", "", apikey.ScopeDisconnect},
		{http.MethodPost, "/rooms", `{"id":"r-7","class":"arena"}`, apikey.ScopeRooms},
		{http.MethodGet, "/rooms", "", apikey.ScopeRooms},
		{http.MethodGet, "/rooms/r-7", "", apikey.ScopeRooms},
		{http.MethodDelete, "/rooms/r-7", "", apikey.ScopeRooms},
		{http.MethodPost, "/rooms/r-7/seats", `{"users":["ann"]}`, apikey.ScopeRooms},
		{http.MethodPost, "/rooms/r-7/signal", `{"name":"spawn"}`, apikey.ScopeRooms},
		{http.MethodPost, "/rooms/r-7/finish", `{}`, apikey.ScopeRooms},
		{http.MethodPost, "/rooms/r-7/move", `{}`, apikey.ScopeRooms},
		{http.MethodPost, "/match/tickets", `{"queue":"duel","players":["ann"]}`, apikey.ScopeMatch},
		{http.MethodGet, "/match/tickets/duel:ann", "", apikey.ScopeMatch},
		{http.MethodDelete, "/match/tickets/duel:ann", "", apikey.ScopeMatch},
		{http.MethodPost, "/match/tickets/duel:ann/accept", `{}`, apikey.ScopeMatch},
		{http.MethodGet, "/match/queues", "", apikey.ScopeMatch},
		{http.MethodGet, "/hooks", "", apikey.ScopeHooks},
		{http.MethodPut, "/users/ann/friends", `{"friends":["bob"]}`, apikey.ScopeFriends},
		{http.MethodGet, "/users/ann/friends", "", apikey.ScopeFriends},
		{http.MethodDelete, "/users/ann/friends", "", apikey.ScopeFriends},
	}
	for _, has := range apikey.AllScopes() {
		w := newWorld(t, withKey(func(s *apikey.Spec) { s.Scopes = []apikey.Scope{has} }))
		for _, r := range routes {
			req := w.request(r.method, r.path, r.body)
			if r.path == "/notify/batch" {
				req.Header.Set("Content-Type", "application/x-ndjson")
			}
			out := w.do(req)
			if r.scope == has {
				wantOK(t, out)
			} else {
				wantCode(t, out, CodeScopeMissing)
			}
		}
	}
	for _, header := range []string{"Basic YTpi", "Bearer", "Bearer ", w.key} {
		req := w.request(http.MethodPost, "/notify", someone)
		req.Header.Set("Authorization", header)
		if out := w.do(req); out.status != http.StatusUnauthorized {
			t.Errorf("%q: got %d", header, out.status)
		}
	}
}

func TestLoopbackNeedsNoKey(t *testing.T) {
	w := newWorld(t, withDev())
	wantOK(t, w.post("/notify", someone))
	for host, ok := range map[string]bool{"localhost": true, "LOCALHOST:8080": true, "127.0.0.1:1": true, "[::1]:80": true, "evil.example": false, "10.1.2.3": false, "127.0.0.1.evil.example": false} {
		r := w.request(http.MethodPost, "/notify", someone)
		r.Host = host
		out := w.do(r)
		if ok {
			wantOK(t, out)
		} else {
			wantCode(t, out, CodeKeyMissing)
		}
	}
	w.key = "hk_wrong" // a key that is given is looked at
	wantCode(t, w.post("/notify", someone), CodeKeyUnknown)
	for addr, ok := range map[string]bool{"127.0.0.1:1": true, "[::1]:1": true, "[::ffff:127.0.0.1]:1": true, "192.0.2.1:1": false, "": false} {
		r := &http.Request{RemoteAddr: addr, Host: "localhost"}
		if fromLoopback(r) != ok {
			t.Errorf("from %q: %t", addr, !ok)
		}
	}
}

func TestDevRoutes(t *testing.T) {
	w := newWorld(t, withDev())
	out := w.get("/dev/token?user=ann&service=chess")
	if wantOK(t, out); string(out.body) != "token-of-ann/chess" {
		t.Errorf("got %s", out.body)
	}
	wantCode(t, w.get("/dev/token"), CodeInvalidField)
	wantCode(t, w.get("/dev/token?user=a%20b"), CodeInvalidField)
	wantCode(t, w.get("/dev/token?user=ann&service=CHESS"), CodeInvalidField)
	out = w.get("/dev/config")
	if wantOK(t, out); string(out.body) != `{"front":"ws://127.0.0.1:8081/ws"}` {
		t.Errorf("got %s", out.body)
	}
	out = w.get("/dev/online")
	wantOK(t, out)
	if s := string(out.body); strings.Contains(s, "left-just-now") || strings.Index(s, `"a/b%c"`) > strings.Index(s, `"ann"`) {
		t.Errorf("got %s", s)
	}

	page := w.get("/")
	wantOK(t, page)
	if csp := page.header.Get("Content-Security-Policy"); !strings.Contains(csp, "connect-src 'self' ws://127.0.0.1:8081 http://127.0.0.1:8081;") {
		t.Errorf("policy %q", csp)
	}
	for _, f := range []string{"/demo", "/console/console.js", "/console/console.css", "/console/demo.js", "/console/icon.svg"} {
		wantOK(t, w.get(f))
	}
	if out := w.get("/console/nope"); out.status != http.StatusNotFound {
		t.Errorf("got %d", out.status)
	}
}

func TestDevRoutesAreOnlyForDev(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/", "/demo", "/dev/token?user=ann", "/dev/online", "/dev/config", "/console/console.js", "/v1/dev/config"} {
		wantCode(t, w.send(w.request(http.MethodGet, path, "")), CodeNotFound)
	}
}

func TestHealth(t *testing.T) {
	w := newWorld(t)
	w.key = ""
	for _, path := range []string{"/healthz", "/readyz", "/v1/healthz", "/v1/readyz", "/openapi.yaml"} {
		wantOK(t, w.get(path))
	}
	out := w.send(w.request(http.MethodHead, "/healthz", ""))
	if out.status != http.StatusOK {
		t.Errorf("HEAD: %d", out.status)
	}
}

// TestMetricNames keeps what callers make up out of the labels, and the names
// in the house style.
func TestMetricNames(t *testing.T) {
	w := newWorld(t)
	w.get("/made/up")
	w.get("/v1/made/up")
	w.get("/users/ann")
	w.post("/notify", `{}`)
	problems, err := testutil.GatherAndLint(w.reg)
	if err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
	families, err := w.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var routes []string
	for _, f := range families {
		if f.GetName() != "homing_api_requests_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "route" {
					routes = append(routes, l.GetValue())
				}
			}
		}
	}
	slices.Sort(routes)
	if want := []string{"/notify", "/users/{id}", "none"}; !slices.Equal(routes, want) {
		t.Errorf("routes %v, want %v", routes, want)
	}
	if n := testutil.ToFloat64(w.server.responder.metrics.refused.WithLabelValues(string(CodeInvalidField))); n != 1 {
		t.Errorf("refused %v", n)
	}
}
