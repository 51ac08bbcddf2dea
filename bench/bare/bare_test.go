package bare

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/homing/homing/bench/bees"
	"github.com/homing/homing/bench/child"
)

// The test binary is its own helper when the variable names one.
const helper = "HOMING_TEST_HELPER"

func TestMain(m *testing.M) {
	serve := map[string]func() error{
		"bee":  func() error { return bees.Serve(context.Background(), os.Stdin, os.Stdout) },
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

func TestFlood(t *testing.T) {
	srv, err := child.Start([]string{os.Args[0]}, []string{helper + "=bare"}, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = srv.Stop() }()
	hive, err := bees.Start([]string{os.Args[0]}, []string{helper + "=bee"}, 1, 200, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = hive.Stop() }()
	var url string
	if err := srv.Call(t.Context(), "listen", nil, &url, nil); err != nil {
		t.Fatal(err)
	}
	load := Load{Plan: bees.Plan{Seed: 1, Conns: 200, Online: 50}, Rate: 40, Duration: 500 * time.Millisecond, Payload: 100}
	if err := srv.Call(t.Context(), "flood", load, nil, nil); err == nil {
		t.Error("no error though nobody is connected")
	}
	if _, err := hive.Connect(t.Context(), bees.Target{Fronts: []string{url}, Conns: 200}, nil); err != nil {
		t.Fatal(err)
	}
	var res Result
	if err := srv.Call(t.Context(), "flood", load, &res, nil); err != nil {
		t.Fatal(err)
	}
	if res.Notifications != 20 || res.Written != 1000 || res.Full != 0 || res.CPU <= 0 || res.Took < 450*time.Millisecond {
		t.Errorf("result = %+v", res)
	}
	time.Sleep(200 * time.Millisecond)
	v, err := hive.Verify(t.Context(), load.Plan, bees.Sent{N: res.Notifications})
	if want := (bees.Verdict{Expected: 1000}); err != nil || v != want {
		t.Errorf("verdict = %+v, %v", v, err)
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
