package drill

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/homing/homing/bench/ledger"
	"github.com/homing/homing/bench/stack"
)

// quiet is a drill that tells nobody.
func quiet() *drill { return newDrill(scenario{name: "x"}, Options{}, io.Discard) }

// broke is what a check made of a drill's result.
func broke(t *testing.T, want string, check func(d *drill)) {
	t.Helper()
	d := quiet()
	d.readiness, d.newcomers = &readiness{journal: d.journal}, &newcomers{journal: d.journal}
	check(d)
	if got := strings.Join(d.result.Broke, "; "); (want == "") != (got == "") || !strings.Contains(got, want) {
		t.Errorf("broke %q, want %q", got, want)
	}
}

func TestCallTellsWhatCame(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/busy" {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = io.Copy(w, r.Body)
	}))
	b := newBackend("k", nil)
	defer b.close()
	defer srv.Close()
	if a := b.call(t.Context(), "x", http.MethodPost, srv.URL+"/fine", post{Store: "1h"}); !a.ok() || a.wait || !strings.Contains(a.body, `"store":"1h"`) {
		t.Errorf("%v", a)
	}
	if a := b.call(t.Context(), "x", http.MethodGet, srv.URL+"/busy", nil); a.ok() || !a.wait || a.status != 503 || a.body != "" {
		t.Errorf("%v", a)
	}
	srv.Close()
	if a := b.call(t.Context(), "x", http.MethodGet, srv.URL, nil); a.ok() || a.status != 0 || a.err == nil {
		t.Errorf("%v", a)
	}
}

func TestWatchKeepsItsPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watching(t.Context(), time.Second, func(context.Context, int) answer { return answer{at: time.Now()} })
		time.Sleep(3500 * time.Millisecond)
		if n := len(w.soFar()); n != 4 {
			t.Errorf("%d calls in 3.5s, want 4", n)
		}
		if n := len(w.end()); n != 4 {
			t.Errorf("%d calls at the end", n)
		}
	})
}

// calls made at so many milliseconds after t0, each answered after 100 ms.
func calls(t0 time.Time, status map[int]int) (out []answer) {
	for at := range 50 {
		a := answer{what: "x", at: t0.Add(time.Duration(at) * 100 * time.Millisecond), took: 100 * time.Millisecond, status: 200}
		if s, odd := status[at]; odd {
			a.status, a.wait = s, s == 503
		}
		out = append(out, a)
	}
	return out
}

func TestBackIsTheEndOfTheLastFailure(t *testing.T) {
	t0 := time.Now()
	answers := calls(t0, map[int]int{12: 503, 14: 503, 30: 503})
	fault, next := t0.Add(time.Second), t0.Add(2*time.Second)
	if got := back(answers, fault, next); got != 500*time.Millisecond {
		t.Errorf("back after %v, want 500ms", got)
	}
	answers[18].took = 2 * time.Second // right, and late
	if got := back(answers, fault, next); got != 2800*time.Millisecond {
		t.Errorf("back after %v, want 2.8s", got)
	}
	if got := back(answers, t0.Add(4*time.Second), t0.Add(5*time.Second)); got != 0 {
		t.Errorf("back after %v, want at once", got)
	}
	if n := len(between(answers, fault, next)); n != 10 {
		t.Errorf("%d calls between, want 10", n)
	}
	if n := len(during(answers, fault, next)); n != 8 { // one is answered at the end, one late
		t.Errorf("%d calls during, want 8", n)
	}
}

func TestRefusalsHaveAClass(t *testing.T) {
	t0 := time.Now()
	broke(t, "", func(d *drill) { d.judge.checkRefusals(calls(t0, map[int]int{3: 503})) })
	broke(t, "HTTP 500", func(d *drill) { d.judge.checkRefusals(calls(t0, map[int]int{3: 500})) })
	broke(t, "HTTP 409", func(d *drill) { d.judge.checkRefusals(calls(t0, map[int]int{3: 409})) })
	broke(t, "timeout", func(d *drill) { d.judge.checkRefusals([]answer{{what: "x", err: errors.New("timeout")}}) })
	broke(t, "1 of 50 failed", func(d *drill) { d.judge.checkAll("calls", calls(t0, map[int]int{3: 503})) })
	broke(t, "", func(d *drill) { d.judge.checkRefused([]answer{{status: 503, wait: true}}) })
	broke(t, "not refused", func(d *drill) { d.judge.checkRefused([]answer{{status: 503}}) })
	broke(t, "not refused", func(d *drill) { d.judge.checkRefused([]answer{{status: 200}}) })
}

func TestReadinessIsTruthful(t *testing.T) {
	unready := []int{http.StatusServiceUnavailable}
	broke(t, "", func(d *drill) {
		d.readiness.checkNames([]answer{{status: 503, body: "'MGET' refused"}}, unready, "mget")
	})
	broke(t, "did not say", func(d *drill) { d.readiness.checkNames([]answer{{status: 503, body: "no idea"}}, unready, "mget") })
	broke(t, "did not say", func(d *drill) { d.readiness.checkNames([]answer{{status: 200, body: "mget"}}, unready, "mget") })
	broke(t, "", func(d *drill) { d.readiness.checkDegraded([]answer{{status: 200, body: "degraded: data-2"}}) })
	broke(t, "not 200 and degraded", func(d *drill) { d.readiness.checkDegraded([]answer{{status: 200, body: "ready"}}) })
	t0 := time.Now()
	late := func(status int) []answer {
		return []answer{{at: t0.Add(time.Second), status: 200}, {at: t0.Add(notReadyWithin + time.Second), status: status}}
	}
	broke(t, "", func(d *drill) { d.faultAt = t0; d.readiness.checkUnready(late(503), t0.Add(time.Minute)) })
	broke(t, "did not say 503", func(d *drill) { d.faultAt = t0; d.readiness.checkUnready(late(200), t0.Add(time.Minute)) })
}

func TestHerdsAreNotKeptWaiting(t *testing.T) {
	t0 := time.Now()
	connect := func(at, took time.Duration, status int) []answer {
		return []answer{{what: "connect", at: t0.Add(at), took: took, status: status}}
	}
	check := func(answers []answer) func(d *drill) {
		return func(d *drill) { d.faultAt = t0; d.newcomers.checkHerds(answers) }
	}
	broke(t, "", check(connect(0, 3*time.Second, 200)))
	broke(t, "failed or hung", check(connect(0, 4*time.Second, 200)))
	broke(t, "failed or hung", check(connect(3*time.Second, 2*time.Second, 200)))
	broke(t, "failed or hung", check(connect(3*time.Second, time.Second, 0)))
	broke(t, "", check(connect(3*time.Second, time.Second, 200)))
}

func TestFailoversAreAnsweredSoon(t *testing.T) {
	t0 := time.Now().Add(-time.Minute)
	began := []time.Time{t0.Add(time.Second)}
	broke(t, "", func(d *drill) { d.judge.checkFailovers("post", calls(t0, map[int]int{11: 503, 28: 503}), began) })
	broke(t, "after planned failover 1", func(d *drill) { d.judge.checkFailovers("post", calls(t0, map[int]int{11: 503, 36: 503}), began) })
}

func TestWhatIsGivenUpIsCounted(t *testing.T) {
	check := func(counted int) func(d *drill) {
		return func(d *drill) {
			b := books{journal: d.journal, givenUp: counted}
			b.checkGivenUp(ledger.Entry{GivenUp: 30})
		}
	}
	broke(t, "", check(10))
	broke(t, "the servers counted 9 users", check(9))
}

func TestCompareWhatWasStored(t *testing.T) {
	for name, c := range map[string]struct {
		want, got      []int
		missing, wrong int
	}{
		"all":                   {[]int{1, 3}, []int{1, 3}, 0, 0},
		"one more, not refused": {[]int{1, 3}, []int{1, 2, 3}, 0, 0},
		"one gone":              {[]int{1, 3}, []int{3}, 1, 0},
		"out of order":          {[]int{1, 3}, []int{3, 1}, 0, 1},
		"twice":                 {[]int{1}, []int{1, 1}, 0, 1},
	} {
		if missing, wrong := compare(c.want, c.got); missing != c.missing || wrong != c.wrong {
			t.Errorf("%s: %d missing, %d wrong", name, missing, wrong)
		}
	}
}

func TestSidesOfTheCuts(t *testing.T) {
	for _, c := range []struct {
		sides func(string) side
		want  map[string]side
	}{
		{frontCut, map[string]side{"front": left, "data-0": right, "pubsub-2-1": right, "sentinel-0": right}},
		{dataCut, map[string]side{"front": left, "data-0": right, "data-2": right, "pubsub-1-0": home, "sentinel-0": home}},
	} {
		n := sidesOf(c.sides)
		for name, want := range c.want {
			if got := c.sides(name); got != want {
				t.Errorf("%s is on side %d, want %d", name, got, want)
			}
		}
		var o stack.Options
		if n.place(&o); o.FrontHost != leftAddr || len(o.FrontUnder) == 0 {
			t.Errorf("the front is at %q under %v", o.FrontHost, o.FrontUnder)
		}
	}
}

func TestStandStillEnds(t *testing.T) {
	p := exec.CommandContext(t.Context(), "sleep", "60")
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Process.Kill(); _ = p.Wait() }()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := standStill(ctx, time.Minute, p.Process.Pid); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("standStill = %v", err)
	}
	for end := time.Now().Add(5 * time.Second); state(t, p.Process.Pid) == "T"; {
		if time.Now().After(end) {
			t.Fatal("the process still stands still")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// state is a process's state as ps shows it.
func state(t *testing.T, pid int) string {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(raw), ") ")
	return rest[:1]
}
