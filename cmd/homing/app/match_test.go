package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/homing/homing/hub/match"
)

// TestQueuesOfTheProgramAreChecked: what a program brings beside the file is held to
// the same rules, before anything is started.
func TestQueuesOfTheProgramAreChecked(t *testing.T) {
	file := filepath.Join(t.TempDir(), "queues.yaml")
	if err := os.WriteFile(file, []byte("queues:\n  - {name: duel, class: arena, teams: 2, team_size: 1}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	own := func(change func(*match.Queue)) []*match.Queue {
		q := &match.Queue{Name: "trio", Class: "arena", Teams: 3, TeamSize: 1, Steps: []match.Step{{}}, Expire: match.DefaultExpire}
		change(q)
		return []*match.Queue{q}
	}
	for name, c := range map[string]struct {
		change func(*match.Queue)
		want   string // empty: it is taken
	}{
		"as it should be":      {func(*match.Queue) {}, ""},
		"a name of the file's": {func(q *match.Queue) { q.Name = "duel" }, `two queues have the name "duel"`},
		"no expiry":            {func(q *match.Queue) { q.Expire = 0 }, `queue "trio": expire`},
		"no class":             {func(q *match.Queue) { q.Class = "" }, `queue "trio": class`},
		"no steps":             {func(q *match.Queue) { q.Steps = nil }, `queue "trio": steps`},
	} {
		queues, err := matchQueues(match.Config{Queues: file}, own(c.change))
		switch {
		case c.want == "" && (err != nil || len(queues) != 2):
			t.Errorf("%s: %d queues, %v", name, len(queues), err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "match.queues")):
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if queues, err := matchQueues(match.Config{}, nil); err != nil || len(queues) != 0 {
		t.Errorf("without any: %v, %v", queues, err)
	}
}

// TestFrontsRefuseBadFiles: the master says what is wrong, instead of workers that
// start again and again.
func TestFrontsRefuseBadFiles(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	secret := filepath.Join(t.TempDir(), "secret")
	for file, text := range map[string]string{bad: "queues: [{name: duel}]\nclasses: [{name: duel, hz: -1}]\n", secret: strings.Repeat("s", 40)} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	front := []string{"front", "--front-listen", "127.0.0.1:0", "--auth-hs256-secret-file", secret, "--redis-data", "redis://127.0.0.1:1"}
	for want, flags := range map[string][]string{
		"--match-queues: " + bad: {"--match-queues", bad},
		"--room-classes: " + bad: {"--room-secret-file", secret, "--room-url", "ws://127.0.0.1:1/ws", "--room-classes", bad},
	} {
		if code, _, stderr := start(t, append(front, flags...)...); code != 1 || !strings.Contains(stderr, want) {
			t.Errorf("%q: status %d, %s; want %q", flags, code, stderr, want)
		}
	}
}
