package app

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// snippets returns the README's code below a heading, by its language.
func snippets(t *testing.T, heading string) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("README.md has no section %q", heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	out := map[string]string{}
	for _, m := range regexp.MustCompile("(?s)```([a-z]+)\n(.*?)```").FindAllStringSubmatch(section, -1) {
		out[m[1]] = m[2]
	}
	return out
}

// TestReadmeSends runs what the README tells callers to type, against an API
// server that asks for its key, and hears it as the player.
func TestReadmeSends(t *testing.T) {
	s, key := stackWithKey(t)
	heard := s.hear(t, "alice")

	found := snippets(t, "Send from your backend")
	for _, c := range []struct {
		language, file string
		command        []string
		gift           string
	}{
		{"sh", "send.sh", []string{"sh", "-e"}, "sword"},
		{"python", "send.py", []string{"python3"}, "bow"},
		{"js", "send.mjs", []string{"node"}, "axe"},
		{"go", "send.go", []string{"go", "run"}, "shield"},
	} {
		file := filepath.Join(t.TempDir(), c.file)
		text := strings.ReplaceAll(found[c.language], "http://127.0.0.1:8080", s.apis[0])
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		cmd := exec.CommandContext(ctx, c.command[0], append(c.command[1:], file)...)
		cmd.Env = append(os.Environ(), "API_KEY="+key, "no_proxy=127.0.0.1", "NO_PROXY=127.0.0.1")
		out, err := cmd.CombinedOutput()
		cancel()
		if err != nil {
			t.Errorf("%s: %v (tools/setup installs what it needs)\n%s", c.language, err, out)
			continue
		}
		if got := heard(); got != c.gift {
			t.Errorf("%s: alice heard of %q, want %q", c.language, got, c.gift)
		}
	}
}

// hear connects a player; the function returned waits for the next gift.
func (s *stack) hear(t *testing.T, user string) (next func() string) {
	t.Helper()
	code, token, stderr := start(t, "token", "player", user, "--secret-file", writeSecret(t, s.secret))
	if code != 0 {
		t.Fatal(stderr)
	}
	conn, buffered, _, err := ws.Dialer{Protocols: []string{"homing.v1", "bearer." + strings.TrimSpace(token)}}.Dial(t.Context(), s.fronts[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	from := io.Reader(conn)
	if buffered != nil { // hello came with the handshake's reply
		from = buffered
	}
	stream := struct {
		io.Reader
		io.Writer
	}{from, conn}
	read := func() (m struct {
		T    string
		Data struct{ Gift string }
	},
	) {
		t.Helper()
		if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		text, err := wsutil.ReadServerText(stream)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	if m := read(); m.T != "hello" {
		t.Fatalf("%+v, want hello", m)
	}
	return func() string { return read().Data.Gift }
}

func writeSecret(t *testing.T, secret []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "player.secret")
	if err := os.WriteFile(file, secret, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
