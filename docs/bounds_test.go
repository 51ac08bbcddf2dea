package docs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/homing/homing/hub/drop"
)

// rows returns the names that begin the rows of a table of operations.md, which
// follows the line that holds begin.
func rows(t *testing.T, begin string) (names []string) {
	t.Helper()
	b, err := os.ReadFile("operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, ok := strings.Cut(string(b), begin)
	if !ok {
		t.Fatalf("operations.md does not say %q", begin)
	}
	row := regexp.MustCompile("^\\| `([a-z_-]+)`")
	for line := range strings.Lines(text) {
		if m := row.FindStringSubmatch(line); m != nil {
			names = append(names, m[1])
		} else if len(names) > 0 {
			break
		}
	}
	slices.Sort(names)
	return names
}

// TestEveryBoundIsDocumented compares the marks in the source with the table.
func TestEveryBoundIsDocumented(t *testing.T) {
	mark := regexp.MustCompile(`(?m)^\s*//bound:([a-z-]+)$`)
	var marked []string
	for _, root := range []string{"api", "cmd", "front", "hub", "redisx"} {
		err := filepath.WalkDir(filepath.Join("..", root), func(path string, d fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".go" {
				return err
			}
			b, err := os.ReadFile(path)
			for _, m := range mark.FindAllStringSubmatch(string(b), -1) {
				marked = append(marked, m[1])
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(marked)
	if listed := rows(t, "### Every bound"); !slices.Equal(listed, marked) || len(marked) == 0 {
		t.Errorf("operations.md lists %q, the source marks %q", listed, marked)
	}
}

func TestEveryDropReasonIsDocumented(t *testing.T) {
	for table, reasons := range map[string][2]drop.Reason{
		"What a front does not write":        {0, drop.FrontReasons},
		"Whom an API server has not reached": {drop.FrontReasons, drop.Reasons},
	} {
		var names []string
		for r := reasons[0]; r < reasons[1]; r++ {
			names = append(names, r.String())
		}
		slices.Sort(names)
		if listed := rows(t, table); !slices.Equal(listed, names) {
			t.Errorf("%s: operations.md lists %q, the code has %q", table, listed, names)
		}
	}
}
