package rehearsal

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/homing/homing/hub/fleet/scale"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const shipped = "../../deploy/fleet"

func load(t *testing.T, name string) *scale.Rules {
	t.Helper()
	rules, err := scale.Load(filepath.Join(shipped, name))
	if err != nil {
		t.Fatal(err)
	}
	return rules[0]
}

// day is the trace that is shipped: a release, a zone that fails, and the evening.
func day(t *testing.T) Trace {
	t.Helper()
	f, err := os.Open(filepath.Join(shipped, "day.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	trace, err := ReadTrace(f, "game")
	if err != nil {
		t.Fatal(err)
	}
	return trace
}

// TestDay has the rules that are shipped keep what they promise on the day that is.
func TestDay(t *testing.T) {
	trace := day(t)
	for _, name := range []string{"steady.yaml", "evening.yaml", "lean.yaml"} {
		t.Run(name, func(t *testing.T) {
			rules := load(t, name)
			run, err := Play(name, rules, trace, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if run.UnderMinimum > 0 {
				t.Errorf("%v under the minimum", run.UnderMinimum)
			}
			if run.RemovedInUse > 0 {
				t.Errorf("%d nodes were taken away with players", run.RemovedInUse)
			}
			if run.ShortestOut < rules.Out.Every || run.ShortestIn < rules.In.Every {
				t.Errorf("steps out %v apart, steps in %v", run.ShortestOut, run.ShortestIn)
			}
			if run.TurnsOut < 3 || run.TurnsIn < 3 {
				t.Errorf("%d steps out, %d in: the day asks nothing of the rules", run.TurnsOut, run.TurnsIn)
			}
			if run.MostNodes > rules.Max {
				t.Errorf("%d nodes", run.MostNodes)
			}
			static, perfect := Bounds(rules, trace)
			if run.NodeHours >= static || run.NodeHours < perfect/2 || perfect >= static {
				t.Errorf("%.0f node hours; static %.0f, perfect %.0f", run.NodeHours, static, perfect)
			}
			t.Logf("%.0f node hours (static %.0f, perfect %.0f), %d refused, %.0f minutes waited", run.NodeHours, static, perfect, run.Refused, run.WaitedMinutes)
		})
	}
}

// TestPlayersAreCounted has those who want to play be on a node, wait, or have been
// refused just now.
func TestPlayersAreCounted(t *testing.T) {
	for _, pack := range []bool{false, true} {
		run, err := Play("", load(t, "lean.yaml"), day(t), Options{Pack: pack})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range run.Points {
			if missing := p.Wanted - p.Playing - p.Waiting; missing < 0 || missing > 0 && p.Refused == 0 && missing > p.Waiting {
				t.Errorf("%+v", p)
			}
		}
		if run.PeakLoad > 1 {
			t.Errorf("a node had %.2f of what it carries", run.PeakLoad)
		}
	}
}

// TestPackLeavesNodesEmpty has packed players use fewer nodes at night than spread ones.
func TestPackLeavesNodesEmpty(t *testing.T) {
	full := func(pack bool) (in int) {
		m := &model{opts: &Options{Pack: pack}, rules: load(t, "lean.yaml")}
		for range 5 {
			m.add(time.Time{}, nil)
		}
		for _, n := range m.nodes {
			n.State = "ready"
		}
		if left := m.placeSome(3000); left > 0 {
			t.Errorf("%d found no place", left)
		}
		for _, n := range m.nodes {
			if n.Load.Connections > 0 {
				in++
			}
		}
		return in
	}
	if spread, packed := full(false), full(true); spread != 5 || packed != 2 {
		t.Errorf("spread over %d, packed into %d", spread, packed)
	}
}

func TestSameAgain(t *testing.T) {
	trace := day(t)[:300]
	play := func(seed uint64) *Run {
		run, err := Play("", load(t, "steady.yaml"), trace, Options{Seed: seed})
		if err != nil {
			t.Fatal(err)
		}
		return run
	}
	if diff := cmp.Diff(play(1), play(1)); diff != "" {
		t.Error(diff)
	}
}

func TestReport(t *testing.T) {
	rules, trace := load(t, "steady.yaml"), day(t)[:200]
	run, err := Play("steady", rules, trace, Options{})
	if err != nil {
		t.Fatal(err)
	}
	static, perfect := Bounds(rules, trace)
	var page bytes.Buffer
	r := Report([]*Run{run, run}, trace, static, perfect)
	r.Tables = append(r.Tables, Decisions(run))
	if err := r.WriteHTML(&page); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Rules compared", "perfect forecast", "<svg", run.Decisions[0].Why} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("no %q in the page", want)
		}
	}
}

func TestBadTraces(t *testing.T) {
	for text, want := range map[string]string{
		"": "two moments",
		`{"at":"2026-06-01T00:00:00Z","players":1}`: "two moments",
		`{"players":1}`: "line 1: a moment needs",
		`{"at":"2026-06-01T00:00:00Z","players":-1}`:                                                     "line 1: a moment needs",
		`{"at":"2026-06-01T00:00:00Z","players":1}` + "\n" + `{"at":"2026-06-01T00:00:00Z","players":1}`: "line 2: it is not later",
		`{"at":"2026-06-01T00:00:00Z","players":1}` + "\n" + `{"at":"2027-06-01T00:00:00Z","players":1}`: "line 2: more than 31 days",
		"x": "line 1",
	} {
		if _, err := ReadTrace(strings.NewReader(text), "game"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// TestRecordedTrace has the players of recorded snapshots summed up.
func TestRecordedTrace(t *testing.T) {
	trace, err := ReadTrace(strings.NewReader(`{"at":"2026-06-01T00:00:00Z","nodes":[{"id":"a","cluster":"game","load":{"connections":3,"rooms":1}},{"id":"b","cluster":"game","load":{"connections":4}},{"id":"c","cluster":"lobby","load":{"connections":9}}]}
{"at":"2026-06-01T00:01:00Z","nodes":[]}`), "game")
	if err != nil || trace[0].Players != 7 || trace[0].Rooms != 1 || trace[1].Players != 0 {
		t.Errorf("%+v, %v", trace, err)
	}
}
