package app

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/homing/homing/bench/capacity"
)

func TestPlanTables(t *testing.T) {
	code, out, stderr := start(t, "plan", "--users", "1M")
	if code != 0 {
		t.Fatalf("status %d: %s", code, stderr)
	}
	for _, want := range []string{"1M users", "Calculated, not measured", "front machines", "pub/sub shards", "WHAT GIVES FIRST", "UNIT COSTS"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

// costsFile is what a bench might have printed.
func costsFile(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "costs.json")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestPlanWithCostsOfThisMachine(t *testing.T) {
	front := func(args ...string) float64 {
		code, out, stderr := start(t, append([]string{"plan", "--users", "5M", "--cells", "1", "--json"}, args...)...)
		var p capacity.Plan
		if err := json.Unmarshal([]byte(out), &p); code != 0 || err != nil {
			t.Fatalf("%v: status %d, %v: %s", args, code, err, stderr)
		}
		return p.Components[0].Count
	}
	dear := costsFile(t, `{"front_us_per_delivery": 200, "p99_ms": 6}`)
	if ours, theirs := front(), front("--costs", dear); theirs < 2*ours {
		t.Errorf("%v front machines, and %v when a delivery costs 200 µs", ours, theirs)
	}
}

func TestPlanRefusals(t *testing.T) {
	none := costsFile(t, `{"p99_ms": 6}`)
	for _, c := range []struct{ args, want string }{
		{"plan", "--users"},
		{"plan --users many", "many"},
		{"plan --users 0", "--users: 0: want 1 to"},
		{"plan --users 1M --targets 5 --online 6", "--online: 6: want 1 to 5"},
		{"plan --users 1M --memory-per-machine 32XB", "xb"},
		{"plan --users 1M --costs " + none, none},
		{"plan --users 1M --costs /nowhere.json", "/nowhere.json"},
	} {
		if code, _, stderr := start(t, strings.Fields(c.args)...); code == 0 || !strings.Contains(stderr, c.want) {
			t.Errorf("homing %s: status %d, %q; want a refusal with %q", c.args, code, stderr, c.want)
		}
	}
}
