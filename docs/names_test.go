package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The documents whose names of files and identifiers are held to the tree.
var namingDocuments = []string{"../CONTRIBUTING.md", "architecture.md", "decisions.md"}

var (
	// codeSpan matches what stands between backquotes.
	codeSpan = regexp.MustCompile("`([^`\n]+)`")
	// fileNames matches a Go file and what the text says is declared there:
	// `front/door.go` `route`, `early`.
	fileNames = regexp.MustCompile("`([\\w./-]+\\.go)`((?:,? `[A-Za-z_][\\w.]*`)+)")
	fileName  = regexp.MustCompile(`^[\w-]+\.(go|lua|md|mjs|conf|yaml|yml|mod)$`)
	pathName  = regexp.MustCompile(`^[\w.-]+(/[\w.*-]+)+/?$`)
)

// tree is what the repository holds: files by their base names, and the names at
// its root.
type tree struct {
	bases map[string]bool
	roots map[string]bool
}

func readTree(t *testing.T) tree {
	t.Helper()
	tr := tree{bases: map[string]bool{}, roots: map[string]bool{}}
	err := fs.WalkDir(os.DirFS(".."), ".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".git" || d.Name() == "node_modules"):
			return fs.SkipDir
		case path.Dir(p) == ".":
			tr.roots[p] = true
		}
		if !d.IsDir() {
			tr.bases[d.Name()] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// missing reports whether span looks like a file or a folder of the repository
// and is none. NAME in a path stands for something that does not exist yet: its
// folder must.
func (tr *tree) missing(span string) bool {
	switch {
	case strings.Contains(span, "NAME"):
		return false
	case fileName.MatchString(span):
		return !tr.bases[span]
	case !pathName.MatchString(span) || !tr.roots[strings.Split(span, "/")[0]]:
		return false
	}
	found, err := filepath.Glob("../" + span)
	return err != nil || len(found) == 0
}

// declared returns what a Go file declares: functions, methods (alone and after
// their type), types, constants, variables, fields and methods of interfaces.
func declared(t *testing.T, file string) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Errorf("%v", err)
		return nil
	}
	var names []string
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			names = append(names, n.Name.Name)
			if n.Recv != nil {
				names = append(names, receiver(n.Recv.List[0].Type)+"."+n.Name.Name)
			}
			return false
		case *ast.TypeSpec:
			names = append(names, n.Name.Name)
		case *ast.ValueSpec:
			names = appendNames(names, n.Names)
		case *ast.Field:
			names = appendNames(names, n.Names)
		}
		return true
	})
	return names
}

func appendNames(names []string, more []*ast.Ident) []string {
	for _, n := range more {
		names = append(names, n.Name)
	}
	return names
}

// receiver is the name of a method's type, without pointer and type parameters.
func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}

func TestNamedFilesExist(t *testing.T) {
	tr := readTree(t)
	checked := 0
	for _, doc := range namingDocuments {
		text, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range codeSpan.FindAllStringSubmatch(string(text), -1) {
			if tr.missing(m[1]) {
				t.Errorf("%s: there is no %s", doc, m[1])
			}
			checked++
		}
	}
	if checked < 100 {
		t.Errorf("%d names checked: the pattern has gone stale", checked)
	}
	for _, none := range []string{"front/nothing.go", "hub/*/nothing.lua", "nothing.md", "front/nothing"} {
		if !tr.missing(none) {
			t.Errorf("%s is not missed", none)
		}
	}
}

func TestNamedIdentifiersExist(t *testing.T) {
	checked := 0
	for _, doc := range namingDocuments {
		text, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range fileNames.FindAllStringSubmatch(string(text), -1) {
			names := declared(t, "../"+m[1])
			for _, n := range codeSpan.FindAllStringSubmatch(m[2], -1) {
				if fileName.MatchString(n[1]) {
					continue
				}
				if checked++; !slices.Contains(names, n[1]) {
					t.Errorf("%s: %s does not declare %s", doc, m[1], n[1])
				}
			}
		}
	}
	if checked < 10 {
		t.Errorf("%d identifiers checked: the pattern has gone stale", checked)
	}
	if names := declared(t, "names_test.go"); !slices.Contains(names, "tree.missing") || slices.Contains(names, "nothing") {
		t.Errorf("declared here: %v", names)
	}
}
