package docs_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// setupWith runs tools/setup go with a Go that answers as the script says.
func setupWith(t *testing.T, script string) (stderr string, err error) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "go"), []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "../tools/setup", "go")
	cmd.Env = append(os.Environ(), "PATH="+dir+":/usr/bin:/bin")
	var out strings.Builder
	cmd.Stderr = &out
	err = cmd.Run()
	return out.String(), err
}

func TestSetupChecksGo(t *testing.T) {
	for script, want := range map[string]string{
		"echo go99.0":              "",
		"echo devel go99.0-0123ab": "",
		"echo go1.27rc1":           "",
		"echo go1.20.14":           "go1.20.14; install 1.26",
		"echo go1.26.0":            "go1.26.0; install 1.26",
		"echo 'go: go.mod requires go >= 1.26.8 (running go 1.25.0; GOTOOLCHAIN=local)' >&2; exit 1": "requires go >= 1.26.8",
	} {
		stderr, err := setupWith(t, script)
		if (err == nil) != (want == "") || !strings.Contains(stderr, want) {
			t.Errorf("%s: %v, %q; want %q", script, err, stderr, want)
		}
	}
}
