package apikey

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/homing/homing/hub"
)

func TestEditKeepsComments(t *testing.T) {
	_, one := generate(t, "one")
	_, two := generate(t, "two")
	dir := t.TempDir()
	file, link := filepath.Join(dir, "real.yaml"), filepath.Join(dir, "keys.yaml")
	text := "# who may call\nkeys:\n  # the shop\n" + one.YAML() + "  # the games\n" + two.YAML()
	if err := errors.Join(os.WriteFile(file, []byte(text), 0o666), os.Chmod(file, 0o666), os.Symlink(file, link)); err != nil {
		t.Fatal(err)
	}
	if err := Edit(link, func(f *File) error {
		return f.Change("one", func(s *Spec) { s.Rate, s.From = 5, []hub.Service{"shop"} })
	}); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"# who may call", "# the shop", "# the games", "rate: 5", one.Hash, two.Hash} {
		if !strings.Contains(string(b), want) {
			t.Errorf("%q is not in\n%s", want, b)
		}
	}
	st, err := os.Lstat(link)
	if err != nil || st.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is %v, %v", st.Mode(), err)
	}
	if st, err = os.Stat(file); err != nil || st.Mode().Perm() != 0o644 {
		t.Errorf("mode %v, %v; want no right of others to write", st.Mode(), err)
	}
}

// TestEditRefuses leaves the file as it was when it cannot be read, changed, or
// read again.
func TestEditRefuses(t *testing.T) {
	_, one := generate(t, "one")
	file := filepath.Join(t.TempDir(), "keys.yaml")
	write(t, file, one)
	before, _ := os.ReadFile(file)
	for name, change := range map[string]func(*File) error{
		"a name that is there": func(f *File) error { return f.Add(one) },
		"a hash that is there": func(f *File) error { s := one; s.Name = "two"; return f.Add(s) },
		"no such key":          func(f *File) error { return f.Remove("two") },
		"the last key":         func(f *File) error { return f.Remove("one") },
		"another's name":       func(f *File) error { return f.Change("one", func(s *Spec) { s.Name = "" }) },
		"an error":             func(*File) error { return errors.New("no") },
	} {
		if err := Edit(file, change); err == nil {
			t.Errorf("%s: taken", name)
		}
		if after, _ := os.ReadFile(file); string(after) != string(before) {
			t.Errorf("%s: now\n%s", name, after)
		}
	}
	if left, _ := os.ReadDir(filepath.Dir(file)); len(left) != 1 {
		t.Errorf("%d files are left", len(left))
	}
	if err := os.WriteFile(file, []byte("keys: nonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Edit(file, func(f *File) error { return f.Add(one) }); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a broken file: %v", err)
	}
}

// TestEditsAtOnce: none is lost.
func TestEditsAtOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys.yaml")
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			_, spec, err := Generate(fmt.Sprint("key-", i), AllScopes())
			if err == nil {
				err = Edit(file, func(f *File) error { return f.Add(spec) })
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if specs, err := ReadFile(file); err != nil || len(specs) != 20 {
		t.Errorf("%d keys, %v", len(specs), err)
	}
}
