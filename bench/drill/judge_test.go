package drill

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"
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

func TestFailoversAreAnsweredSoon(t *testing.T) {
	t0 := time.Now().Add(-time.Minute)
	began := []time.Time{t0.Add(time.Second)}
	broke(t, "", func(d *drill) { d.judge.checkFailovers("post", calls(t0, map[int]int{11: 503, 28: 503}), began) })
	broke(t, "after planned failover 1", func(d *drill) { d.judge.checkFailovers("post", calls(t0, map[int]int{11: 503, 36: 503}), began) })
}
