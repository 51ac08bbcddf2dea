// Package docs_test keeps what the documents say true.
package docs_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"gopkg.in/yaml.v3"

	"github.com/homing/homing/hub"
)

// asyncAPI is asyncapi.yaml with its references followed.
type asyncAPI struct{ root any }

func loadAsyncAPI(t *testing.T) asyncAPI {
	t.Helper()
	b, err := os.ReadFile("asyncapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var root any
	if err := yaml.Unmarshal(b, &root); err != nil {
		t.Fatal(err)
	}
	return asyncAPI{root}
}

// at returns the value at a path such as "components/messages".
func (a asyncAPI) at(path string) (any, error) {
	v := a.root
	for part := range strings.SplitSeq(path, "/") {
		m, ok := v.(map[string]any)
		if !ok || m[part] == nil {
			return nil, fmt.Errorf("%s: nothing at %s", path, part)
		}
		v = m[part]
	}
	return v, nil
}

// inline returns v with every reference replaced by what it names.
func (a asyncAPI) inline(v any) (any, error) {
	var err error
	switch v := v.(type) {
	case map[string]any:
		if ref, ok := v["$ref"].(string); ok {
			target, err := a.at(strings.TrimPrefix(ref, "#/"))
			if err != nil {
				return nil, err
			}
			return a.inline(target)
		}
		out := map[string]any{}
		for k, e := range v {
			if out[k], err = a.inline(e); err != nil {
				return nil, err
			}
		}
		return out, nil
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			if out[i], err = a.inline(e); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return v, nil
}

// check reports why value is not what the message's schema describes.
func (a asyncAPI) check(message string, value any) error {
	raw, err := a.at("components/schemas/" + message)
	if err != nil {
		return err
	}
	full, err := a.inline(raw)
	if err != nil {
		return err
	}
	b, err := json.Marshal(full)
	if err != nil {
		return err
	}
	var s openapi3.Schema
	if err := s.UnmarshalJSON(b); err != nil {
		return err
	}
	plain, err := jsonOf(value)
	if err != nil {
		return err
	}
	return s.VisitJSON(plain, openapi3.EnableJSONSchema2020())
}

// jsonOf returns v as encoding/json would read it.
func jsonOf(v any) (any, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var out any
	return out, json.Unmarshal(b, &out)
}

func TestAsyncAPIReferences(t *testing.T) {
	a := loadAsyncAPI(t)
	if _, err := a.inline(a.root); err != nil {
		t.Error(err)
	}
}

func TestAsyncAPIExamples(t *testing.T) {
	a := loadAsyncAPI(t)
	v, err := a.at("components/messages")
	if err != nil {
		t.Fatal(err)
	}
	for name, m := range v.(map[string]any) {
		for _, e := range m.(map[string]any)["examples"].([]any) {
			if err := a.check(name, e.(map[string]any)["payload"]); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if a.check("hello", map[string]any{"t": "hello", "user": "a b"}) == nil {
		t.Error("a hello with a bad user and without conn passes")
	}
}

func TestNotifyIsAsDescribed(t *testing.T) {
	a := loadAsyncAPI(t)
	for _, n := range []hub.Notification{
		{ID: "1", Data: json.RawMessage(`{"a":1}`)},
		{ID: "order-17", Type: "gift", From: "shop", Data: json.RawMessage(`null`)},
		{ID: "mail-9", Store: time.Hour, Data: json.RawMessage(`[]`)},
	} {
		if err := a.check("notify", json.RawMessage(n.Render())); err != nil {
			t.Errorf("%s: %v", n.Render(), err)
		}
	}
}

// jsonLine matches a message given as an example in a document.
var jsonLine = regexp.MustCompile(`(?m)^\{"t":.*\}$`)

func TestExamplesInTheText(t *testing.T) {
	a := loadAsyncAPI(t)
	text, err := os.ReadFile("protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	lines := jsonLine.FindAll(text, -1)
	if len(lines) < 6 {
		t.Fatalf("found %d examples, want one of each message", len(lines))
	}
	for _, line := range lines {
		var m struct{ T string }
		if err := json.Unmarshal(line, &m); err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		if err := a.check(m.T, json.RawMessage(line)); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
}

// codeInSource matches where front names a code for clients.
var codeInSource = regexp.MustCompile(`(?:Code: |&Error\{|upgradeRequired\(|"code":)"([a-z_]+)"`)

func TestEveryCodeIsDocumented(t *testing.T) {
	text, err := os.ReadFile("protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, dir := range []string{"../front", "../front/ws", "../front/auth"} {
		found, err := filepath.Glob(dir + "/*.go")
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	seen := 0
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		src, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range codeInSource.FindAllSubmatch(src, -1) {
			seen++
			if code := string(m[1]); code != "internal" && !strings.Contains(string(text), "`"+code+"`") {
				t.Errorf("%s: protocol.md does not explain %q", f, code)
			}
		}
	}
	if seen < 20 {
		t.Errorf("found %d codes in front: the pattern has gone stale", seen)
	}
}

// codeBlock is code of somebody else's page: its links are its own.
var codeBlock = regexp.MustCompile("(?s)\n```.*?\n```")

// link matches the target of a Markdown link or image, or of an HTML image.
var link = regexp.MustCompile(`\]\(([^)\s]+)\)|(?:src|srcset|href)="([^"]+)"`)

func TestLinksLeadSomewhere(t *testing.T) {
	files, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range append(files, "../README.md", "../CONTRIBUTING.md") {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(codeBlock.ReplaceAllString(string(b), ""), -1) {
			target := m[1] + m[2]
			if strings.Contains(target, "://") {
				continue
			}
			if err := checkLink(f, target); err != nil {
				t.Errorf("%s: %s: %v", f, target, err)
			}
		}
	}
}

// checkLink looks for the file and the heading that a relative link names.
func checkLink(from, target string) error {
	path, anchor, _ := strings.Cut(target, "#")
	file := from
	if path != "" {
		file = filepath.Join(filepath.Dir(from), path)
	}
	b, err := os.ReadFile(file)
	if st, serr := os.Stat(file); serr == nil && st.IsDir() {
		return nil
	}
	if err != nil || anchor == "" {
		return err
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		if strings.HasPrefix(line, "#") && slug(line) == anchor {
			return nil
		}
	}
	return fmt.Errorf("no heading for #%s", anchor)
}

var notInSlug = regexp.MustCompile(`[^a-z0-9 _-]`)

// slug is the anchor that GitHub gives a heading.
func slug(heading string) string {
	s := strings.ToLower(strings.TrimSpace(strings.TrimLeft(heading, "#")))
	return strings.ReplaceAll(notInSlug.ReplaceAllString(s, ""), " ", "-")
}

var (
	requirement = regexp.MustCompile(`(?m)^\t(\S+) (v\S+)( // indirect)?$`)
	tableRow    = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (v\\S+) \\|")
)

func TestDependenciesAreThoseOfGoMod(t *testing.T) {
	mod, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]string{}
	for _, m := range tableRow.FindAllStringSubmatch(string(text), -1) {
		listed[m[1]] = m[2]
	}
	required := map[string]string{}
	for _, m := range requirement.FindAllStringSubmatch(string(mod), -1) {
		required[m[1]] = m[2]
		ours := strings.HasPrefix(m[1], "github.com/homing/homing/") // a module in this tree
		if m[3] == "" && listed[m[1]] == "" && !ours {
			t.Errorf("dependencies.md does not list %s", m[1])
		}
	}
	for name, version := range listed {
		if required[name] != version {
			t.Errorf("dependencies.md lists %s at %s, go.mod requires %q", name, version, required[name])
		}
	}
}
