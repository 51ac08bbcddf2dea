package app

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// configNamed writes a configuration file.
func configNamed(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "homing.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func parseWithConfig(t *testing.T, text string, args ...string) (*cli, error) {
	t.Helper()
	file := configNamed(t, text)
	var c cli
	p, err := kong.New(&c, options(t.Context(), os.Stdout, os.Stderr)...)
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Parse(append(args, "--config", file))
	return &c, err
}

func TestConfigFile(t *testing.T) {
	t.Setenv("HOMING_FRONT_PING_INTERVAL", "26s")
	t.Setenv("HOMING_AUTH_HS256_SECRET_FILE", "/from/the/environment")
	c, err := parseWithConfig(t, `
log-format: json
redis-data: [redis://a:1, redis://b:2]
redis-prefix: everyone
front:
  front-listen: 127.0.0.1:1
  front-ping-interval: 27s
  front-pong-timeout: 9s
  workers: 3
  redis-prefix: ours
  auth-hs256-secret-file: player.secret
  auth-allow-no-expiry: true
api:
  api-keys: keys.yaml
`, "front", "--front-listen", "127.0.0.1:2")
	if err != nil {
		t.Fatal(err)
	}
	f := &c.Front
	for what, c := range map[string]struct{ got, want any }{
		"a list":                      {strings.Join(f.Redis.Data, " "), "redis://a:1 redis://b:2"},
		"an option of all":            {c.Log.Format, "json"},
		"the command's section":       {f.Redis.Prefix, "ours"},
		"a duration":                  {f.Front.PongTimeout.String(), "9s"},
		"a number":                    {f.Master.Workers, 3},
		"a switch":                    {f.Auth.AllowNoExpiry, true},
		"the flag first":              {f.Front.Listen, "127.0.0.1:2"},
		"the environment then":        {f.Front.PingInterval.String(), "26s"},
		"digits in a variable's name": {f.Auth.HS256SecretFile, "/from/the/environment"},
	} {
		if c.got != c.want {
			t.Errorf("%s: %v, want %v", what, c.got, c.want)
		}
	}
}

func TestSectionsOfCommandsBelowCommands(t *testing.T) {
	const text = `
bench: {conns: 70, notify: {conns: 80}}
notify: {timeout: 9s}
`
	c, err := parseWithConfig(t, text, "bench", "notify")
	if err != nil || c.Bench.Notify.Flags.Conns != 80 {
		t.Errorf("bench notify: %d conns, %v", c.Bench.Notify.Flags.Conns, err)
	}
	c, err = parseWithConfig(t, text, "bench", "idle")
	if err != nil || c.Bench.Idle.Flags.Conns != 70 {
		t.Errorf("bench idle: %d conns, %v", c.Bench.Idle.Flags.Conns, err)
	}
}

func TestConfigFileRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"log-format: json\nfront-lisen: x":  ":2: front-lisen: there is no such option or command; did you mean front-listen?",
		"front:\n  front-lisen: x":          ":2: front-lisen: homing front has no such option; did you mean front-listen?",
		"front: {api-keys: x}":              ":1: api-keys: homing front has no such option",
		"fronts: {front-listen: x}":         ":1: fronts: there is no such command; did you mean front?",
		"front: x":                          ":1: front: a command: want its options below it",
		"front: {front-listen: {a: b}}":     ":1: front-listen: want a value, not options below it",
		"front: {front: {front-listen: x}}": ":1: front: there is no such command",
		"api:\n  bench: {conns: 1}":         ":2: bench: there is no such command",
		"config: other.yaml":                ":1: config: cannot be set in the file",
		"- a":                               ":1: want options, as in",
		"a: [":                              "not YAML",
		"redis-prefix: a\nlog-format: json\nredis-prefix: b": ":3: redis-prefix: given twice, first in line 1",
		"redis-prefix:":                          ":1: redis-prefix: no value",
		"front:":                                 ":1: front: no value",
		"redis-data: [redis://a:1, null]":        ":1: redis-data: no value",
		"redis-data: [[redis://a:1]]":            ":1: redis-data: want a value, or a list",
		"redis-prefix: !secret a":                ":1: redis-prefix: the tag !secret is not understood",
		"redis-prefix: [a, b]":                   "--redis-prefix: FILE:1: want one value, not a list",
		"log-format: json\n---\nredis-prefix: a": ": a second document",
		"front:\n  front-ping-interval: 25":      `--front-ping-interval: FILE:2: "25": want a duration with its unit`,
		"front:\n  front-ping-interval: 0.5":     `--front-ping-interval: FILE:2: "0.5": want a duration with its unit`,
		"workers: many":                          "--workers: FILE:1: ",
		"workers: 1.5":                           "--workers: FILE:1: ",
		"auth-allow-no-expiry: maybe":            "--auth-allow-no-expiry: FILE:1: ",
		"log-level: loud":                        `--log-level: FILE:1: "loud": want debug, info, warn or error`,
		"\n\nlog-format: xml":                    "FILE:3",
		"\nworkers: 2000":                        "--workers: 2000: want 0 to 1024 (--workers is from FILE:2)",
		"front-ping-interval: -1s":               "(--front-ping-interval is from FILE:1)",
		"<<: {log-format: json}":                 ":1: <<: there is no such command",
	} {
		file := configNamed(t, text)
		want = strings.ReplaceAll(want, "FILE", file)
		code, _, stderr := start(t, "front", "--auth-hs256-secret-file", "/nowhere", "--config", file)
		if code != 2 || !strings.Contains(stderr, want) || !strings.Contains(stderr, file) {
			t.Errorf("%q: status %d, %s; want %q", text, code, stderr, want)
		}
	}
}

func TestFilesWithoutOptions(t *testing.T) {
	for _, text := range []string{"", "# nothing yet\n", "---\n# nothing yet\n", "{}"} {
		if _, err := parseWithConfig(t, text, "api", "--api-keys", "/nowhere"); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestErrorsNameTheVariable(t *testing.T) {
	t.Setenv("HOMING_FRONT_PING_INTERVAL", "25")
	if code, _, stderr := start(t, "front"); code != 2 || !strings.Contains(stderr, `--front-ping-interval: "25": want a duration with its unit`) ||
		!strings.Contains(stderr, "HOMING_FRONT_PING_INTERVAL") {
		t.Errorf("status %d: %s", code, stderr)
	}
	t.Setenv("HOMING_FRONT_PING_INTERVAL", "25s")
	t.Setenv("HOMING_WORKERS", "2000")
	if code, _, stderr := start(t, "front"); code != 2 || !strings.Contains(stderr, "(--workers is from HOMING_WORKERS)") ||
		!strings.Contains(stderr, "Run `homing front --help`") {
		t.Errorf("status %d: %s", code, stderr)
	}
}

func TestVariablesThatAreNoOptions(t *testing.T) {
	for _, name := range []string{"HOMING_VERSION", "HOMING_HELP", "HOMING_JSON", "HOMING_USERS", "HOMING_AUTH_HS_256_SECRET_FILE"} {
		t.Setenv(name, "true")
	}
	t.Setenv("HOMING_FRONT_PORT", "tcp://10.0.0.1:8081") // as Kubernetes sets it for a service called homing-front
	t.Setenv("HOMING_FRONT_PORT_8081_TCP_ADDR", "10.0.0.1")
	t.Setenv("HOMING_FRONT_SERVICE_HOST", "10.0.0.1")
	code, stdout, stderr := start(t, "plan", "--users", "1M")
	if code != 0 || !strings.Contains(stdout, "1M users") {
		t.Errorf("status %d: %q", code, stdout)
	}
	for _, want := range []string{
		"variable=HOMING_VERSION nearest=none",
		"variable=HOMING_AUTH_HS_256_SECRET_FILE nearest=HOMING_AUTH_HS256_SECRET_FILE",
		"variable=HOMING_JSON",
	} {
		if !strings.Contains(stderr, want) {
			t.Errorf("no %q in %s", want, stderr)
		}
	}
	if strings.Contains(stderr, "HOMING_FRONT_") {
		t.Errorf("warned of what Kubernetes sets: %s", stderr)
	}
}

func TestExampleConfiguration(t *testing.T) {
	const file = "../../../deploy/homing.yaml"
	ports := map[string]int{} // of the admin addresses
	for _, command := range []string{"api", "front"} {
		var c cli
		p, err := kong.New(&c, options(t.Context(), os.Stdout, os.Stderr)...)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Parse([]string{command, "--config", file}); err != nil {
			t.Errorf("%s: %v", command, err)
		}
		addr, err := netip.ParseAddrPort(map[string]string{"api": c.API.Admin.Listen, "front": c.Front.Admin.Listen}[command])
		if err != nil {
			t.Errorf("%s: --admin-listen: %v", command, err)
		}
		ports[command] = int(addr.Port())
	}
	if apart := ports["front"] - ports["api"]; apart >= 0 && apart < adminPorts {
		t.Errorf("admin ports %v: a second API server takes the front's", ports)
	}
}
