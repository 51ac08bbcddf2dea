package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"go.uber.org/goleak"
)

// TestMain lets the test binary be the helper process that Run starts.
func TestMain(m *testing.M) {
	if os.Getenv(helperVar) == "" {
		goleak.VerifyTestMain(m)
		return
	}
	if err := Run(context.Background(), "", Options{}, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func defaults(t *testing.T) Options {
	t.Helper()
	var o Options
	if err := kong.ApplyDefaults(&o); err != nil {
		t.Fatal(err)
	}
	return o
}

// runJSON runs a scenario and returns its flat figures.
func runJSON(t *testing.T, name string, o Options) map[string]float64 {
	t.Helper()
	o.JSON = true
	var stdout, stderr bytes.Buffer
	if err := Run(t.Context(), name, o, &stdout, &stderr); err != nil {
		t.Fatalf("Run = %v\n%s", err, stderr.String())
	}
	flat := make(map[string]float64)
	if err := json.Unmarshal(stdout.Bytes(), &flat); err != nil {
		t.Fatalf("%v: %s", err, stdout.String())
	}
	return flat
}

func want(t *testing.T, flat map[string]float64, names ...string) {
	t.Helper()
	for _, name := range names {
		if v, ok := flat[name]; !ok || v <= 0 {
			t.Errorf("%s = %v (%v), want more than 0: %v", name, v, ok, flat)
		}
	}
}

func TestLimit(t *testing.T) {
	o := defaults(t)
	o.Conns, o.Online, o.Rate, o.Duration = 300, 50, 40, 500*time.Millisecond
	flat := runJSON(t, "limit", o)
	want(t, flat, "limit_us_per_delivery", "deliveries_per_s")
	if flat["deliveries"] != 1000 || flat["expected"] != 1000 || flat["lost"] != 0 {
		t.Errorf("figures = %v", flat)
	}
}

// TestStackScenarios measures a small real stack once in every way.
func TestStackScenarios(t *testing.T) {
	o := defaults(t)
	o.Binary = filepath.Join(t.TempDir(), "homing")
	if out, err := exec.Command("go", "build", "-o", o.Binary, "github.com/homing/homing/cmd/homing").CombinedOutput(); err != nil {
		t.Fatalf("build homing: %v\n%s", err, out)
	}
	o.Conns, o.Targets, o.Online, o.Rate, o.Duration, o.Replicas = 300, 40, 20, 50, time.Second, 0
	notify := runJSON(t, "notify", o)
	want(t, notify, "deliveries_per_s", "front_us_per_delivery", "client_us_per_delivery", "limit_us_per_delivery", "p50_ms", "p99_ms", "p999_ms")
	if notify["expected"] != 3000 || notify["deliveries"] != 1000 || notify["lost"]+notify["duplicated"]+notify["misdelivered"] != 0 {
		t.Errorf("notify: %v", notify)
	}
	o.Rate = 0
	want(t, runJSON(t, "connect", o), "conns", "connects_per_s")
	idle := runJSON(t, "idle", o)
	want(t, idle, "conns", "connects_per_s")
	for _, name := range []string{"kib_per_conn", "idle_cores"} {
		if _, ok := idle[name]; !ok {
			t.Errorf("idle: no %s in %v", name, idle)
		}
	}
}

func TestValidateNamesTheFlag(t *testing.T) {
	if o := defaults(t); o.Validate() != nil {
		t.Fatalf("the defaults: %v", o.Validate())
	}
	for flag, change := range map[string]func(*Options){
		"--conns: -1":    func(o *Options) { o.Conns = -1 },
		"--online: 301":  func(o *Options) { o.Online = 301 },
		"--payload: -1":  func(o *Options) { o.Payload = -1 },
		"--shards: 17":   func(o *Options) { o.Shards = 17 },
		"--rate: -1":     func(o *Options) { o.Rate = -1 },
		"--duration: 1":  func(o *Options) { o.Duration = time.Millisecond },
		"--api: \"http:": func(o *Options) { o.API = "http://x" },
	} {
		o := defaults(t)
		change(&o)
		if err := o.Validate(); err == nil || !strings.HasPrefix(err.Error(), flag) {
			t.Errorf("Validate = %v, want it to begin with %q", err, flag)
		}
	}
	if err := Run(t.Context(), "nonsense", defaults(t), &bytes.Buffer{}, &bytes.Buffer{}); !errors.Is(err, ErrUnknownScenario) {
		t.Errorf("Run = %v", err)
	}
}
