package api

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/homing/homing/api/apikey"
	"github.com/homing/homing/hub"
)

// world is a server with everything around it faked. Every request and reply
// that goes through do is checked against openapi.yaml.
type world struct {
	t       *testing.T
	hub     *fakeHub
	once    *fakeOnce
	rooms   *fakeRooms
	maker   *fakeMatchmaker
	board   *fakeHooks
	topics  fakeTopics
	friends *fakeFriends
	nodes   *fakeNodes
	reg     *prometheus.Registry
	log     *bytes.Buffer
	server  *Server
	url     string
	key     string // sent unless empty
	file    string // of keys
	spec    *spec
}

func defaults(tb testing.TB) Config {
	tb.Helper()
	var cfg Config
	if err := kong.ApplyDefaults(&cfg); err != nil {
		tb.Fatal(err)
	}
	return cfg
}

// keyFile writes a file of keys and returns it with the key itself.
func keyFile(tb testing.TB, change func(*apikey.Spec)) (file, key string) {
	tb.Helper()
	key, spec, err := apikey.Generate("backend", apikey.AllScopes())
	if err != nil {
		tb.Fatal(err)
	}
	if change != nil {
		change(&spec)
	}
	file = filepath.Join(tb.TempDir(), "keys.yaml")
	if err := os.WriteFile(file, []byte("keys:\n"+spec.YAML()), 0o600); err != nil {
		tb.Fatal(err)
	}
	return file, key
}

type option func(t *testing.T, cfg *Config, deps *Deps)

func withKey(change func(*apikey.Spec)) option {
	return func(t *testing.T, cfg *Config, _ *Deps) {
		var key string
		cfg.Keys, key = keyFile(t, change)
		t.Setenv("TEST_API_KEY", key)
	}
}

func withDev() option {
	return func(_ *testing.T, cfg *Config, deps *Deps) {
		cfg.AllowLoopback = true
		deps.Dev = &Dev{
			Token: func(u hub.UserID, s hub.Service) (string, error) {
				return "token-of-" + string(u) + "/" + string(s), nil
			},
			FrontURL: "ws://127.0.0.1:8081/ws",
		}
	}
}

func withConfig(change func(*Config)) option {
	return func(_ *testing.T, cfg *Config, _ *Deps) { change(cfg) }
}

// newWorld starts a server; without withDev or withKey it has one key that
// may do everything.
func newWorld(t *testing.T, options ...option) *world {
	t.Helper()
	w := &world{t: t, hub: newFakeHub(), once: newFakeOnce(), rooms: &fakeRooms{}, maker: &fakeMatchmaker{}, board: &fakeHooks{}, friends: &fakeFriends{}, nodes: &fakeNodes{}, reg: prometheus.NewRegistry(), log: new(bytes.Buffer), spec: loadSpec(t)}
	cfg := defaults(t)
	deps := Deps{Hub: w.hub, Once: w.once, Rooms: w.rooms, Topics: &w.topics, Histories: &w.topics, Match: w.maker, Hooks: w.board, Friends: w.friends, Nodes: w.nodes, Log: slog.New(slog.NewTextHandler(&lockedWriter{w: w.log}, nil)), Reg: w.reg}
	for _, o := range options {
		o(t, &cfg, &deps)
	}
	if cfg.Keys == "" && !cfg.AllowLoopback {
		withKey(nil)(t, &cfg, &deps)
	}
	w.key, w.file = os.Getenv("TEST_API_KEY"), cfg.Keys
	var err error
	if w.server, err = New(cfg, deps); err != nil {
		t.Fatal(err)
	}
	w.server.probes.lookout.fresh = 0 // a test sees what it has changed
	hs := httptest.NewUnstartedServer(nil)
	hs.Config = w.server.httpServer()
	hs.Listener = w.server.conns.Listener(hs.Listener)
	hs.Start()
	t.Cleanup(hs.Close)
	w.url = hs.URL
	return w
}

// addKey adds a key that may do everything to the file, and has the server
// read it.
func (w *world) addKey(name string) (key string) {
	w.t.Helper()
	key, spec, err := apikey.Generate(name, apikey.AllScopes())
	if err != nil {
		w.t.Fatal(err)
	}
	f, err := os.OpenFile(w.file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := f.WriteString(spec.YAML()); err != nil {
		w.t.Fatal(err)
	}
	f.Close()
	if err := w.server.gate.keys.Reload(); err != nil {
		w.t.Fatal(err)
	}
	return key
}

// reply is a response that was read whole.
type reply struct {
	status int
	header http.Header
	body   []byte
}

func (r reply) problem(t *testing.T) problem {
	t.Helper()
	var p problem
	if err := json.Unmarshal(r.body, &p); err != nil {
		t.Fatalf("%d %s: %v", r.status, r.body, err)
	}
	return p
}

func (w *world) request(method, path, body string) *http.Request {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if w.key != "" {
		r.Header.Set("Authorization", "Bearer "+w.key)
	}
	return r
}

func (w *world) post(path, body string) reply {
	w.t.Helper()
	return w.do(w.request(http.MethodPost, path, body))
}

func (w *world) get(path string) reply {
	w.t.Helper()
	return w.do(w.request(http.MethodGet, path, ""))
}

// do sends r and checks both ways against openapi.yaml.
func (w *world) do(r *http.Request) reply {
	w.t.Helper()
	var sent []byte
	if r.GetBody != nil {
		b, _ := r.GetBody()
		sent, _ = io.ReadAll(b)
	}
	out := w.send(r)
	w.spec.check(w.t, r, sent, out)
	return out
}

// send sends r without a check, for what the description cannot say.
func (w *world) send(r *http.Request) reply {
	w.t.Helper()
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	res, err := (&http.Client{Transport: tr}).Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return reply{status: res.StatusCode, header: res.Header, body: body}
}

// wantCode fails unless out is a whole problem document of code.
func wantCode(t *testing.T, out reply, code Code) problem {
	t.Helper()
	p := out.problem(t)
	kind := problemKinds[code]
	if p.Code != code || p.Status != out.status || out.status != kind.Status {
		t.Fatalf("got %d %s, want %d %s", out.status, out.body, kind.Status, code)
	}
	if ct := out.header.Get("Content-Type"); ct != "application/problem+json" {
		t.Fatalf("Content-Type %q", ct)
	}
	return p
}

func wantOK(t *testing.T, out reply) {
	t.Helper()
	if out.status != http.StatusOK {
		t.Fatalf("got %d %s, want 200", out.status, out.body)
	}
}
