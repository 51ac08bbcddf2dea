package app

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/hook"
	"github.com/homing/homing/hub/hook/webhook"
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

// hooksFile is a file of two endpoints at url: push, which hears of whom
// notifications miss, in batches, and rooms.
func hooksFile(t *testing.T, url, secretFile string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "hooks.yaml")
	text := "endpoints:\n" +
		"  - {name: push, url: '" + url + "/push', secret_file: " + secretFile + ", events: [notification.unreached], batch: 100}\n" +
		"  - {name: rooms, url: '" + url + "/rooms', secret_file: " + secretFile + ", events: [room.*]}\n"
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestHookEndpoints: a notification that is stored for somebody who is away is told
// to the endpoint that asks for it and to no other, also when the server that stored it
// has stopped; any server says how it stands with all endpoints.
func TestHookEndpoints(t *testing.T) {
	told := make(chan string, 10)
	backend := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		told <- r.URL.Path + " " + string(body)
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
	c.Hook.File, c.Hook.Unreached.After = hooksFile(t, backend.URL, hookSecret(t)), time.Second
	for range 2 {
		s.startAPI(t, c)
	}
	s.store(t, "ann", "n1")
	select {
	case got := <-told:
		if !strings.HasPrefix(got, `/push {"events":[{"id":"unr_`) || !strings.HasSuffix(got, `"data":{"notification":{"id":"n1","data":1},"users":["ann"]}}]}`) {
			t.Errorf("told %s", got)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("nobody is told")
	}
	for _, api := range s.apis {
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			got := body(t, api+"/hooks")
			if strings.Contains(got, `"endpoint":"push","state":"sending","senders":2,"lag":{"events":0,"bytes":0,"oldest_ms":0},"last_success":"2`) &&
				strings.Contains(got, `"endpoint":"rooms","state":"sending","senders":2`) {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("GET /hooks says %s", got)
			}
		}
	}
}

// told keeps what a backend is told, by path.
type told struct {
	mu   sync.Mutex
	by   map[string][]string
	gone map[string]bool // paths that answer 410
}

func (x *told) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.gone[r.URL.Path] {
		w.WriteHeader(http.StatusGone)
		return
	}
	x.by[r.URL.Path] = append(x.by[r.URL.Path], strings.Split(string(body), `"`)[3])
}

// has waits until a path was told so many events.
func (x *told) has(t *testing.T, path string, n int) {
	t.Helper()
	waitFor(t, fmt.Sprint(path, " is told ", n), func() bool {
		x.mu.Lock()
		defer x.mu.Unlock()
		return len(x.by[path]) == n
	})
}

// goes has a path answer 410, or not.
func (x *told) goes(path string, gone bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.gone[path] = gone
}

// waitFor waits until ok.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30s: %s", what)
		}
	}
}

// TestHookEndpointsChange: endpoints are added, changed and taken out while servers run,
// and a server that has no file writes for those that there are. A file that cannot be
// used changes nothing and is told of at /readyz; one that was written again has those
// asked that had answered 410.
func TestHookEndpointsChange(t *testing.T) {
	x := &told{by: make(map[string][]string), gone: make(map[string]bool)}
	backend := httptest.NewServer(x)
	defer backend.Close()
	secret, file := hookSecret(t), filepath.Join(t.TempDir(), "hooks.yaml")
	write := func(lines ...string) {
		t.Helper()
		text := "endpoints:\n"
		for _, line := range lines {
			text += "  - {" + strings.NewReplacer("URL", "url: '"+backend.URL, "SECRET", "secret_file: "+secret).Replace(line) + "}\n"
		}
		if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	write("name: a, URL/a', SECRET, events: [room.*]")
	s := &stack{}
	rc := redistest.Config(t, redistest.Server(t))
	s.start(t, rc, 0, "")
	var c apiConfig
	if err := kong.ApplyDefaults(&c); err != nil {
		t.Fatal(err)
	}
	c.Redis, c.API.Listen, c.API.ReusePort, c.API.AllowLoopback, c.Hook.File = rc, "127.0.0.1:0", false, true, file
	s.startAPI(t, c)

	worker := hook.Config{On: true}
	if err := kong.ApplyDefaults(&worker); err != nil {
		t.Fatal(err)
	}
	back, _, _ := s.background(t)
	log := slog.New(slog.DiscardHandler)
	r, err := openRedis(back, rc, log, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	front, _ := newPublisher(back, worker, r, hub.NewKeys(rc.Prefix), log, prometheus.NewRegistry())
	publish := func(kind string) {
		t.Helper()
		if !front.Publish(hook.Event{Type: kind, Subject: "r1"}) {
			t.Fatalf("%s is lost", kind)
		}
	}
	publish("room.created") // perhaps before it knows
	x.has(t, "/a", 1)
	if front.Wants("match.found") {
		t.Error("what nobody wants is wanted")
	}

	write("name: a, URL/a2', SECRET, events: [room.*]", "name: b, URL/b', SECRET, events: ['*']")
	waitFor(t, "another is there", func() bool { return front.Wants("match.found") })
	publish("match.found")
	publish("room.ended")
	x.has(t, "/b", 2)
	x.has(t, "/a2", 1)
	x.has(t, "/a", 1)

	write("name: a, URL/a', SECRET, events: [nonsense*more]")
	waitFor(t, "/readyz says so", func() bool { return strings.Contains(body(t, s.apis[0]+"/readyz"), "nonsense") })
	publish("room.ended")
	x.has(t, "/b", 3)
	x.has(t, "/a2", 2)

	write("name: a, URL/a2', SECRET, events: [room.*]")
	waitFor(t, "one is taken out", func() bool { return !front.Wants("match.found") })
	waitFor(t, "/readyz is content", func() bool { return !strings.Contains(body(t, s.apis[0]+"/readyz"), "nonsense") })
	publish("match.found")
	publish("room.ended")
	x.has(t, "/a2", 3)
	x.has(t, "/b", 3)
	waitFor(t, "GET /hooks names the other alone", func() bool {
		got := body(t, s.apis[0]+"/hooks")
		return strings.Contains(got, `"endpoint":"a","state":"sending"`) && !strings.Contains(got, `"endpoint":"b"`)
	})

	x.goes("/a2", true)
	publish("room.ended")
	waitFor(t, "/readyz says 410", func() bool { return strings.Contains(body(t, s.apis[0]+"/readyz"), "410 Gone") })
	x.goes("/a2", false)
	write("name: a, URL/a2', SECRET, events: [room.*]")
	x.has(t, "/a2", 4)
}

// TestHookListen: it prints what is signed with its secret, tells repeats, and answers
// as it is told.
func TestHookListen(t *testing.T) {
	secret := hookSecret(t)
	post := func(url, id, body string, from string) hook.Answer {
		t.Helper()
		e, err := webhook.New(webhook.Config{URL: url, SecretFile: from, Timeout: 5 * time.Second}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		return e.Post(t.Context(), id, []byte(body))
	}
	url, printed := listen(t, "--secret-file", secret)
	one := `{"type":"room.ended","data":{ "room": "r1" }}`
	for _, step := range []struct {
		id, body, from string
		verdict        hook.Verdict
		want           string
	}{
		{"evt_1", one, secret, hook.Delivered, `verified: room.ended evt_1 {"room":"r1"}`},
		{"evt_1", one, secret, hook.Delivered, `verified, repeat: room.ended evt_1 {"room":"r1"}`},
		{"bat_1", `{"events":[{"id":"evt_2","type":"a","data":1},{"id":"evt_1","type":"b"}]}`, secret, hook.Delivered, "verified: a evt_2 1"},
		{"", "", "", 0, "verified, repeat: b evt_1 null"},
		{"evt_3", one, hookSecret(t), hook.Failed, "REFUSED, verify evt_3: "},
		{"evt_4", "nonsense", secret, hook.Failed, "REFUSED, not JSON"},
	} {
		if step.id != "" {
			if a := post(url, step.id, step.body, step.from); a.Verdict != step.verdict {
				t.Errorf("%s: %+v", step.id, a)
			}
		}
		if line := printed(); !strings.Contains(line, step.want) {
			t.Errorf("%s: printed %q, want %q", step.id, line, step.want)
		}
	}
	url, printed = listen(t, "--status", "410", "--slow", "300ms")
	begun := time.Now()
	if a := post(url, "evt_1", one, secret); a.Verdict != hook.Gone || time.Since(begun) < 300*time.Millisecond {
		t.Errorf("%+v after %v", a, time.Since(begun))
	}
	if line := printed(); !strings.Contains(line, "not checked: room.ended") {
		t.Errorf("printed %q", line)
	}
}

// listen runs homing hook listen until the test ends, and returns where it listens and
// what gives the lines that it prints.
func listen(t *testing.T, args ...string) (url string, line func() string) {
	t.Helper()
	r, w := io.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, append([]string{"hook", "listen", "--listen", "127.0.0.1:0"}, args...), w, io.Discard)
		_ = w.Close()
	}()
	lines := make(chan string, 100)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(r); s.Scan(); {
			lines <- s.Text()
		}
	}()
	t.Cleanup(func() {
		cancel()
		if code := <-ended; code != 0 {
			t.Errorf("homing hook listen: status %d", code)
		}
	})
	line = func() string {
		select {
		case text := <-lines:
			return text
		case <-time.After(20 * time.Second):
			t.Fatal("nothing is printed")
			return ""
		}
	}
	_, url, ok := strings.Cut(line(), "taking events at ")
	if !ok {
		t.Fatal("it does not say where it listens")
	}
	return url, line
}
