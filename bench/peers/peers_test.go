package peers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEachPeerDelivers(t *testing.T) {
	for _, name := range Names() {
		t.Run(name, func(t *testing.T) { testDelivery(t, start(t, name)) })
	}
}

func start(t *testing.T, name string) *System {
	t.Helper()
	if err := Prepare(t.Context(), name, "", t.Output()); err != nil {
		t.Fatal(err)
	}
	s, err := Start(t.Context(), Options{Name: name, Fronts: 2, Replicas: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(false); err != nil {
			t.Error(err)
		}
	})
	return s
}

// testDelivery connects five users to two fronts, one of them at both, and
// notifies three of these and two who are not there.
func testDelivery(t *testing.T, s *System) {
	fronts := s.Fronts()
	clients := map[string]*client{
		"ann@0": dial(t, s, fronts[0], "ann"), "ann@1": dial(t, s, fronts[1], "ann"),
		"ben@0": dial(t, s, fronts[0], "ben"), "cat@1": dial(t, s, fronts[1], "cat"),
		"dan@0": dial(t, s, fronts[0], "dan"), "eve@1": dial(t, s, fronts[1], "eve"),
	}
	ids := map[string]bool{}
	for n := range 3 {
		ids[post(t, s, []string{"ann", "ben", "cat", "zoe", "yan"}, n)] = true
	}
	last := post(t, s, []string{"ann", "ben", "cat", "dan", "eve"}, 3)
	for at, c := range clients {
		want := 4
		if strings.HasPrefix(at, "dan") || strings.HasPrefix(at, "eve") {
			want = 1
		}
		got := c.readUntil(t, last)
		if len(got) != want {
			t.Errorf("%s got %d messages, want %d: %+v", at, len(got), want, got)
		}
		for i, m := range got {
			if n := 4 - want + i; m.Type != "gift" || m.Data.N != n || (m.ID != last && !ids[m.ID]) {
				t.Errorf("%s, message %d: %+v", at, i, m)
			}
		}
	}
	refused(t, s)
	look(t, s)
}

// post notifies users and returns the notification's id.
func post(t *testing.T, s *System, users []string, n int) string {
	t.Helper()
	status, reply := request(t, s, s.Key(), map[string]any{
		"users": users, "type": "gift", "data": map[string]any{"n": n, "pad": strings.Repeat("x", 100)},
	})
	var accepted struct {
		ID      string `json:"id"`
		Targets int    `json:"targets"`
	}
	if err := json.Unmarshal(reply, &accepted); err != nil || status != http.StatusOK || accepted.Targets != len(users) || len(accepted.ID) != 26 {
		t.Fatalf("HTTP %d %s (%v)", status, reply, err)
	}
	return accepted.ID
}

func request(t *testing.T, s *System, key string, body any) (status int, reply []byte) {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.APIs()[0]+"/notify", bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	req.Close = true
	req.Header.Set("Authorization", "Bearer "+key)
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	reply, err = io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, reply
}

// refused makes sure that nobody comes in with a wrong secret.
func refused(t *testing.T, s *System) {
	users := []string{"ann"}
	if status, reply := request(t, s, "wrong", map[string]any{"users": users, "data": 1}); status != http.StatusUnauthorized {
		t.Errorf("a wrong API key gets HTTP %d %s", status, reply)
	}
	if status, reply := request(t, s, s.Key(), map[string]any{"data": 1}); status != http.StatusBadRequest {
		t.Errorf("a notification for nobody gets HTTP %d %s", status, reply)
	}
	for name, token := range map[string]string{
		"another secret": token(t, "ann", []byte("a secret that is not the server's"), time.Hour),
		"expired":        token(t, "ann", s.Secret(), -time.Hour),
		"nobody's":       token(t, "", s.Secret(), time.Hour),
		"no token":       "nonsense",
	} {
		if c, err := connect(t.Context(), s, s.Fronts()[0], token); err == nil {
			c.conn.Close()
			t.Errorf("a token is accepted: %s", name)
		}
	}
}

// look checks what the system tells of itself.
func look(t *testing.T, s *System) {
	front, err := s.FrontPIDs()
	if err != nil || len(front) != 2 || len(s.APIPIDs()) != 1 || len(s.RedisPIDs()) != 2 {
		t.Errorf("processes: front %v (%v), API %v, Redis %v", front, err, s.APIPIDs(), s.RedisPIDs())
	}
	if err := s.Alive(); err != nil {
		t.Error(err)
	}
	for _, name := range map[string][]string{
		"socketio":   {"node", "redis", "socket.io", "@socket.io/redis-adapter", "ws"},
		"centrifuge": {"go", "redis", "github.com/centrifugal/centrifuge", "github.com/redis/rueidis"},
	}[s.Name()] {
		if s.Versions()[name] == "" {
			t.Errorf("no version of %s in %v", name, s.Versions())
		}
	}
	if len(s.Settings()) < 3 {
		t.Errorf("settings: %q", s.Settings())
	}
}

func token(t *testing.T, user string, secret []byte, valid time.Duration) string {
	t.Helper()
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.RegisteredClaims{
		Subject: user, ExpiresAt: jwt.NewNumericDate(time.Now().Add(valid)),
	}).SignedString(secret)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestNothingIsLeftOfAFailedStart(t *testing.T) {
	dir, logs := t.TempDir(), t.TempDir()
	program := filepath.Join(dir, "centrifuge", "bin", "peer")
	script := "#!/bin/sh\n[ $1 = front ] || exit 1\nwhile :; do sleep 0.1; done\n"
	if err := errors.Join(os.MkdirAll(filepath.Dir(program), 0o700), os.WriteFile(program, []byte(script), 0o700)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	_, err := Start(ctx, Options{Name: "centrifuge", Dir: dir, LogDir: logs})
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "start centrifuge") {
		t.Fatalf("error = %v", err)
	}
	if out := running(t, logs); len(out) > 0 {
		t.Errorf("left running: %v", out)
	}
}

// running lists the processes with path in their command line.
func running(t *testing.T, path string) (found []string) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if text, err := os.ReadFile(f); err == nil && bytes.Contains(text, []byte(path)) {
			found = append(found, fmt.Sprintf("%s: %s", f, bytes.ReplaceAll(text, []byte{0}, []byte(" "))))
		}
	}
	return found
}

func TestPrepareSaysWhatIsMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for _, name := range slices.Concat(Names(), RoomNames()) {
		if err := Prepare(t.Context(), name, "", io.Discard); !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: error = %v", name, err)
		}
	}
	if err := Prepare(t.Context(), "nonsense", "", io.Discard); err == nil || !strings.Contains(err.Error(), "socketio") {
		t.Errorf("error = %v", err)
	}
	if _, err := Start(t.Context(), Options{Name: "nonsense"}); err == nil {
		t.Error("a peer of no name starts")
	}
}

// TestPrepareOnlyWhenNeeded works on a peer whose product is a text.
func TestPrepareOnlyWhenNeeded(t *testing.T) {
	dir := t.TempDir()
	p := peer{name: "it", product: "out", sources: []string{"in*"}, make: []string{"sh", "-c", "cat in* >> out"}}
	in := filepath.Join(dir, "in1")
	for step, want := range []string{"a", "a", "aa"} {
		if step != 1 {
			if err := os.WriteFile(in, []byte("a"), 0o600); err != nil {
				t.Fatal(err)
			}
			later := time.Now().Add(time.Duration(step) * time.Second)
			if err := os.Chtimes(in, later, later); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.prepare(t.Context(), dir, io.Discard); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(dir, "out"))
		if err != nil || string(got) != want {
			t.Errorf("step %d: %q (%v), want %q", step, got, err, want)
		}
	}
	p.make = []string{"sh", "-c", "echo no network >&2; exit 1"}
	p.product = "other"
	if err := p.prepare(t.Context(), dir, io.Discard); err == nil || !strings.Contains(err.Error(), "no network") {
		t.Errorf("error = %v", err)
	}
}

// TestDocumentsNameTheVersions holds what readers are told to what is pinned.
func TestDocumentsNameTheVersions(t *testing.T) {
	pinned := map[string]string{}
	for _, peer := range []string{"socketio", "colyseus"} {
		var manifest struct{ Dependencies, OptionalDependencies map[string]string }
		if err := json.Unmarshal([]byte(read(t, peer+"/package.json")), &manifest); err != nil {
			t.Fatal(err)
		}
		maps.Copy(pinned, manifest.Dependencies)
		maps.Copy(pinned, manifest.OptionalDependencies)
	}
	required := regexp.MustCompile(`(?m)^\t(\S+) (v\S+)$`).FindAllStringSubmatch(read(t, "centrifuge/go.mod"), -1)
	for _, m := range required {
		pinned[m[1]] = m[2]
	}
	if len(pinned) < 14 {
		t.Fatalf("pinned: %v", pinned)
	}
	dependencies, readme := read(t, "../../docs/dependencies.md"), read(t, "README.md")
	for name, version := range pinned {
		if want := "`" + name + "` " + version; !strings.Contains(dependencies, want) {
			t.Errorf("docs/dependencies.md does not say %s", want)
		}
	}
	for _, name := range []string{"socket.io", "@socket.io/redis-adapter", "@socket.io/redis-emitter", "@colyseus/core", "@colyseus/schema", "github.com/centrifugal/centrifuge"} {
		if !strings.Contains(readme, " "+pinned[name]) {
			t.Errorf("README.md does not say %s of %s", pinned[name], name)
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
