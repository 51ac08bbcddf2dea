// Command figures prints how the house stands: the largest types, functions and
// files, which packages most others import, and the arrows between the files of
// one package. Run it from the repository's root:
//
//	go -C tools run ./figures [PACKAGE]      default: ../front
package main

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/tools/go/packages"
)

const shown = 8

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "figures:", err)
		os.Exit(1)
	}
}

func run() error {
	of := "./front"
	if len(os.Args) > 1 {
		of = os.Args[1]
	}
	fset := token.NewFileSet()
	all, err := packages.Load(&packages.Config{
		Dir: "..", Fset: fset,
		Mode: packages.NeedName | packages.NeedFiles | packages.NeedSyntax | packages.NeedImports | packages.NeedTypes | packages.NeedTypesInfo,
	}, "./...")
	if err != nil {
		return fmt.Errorf("load the packages: %w", err)
	}
	h := &house{fset: fset, methods: map[string]map[string]int{}, importers: map[string]int{}}
	for _, p := range all {
		if len(p.Errors) > 0 {
			return p.Errors[0]
		}
		h.add(p)
		if p.PkgPath == module+strings.TrimPrefix(of, ".") {
			defer printArrows(fset, p)
		}
	}
	h.print()
	return nil
}

const module = "github.com/homing/homing"

// house is what is counted of all packages.
type house struct {
	fset      *token.FileSet
	methods   map[string]map[string]int // by type, by file
	functions []counted                 // lines
	files     []counted                 // lines
	importers map[string]int            // packages of ours that import one of ours
}

type counted struct {
	n    int
	what string
}

func (h *house) add(p *packages.Package) {
	for path := range p.Imports {
		if strings.HasPrefix(path, module) {
			h.importers[strings.TrimPrefix(path, module+"/")]++
		}
	}
	for _, f := range p.Syntax {
		name := h.file(f.Pos())
		h.files = append(h.files, counted{h.fset.File(f.Pos()).LineCount(), name})
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok {
				h.addFunc(name, fn)
			}
		}
	}
}

func (h *house) addFunc(file string, fn *ast.FuncDecl) {
	lines := h.fset.Position(fn.End()).Line - h.fset.Position(fn.Pos()).Line + 1
	h.functions = append(h.functions, counted{lines, file + " " + fn.Name.Name})
	if fn.Recv == nil {
		return
	}
	of := filepath.Dir(file) + "." + receiver(fn.Recv.List[0].Type)
	if h.methods[of] == nil {
		h.methods[of] = map[string]int{}
	}
	h.methods[of][file]++
}

// receiver is the name of the type that a receiver has.
func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.IndexListExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return "?"
}

// file is the path of a position's file below the repository's root.
func (h *house) file(at token.Pos) string {
	root, _ := filepath.Abs("..")
	name, err := filepath.Rel(root, h.fset.File(at).Name())
	if err != nil {
		return h.fset.File(at).Name()
	}
	return name
}

func (h *house) print() {
	var types, fanIn []counted
	for name, files := range h.methods {
		n := 0
		for _, m := range files {
			n += m
		}
		types = append(types, counted{n, fmt.Sprintf("%s, in %d files", name, len(files))})
	}
	for name, n := range h.importers {
		fanIn = append(fanIn, counted{n, name})
	}
	print("methods of the largest types", types)
	print("lines of the longest functions", h.functions)
	print("lines of the longest files", h.files)
	print("packages that import one", fanIn)
	print("types over more than 4 files", spread(h.methods))
}

func spread(methods map[string]map[string]int) (over []counted) {
	for name, files := range methods {
		if len(files) > 4 {
			over = append(over, counted{len(files), name})
		}
	}
	return over
}

func print(title string, all []counted) {
	slices.SortFunc(all, func(a, b counted) int {
		return cmp.Or(cmp.Compare(b.n, a.n), strings.Compare(a.what, b.what))
	})
	fmt.Printf("%s\n", title)
	for _, c := range all[:min(shown, len(all))] {
		fmt.Printf("%6d  %s\n", c.n, c.what)
	}
}

// printArrows counts the arrows between the files of p: a file uses what another
// one declares, fields and methods included. Files in a circle use each other, if
// only by way of others.
func printArrows(fset *token.FileSet, p *packages.Package) {
	arrows := map[string]map[string]bool{}
	for id, obj := range p.TypesInfo.Uses {
		if obj.Pkg() != p.Types || obj.Pos() == token.NoPos {
			continue
		}
		if v, ok := obj.(*types.Var); ok && !v.IsField() && v.Parent() != p.Types.Scope() {
			continue // local
		}
		from, to := filepath.Base(fset.File(id.Pos()).Name()), filepath.Base(fset.File(obj.Pos()).Name())
		if from == to {
			continue
		}
		if arrows[from] == nil {
			arrows[from] = map[string]bool{}
		}
		arrows[from][to] = true
	}
	n, in := 0, map[string]int{}
	for _, to := range arrows {
		n += len(to)
		for t := range to {
			in[t]++
		}
	}
	var fanIn []counted
	for name, n := range in {
		fanIn = append(fanIn, counted{n, name})
	}
	fmt.Printf("arrows between the %d files of %s\n%6d\n", len(p.Syntax), p.PkgPath, n)
	print("of them to one file", fanIn)
}
