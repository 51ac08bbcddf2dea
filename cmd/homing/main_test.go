package main

import (
	"bytes"
	"context"
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
		"--front-handshake-timeout:": "front --front-handshake-timeout 0s",
		"--auth-leeway:":             "front --auth-hs256-secret-file x --auth-leeway=-1s",
		"--relay-quiet:":             "front --relay-quiet 10ms",
		"inbox":                      "front --inbox-max-count 0",
		"redis":                      "front --redis-data http://nowhere",
		"--workers: 2000":            "front --workers 2000",
		"--api-body-limit:":          "api --api-body-limit 0",
		"--relay-window:":            "api --relay-window 0s",
		"--inbox-max-bytes:":         "api --inbox-max-bytes 0",
		"pubsub":                     "api --redis-pubsub sentinel://nowhere",
		"--conns":                    "bench notify --conns=-1",
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
	for _, command := range []string{"dev", "api", "front", "notify", "token player", "token key", "bench notify", "drill"} {
		if _, stdout, _ := start(t, append(strings.Fields(command), "--help")...); !strings.Contains(stdout, "Usage: homing "+command) {
			t.Errorf("homing %s --help: %q", command, stdout)
		}
	}
}
