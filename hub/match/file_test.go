package match

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const goodFile = `queues:
  - name: duel
    mode: ranked
    class: arena
    teams: 2
    team_size: 1
    labels: [eu, us]
    expire: 2m
    heartbeat: 20s
    accept: 15s
    max_tickets: 5000
    steps:
      - {window: 50}
      - {after: 10s, window: 100}
      - {after: 25s, any_label: true}
  - {name: squads, class: field, teams: 2, team_size: 5, parties: [1, 2, 5], steps: [{players: 6}]}
`

func TestQueuesFromAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "queues.yaml")
	if err := os.WriteFile(file, []byte(goodFile), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := LoadQueues(file)
	if err != nil {
		t.Fatal(err)
	}
	want := []*Queue{
		{
			Name: "duel", Mode: "ranked", Class: "arena", Teams: 2, TeamSize: 1, Labels: []string{"eu", "us"},
			Expire: 2 * time.Minute, Heartbeat: 20 * time.Second, Accept: 15 * time.Second, MaxTickets: 5000,
			Steps: []Step{{Window: 50}, {After: 10 * time.Second, Window: 100}, {After: 25 * time.Second, AnyLabel: true}},
		},
		{
			Name: "squads", Class: "field", Teams: 2, TeamSize: 5, Parties: []int{1, 2, 5}, Expire: DefaultExpire,
			Steps: []Step{{Players: 6}},
		},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if _, err := LoadQueues(file + "x"); err == nil {
		t.Error("a file that is not there was read")
	}
}

// TestFilesThatCannotBe: each error names the line and what is wrong there.
func TestFilesThatCannotBe(t *testing.T) {
	for name, c := range map[string]struct{ old, made, want string }{
		"nothing":         {goodFile, "", "queues: 0, want 1 to 64"},
		"no queues":       {goodFile, "queues: []", "queues: 0"},
		"not YAML":        {"mode: ranked", "mode: [", "line "},
		"another root":    {"queues:", "queue:", "line 1: field queue not found"},
		"unknown field":   {"mode: ranked", "mood: ranked", "line 3: field mood not found"},
		"in a step":       {"{window: 50}", "{windows: 50}", "line 13: field windows not found"},
		"not a number":    {"teams: 2\n", "teams: two\n", "line 5: cannot unmarshal"},
		"twice":           {"mode: ranked", "name: ranked", "line 3: mapping key \"name\" already defined"},
		"the same name":   {"name: squads", "name: duel", `line 16: queue "duel": name: "duel" is there already`},
		"a bad name":      {"name: duel", "name: Duel", `line 2: queue "Duel": name:`},
		"no class":        {"    class: arena\n", "", `line 2: queue "duel": class: ""`},
		"no teams":        {"teams: 2\n", "teams: 0\n", "line 5: queue \"duel\": teams: 0, want 1 to 64"},
		"no unit":         {"expire: 2m", "expire: 120", `line 8: "120", want a duration`},
		"below nothing":   {"expire: 2m", "expire: -2m", `line 8: queue "duel": expire: -2m0s`},
		"a short beat":    {"heartbeat: 20s", "heartbeat: 1s", `line 9: queue "duel": heartbeat: 1s, want 10s`},
		"a long accept":   {"accept: 15s", "accept: 1h", `line 10: queue "duel": accept: 1h`},
		"too many":        {"max_tickets: 5000", "max_tickets: 5000000", `line 11: queue "duel": max_tickets:`},
		"a late step":     {"after: 10s", "after: 30s", `line 15: queue "duel": steps[2].after: 25s, want later`},
		"a window below":  {"window: 100", "window: -1", `line 14: queue "duel": steps[1].window: -1`},
		"a large party":   {"[1, 2, 5]", "[1, 2, 6]", `line 16: queue "squads": parties[2]: 6, want 1 to 5`},
		"an empty label":  {"[eu, us]", `[eu, ""]`, `line 7: queue "duel": labels[1]`},
		"two documents":   {"queues:", "queues: []\n---\nqueues:", "more than one YAML document"},
		"a list of texts": {"  - {name: squads", "  - squads\n  - {name: squads", "line 16: cannot unmarshal"},
	} {
		file := strings.Replace(goodFile, c.old, c.made, 1)
		queues, err := ParseQueues([]byte(file))
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "Spec") {
			t.Errorf("%s: %v, %v; want %q", name, queues, err, c.want)
		}
	}
}

func FuzzParseQueues(f *testing.F) {
	f.Add([]byte(goodFile))
	f.Add([]byte("queues: [{name: &a b, steps: [{after: *a}]}]"))
	f.Fuzz(func(t *testing.T, b []byte) {
		queues, err := ParseQueues(b)
		if (err == nil) != (len(queues) > 0) {
			t.Errorf("%d queues, %v", len(queues), err)
		}
		for _, q := range queues {
			if err := q.Validate(); err != nil {
				t.Errorf("%+v: %v", q, err)
			}
		}
	})
}
