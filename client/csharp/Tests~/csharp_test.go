// Package csharp_test compiles client/csharp with Mono and runs its tests.
package csharp_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/gobwas/ws"

	"github.com/homing/homing/client/conformance"
)

var compiled struct {
	once sync.Once
	dir  string
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	_ = os.RemoveAll(compiled.dir) // empty: nothing was compiled
	os.Exit(code)
}

// program returns the path of a program of Tests~/build.
func program(t *testing.T, name string) string {
	t.Helper()
	for _, tool := range []string{"mcs", "mono"} {
		if _, err := exec.LookPath(tool); err == nil {
			continue
		}
		if os.Getenv("CI") != "" {
			t.Fatalf("%s is missing: tools/setup mono", tool)
		}
		t.Skipf("%s is missing: tools/setup mono", tool)
	}
	compiled.once.Do(func() {
		if compiled.dir, compiled.err = os.MkdirTemp("", "homing-csharp-"); compiled.err != nil { //nolint:usetesting // for all tests
			return
		}
		out, err := exec.Command("./build", compiled.dir).CombinedOutput()
		if err != nil {
			compiled.err = fmt.Errorf("%w:\n%s", err, out)
		}
	})
	if compiled.err != nil {
		t.Fatal("compile:", compiled.err)
	}
	return filepath.Join(compiled.dir, name)
}

func TestUnits(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "mono", "--debug", program(t, "unit.exe")).CombinedOutput()
	t.Logf("%s", out)
	if err != nil || !strings.Contains(string(out), " passed, 0 failed") {
		t.Fatal(err)
	}
}

// TestConformance goes through the whole list of client/conformance.
func TestConformance(t *testing.T) {
	t.Parallel()
	play(t, []string{"mono", "--debug", program(t, "agent.exe")}, regexp.MustCompile(""), "an event stream instead")
}

// TestClientWebSocket goes through what works with the runtime's own WebSocket. What
// does not, in Mono: see client/csharp/README.md.
func TestClientWebSocket(t *testing.T) {
	t.Parallel()
	some := regexp.MustCompile(`^(first connection|the place is kept|repeats and another order|a topic with its history|publish again after a loss|back to the seat|close 4003)$`)
	play(t, []string{"mono", "--debug", program(t, "agent.exe"), "--client-web-socket"}, some)
}

// TestTLS connects to a server with a certificate that nobody signed: only when it is
// told to trust it.
func TestTLS(t *testing.T) {
	t.Parallel()
	addr := serveTLS(t)
	for _, trusting := range []bool{true, false} {
		command := []string{"mono", "--debug", program(t, "agent.exe")}
		want := map[string]any{"event": "state", "state": "waiting"}
		if trusting {
			command, want = append(command, "--trust-all"), map[string]any{"event": "notify", "id": "a"}
		}
		a, err := conformance.StartAgent(t.Context(), command, os.Stderr)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Tell(map[string]any{"do": "start", "url": "wss://" + addr + "/ws", "tokens": []string{"t1"}}); err != nil {
			t.Error(err)
		}
		if _, err := a.Hear(t.Context(), want, time.Minute); err != nil {
			t.Errorf("trusting: %v: %v\n%s", trusting, err, a.Said())
		}
		if opened := strings.Contains(a.Said(), `"open"`); opened != trusting {
			t.Errorf("trusting: %v: it is open: %v", trusting, opened)
		}
		if err := a.Stop(20 * time.Second); err != nil {
			t.Error(err)
		}
	}
}

// serveTLS serves WebSockets over TLS: hello, a notification, and whatever comes is read.
func serveTLS(t *testing.T) (addr string) {
	t.Helper()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u := ws.HTTPUpgrader{Protocol: func(p string) bool { return p == "homing.v1" }}
		conn, _, _, err := u.Upgrade(r, w)
		if err != nil {
			return // the client hangs up
		}
		defer conn.Close()
		for _, m := range []string{`{"t":"hello","user":"ann","ping":25000}`, `{"t":"notify","id":"a","data":"` + strings.Repeat("é", 40000) + `"}`} {
			_ = ws.WriteFrame(conn, ws.NewTextFrame([]byte(m))) // a client that is gone is read to its end
		}
		for {
			h, err := ws.ReadHeader(conn)
			_, _ = io.CopyN(io.Discard, conn, h.Length)
			if err != nil || h.OpCode == ws.OpClose {
				_ = ws.WriteFrame(conn, ws.NewCloseFrame(nil))
				return
			}
		}
	}))
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// play plays those situations whose names fit, a few at once, and wants those to be
// skipped that are named.
func play(t *testing.T, command []string, some *regexp.Regexp, skipped ...string) {
	t.Helper()
	all, err := conformance.Situations()
	if err != nil {
		t.Fatal(err)
	}
	turns := make(chan struct{}, 4)
	t.Run("situations", func(t *testing.T) {
		for _, s := range all {
			if !some.MatchString(s.Name) {
				continue
			}
			t.Run(s.Name, func(t *testing.T) {
				t.Parallel()
				turns <- struct{}{}
				defer func() { <-turns }()
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
				defer cancel()
				err := conformance.Play(ctx, s, command, conformance.Options{Late: 20 * time.Second, Stderr: os.Stderr})
				if errors.Is(err, conformance.ErrSkipped) != slices.Contains(skipped, s.Name) || (err != nil && !errors.Is(err, conformance.ErrSkipped)) {
					t.Error(err)
				}
			})
		}
	})
}

// TestJSONReader compares the reader with Go's on texts that are JSON, nearly JSON and
// nothing of the kind.
func TestJSONReader(t *testing.T) {
	t.Parallel()
	texts := corpus(rand.New(rand.NewPCG(14, uint64(time.Now().UnixNano()))))
	cmd := exec.CommandContext(t.Context(), "mono", program(t, "unit.exe"), "--json")
	var in strings.Builder
	for _, text := range texts {
		in.WriteString(base64.StdEncoding.EncodeToString([]byte(text)) + "\n")
	}
	cmd.Stdin, cmd.Stderr = strings.NewReader(in.String()), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(strings.NewReader(string(out)))
	lines.Buffer(nil, 1<<20)
	good, wrong := 0, 0
	for _, text := range texts {
		if !lines.Scan() {
			t.Fatal("an answer is missing")
		}
		want := canonical(text)
		if want != "bad" {
			good++
		}
		if got := lines.Text(); !same(got, want) && wrong < 10 {
			wrong++
			t.Errorf("%q:\n have %.300s\n want %.300s", text, got, want)
		}
	}
	t.Logf("%d texts, %d of them JSON", len(texts), good)
	if good < 1000 || len(texts)-good < 1000 {
		t.Error("the texts are too few, or of one kind")
	}
}

var number = regexp.MustCompile("#[0-9a-f]+")

// same compares two canonical texts. Numbers may differ in their last bits: Mono's parser
// is not exact.
func same(got, want string) bool {
	if number.ReplaceAllString(got, "#") != number.ReplaceAllString(want, "#") {
		return false
	}
	theirs := number.FindAllString(want, -1)
	for i, x := range number.FindAllString(got, -1) {
		a, errA := strconv.ParseUint(x[1:], 16, 64)
		b, errB := strconv.ParseUint(theirs[i][1:], 16, 64)
		if errA != nil || errB != nil || max(a, b)-min(a, b) > 2 {
			return false
		}
	}
	return true
}

// corpus makes texts: values at random, and the same with bytes changed.
func corpus(r *rand.Rand) []string {
	texts := []string{"", " ", "0", "-0", "1e308", "1e309", "-1e400", "5e-324", "0.1", "123456789012345678901234567890", "2.2250738585072011e-308", `"\ud83d"`, `"\ude00\ud83d"`, `"\ud83d\ud83d\ude00"`, "\"\u2028\x7f\"", "\ufeff1", "[[[[]]]]", `{"":{"":[]}}`, `{"a":1,"a":2}`}
	for range 6000 {
		text := value(r, 0)
		texts = append(texts, text)
		for range 2 {
			texts = append(texts, strings.ToValidUTF8(changed(r, text), "?"))
		}
	}
	return texts
}

const alphabet = "{}[]\",:\\/ \t\n0123456789-+.eEtrufalsn\x00\x1fé\U0001f600"

func changed(r *rand.Rand, text string) string {
	b := []rune(text)
	some := []rune(alphabet)
	for range 1 + r.IntN(3) {
		at := r.IntN(len(b) + 1)
		switch r.IntN(3) {
		case 0:
			b = slices.Insert(b, at, some[r.IntN(len(some))])
		case 1:
			if at < len(b) {
				b[at] = some[r.IntN(len(some))]
			}
		default:
			if at < len(b) {
				b = slices.Delete(b, at, min(len(b), at+1+r.IntN(3)))
			}
		}
	}
	return string(b)
}

func value(r *rand.Rand, depth int) string {
	kinds := 7
	if depth > 4 {
		kinds = 5
	}
	space := []string{"", "", " ", "\r\n\t"}[r.IntN(4)]
	var parts []string
	switch r.IntN(kinds) {
	case 0:
		return space + []string{"true", "false", "null"}[r.IntN(3)]
	case 1:
		return strconv.Itoa(r.IntN(2000)-1000) + space
	case 2:
		return strconv.FormatFloat(math.Float64frombits(r.Uint64()&^(1<<62)), []byte("eg")[r.IntN(2)], -1, 64) + space
	case 3, 4:
		return space + quoted(r)
	case 5:
		for range r.IntN(5) {
			parts = append(parts, value(r, depth+1))
		}
		return "[" + space + strings.Join(parts, ",") + "]"
	}
	for range r.IntN(5) {
		parts = append(parts, quoted(r)+space+":"+value(r, depth+1))
	}
	return "{" + space + strings.Join(parts, ",") + "}"
}

func quoted(r *rand.Rand) string {
	some := []string{"a", "é", "\U0001f600", `\n`, `\"`, `\\`, `\/`, `\u00e9`, `\ud83d\ude00`, `\ud83d`, `\uDE00`, `\u0000`, "\u2028", "{", "]"}
	s := `"`
	for range r.IntN(6) {
		s += some[r.IntN(len(some))]
	}
	return s + `"`
}

// canonical is what the C# program says of a text.
func canonical(text string) string {
	if !json.Valid([]byte(text)) {
		return "bad"
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	s := new(strings.Builder)
	write(s, d)
	return s.String()
}

func write(s *strings.Builder, d *json.Decoder) {
	token, _ := d.Token() // the text is valid
	switch x := token.(type) {
	case nil:
		s.WriteByte('n')
	case bool:
		s.WriteString(map[bool]string{true: "t", false: "f"}[x])
	case json.Number:
		f, _ := strconv.ParseFloat(x.String(), 64) // infinite where it is too large
		switch {
		case math.IsInf(f, 0):
			s.WriteString(map[bool]string{true: "inf", false: "-inf"}[f > 0])
		default:
			fmt.Fprintf(s, "#%x", math.Float64bits(f))
		}
	case string:
		writeString(s, x)
	case json.Delim:
		s.WriteString(x.String())
		for d.More() {
			if x == '{' {
				write(s, d)
				s.WriteByte(':')
			}
			write(s, d)
			s.WriteByte(',')
		}
		end, _ := d.Token()
		fmt.Fprint(s, end)
	}
}

func writeString(s *strings.Builder, x string) {
	s.WriteByte('"')
	for _, u := range utf16.Encode([]rune(x)) {
		fmt.Fprintf(s, "%04x", u)
	}
	s.WriteByte('"')
}

// TestPackage holds what Unity and ahead-of-time compilers want of the sources.
func TestPackage(t *testing.T) {
	guids := make(map[string]string)
	guid := regexp.MustCompile(`(?m)^guid: ([0-9a-f]{32})$`)
	forbidden := regexp.MustCompile(`System\.Reflection|\bdynamic\b|Activator|\.Emit\b|System\.Linq|Expression<|new Thread\(|\bTimer\(|MakeGeneric|GetMethod|GetProperty`)
	sources := 0
	err := fs.WalkDir(os.DirFS(".."), ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil || path == ".":
			return err
		case d.IsDir() && strings.HasSuffix(path, "~"):
			return fs.SkipDir
		case strings.HasSuffix(path, ".meta"):
			_, err := os.Stat(filepath.Join("..", strings.TrimSuffix(path, ".meta")))
			return err
		}
		// A package that is fetched is read-only: Unity leaves out what has no meta file.
		meta, err := os.ReadFile(filepath.Join("..", path+".meta"))
		if err != nil {
			return err
		}
		id := guid.FindSubmatch(meta)
		if id == nil {
			t.Errorf("%s.meta has no guid", path)
			return nil
		}
		if other, taken := guids[string(id[1])]; taken {
			t.Errorf("%s and %s have the same guid", path, other)
		}
		guids[string(id[1])] = path
		if !strings.HasSuffix(path, ".cs") {
			return nil
		}
		sources++
		text, err := os.ReadFile(filepath.Join("..", path))
		if bad := forbidden.Find(text); bad != nil {
			t.Errorf("%s uses %s", path, bad)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if sources < 20 {
		t.Errorf("%d sources were found", sources)
	}
	checkManifests(t)
}

func checkManifests(t *testing.T) {
	t.Helper()
	var pkg struct {
		Name, Version, Unity string
		Samples              []struct{ Path string }
	}
	var asm struct {
		Name               string
		NoEngineReferences bool
	}
	for file, into := range map[string]any{"../package.json": &pkg, "../Runtime/Homing.Client.asmdef": &asm} {
		text, err := os.ReadFile(file)
		if err == nil {
			err = json.Unmarshal(text, into)
		}
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
	}
	if !regexp.MustCompile(`^[a-z0-9-]+(\.[a-z0-9-]+){2}$`).MatchString(pkg.Name) || !regexp.MustCompile(`^\d+\.\d+\.\d+$`).MatchString(pkg.Version) || pkg.Unity == "" {
		t.Errorf("package.json: %+v", pkg)
	}
	for _, s := range pkg.Samples {
		if all, _ := filepath.Glob("../" + s.Path + "/*.cs"); len(all) == 0 {
			t.Errorf("no sample at %s", s.Path)
		}
	}
	if asm.Name != "Homing.Client" || !asm.NoEngineReferences {
		t.Errorf("the assembly definition: %+v", asm)
	}
}
