package app

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/hook"
	"github.com/homing/homing/redisx/redistest"
)

// TestHooks: what a front worker and an API server publish reaches the backend,
// what was published before a stop is not lost, and a backend that is gone is told
// of at /readyz.
func TestHooks(t *testing.T) {
	var gone atomic.Bool
	types := make(chan string, 10)
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if gone.Load() {
			w.WriteHeader(http.StatusGone)
			return
		}
		body, _ := io.ReadAll(r.Body)
		types <- strings.Split(string(body), `"`)[3]
	}))
	defer backend.Close()
	s := &stack{}
	rc := redistest.Config(t, redistest.Server(t))
	s.start(t, rc, 0, "")
	var c apiConfig
	if err := kong.ApplyDefaults(&c); err != nil {
		t.Fatal(err)
	}
	c.Redis, c.API.Listen, c.API.ReusePort, c.API.AllowLoopback = rc, "127.0.0.1:0", false, true
	c.Hook.Endpoint.URL, c.Hook.Endpoint.SecretFile = backend.URL, hookSecret(t)
	s.startAPI(t, c)

	next := func(want string) {
		t.Helper()
		select {
		case got := <-types:
			if got != want {
				t.Errorf("the backend is told %s, want %s", got, want)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("the backend is not told %s", want)
		}
	}
	worker := hook.Config{On: true}
	if err := kong.ApplyDefaults(&worker); err != nil {
		t.Fatal(err)
	}
	back, _, _ := s.background(t)
	log, reg := slog.New(slog.DiscardHandler), prometheus.NewRegistry()
	r, err := openRedis(back, rc, log, reg)
	if err != nil {
		t.Fatal(err)
	}
	h, err := newHooks(back, hookConfig{Publisher: worker}, r, hub.NewKeys(rc.Prefix), log, reg)
	if err != nil {
		t.Fatal(err)
	}
	h.publisher.Publish(hook.Event{Type: "room.created", Subject: "r1"})
	h.flush(log)
	next("room.created")

	gone.Store(true)
	h.publisher.Publish(hook.Event{Type: "room.ended", Subject: "r1"})
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(body(t, s.apis[0]+"/readyz"), "410 Gone"); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("/readyz says %s", body(t, s.apis[0]+"/readyz"))
		}
	}
}

// hookSecret is a file with a secret that homing hook secret made.
func hookSecret(t *testing.T) string {
	t.Helper()
	code, secret, stderr := start(t, "hook", "secret")
	if code != 0 || !strings.HasPrefix(secret, "whsec_") {
		t.Fatalf("homing hook secret: status %d, %q, %s", code, secret, stderr)
	}
	name := filepath.Join(t.TempDir(), "hook.secret")
	if err := os.WriteFile(name, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func body(t *testing.T, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	return string(b)
}
