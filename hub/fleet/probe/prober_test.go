package probe

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/homing/homing/hub/fleet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// front plays a node.
type front struct {
	*httptest.Server

	mode      atomic.Pointer[string] // what is the matter with it; see answer
	closes    atomic.Int64           // goodbyes that it read
	connected atomic.Int64
	done      chan struct{}
}

func newFront(t *testing.T, host string, secure bool) *front {
	t.Helper()
	f := &front{done: make(chan struct{})}
	f.set("well")
	f.Server = httptest.NewUnstartedServer(http.HandlerFunc(f.answer))
	ln, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	_ = f.Listener.Close()
	f.Listener = ln
	if secure {
		f.StartTLS()
	} else {
		f.Start()
	}
	t.Cleanup(func() { close(f.done); f.Close() })
	return f
}

func (f *front) set(mode string) { f.mode.Store(&mode) }

func (f *front) node() fleet.Node {
	return fleet.Node{ID: "n", Endpoint: f.Listener.Addr().String()}
}

func (f *front) answer(w http.ResponseWriter, r *http.Request) {
	f.connected.Add(1)
	mode := *f.mode.Load()
	offered := r.Header.Get("Sec-WebSocket-Protocol")
	switch {
	case r.URL.Path != "/ws" || !strings.Contains(offered, "bearer.secret"):
		http.Error(w, "no", http.StatusUnauthorized)
		return
	case mode == "hangs before the handshake":
		<-f.done
		return
	case strings.HasPrefix(mode, "503 "):
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write([]byte(`{"code":"` + strings.TrimPrefix(mode, "503 ") + `","status":503}`))
		return
	}
	up := ws.HTTPUpgrader{Protocol: func(p string) bool { return p == "homing.v1" }}
	conn, _, _, err := up.Upgrade(r, w)
	if err != nil {
		return
	}
	defer conn.Close()
	f.talk(conn, mode)
}

func (f *front) talk(conn net.Conn, mode string) {
	say := func(text string) { _ = wsutil.WriteServerText(conn, []byte(text)) }
	say(`{"t":"hello","user":"homing:probe","ping":25000}`)
	if mode == "hangs after the handshake" {
		<-f.done
		return
	}
	if text, _, err := wsutil.ReadClientData(conn); err != nil || string(text) != echo {
		return
	}
	switch mode {
	case "closes":
		_ = ws.WriteFrame(conn, ws.NewCloseFrame(ws.NewCloseFrameBody(1013, "the hub is not available")))
	case "talks":
		for range 2 * maxMessages {
			say(`{"t":"notification"}`)
		}
		<-f.done
	case "well":
		say(`{"t":"ok","ref":7}`) // somebody else's
		say(`{"t":"ok","ref":"probe"}`)
		if _, _, err := wsutil.ReadClientData(conn); errors.As(err, new(wsutil.ClosedError)) {
			f.closes.Add(1)
		}
	}
}

func testDialer(path string) *dialer {
	return &dialer{path: path, config: &tls.Config{MinVersion: tls.VersionTLS12}, token: func() (string, error) { return "secret", nil }}
}

func TestOutcomes(t *testing.T) {
	f := newFront(t, "127.0.0.1", false)
	for mode, want := range map[string]struct {
		outcome Outcome
		why     string
	}{
		"well":                       {Answered, ""},
		"hangs before the handshake": {Failed, "no answer in time"},
		"hangs after the handshake":  {Failed, "no answer in time"},
		"closes":                     {Failed, "closed with 1013 the hub is not available"},
		"talks":                      {Failed, "64 messages, and no answer"},
		"503 draining":               {TurnedAway, "HTTP 503 draining"},
		"503 crowded":                {TurnedAway, "HTTP 503 crowded"},
		"503 hub_unreachable":        {Failed, "HTTP 503 hub_unreachable"},
	} {
		t.Run(mode, func(t *testing.T) {
			f.set(mode)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			n := f.node()
			if outcome, why := testDialer("/ws").probe(ctx, &n); outcome != want.outcome || !strings.Contains(why, want.why) {
				t.Errorf("%v %q, want %v %q", outcome, why, want.outcome, want.why)
			}
		})
	}
	n := f.node()
	if outcome, why := testDialer("/elsewhere").probe(t.Context(), &n); outcome != Failed || !strings.Contains(why, "HTTP 401") {
		t.Errorf("a token that is refused: %v %q", outcome, why)
	}
	n.Endpoint = "127.0.0.1:1"
	if outcome, why := testDialer("/ws").probe(t.Context(), &n); outcome != Failed || !strings.Contains(why, "refused") {
		t.Errorf("nobody there: %v %q", outcome, why)
	}
	d := testDialer("/ws")
	d.token = func() (string, error) { return "", errors.New("no such file") }
	if outcome, why := d.probe(t.Context(), &n); outcome != Void || !strings.Contains(why, "no such file") {
		t.Errorf("no token: %v %q", outcome, why)
	}
}

func TestGoodbye(t *testing.T) {
	f := newFront(t, "127.0.0.1", false)
	n := f.node()
	if outcome, why := testDialer("/ws").probe(t.Context(), &n); outcome != Answered {
		t.Fatal(outcome, why)
	}
	until(t, "the goodbye", func() bool { return f.closes.Load() == 1 })
}

func TestAddress(t *testing.T) {
	d := testDialer("/ws")
	for endpoint, want := range map[string]string{
		"front.example":     "ws://front.example/ws",
		"127.0.0.1:9000":    "ws://127.0.0.1:9000/ws",
		"[2001:db8::1]:443": "ws://[2001:db8::1]:443/ws",
		"[2001:db8::1]":     "ws://[2001:db8::1]/ws",
		"2001:db8::1":       "ws://[2001:db8::1]/ws",
	} {
		n := fleet.Node{Endpoint: endpoint}
		if got := d.address(&n).String(); got != want {
			t.Errorf("%s: %s, want %s", endpoint, got, want)
		}
		n.Labels = map[string]string{"scheme": "wss"}
		if got := d.address(&n).String(); got != "wss"+strings.TrimPrefix(want, "ws") {
			t.Errorf("%s with TLS: %s", endpoint, got)
		}
	}
}

func TestOverTLSAndIPv6(t *testing.T) {
	f := newFront(t, "::1", true)
	ca := filepath.Join(t.TempDir(), "ca.crt")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.Certificate().Raw})
	if err := os.WriteFile(ca, text, 0o600); err != nil {
		t.Fatal(err)
	}
	c := quick()
	c.TLS = true
	n := f.node()
	try := func(c Config) (Outcome, string) {
		p := prober(t, c, prometheus.NewRegistry())
		return p.dialer.probe(t.Context(), &n)
	}
	if outcome, why := try(c); outcome != Failed || !strings.Contains(why, "certificate") {
		t.Errorf("a certificate that nobody knows: %v %q", outcome, why)
	}
	c.CAFile = ca
	if outcome, why := try(c); outcome != Answered {
		t.Errorf("%v %q", outcome, why)
	}
}

// quick is a configuration of tests.
func quick() Config {
	return Config{Every: 100 * time.Millisecond, Timeout: 500 * time.Millisecond, Failures: 3, Successes: 2, Parallel: 8, Path: "/ws"}
}

func prober(t *testing.T, c Config, reg prometheus.Registerer) *Prober {
	t.Helper()
	p, err := New(c, func() (string, error) { return "secret", nil }, slog.New(slog.DiscardHandler), reg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func run(t *testing.T, p *Prober) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = p.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
}

func state(p *Prober, id string) State {
	marks, _ := p.Marks()
	return marks[id].State
}

func TestProberFollowsANode(t *testing.T) {
	f := newFront(t, "127.0.0.1", false)
	p := prober(t, quick(), prometheus.NewRegistry())
	run(t, p)
	n := f.node()
	p.Watch([]fleet.Node{n})
	is := func(want State) func() bool { return func() bool { return state(p, "n") == want } }
	until(t, "green", is(Green))
	f.set("hangs after the handshake")
	until(t, "red", is(Red))
	marks, _ := p.Marks()
	if why := marks["n"].Why; !strings.Contains(why, "no answer in time at "+n.Endpoint) {
		t.Errorf("why: %q", why)
	}
	f.set("503 draining")
	until(t, "green while it drains", is(Green))
	f.set("well")

	// Another node under the same name is judged anew, and one that is gone not at all.
	other := newFront(t, "127.0.0.1", false)
	p.Watch([]fleet.Node{other.node()})
	until(t, "the other one", func() bool { return other.connected.Load() > 0 && state(p, "n") == Green })
	p.Watch(nil)
	if marks, _ := p.Marks(); len(marks) != 0 {
		t.Errorf("marks of nobody: %v", marks)
	}
	seen := other.connected.Load()
	time.Sleep(300 * time.Millisecond)
	if now := other.connected.Load(); now > seen+1 {
		t.Errorf("%d probes of a node that is not watched", now-seen)
	}
}

func TestProbesAtOnceAreBounded(t *testing.T) {
	f := newFront(t, "127.0.0.1", false)
	f.set("hangs before the handshake")
	c := quick()
	c.Parallel = 2
	reg := prometheus.NewRegistry()
	p := prober(t, c, reg)
	run(t, p)
	var nodes []fleet.Node
	for _, id := range []string{"a", "b", "c", "d", "e", "f"} {
		nodes = append(nodes, fleet.Node{ID: id, Endpoint: f.node().Endpoint})
	}
	p.Watch(nodes)
	until(t, "probes that wait", func() bool { return testutil.ToFloat64(p.met.crowded) >= 4 })
	if n := len(p.slots); n > 2 {
		t.Errorf("%d probes at once", n)
	}
	until(t, "doubt", func() bool { _, doubt := p.Marks(); return doubt })
	for _, n := range nodes {
		if state(p, n.ID) == Red {
			t.Errorf("%s is red, although all fail", n.ID)
		}
	}
}

func TestAProcessThatStoodStillBlamesNobody(t *testing.T) {
	f := newFront(t, "127.0.0.1", false)
	p := prober(t, quick(), prometheus.NewRegistry())
	p.Watch([]fleet.Node{f.node()})
	p.dialer.token = func() (string, error) { // the process stands still
		time.Sleep(p.cfg.Timeout + stoodStill + 50*time.Millisecond)
		return "secret", nil
	}
	if r := p.once(t.Context(), "n"); r.Outcome != Void {
		t.Errorf("%v %q", r.Outcome, r.Why)
	}
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("wait for %s: it does not come", what)
		}
	}
}
