package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/homing/homing/api/apikey"
)

// keys runs 'homing token key' with args and returns its output.
func keys(t *testing.T, args ...string) (ok bool, stdout, stderr string) {
	t.Helper()
	code, stdout, stderr := start(t, append([]string{"token", "key"}, args...)...)
	return code == 0, strings.TrimSpace(stdout), stderr
}

// TestTokenKeyTendsAFile takes a key through its life.
func TestTokenKeyTendsAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys.yaml")
	ok, first, stderr := keys(t, "--name", "shop", "--file", file, "--rate", "50", "--from", "shop")
	if !ok || !strings.HasPrefix(first, "hk_") {
		t.Fatalf("%q %q", first, stderr)
	}
	if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	if ok, _, stderr := keys(t, "--name", "shop", "--file", file); ok || !strings.Contains(stderr, "--rotate") {
		t.Errorf("a name that is there: %t, %q", ok, stderr)
	}
	if ok, _, stderr := keys(t, "revoke", "--name", "shop", "--file", file); ok || !strings.Contains(stderr, "last key") {
		t.Errorf("the last key: %t, %q", ok, stderr)
	}
	if ok, _, stderr := keys(t, "--name", "chess", "--scopes", "notify", "--file", file, "--open", "5"); !ok {
		t.Fatal(stderr)
	}
	ok, second, stderr := keys(t, "rotate", "--name", "shop", "--file", file)
	if !ok || second == first {
		t.Fatalf("%q %q", second, stderr)
	}
	if ok, third, stderr := keys(t, "--name", "shop", "--file", file, "--rotate"); !ok || third == second {
		t.Errorf("--rotate: %q %q", third, stderr)
	} else {
		second = third
	}
	if ok, _, stderr := keys(t, "set", "--name", "chess", "--file", file, "--in-flight", "7", "--burst", "9", "--rate", "2.5", "--open", "0"); !ok {
		t.Fatal(stderr)
	}
	_, list, _ := keys(t, "list", "--file", file)
	for _, want := range [][]string{
		{"shop", "notify,broadcast,presence,disconnect,rooms,match", "shop", "50", "-", "-", "-"},
		{"chess", "notify", "-", "2.5", "9", "7", "-"},
	} {
		if !strings.Contains(strings.Join(strings.Fields(list), " "), strings.Join(want, " ")) {
			t.Errorf("the list\n%s\nlacks %q", list, want)
		}
	}
	specs, err := apikey.ReadFile(file)
	if err != nil || len(specs) != 2 || specs[0].Hash != apikey.HashOf(second).String() || specs[0].From[0] != "shop" {
		t.Errorf("%+v, %v", specs, err)
	}
	if ok, _, stderr := keys(t, "revoke", "--name", "shop", "--file", file); !ok {
		t.Error(stderr)
	}
	for _, args := range [][]string{
		{"revoke", "--name", "shop", "--file", file},
		{"rotate", "--name", "shop", "--file", file},
		{"set", "--name", "shop", "--file", file, "--rate", "1"},
	} {
		if ok, _, stderr := keys(t, args...); ok || !strings.Contains(stderr, "--name") || !strings.Contains(stderr, "shop") {
			t.Errorf("%v: %t, %q", args, ok, stderr)
		}
	}
	if ok, _, stderr := keys(t, "set", "--name", "chess", "--file", file, "--rate=-1"); ok || !strings.Contains(stderr, "rate") {
		t.Errorf("a rate below 0: %t, %q", ok, stderr)
	}
	if specs, err := apikey.ReadFile(file); err != nil || len(specs) != 1 || specs[0].Rate != 2.5 {
		t.Errorf("a refused change left %+v, %v", specs, err)
	}
}
