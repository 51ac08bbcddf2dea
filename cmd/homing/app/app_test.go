package app

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// start runs a command that must end by itself.
func start(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	code = run(context.Background(), args, &out, &err)
	return code, out.String(), err.String()
}

func TestOptionsOutOfRangeAreNamedBeforeAnythingStarts(t *testing.T) {
	for want, args := range map[string]string{
		"--front-handshake-timeout:":  "front --front-handshake-timeout 0s",
		"--auth-leeway:":              "front --auth-hs256-secret-file x --auth-leeway=-1s",
		"--relay-retransmit-timeout:": "front --relay-retransmit-timeout 10ms",
		"inbox":                       "front --inbox-max-count 0",
		"redis":                       "front --redis-data http://nowhere",
		"--workers: 2000":             "front --workers 2000",
		"--api-body-limit:":           "api --api-body-limit 0",
		"--relay-window:":             "api --relay-window 0s",
		"--inbox-max-bytes:":          "api --inbox-max-bytes 0",
		"--hook-queue-bytes: 1:":      "front --hook-queue-bytes 1",
		"--hook-queue-bytes: 2:":      "fleet run ../../../deploy/fleet/steady.yaml --hooks --hook-queue-bytes 2",
		"--hook-events: none given":   "api --hook-url http://127.0.0.1 --hook-secret-file x --hook-events=",
		"--hook-max-age: 0s:":         "api --hook-max-age 0s",
		"--hook-secret-file: none":    "api --hook-url https://games.example/hook",
		"--hook-url: \"ftp:":          "api --hook-url ftp://games.example/hook",
		"--hook-batch: 101:":          "api --hook-batch 101",
		"--hook-unreached-after: 2h":  "api --hook-unreached-after 2h",
		"--hook-endpoints: open":      "api --hook-endpoints /nothing",
		"--status: 99:":               "hook listen --status 99",
		"--hook-endpoints is given":   "api --hook-url http://127.0.0.1 --hook-secret-file x --hook-endpoints /nothing",
		"pubsub":                      "api --redis-pubsub sentinel://nowhere",
		"--conns":                     "bench notify --conns=-1",
	} {
		if code, _, stderr := start(t, strings.Fields(args)...); code == 0 || !strings.Contains(stderr, want) {
			t.Errorf("homing %s: status %d, %q; want a refusal that names %s", args, code, stderr, want)
		}
	}
}

func TestServersWithoutSecretsSayHowToMakeThem(t *testing.T) {
	for command, want := range map[string]string{
		"front": "homing token secret",
		"api":   "homing token key",
	} {
		if code, _, stderr := start(t, command); code == 0 || !strings.Contains(stderr, want) {
			t.Errorf("homing %s: status %d, %q; want it to name %q", command, code, stderr, want)
		}
	}
}

func TestHelpTeaches(t *testing.T) {
	for _, command := range []string{"dev", "api", "front", "notify", "token player", "token key", "hook secret", "hook listen", "bench notify", "drill"} {
		if _, stdout, _ := start(t, append(strings.Fields(command), "--help")...); !strings.Contains(stdout, "Usage: homing "+command) {
			t.Errorf("homing %s --help: %q", command, stdout)
		}
	}
}

func TestErrorsAtTheStartNameTheFlag(t *testing.T) {
	secret := writeSecret(t, []byte(newSecret()))
	dir := t.TempDir()
	keys, _ := keysFile(t)
	for want, args := range map[string][]string{
		"homing: admin: --admin-listen: ":   {"dev", "--api-listen", "127.0.0.1:0", "--front-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:99999"},
		"--api-keys: open " + dir + "/none": {"api", "--api-keys", dir + "/none"},
		"--api-keys: " + secret:             {"api", "--api-keys", secret},
		"--redis-data[0]: ":                 {"api", "--api-keys", "x", "--redis-data", "ftp://h"},
		"--auth-hs256-secret-file: open ":   {"front", "--auth-hs256-secret-file", dir + "/none"},
		"--auth-public-key-file: " + secret: {"front", "--auth-public-key-file", secret},
		"--admin-listen: ":                  {"api", "--api-keys", keys, "--api-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:99999"},
	} {
		code, _, stderr := start(t, args...)
		if code == 0 || !strings.Contains(stderr, want) {
			t.Errorf("homing %q: status %d, %q; want %q", args, code, stderr, want)
		}
		if text, err := os.ReadFile(secret); err != nil || strings.Contains(stderr, string(text[:6])) {
			t.Errorf("homing %q tells of the secret: %s (%v)", args, stderr, err)
		}
		if strings.Contains(stderr, context.Canceled.Error()) {
			t.Errorf("homing %q: %s: what follows from the cause is no news", args, stderr)
		}
	}
}

// keysFile is a file with one API key, and the key.
func keysFile(t *testing.T) (file, key string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "keys.yaml")
	code, key, stderr := start(t, "token", "key", "--name", "shop", "--file", file)
	if code != 0 {
		t.Fatal(stderr)
	}
	return file, strings.TrimSpace(key)
}
