package drill

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alecthomas/kong"
	"go.uber.org/goleak"

	"github.com/homing/homing/bench/ledger"
	client "github.com/homing/homing/client/go"
	"github.com/homing/homing/hub"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func defaults(t *testing.T) Options {
	t.Helper()
	var o Options
	if err := kong.ApplyDefaults(&o); err != nil {
		t.Fatal(err)
	}
	return o
}

// TestStack is the drill itself, short: real Redis, real Sentinels, real
// processes of the homing binary. One goes after the other: each is a machine's work.
func TestStack(t *testing.T) {
	binary := buildHoming(t)
	for _, name := range []string{"steady", "pubsub-hang"} {
		t.Run(name, func(t *testing.T) {
			r := drillOnce(t, binary, name)
			if r.Accepted < 1000 || r.Written != r.Accepted || r.Ghosts == nil || *r.Ghosts != 0 {
				t.Errorf("%+v", r)
			}
		})
	}
	t.Run("presence-kill-worker", func(t *testing.T) {
		r := drillOnce(t, binary, "presence-kill-worker")
		if r.Accepted < 1000 || r.Written != r.Accepted || r.Notifications < 1000 {
			t.Errorf("%+v", r)
		}
	})
	t.Run("topic-kill-worker", func(t *testing.T) {
		r := drillOnce(t, binary, "topic-kill-worker")
		if r.Accepted < 1000 || r.Written != r.Accepted || r.Owed == 0 || r.Stored == 0 || r.Topics == nil || r.Topics.Thrown == 0 || r.Topics.Published == 0 {
			t.Errorf("%+v, %+v", r, r.Topics)
		}
	})
}

// TestPollingOwnerKill is the drill of clients that poll, short.
func TestPollingOwnerKill(t *testing.T) {
	r := drillOnce(t, buildHoming(t), "polling-owner-kill")
	if r.Accepted < 1000 || r.Written != r.Accepted || r.Stored == 0 || r.Polls == nil || r.Polls.Owned == 0 || r.Polls.Unknown == 0 || r.Polls.Told == nil {
		t.Errorf("%+v, %+v", r, r.Polls)
	}
}

func buildHoming(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "homing")
	if out, err := exec.Command("go", "build", "-o", binary, "github.com/homing/homing/cmd/homing").CombinedOutput(); err != nil {
		t.Fatalf("build homing: %v\n%s", err, out)
	}
	return binary
}

// drillOnce runs one scenario and returns its result from the JSON.
func drillOnce(t *testing.T, binary, name string) Result {
	t.Helper()
	o := defaults(t)
	o.Scenarios, o.JSON, o.Binary, o.LogDir = []string{name}, true, binary, t.TempDir()
	o.Conns, o.Rate, o.After = 400, 60, 3*time.Second
	var stdout, stderr bytes.Buffer
	runErr := Run(t.Context(), o, &stdout, &stderr)
	var out struct{ Results []Result }
	if err := json.Unmarshal(stdout.Bytes(), &out); err != nil || len(out.Results) != 1 {
		t.Fatalf("%v: %v: %s\n%s", runErr, err, stdout.String(), stderr.String())
	}
	if runErr != nil {
		t.Errorf("Run = %v: %s\n%s", runErr, strings.Join(out.Results[0].Broke, "; "), stderr.String())
	}
	return out.Results[0]
}

func TestChoose(t *testing.T) {
	all, err := choose(nil)
	if err != nil || len(all) != len(Names()) {
		t.Errorf("choose(nil) = %d scenarios, %v", len(all), err)
	}
	sorted := slices.Sorted(slices.Values(Names()))
	if len(slices.Compact(sorted)) != len(Names()) || Names()[0] != "steady" {
		t.Errorf("Names = %v", Names())
	}
	field, _ := reflect.TypeFor[Options]().FieldByName("Scenarios")
	if help := field.Tag.Get("help"); !strings.HasPrefix(help, "Scenarios to run: "+strings.Join(Names(), ", ")+";") {
		t.Errorf("the help does not list the scenarios: %s", help)
	}
	two, err := choose([]string{"data-failover", "steady"})
	if err != nil || len(two) != 2 || two[0].name != "data-failover" {
		t.Errorf("choose = %v, %v", two, err)
	}
	o := defaults(t)
	o.Scenarios = []string{"nonsense"}
	if err := o.Validate(); !errors.Is(err, ErrUnknownScenario) {
		t.Errorf("Validate = %v", err)
	}
	if err := Run(t.Context(), o, &bytes.Buffer{}, &bytes.Buffer{}); !errors.Is(err, ErrUnknownScenario) {
		t.Errorf("Run = %v", err)
	}
}

func TestValidateNamesTheFlag(t *testing.T) {
	if o := defaults(t); o.Validate() != nil {
		t.Fatalf("the defaults: %v", o.Validate())
	}
	for flag, change := range map[string]func(*Options){
		"--conns: 5":   func(o *Options) { o.Conns = 5 },
		"--rate: -1":   func(o *Options) { o.Rate = -1 },
		"--after: 0s":  func(o *Options) { o.After = 0 },
		"--rate: 1e+0": func(o *Options) { o.Rate = 1e6 },
	} {
		o := defaults(t)
		change(&o)
		if err := o.Validate(); err == nil || !strings.HasPrefix(err.Error(), flag) {
			t.Errorf("Validate = %v, want it to begin with %q", err, flag)
		}
	}
}

func TestResultIsBrokenByEachFault(t *testing.T) {
	for name, e := range map[string]ledger.Entry{
		"lost":         {Lost: 1},
		"duplicated":   {Duplicated: 1},
		"reordered":    {Reordered: 1},
		"misdelivered": {Misdelivered: 1},
		"told wrong":   {ToldWrong: 1},

		"stored and lost":        {StoredLost: 1},
		"stored and reordered":   {StoredReordered: 1},
		"recovered, and was not": {RecoveredWrong: 1},
		"recovered, it did not":  {RecoveredNeedless: 1},
	} {
		var r Result
		r.settle(e, time.Time{})
		if r.Promise != Broken {
			t.Errorf("%s: promise %s", name, r.Promise)
		}
	}
	var r Result
	if r.settle(ledger.Entry{Accepted: 5, Written: 5}, time.Time{}); r.Promise != Kept {
		t.Errorf("clean: promise %s", r.Promise)
	}
	r.breaks("a check failed")
	if r.settle(ledger.Entry{}, time.Time{}); r.Promise != Broken {
		t.Errorf("a check failed: promise %s", r.Promise)
	}
}

func TestReport(t *testing.T) {
	now := time.Now()
	r := &Result{Scenario: "x", FailedConnects: 2, Books: "off by 3: sent 4", IDRefusedMS: 77, ComeAndGo: &ComeAndGo{Players: 60}}
	r.settle(ledger.Entry{Refused: 3, Accepted: 10, Written: 9, Lost: 1, ToldOffline: 1, Stored: 8, StoredLost: 4, ToldWrong: 5, Excused: 6, LostFrom: now.Add(time.Second), LostLast: now.Add(2 * time.Second), LongestGap: 1500 * time.Millisecond}, now)
	var buf bytes.Buffer
	if err := report([]*Result{r}, true, &buf); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"results":[{"scenario":"x","skipped":false`, `"lost":1`, `"longest_gap_ms":1500`, `"lost_from_ms":1000`, `"failed_connects":2`, `"promise":"broken"`,
		`"stored":8,"stored_lost":4,"told_wrong":5,"excused":6,"books":"off by 3: sent 4"`, `"id_refused_ms":77`, `"come_and_go":{"players":60,`,
	} {
		if !strings.Contains(buf.String(), want) {
			t.Errorf("%s is not in %s", want, buf.String())
		}
	}
	buf.Reset()
	if err := report([]*Result{r, {Scenario: "y", Skipped: true}}, false, &buf); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"off by 3", "6 lost where that is documented, and told", "with an id one was refused for 77 ms", "1 of the lost told as offline", "1500 ms", "broken", "skipped", "x: 3 notifications refused", "lost from 1000 ms after the fault; until 2000 ms"} {
		if !strings.Contains(buf.String(), want) {
			t.Errorf("%q is not in\n%s", want, buf.String())
		}
	}
}

func TestFleetMix(t *testing.T) {
	f := newFleet(&ledger.Book{}, &entrance{}, 1500)
	count := map[hub.UserID]int{}
	for _, d := range f.devices {
		count[d.user]++
	}
	var most int
	for _, n := range count {
		most = max(most, n)
	}
	if len(f.users()) != len(count) || len(f.devices) < 1500 || len(f.devices) > 1502 || most != 3 || len(count) > 1100 {
		t.Errorf("%d devices of %d users, at most %d each", len(f.devices), len(count), most)
	}
}

func TestSlowDevicesStopReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(&ledger.Book{}, &entrance{}, 40)
		if f.slow() < 2 {
			t.Fatalf("%d slow devices", f.slow())
		}
		slow, quick := f.devices[0], f.devices[1]
		if !slow.slow || quick.slow || f.stall(t.Context(), slow) {
			t.Error("a slow device has to wait though none stalls")
		}
		resume := f.stopReading()
		start := time.Now()
		time.AfterFunc(time.Second, resume)
		if f.stall(t.Context(), quick) || !f.stall(t.Context(), slow) || time.Since(start) != time.Second {
			t.Errorf("stalled for %v, want 1s", time.Since(start))
		}
		f.stopReading()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if !f.stall(ctx, slow) {
			t.Error("the end did not wake a stalled device")
		}
	})
}

// TestNamedNotificationsGoToTheOtherServer: a caller whose API server has gone
// tries again at the other, with the same id.
func TestNamedNotificationsGoToTheOtherServer(t *testing.T) {
	var ids []string
	alive := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct{ ID string }
		_ = json.NewDecoder(r.Body).Decode(&body)
		ids = append(ids, body.ID)
		if len(ids) == 1 {
			http.Error(w, "in flight", http.StatusConflict)
			return
		}
		fmt.Fprint(w, `{}`)
	}))
	defer alive.Close()
	dead := httptest.NewServer(http.NotFoundHandler())
	dead.Close()
	s := newSenders(&ledger.Book{}, []hub.UserID{"a"}, []string{dead.URL, alive.URL}, "", 1, 1)
	defer s.wait()
	c := s.caller(0)
	m := &ledger.Message{Key: ledger.Key{Sender: 0, N: 7}, Users: []hub.UserID{"a"}}
	if err := c.call(t.Context(), m); err == nil || m.Tries != 1 || c.api != 1 {
		t.Errorf("without a name: %v after %d tries, and then at server %d", err, m.Tries, c.api)
	}
	c.named, c.api, m.Tries = true, 0, 0
	if err := c.call(t.Context(), m); err != nil || m.API != 1 || m.Tries != 3 || m.Roamed || !slices.Equal(ids, []string{"drill-0-7", "drill-0-7"}) {
		t.Errorf("call = %v, at server %d, roamed %v, ids %v", err, m.API, m.Roamed, ids)
	}
	if s.longestRefused() < tryAgain {
		t.Errorf("refused for %v", s.longestRefused())
	}
}

func TestSkippedWithAReason(t *testing.T) {
	r := newJournal("network-cut", io.Discard).skip(errors.New("not root"))
	var buf bytes.Buffer
	if err := report([]*Result{r}, false, &buf); err != nil || !r.Skipped || !strings.Contains(buf.String(), "skipped: not root") {
		t.Errorf("%v\n%s", err, buf.String())
	}
}

func TestHoldAndRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(&ledger.Book{}, &entrance{}, 20)
		release := f.hold([]hub.UserID{"player1"})
		if !f.mayConnect(t.Context(), "player2") {
			t.Error("a user that is not held may not connect")
		}
		start := time.Now()
		time.AfterFunc(time.Second, release)
		if !f.mayConnect(t.Context(), "player1") || time.Since(start) != time.Second {
			t.Errorf("held for %v, want 1s", time.Since(start))
		}
		f.hold([]hub.UserID{"player1"})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if f.mayConnect(ctx, "player1") {
			t.Error("a held user may connect after the end")
		}
	})
}

func TestReceiptOfSomethingElse(t *testing.T) {
	r := receipt(&client.Notification{Data: json.RawMessage(`{"s":3,"n":7,"pad":"x"}`)})
	if r.Key != (ledger.Key{Sender: 3, N: 7}) {
		t.Errorf("key = %+v", r.Key)
	}
	for _, foreign := range []string{`{}`, `"x"`, `{"s":"3"}`, ``} {
		if r := receipt(&client.Notification{Data: json.RawMessage(foreign)}); r.Sender != -1 {
			t.Errorf("%s: key = %+v", foreign, r.Key)
		}
	}
}

func TestFindGhosts(t *testing.T) {
	entries := map[hub.UserID][]hub.ProcessID{
		"here":    processesOf("aaaaaaaaaaa=*1"),
		"twice":   processesOf("aaaaaaaaaaa=chess*1 ddddddddddd=*2"),
		"absent":  processesOf("aaaaaaaaaaa=*1"),
		"deleted": processesOf(""),
		"guest":   processesOf("aaaaaaaaaaa=*1"),
	}
	live := map[hub.ProcessID]bool{"aaaaaaaaaaa": true}
	got := findGhosts(entries, live, []hub.UserID{"here", "twice", "missing"}, []hub.UserID{"guest", "visitor"})
	slices.Sort(got)
	want := []string{
		"absent is not connected and has an entry",
		"deleted is not connected and has an entry",
		"missing is connected and has no entry",
		"twice is at process ddddddddddd, which is dead",
	}
	if !slices.Equal(got, want) {
		t.Errorf("ghosts = %q", got)
	}
}

func TestStallMeter(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Millisecond)
	defer cancel()
	var m stallMeter
	m.run(ctx)
	if m.longest() < 0 || m.longest() > 10*time.Second {
		t.Errorf("longest = %v", m.longest())
	}
}

func TestRequestNamesTheService(t *testing.T) {
	m := &ledger.Message{Key: ledger.Key{Sender: 1, N: 2}, Users: []hub.UserID{"a"}, Service: "chess"}
	var got map[string]any
	if err := json.Unmarshal(request(m, form{}, padding), &got); err != nil || len(got["services"].([]any)) != 1 {
		t.Errorf("%v, %v", got, err)
	}
	m.Service = ""
	clear(got)
	if err := json.Unmarshal(request(m, form{}, padding), &got); err != nil || got["services"] != nil {
		t.Errorf("%v, %v", got, err)
	}
}
