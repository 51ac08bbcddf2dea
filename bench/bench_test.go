package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
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

// TestAbuse has a few attacks made on a small real stack. That others are harmed
// is no failure here: on a machine that does other things latencies say little.
func TestAbuse(t *testing.T) {
	t.Parallel() // it waits for the most part
	o := small(t)
	o.JSON, o.Kinds = true, []string{"pings", "presence", "silent"}
	var stdout, stderr bytes.Buffer
	if err := Run(t.Context(), "abuse", o, &stdout, &stderr); err != nil && !errors.Is(err, errHarmed) {
		t.Fatalf("Run = %v\n%s", err, stderr.String())
	}
	flat := make(map[string]float64)
	if err := json.Unmarshal(stdout.Bytes(), &flat); err != nil {
		t.Fatalf("%v: %s", err, stdout.String())
	}
	if _, ok := flat["refused_in_attacks"]; !ok || flat["refused"] < flat["refused_in_attacks"] {
		t.Errorf("refused: %v", flat)
	}
	want(t, flat, "kinds", "pings_p99_ms", "presence_p99_ms", "silent_p99_ms", "silent_redis_mib")
	if flat["kinds"] != 3 || flat["lost"]+flat["duplicated"]+flat["misdelivered"]+flat["failovers"] != 0 {
		t.Errorf("abuse: %v", flat)
	}
	o.Kinds = []string{"nobody"}
	if err := Run(t.Context(), "abuse", o, &stdout, &stderr); err == nil || !strings.Contains(err.Error(), "--kinds") {
		t.Errorf("an unknown kind: %v", err)
	}
}

// TestStackScenarios measures a small real stack once in every way.
func TestStackScenarios(t *testing.T) {
	t.Parallel() // it waits for the most part
	o := small(t)
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

// TestClients measures each kind of client, and npm's Socket.IO.
func TestClients(t *testing.T) {
	t.Parallel() // it waits for the most part
	o := small(t)
	o.Duration = 500 * time.Millisecond
	flat := runJSON(t, "clients", o)
	for _, kind := range []string{"native", "socketio", "upgraded", "events", "polling", "npm_socketio"} {
		want(t, flat, "front_us_per_delivery_"+kind, "front_us_per_connect_"+kind, "p50_ms_"+kind)
		if _, ok := flat["kib_per_conn_"+kind]; !ok || flat["lost_"+kind] != 0 {
			t.Errorf("%s: %v", kind, flat)
		}
	}
	want(t, flat, "socketio_to_native_per_delivery", "socketio_to_npm_per_connect", "native_single_p50_ms", "polling_foreign_p50_ms")
	if over, ok := flat["polling_foreign_p50_ms_over_native"]; !ok || math.Abs(over-flat["polling_foreign_p50_ms"]+flat["native_single_p50_ms"]) > 0.01 {
		t.Errorf("polling from afar takes %v longer: %v", over, flat)
	}
	if flat["wrong_single_homing"]+flat["wrong_single_foreign"] != 0 {
		t.Errorf("one message at a time: %v", flat)
	}
}

// TestFriends has a few players with friends log in.
func TestFriends(t *testing.T) {
	t.Parallel() // it waits for the most part
	o := small(t)
	o.Logins, o.Friends, o.FriendsOnline = 20, 60, 30
	flat := runJSON(t, "friends", o)
	exact(t, "friends", flat, 4*50*20)
	want(t, flat, "logins", "logins_per_s", "redis_commands_per_login", "login_p50_ms", "login_p99_ms")
	if flat["failed_logins"] != 0 || flat["told_per_login"] != 60 {
		t.Errorf("friends: %v", flat)
	}
	o.FriendsOnline = 301
	var out bytes.Buffer
	if err := Run(t.Context(), "friends", o, &out, &out); err == nil || !strings.Contains(err.Error(), "--friends-online") {
		t.Errorf("more friends online than friends: %v", err)
	}
}

// small are options for a small real stack.
func small(t *testing.T) Options {
	t.Helper()
	o := defaults(t)
	o.Binary = filepath.Join(t.TempDir(), "homing")
	if out, err := exec.Command("go", "build", "-o", o.Binary, "github.com/homing/homing/cmd/homing").CombinedOutput(); err != nil {
		t.Fatalf("build homing: %v\n%s", err, out)
	}
	o.Conns, o.Targets, o.Online, o.Rate, o.Duration, o.Replicas = 300, 40, 20, 50, time.Second, 0
	return o
}

// exact fails unless all that was due arrived, once.
func exact(t *testing.T, name string, flat map[string]float64, expected float64) {
	t.Helper()
	if flat["expected"] != expected || flat["refused"]+flat["lost"]+flat["duplicated"]+flat["misdelivered"] != 0 {
		t.Errorf("%s: %v, want %v expected and nothing else", name, flat, expected)
	}
}

func TestFaultScenarios(t *testing.T) {
	t.Parallel() // it waits for the most part
	o := small(t)
	broadcast := o
	broadcast.Rate = 5
	exact(t, "broadcast", runJSON(t, "broadcast", broadcast), 3*5*300)

	topic := o
	topic.Rate, topic.Duration = 6, 1500*time.Millisecond // 3 rounds of 3 calls to the topic and 3 broadcasts, after 12 calls
	flat := runJSON(t, "topic", topic)
	exact(t, "topic", flat, 30*300)
	want(t, flat, "front_us_per_delivery", "broadcast_us_per_delivery", "limit_us_per_delivery", "joins_per_s", "fresh_joins_per_s", "fresh_join_commands")
	if flat["deliveries"] != 9*300 || flat["join_commands"] > flat["fresh_join_commands"]/2 {
		t.Errorf("topic: %v", flat)
	}

	soak := o
	soak.Duration = 5 * time.Second
	flat = runJSON(t, "soak", soak)
	exact(t, "soak", flat, 7*50*20)
	want(t, flat, "front_mib_start", "front_mib_end", "last_p99_ms")
	// A pool of connections to Redis opens one more when two commands meet; a
	// leak would come with the messages, of which there were thousands.
	const pooled = 8
	if start, end := flat["front_fds_start"], flat["front_fds_end"]; start == 0 || end > start+pooled {
		t.Errorf("soak: the front had %v descriptors and then %v", start, end)
	}

	slow := o
	slow.Apart, slow.Payload, slow.Duration = 20, 60_000, 7*time.Second // fill the outbox, then the close timeout
	flat = runJSON(t, "slow", slow)
	want(t, flat, "expected", "slow_closed", "front_mib_most", "p99_ratio")
	if flat["lost"]+flat["duplicated"]+flat["misdelivered"] != 0 {
		t.Errorf("slow: %v", flat)
	}

	storm := o
	storm.Apart, storm.AdmitRate, storm.Duration = 200, 50, calm+2*time.Second
	flat = runJSON(t, "storm", storm)
	want(t, flat, "back_s", "told_to_wait", "storm_p99_ms")
	if flat["thrown"] != 200 || flat["back"] != 200 || flat["failed_handshakes"]+flat["lost"]+flat["duplicated"] != 0 {
		t.Errorf("storm: %v", flat)
	}
}

func TestComparisons(t *testing.T) {
	t.Parallel() // it waits for the most part
	o := small(t)
	o.Conns, o.MaxRate = 100, 50
	o.HTML = filepath.Join(t.TempDir(), "report.html")
	flat := runJSON(t, "peers", o)
	for _, name := range []string{"homing", "socketio", "centrifuge"} {
		want(t, flat, name+"_connects_per_s", name+"_us_per_delivery", name+"_peak_deliveries_per_s", name+"_p99_ms")
		if flat[name+"_lost"] != 0 {
			t.Errorf("%s lost %v", name, flat[name+"_lost"])
		}
	}
	page, err := os.ReadFile(o.HTML)
	if err != nil || !bytes.Contains(page, []byte("Side by side")) || !bytes.Contains(page, []byte("socket.io")) {
		t.Errorf("the report has no comparison: %d bytes, error %v", len(page), err)
	}

	topics := o
	topics.HTML, topics.Topics = "", true
	flat = runJSON(t, "peers", topics)
	want(t, flat, "homing_us_per_delivery", "socketio_us_per_delivery", "socketio_peak_deliveries_per_s")
	if _, ok := flat["centrifuge_lost"]; ok || flat["homing_lost"]+flat["socketio_lost"] != 0 {
		t.Errorf("peers with topics: %v", flat)
	}

	o.HTML, o.By, o.Steps = "", "shards", []int{1, 2}
	flat = runJSON(t, "growth", o)
	want(t, flat, "shards_1_front_us_per_delivery", "shards_2_front_us_per_delivery", "shards_2_peak_deliveries_per_s")

	o.Scale, o.Phase = 0.002, "connect"
	flat = runJSON(t, "homing-2014", o)
	want(t, flat, "connects_per_s", "worker_max_to_mean", "workers")
	if flat["conns"] != 400 {
		t.Errorf("homing-2014: %v", flat)
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
		"--size: 257":    func(o *Options) { o.Size = 257 },
		"--hz: 61":       func(o *Options) { o.Hz = 61 },
		"--says: 0":      func(o *Options) { o.Says = 0 },
		"--seconds: 0":   func(o *Options) { o.Seconds = 0.01 },
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
