package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

func parseWithConfig(t *testing.T, text string, args ...string) (*cli, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "homing.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var c cli
	p, err := kong.New(&c, options(t.Context(), os.Stdout, os.Stderr)...)
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Parse(append(args, "--config", file))
	return &c, err
}

func TestConfigFile(t *testing.T) {
	c, err := parseWithConfig(t, `
log-format: json
redis-data: [redis://a:1, redis://b:2]
redis-prefix: everyone
front:
  front-listen: 127.0.0.1:1
  redis-prefix: ours
  auth-hs256-secret-file: player.secret
api:
  api-keys: keys.yaml
`, "front", "--front-listen", "127.0.0.1:2")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(c.Front.Redis.Data, " "); got != "redis://a:1 redis://b:2" {
		t.Errorf("redis-data is %q", got)
	}
	if c.Log.Format != "json" || c.Front.Redis.Prefix != "ours" {
		t.Errorf("log-format %q, redis-prefix %q", c.Log.Format, c.Front.Redis.Prefix)
	}
	if c.Front.Front.Listen != "127.0.0.1:2" {
		t.Errorf("the file went before the flag: %q", c.Front.Front.Listen)
	}
}

func TestConfigFileRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"front-lisen: x":          "front-lisen",
		"front: {front-lisen: x}": "front-lisen",
		"front: {api-keys: x}":    "api-keys",
		"front: x":                "front",
		"- a":                     "YAML",
	} {
		if _, err := parseWithConfig(t, text, "front"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want an error about %s", text, err, want)
		}
	}
}
