package capacity

import (
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the tables of docs/capacity.md anew")

const page = "../../docs/capacity.md"

// block matches a table of the page: the command that prints it, the part of
// what it prints that is shown, and the table.
var block = regexp.MustCompile("(?s)(<!-- homing plan ([^;>]*); (until|from) ASSUMED -->\n```\n)(.*?)(```\n<!-- end -->)")

// printed is what a command of the page prints now.
func printed(t *testing.T, args, part string) string {
	t.Helper()
	var text strings.Builder
	if err := planFor(t, strings.Fields(args)...).Write(&text); err != nil {
		t.Fatal(err)
	}
	shown, rest, found := strings.Cut(text.String(), "\nASSUMED\n")
	if !found {
		t.Fatal("no assumptions in what is printed")
	}
	if part == "from" {
		shown = "ASSUMED\n" + rest
	}
	lines := strings.Split(strings.TrimSpace(shown), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

// TestPage holds the tables of docs/capacity.md to what the command prints;
// with -update it writes them.
func TestPage(t *testing.T) {
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	old := string(b)
	if n := len(block.FindAllString(old, -1)); n < 4 {
		t.Fatalf("%d tables found, want one for each size and the costs", n)
	}
	now := block.ReplaceAllStringFunc(old, func(s string) string {
		m := block.FindStringSubmatch(s)
		return m[1] + printed(t, m[2], m[3]) + "\n" + m[5]
	})
	if now == old {
		return
	}
	if !*update {
		t.Fatalf("%s is not what the command prints: run go test ./bench/capacity -run TestPage -update, and read the text around its tables again", page)
	}
	if err := os.WriteFile(page, []byte(now), 0o600); err != nil {
		t.Fatal(err)
	}
}
