package config

import (
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
)

type testCLI struct {
	Run struct {
		Name   string        `default:"x"`
		Every  time.Duration `default:"1s"`
		Shards []string      `sep:" "`
		Paths  []string      `sep:"none"`
		Counts []int
		Pauses []time.Duration
	} `cmd:""`
}

// parsed is the command line `run` with the file's values.
func parsed(tb testing.TB, text string) (testCLI, error) {
	tb.Helper()
	var c testCLI
	k, err := kong.New(&c, Values(), kong.Exit(func(int) { tb.Error("exit") }))
	if err != nil {
		tb.Fatal(err)
	}
	d, err := parse("f.yaml", strings.NewReader(text))
	if err != nil {
		return c, err
	}
	if err := d.Validate(k.Model); err != nil {
		return c, err
	}
	ctx, err := kong.Trace(k, []string{"run"})
	if err != nil {
		tb.Fatal(err)
	}
	ctx.AddResolver(d)
	if err := ctx.Reset(); err != nil {
		tb.Fatal(err)
	}
	if err := ctx.Resolve(); err != nil {
		return c, err
	}
	_, err = ctx.Apply()
	return c, err
}

func TestLists(t *testing.T) {
	c, err := parsed(t, `
run:
  shards: ["redis://a b", c]
  paths: ["a,b", c]
  counts: [1, 2]
  pauses: [1s, 2m]
`)
	r := &c.Run
	if err != nil || strings.Join(r.Shards, "|") != "redis://a b|c" || strings.Join(r.Paths, "|") != "a,b|c" ||
		len(r.Counts) != 2 || r.Counts[1] != 2 || len(r.Pauses) != 2 || r.Pauses[1] != 2*time.Minute {
		t.Errorf("%+v, %v", c, err)
	}
	for text, want := range map[string]string{
		"run: {pauses: [1s, 2]}": "f.yaml:1",
		"run: {counts: [1, a]}":  "f.yaml:1",
	} {
		if _, err := parsed(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestAliases(t *testing.T) {
	if c, err := parsed(t, "run:\n  name: &n seven\n  shards: [*n, *n]\n"); err != nil || strings.Join(c.Run.Shards, " ") != "seven seven" {
		t.Errorf("%+v, %v", c, err)
	}
	for _, text := range []string{"a: &x {b: *x}", "run: &x {name: a}\nagain: *x", "a: &x [*x]", "a: &x [1]\nb: [*x]"} {
		if _, err := parsed(t, text); err == nil || !strings.Contains(err.Error(), "f.yaml:") {
			t.Errorf("%s: %v, want a refusal", text, err)
		}
	}
}

func TestNearest(t *testing.T) {
	known := []string{"front-listen", "front-tls-listen", "workers"}
	for name, want := range map[string]string{"front-lisen": "front-listen", "worker": "workers", "elephants": ""} {
		if got := nearest(name, known); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{"", "---", "a: 1\nb: [x, y]\nc: {d: e}", "a: &x {b: *x}", "<<: *y", "- a\n---\nb: c", "? [a]\n: b", "!!null"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := parsed(t, text); err != nil && !strings.Contains(err.Error(), "f.yaml") {
			t.Errorf("%q: %v does not name the file", text, err)
		}
	})
}

func TestValuesAreReadStrictly(t *testing.T) {
	var c struct {
		N int
		B int64
		F float64
		D time.Duration
	}
	k, err := kong.New(&c, Values())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Parse([]string{"--n=-7", "--b", "9007199254740993", "--f", "2.5e3", "--d", "1h30m"}); err != nil ||
		c.N != -7 || c.B != 9007199254740993 || c.F != 2500 || c.D != 90*time.Minute {
		t.Errorf("%+v, %v", c, err)
	}
	for flag, want := range map[string]string{
		"--n=010": "whole number", "--n=0x10": "whole number", "--n=1_000": "whole number", "--n=1e3": "whole number", "--n=": "whole number",
		"--b=9223372036854775808": "whole number", "--f=NaN": "want a number", "--f=Inf": "want a number", "--f=": "want a number",
		"--d=25": "its unit", "--d=": "its unit", "--d=1 s": "its unit",
	} {
		name, value, _ := strings.Cut(flag, "=")
		if _, err := k.Parse([]string{flag}); err == nil || !strings.HasPrefix(err.Error(), name) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), `"`+value+`"`) {
			t.Errorf("%s: %v, want %q", flag, err, want)
		}
	}
}
