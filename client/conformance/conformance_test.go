package conformance

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// lacks are the abilities that client/go has not: a handler that fails is a panic, which
// ends Run; the next connection waits for the handler; rooms are those of Player, which
// has a connection of its own.
var lacks = []string{"fail", "overlap", "network", "clock", "stream", "rooms", "binary"}

// TestTheGoClient leads client/go through all situations that it can take part in.
func TestTheGoClient(t *testing.T) {
	agent := filepath.Join(t.TempDir(), "agent")
	if out, err := exec.Command("go", "build", "-o", agent, "./goagent").CombinedOutput(); err != nil {
		t.Fatalf("build the agent: %v\n%s", err, out)
	}
	all, err := Situations()
	if err != nil {
		t.Fatal(err)
	}
	results := make([]error, len(all))
	var playing sync.WaitGroup
	turn := make(chan struct{}, 8) // they mostly wait
	for i, s := range all {
		turn <- struct{}{}
		playing.Go(func() {
			defer func() { <-turn }()
			results[i] = Play(t.Context(), s, []string{agent}, Options{Late: 15 * time.Second, Stderr: os.Stderr})
		})
	}
	playing.Wait()
	for i, s := range all {
		skip := slices.ContainsFunc(s.Needs, func(need string) bool { return slices.Contains(lacks, need) })
		t.Run(s.Name, func(t *testing.T) {
			if err := results[i]; skip != errors.Is(err, ErrSkipped) || !skip && err != nil {
				t.Errorf("want it skipped: %v; %v", skip, err)
			}
		})
	}
}

// TestABadClient has what clients do wrong seen.
func TestABadClient(t *testing.T) {
	const ready = `echo '{"event":"ready","client":"bad","can":[]}'; `
	for name, test := range map[string]struct{ agent, steps, want string }{
		"never comes":    {ready + `cat >/dev/null`, `[{"drop":{"after":[0,1]}}]`, "not tried to connect"},
		"speaks no JSON": {ready + `echo hello; cat >/dev/null`, `[{"hear":{"event":"state"}}]`, "no event: hello"},
		"given twice": {
			ready + `echo '{"event":"notify","id":"a"}'; echo '{"event":"notify","id":"a"}'; echo '{"event":"state","state":"closed"}'; cat >/dev/null`,
			`[{"hear":{"event":"notify","id":"a"}}]`, "too much",
		},
		"another order": {
			ready + `echo '{"event":"notify","id":"b"}'; cat >/dev/null`, `[{"hear":{"event":"notify","id":"a"}}]`, `want {"event":"notify","id":"a"}`,
		},
		"leaves something running": {
			ready + `echo '{"event":"state","state":"closed"}'; cat >/dev/null; exec sleep 1000`, `[{"sleep":1}]`, "left something running",
		},
		"fails at the end": {ready + `echo '{"event":"state","state":"closed"}'; cat >/dev/null; exit 3`, `[{"sleep":1}]`, "exit status 3"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all, err := parse([]byte(`[{"name":"x","about":"","start":{},"steps":` + test.steps + `}]`))
			if err != nil {
				t.Fatal(err)
			}
			err = Play(t.Context(), all[0], []string{"sh", "-c", test.agent}, Options{Late: 100 * time.Millisecond})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

func TestSteps(t *testing.T) {
	for _, bad := range []string{
		`[{"name":"x","steps":[{}]}]`, `[{"name":"x","steps":[{"cut":true,"freeze":true}]}]`,
		`[{"name":"x","steps":[{"cutt":true}]}]`, `[{"name":"","steps":[]}]`, `[{"name":"x","steps":[]},{"name":"x","steps":[]}]`,
	} {
		if _, err := parse([]byte(bad)); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}
