// Command notices prints the copyright notices and licenses of everything that
// is linked into the homing binary. Run it after a dependency has changed, in
// the repository's root:
//
//	go run ./deploy/notices > THIRD-PARTY-NOTICES
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

func main() {
	text, err := notices(context.Background(), ".")
	if err != nil {
		fmt.Fprintln(os.Stderr, "notices:", err)
		os.Exit(1)
	}
	_, _ = os.Stdout.Write(text)
}

// module is a linked module, or the standard library, with its files of legal
// text by their paths below it.
type module struct {
	name  string
	dir   string
	files []string
}

// notices returns the text for the repository in root. It reads the module
// cache, which go fills when it lacks something.
func notices(ctx context.Context, root string) ([]byte, error) {
	modules, err := linked(ctx, root)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	out.WriteString("The homing binary contains the following software of others.\nMade by: go run ./deploy/notices\n")
	for _, m := range modules {
		if err := m.write(&out); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}

func (m *module) write(out *bytes.Buffer) error {
	if len(m.files) == 0 {
		return fmt.Errorf("%s: no file with its license in %s", m.name, m.dir)
	}
	for _, file := range m.files {
		text, err := os.ReadFile(filepath.Join(m.dir, file))
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "\n%s\n%s (%s)\n%s\n\n%s\n", strings.Repeat("=", 80), m.name, file, strings.Repeat("=", 80), bytes.TrimRight(text, "\r\n\t "))
	}
	return nil
}

// pkg is what we read of `go list -json`.
type pkg struct {
	ImportPath string
	Dir        string
	Standard   bool
	Root       string // of the standard library
	Module     *struct {
		Path, Version, Dir string
		Main               bool
	}
}

// linked are the modules in the binary, by name; the standard library is first.
func linked(ctx context.Context, root string) ([]module, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-deps", "-json=ImportPath,Dir,Standard,Root,Module", "./cmd/homing")
	cmd.Dir, cmd.Stderr = root, os.Stderr
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0", "GOFLAGS=")
	raw, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("list what is linked: %w", err)
	}
	byName := map[string]*module{}
	for dec := json.NewDecoder(bytes.NewReader(raw)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("read what is linked: %w", err)
		}
		if err := add(byName, p); err != nil {
			return nil, err
		}
	}
	var out []module
	for _, m := range byName {
		slices.Sort(m.files)
		out = append(out, *m)
	}
	slices.SortFunc(out, func(a, b module) int { return strings.Compare(a.name, b.name) })
	return out, nil
}

// ours begins the paths of the modules of this tree.
const ours = "github.com/homing/homing/"

// add enters a package's module, and the legal texts that stand beside the
// package or in a folder above it.
func add(byName map[string]*module, p pkg) error {
	name, root := "The Go standard library", p.Root
	if !p.Standard {
		if p.Module.Main || strings.HasPrefix(p.Module.Path, ours) {
			return nil
		}
		name, root = p.Module.Path+" "+p.Module.Version, p.Module.Dir
	}
	m := byName[name]
	if m == nil {
		m = &module{name: name, dir: root}
		byName[name] = m
	}
	if p.Standard { // what it vendors is of the same authors
		return m.addFiles(root)
	}
	for dir := p.Dir; strings.HasPrefix(dir, root); dir = filepath.Dir(dir) {
		if err := m.addFiles(dir); err != nil {
			return err
		}
		if dir == root {
			break
		}
	}
	return nil
}

// legal matches the names of files with licenses and notices.
var legal = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|patents)([-.].*)?$`)

func (m *module) addFiles(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		file, err := filepath.Rel(m.dir, filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		if legal.MatchString(e.Name()) && e.Type().IsRegular() && filepath.Ext(file) != ".go" && !slices.Contains(m.files, file) {
			m.files = append(m.files, file)
		}
	}
	return nil
}
