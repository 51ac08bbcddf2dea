package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAnAgentRefusesToStart(t *testing.T) {
	dir := t.TempDir()
	short, good := filepath.Join(dir, "short"), filepath.Join(dir, "good")
	for name, secret := range map[string]string{short: "too short\n", good: newSecret()} {
		if err := os.WriteFile(name, []byte(secret), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for want, args := range map[string]string{
		"homing token secret":       "",
		"at least 32":               "--secret-file " + short,
		"--max-processes: 0":        "--secret-file " + good + " --max-processes 0",
		"--source: source \"eth0\"": "--secret-file " + good + " --source eth0",
		"192.0.2.1":                 "--secret-file " + good + " --source 192.0.2.1",
	} {
		code, _, stderr := start(t, append([]string{"bench", "agent", "--listen", "127.0.0.1:0"}, strings.Fields(args)...)...)
		if code == 0 || !strings.Contains(stderr, want) {
			t.Errorf("bench agent %s: status %d, %q; want a refusal with %q", args, code, stderr, want)
		}
	}
}
