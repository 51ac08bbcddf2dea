package apikey

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/homing/homing/hub"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func generate(t *testing.T, name string) (string, Spec) {
	t.Helper()
	key, spec, err := Generate(name, AllScopes())
	if err != nil {
		t.Fatal(err)
	}
	return key, spec
}

func TestGenerate(t *testing.T) {
	a, spec := generate(t, "backend")
	b, _ := generate(t, "backend")
	if a == b || !strings.HasPrefix(a, "hk_") || len(a) != len("hk_")+43 {
		t.Errorf("keys %q and %q", a, b)
	}
	if strings.Contains(spec.YAML(), a) {
		t.Error("the entry holds the key itself")
	}
	if _, _, err := Generate("Not A Name", AllScopes()); err == nil {
		t.Error("took a bad name")
	}
	if _, _, err := Generate("backend", nil); err == nil {
		t.Error("took a key without scopes")
	}
}

// TestYAMLRoundTrip: what Generate prints can be pasted under "keys:".
func TestYAMLRoundTrip(t *testing.T) {
	_, one := generate(t, "one")
	_, two := generate(t, "two")
	two.From, two.Rate, two.Burst, two.Scopes = []hub.Service{"chess"}, 2.5, 10, []Scope{ScopeNotify}
	got, err := Parse([]byte("keys:\n" + one.YAML() + two.YAML()))
	if err != nil {
		t.Fatalf("%v in\n%s%s", err, one.YAML(), two.YAML())
	}
	if d := cmp.Diff([]Spec{one, two}, got); d != "" {
		t.Error(d)
	}
}

func TestParseRefuses(t *testing.T) {
	hash := HashOf("x").String()
	entry := func(s string) string {
		return "keys:\n  - {name: a, hash: '" + hash + "', scopes: [notify]" + s + "}\n"
	}
	if _, err := Parse([]byte(entry(""))); err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string]string{
		"nothing":       "",
		"no keys":       "keys: []\n",
		"not YAML":      "keys: [",
		"unknown field": entry(", scope: x"),
		"other root":    "key: []\n",
		"negative rate": entry(", rate: -1"),
		"no number":     entry(", rate: .nan"),
		"without end":   entry(", rate: .inf"),
		"negative open": entry(", open: -1"),
		"bad from":      entry(", from: [Chess]"),
		"bad name":      strings.Replace(entry(""), "name: a", "name: 'a b'", 1),
		"no scopes":     strings.Replace(entry(""), "[notify]", "[]", 1),
		"unknown scope": strings.Replace(entry(""), "notify", "admin", 1),
		"short hash":    strings.Replace(entry(""), hash, hash[:70], 1),
		"long hash":     strings.Replace(entry(""), hash, hash+"00", 1),
		"bare hash":     strings.Replace(entry(""), "sha256:", "", 1),
		"a key":         strings.Replace(entry(""), hash, "hk_abc", 1),
		"same name":     entry("") + strings.TrimPrefix(entry(""), "keys:\n"),
		"same hash":     entry("") + strings.Replace(strings.TrimPrefix(entry(""), "keys:\n"), "name: a", "name: b", 1),
	} {
		if specs, err := Parse([]byte(file)); err == nil {
			t.Errorf("%s: took %+v", name, specs)
		}
	}
}

func write(t *testing.T, file string, specs ...Spec) {
	t.Helper()
	text := []byte("keys:\n")
	for _, s := range specs {
		text = append(text, s.YAML()...)
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestStore(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys.yaml")
	if _, err := Open(Options{File: file}, slog.New(slog.DiscardHandler), prometheus.NewRegistry()); err == nil {
		t.Error("opened a missing file")
	}
	key, spec := generate(t, "one")
	spec.Scopes, spec.From = []Scope{ScopeNotify}, []hub.Service{"chess"}
	write(t, file, spec)
	s, err := Open(Options{File: file, Poll: time.Second}, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	k, ok := s.Lookup(key)
	if !ok || k.Name() != "one" || !k.Allows(ScopeNotify) || k.Allows(ScopeBroadcast) {
		t.Errorf("got %+v, %t", k, ok)
	}
	if !k.MaySpeakFor("chess") || k.MaySpeakFor("shop") || k.MaySpeakFor("") {
		t.Error("speaks for others than chess")
	}
	for _, wrong := range []string{"", key + "x", key[1:], spec.Hash} {
		if _, ok := s.Lookup(wrong); ok {
			t.Errorf("knows %q", wrong)
		}
	}
}

// TestReload follows a file through a change, a mistake, its removal and its
// return. Keys that did not change keep what they have used of their rate.
func TestReload(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys.yaml")
	oneKey, one := generate(t, "one")
	one.Rate, one.Burst = 1, 1
	write(t, file, one)
	s, err := Open(Options{File: file, Poll: time.Second}, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		go func() { _ = s.Run(t.Context()) }()
		look := func() { time.Sleep(1100 * time.Millisecond); synctest.Wait() }
		now := time.Now()
		k, _ := s.Lookup(oneKey)
		if k.Take(now, 1) != 0 || k.Take(now, 1) == 0 {
			t.Error("the first key's rate does not hold")
		}

		twoKey, two := generate(t, "two")
		write(t, file, one, two)
		look()
		if _, ok := s.Lookup(twoKey); !ok {
			t.Fatal("the new key is unknown")
		}
		if k, ok := s.Lookup(oneKey); !ok || k.Take(now, 1) == 0 {
			t.Error("the first key is gone, or its rate was reset")
		}

		if err := os.WriteFile(file, []byte("keys: nonsense\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		look()
		if _, ok := s.Lookup(twoKey); !ok {
			t.Error("a mistake in the file took the keys away")
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		look()
		look()
		if n := testutil.ToFloat64(s.metrics.reloads.WithLabelValues("failed")); n != 2 {
			t.Errorf("%v failures, want one for the mistake and one for the removal", n)
		}

		write(t, file, two)
		look()
		if _, ok := s.Lookup(oneKey); ok {
			t.Error("a removed key still works")
		}
		if n := testutil.ToFloat64(s.metrics.keys); n != 1 {
			t.Errorf("%v keys", n)
		}
	})
}

func TestLimits(t *testing.T) {
	now := time.Now()
	unlimited := newKey(Spec{}, Limits{}, nil)
	fallback := newKey(Spec{}, Limits{Rate: 5}, nil)
	own := newKey(Spec{Rate: 2, Burst: 3}, Limits{Rate: 5}, nil)
	for _, c := range []struct {
		key  *Key
		want int
	}{{unlimited, 1000}, {fallback, 5}, {own, 3}} {
		got := 0
		for got < 1000 && c.key.Take(now, 1) == 0 {
			got++
		}
		if got != c.want {
			t.Errorf("%d at once, want %d", got, c.want)
		}
	}
	if wait := own.Take(now, 1); wait != 500*time.Millisecond {
		t.Errorf("wait %v", wait)
	}
	// What was refused is not counted.
	if wait := own.Take(now.Add(500*time.Millisecond), 1); wait != 0 {
		t.Errorf("wait %v after the wait", wait)
	}
}
