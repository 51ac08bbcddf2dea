package app

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"github.com/homing/homing/redisx/redistest"
)

// wantsTwo are rules of a fleet that has nobody yet.
const wantsTwo = `
clusters:
- cluster: game
  min_ready: 2
  max: 4
  node: {players: 100}
  start_up: 1m
  trend: -1s
`

// TestFleetRunTellsAChat: what a controller decides, and what came of it, is read in a
// chat that an API server knows of.
func TestFleetRunTellsAChat(t *testing.T) {
	said := make(chan string, 100)
	chat := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		said <- string(text)
	}))
	defer chat.Close()
	s := &stack{}
	rc := redistest.Config(t, redistest.Server(t))
	s.start(t, rc, 0, "")
	var c apiConfig
	if err := kong.ApplyDefaults(&c); err != nil {
		t.Fatal(err)
	}
	c.Redis, c.API.Listen, c.API.ReusePort, c.API.AllowLoopback = rc, "127.0.0.1:0", false, true
	c.Hook.Endpoint.URL, c.Hook.Endpoint.Format, c.Hook.Events = chat.URL, "slack", []string{"fleet.decision"}
	s.startAPI(t, c)

	rules := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(rules, []byte(wantsTwo), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var out, errs bytes.Buffer
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{
			"fleet", "run", rules, "--redis-data", rc.Data[0], "--redis-prefix", rc.Prefix, "--admin-listen", freeAddr(t),
			"--hooks", "--driver-command", "echo no quota; exit 3",
		}, &out, &errs)
	}()
	var all strings.Builder
	for end := time.After(time.Minute); !strings.Contains(all.String(), "no quota"); {
		select {
		case text := <-said:
			all.WriteString(text)
		case code := <-ended:
			cancel()
			t.Fatalf("it ended with status %d: %s", code, errs.String())
		case <-end:
			cancel()
			t.Fatalf("the chat was told %q; the controller ended with status %d: %s", all.String(), <-ended, errs.String())
		}
	}
	cancel()
	if code := <-ended; code != 0 {
		t.Errorf("status %d: %s", code, errs.String())
	}
	for _, want := range []string{"leads", "game: start 2: ", "of command: failed"} {
		if !strings.Contains(all.String(), want) {
			t.Errorf("the chat was not told %q: %s", want, all.String())
		}
	}
}
