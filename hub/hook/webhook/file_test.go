package webhook

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/homing/homing/hub/hook"
)

var (
	ofOptions = hook.SenderConfig{MaxAge: time.Hour, Parallel: 3, StreamBytes: 64 << 20}
	toOptions = Config{Timeout: 7 * time.Second, ForbidPrivate: true}
)

func load(t *testing.T, text string) ([]Spec, string, error) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "hooks.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	specs, err := LoadEndpoints(name, ofOptions, toOptions)
	return specs, filepath.Dir(name), err
}

func TestLoadEndpoints(t *testing.T) {
	t.Parallel()
	secret := NewSecret()
	got, folder, err := load(t, `
endpoints:
  - name: games
    url: https://games.example/homing
    secret_file: games.secret
    events: [room.*, match.found]
    timeout: 5s
    batch: 100
    max_age: 2h
    stream_bytes: 16777216
  - name: push
    url: http://push.example
    secret: `+secret)
	if err != nil {
		t.Fatal(err)
	}
	want := []Spec{
		{
			Target:   hook.Target{Name: "games", Events: []string{"room.*", "match.found"}, StreamBytes: 16 << 20},
			Sender:   hook.SenderConfig{MaxAge: 2 * time.Hour, Parallel: 3, Batch: 100, StreamBytes: 16 << 20},
			Endpoint: Config{URL: "https://games.example/homing", SecretFile: filepath.Join(folder, "games.secret"), Timeout: 5 * time.Second, ForbidPrivate: true},
		},
		{
			Target:   hook.Target{Name: "push", Events: []string{"*"}, StreamBytes: 64 << 20},
			Sender:   ofOptions,
			Endpoint: Config{URL: "http://push.example", Secret: secret, Timeout: 7 * time.Second, ForbidPrivate: true},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestEndpointsThatCannotWork(t *testing.T) {
	t.Parallel()
	entry := func(more string) string {
		return "endpoints:\n  - {name: push, url: 'http://x', secret_file: s" + more + "}\n"
	}
	var many strings.Builder
	many.WriteString("endpoints:\n")
	for i := range hook.MaxEndpoints + 1 {
		fmt.Fprintf(&many, "  - {name: e%d, url: 'http://x', secret_file: s}\n", i)
	}
	for want, text := range map[string]string{
		"endpoints: 0, want 1 to 16":                   "",
		"endpoints: 17, want 1 to 16":                  many.String(),
		"field urls not found":                         entry(", urls: x"),
		`endpoint 1 ("Push"): name: "Push": want`:      strings.Replace(entry(""), "push", "Push", 1),
		`endpoint 1 (""): name: "": want`:              strings.Replace(entry(""), "push", "''", 1),
		`endpoint 2 ("push"): name: there is another`:  entry("") + strings.TrimPrefix(entry(""), "endpoints:\n"),
		`endpoint 1 ("push"): url: "ftp://x": want`:    strings.Replace(entry(""), "http:", "ftp:", 1),
		`endpoint 1 ("push"): url: "": want`:           strings.Replace(entry(""), "http://x", "", 1),
		`endpoint 1 ("push"): secret_file: none given`: strings.Replace(entry(""), "secret_file: s", "batch: 1", 1),
		`secret_file: a secret is given beside it`:     entry(", secret: geheim"),
		`secret: line 1: want whsec_`:                  strings.Replace(entry(""), "secret_file: s", "secret: geheim", 1),
		`events: "a*b": want a type`:                   entry(", events: ['a*b']"),
		`events: none given`:                           entry(", events: []"),
		`timeout: 1h0m0s: want`:                        entry(", timeout: 1h"),
		`batch: 101: want 0 to 100`:                    entry(", batch: 101"),
		`max_age: 200h0m0s: want`:                      entry(", max_age: 200h"),
		`stream_bytes: 5: want`:                        entry(", stream_bytes: 5"),
		`line 2: want endpoints:`:                      entry(", batch: whsec_geheim"),
		`over 262144 bytes`:                            strings.Repeat("#", maxFile+1),
	} {
		_, _, err := load(t, text)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if _, err := LoadEndpoints("/nothing", ofOptions, toOptions); err == nil {
		t.Error("a file that is not there is accepted")
	}
}
