package app

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/homing/homing/hub/fleet/control"
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

// TestARecordThatEndsSaysSo by a metric, and keeps what it has.
func TestARecordThatEndsSaysSo(t *testing.T) {
	reg := prometheus.NewRegistry()
	c := fleetRunCmd{Record: filepath.Join(t.TempDir(), "record.ndjson"), RecordMax: 200}
	add, closeFile, err := c.record(slog.New(slog.DiscardHandler), reg)
	if err != nil {
		t.Fatal(err)
	}
	ended := func() float64 {
		all, err := reg.Gather()
		if err != nil || len(all) != 1 || all[0].GetName() != "homing_fleet_record_ended" {
			t.Fatalf("metrics: %v, %v", all, err)
		}
		return all[0].GetMetric()[0].GetGauge().GetValue()
	}
	add(&control.Step{Term: 1})
	if ended() != 0 {
		t.Error("ended though there is room")
	}
	for range 5 {
		add(&control.Step{Term: 2})
	}
	if ended() != 1 {
		t.Error("full, and nobody is told")
	}
	if err := closeFile(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(c.Record)
	if lines := strings.Split(strings.TrimSpace(string(text)), "\n"); err != nil || len(text) > 200 || !strings.Contains(lines[0], `"term":1`) {
		t.Errorf("%d bytes, %v: %s", len(text), err, text)
	}
}
