package bare

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/homing/homing/bench/clients"
)

// The test binary is its own helper when the variable names one.
const helper = "HOMING_TEST_HELPER"

func TestMain(m *testing.M) {
	serve := map[string]func() error{
		"bee":  func() error { return clients.Serve(context.Background(), os.Stdin, os.Stdout) },
		"bare": func() error { return Serve(context.Background(), os.Stdin, os.Stdout) },
	}[os.Getenv(helper)]
	if serve == nil {
		goleak.VerifyTestMain(m)
		return
	}
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// startAll starts bare processes and clients for them.
func startAll(t *testing.T, procs, conns int) (*Limit, *clients.Hive) {
	t.Helper()
	limit, err := Start(t.Context(), []string{os.Args[0]}, []string{helper + "=bare"}, procs, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := limit.Stop(); err != nil {
			t.Error(err)
		}
	})
	hive, err := clients.Start([]string{os.Args[0]}, []string{helper + "=bee"}, 2, conns, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := hive.Stop(); err != nil {
			t.Error(err)
		}
	})
	return limit, hive
}

func TestFloodReachesEveryClientOfEveryProcess(t *testing.T) {
	limit, hive := startAll(t, 3, 200)
	if len(limit.URLs()) != 3 || len(limit.PIDs()) != 3 {
		t.Fatalf("%v, %v: want three processes", limit.URLs(), limit.PIDs())
	}
	load := Load{Plan: clients.Plan{Seed: 1, Conns: 200, Online: 50}, Rate: 40, Duration: 500 * time.Millisecond, Payload: 100}
	if _, err := hive.Connect(t.Context(), clients.Target{Fronts: limit.URLs(), Conns: 200}, nil); err != nil {
		t.Fatal(err)
	}
	res, err := limit.Flood(t.Context(), load)
	if err != nil || res.Notifications != 20 || res.Written != 1000 || res.Full != 0 || res.CPU <= 0 || res.Took < 450*time.Millisecond {
		t.Errorf("result = %+v, %v", res, err)
	}
	verify(t, hive, load.Plan, 20)
}

func TestBroadcastReachesAll(t *testing.T) {
	limit, hive := startAll(t, 2, 60)
	if _, err := hive.Connect(t.Context(), clients.Target{Fronts: limit.URLs(), Conns: 60}, nil); err != nil {
		t.Fatal(err)
	}
	plan := clients.Plan{Conns: 60, Online: 60}
	res, err := limit.Flood(t.Context(), Load{Plan: plan, Broadcast: true, Rate: 50, Duration: 200 * time.Millisecond, Payload: 100})
	if err != nil || res.Notifications != 10 || res.Written != 600 {
		t.Errorf("result = %+v, %v", res, err)
	}
	verify(t, hive, plan, 10)
}

// verify waits for what was written and compares it with the plan.
func verify(t *testing.T, hive *clients.Hive, p clients.Plan, sent uint32) {
	t.Helper()
	want := clients.Verdict{Expected: int(sent) * p.Online}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		v, err := hive.Verify(t.Context(), p, clients.Sent{N: sent})
		switch {
		case err != nil:
			t.Fatal(err)
		case v == want:
			return
		case time.Now().After(deadline):
			t.Fatalf("verdict = %+v, want %+v", v, want)
		}
	}
}

func TestFloodCountsWhoIsMissing(t *testing.T) {
	limit, hive := startAll(t, 2, 30)
	if _, err := hive.Connect(t.Context(), clients.Target{Fronts: limit.URLs(), Conns: 30}, nil); err != nil {
		t.Fatal(err)
	}
	_, err := limit.Flood(t.Context(), Load{Plan: clients.Plan{Conns: 37, Online: 5}, Rate: 10, Duration: time.Second, Payload: 100})
	if !errors.Is(err, errMissing) || !strings.Contains(err.Error(), "7 of 37 clients") {
		t.Errorf("error = %v, want one that counts 7 of 37", err)
	}
}

func TestStartReportsAProgramThatIsNoHelper(t *testing.T) {
	if _, err := Start(t.Context(), []string{"/bin/true"}, nil, 2, os.Stderr); err == nil {
		t.Error("no error")
	}
}

func TestRenderIsANotification(t *testing.T) {
	frame := render(time.Now(), 5, 120)
	var m struct{ T, ID, Type string }
	if err := json.Unmarshal(frame[4:], &m); err != nil || m.T != "notify" || len(m.ID) != 26 {
		t.Errorf("%q: %+v, %v", frame, m, err)
	}
	if len(frame) < 190 || len(frame) > 220 {
		t.Errorf("frame of %d bytes, want about 200", len(frame))
	}
}
