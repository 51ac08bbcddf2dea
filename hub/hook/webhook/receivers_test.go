package webhook

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/homing/homing/hub/hook"
)

// example returns the code in a language that docs/hooks.md has under a heading.
func example(t *testing.T, heading, language string) string {
	t.Helper()
	text, err := os.ReadFile("../../../docs/hooks.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## "+heading+"\n")
	_, code, ok := strings.Cut(section, "\n```"+language+"\n")
	code, _, end := strings.Cut(code, "\n```\n")
	if !ok || !end {
		t.Fatalf("docs/hooks.md has no example in %s under %s", language, heading)
	}
	return code
}

// TestReceivers runs the examples of docs/hooks.md: they take what is signed with
// their secret, once, and nothing else.
func TestReceivers(t *testing.T) {
	t.Parallel()
	for language, prepare := range map[string]func(t *testing.T, dir, code string) *exec.Cmd{
		"go": func(t *testing.T, dir, code string) *exec.Cmd {
			name, bin := filepath.Join(dir, "receiver.go"), filepath.Join(dir, "receiver")
			write(t, name, code)
			if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", bin, name).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			return exec.Command(bin)
		},
		"js": inNode,
	} {
		t.Run(language, func(t *testing.T) {
			t.Parallel()
			tryReceiver(t, prepare(t, t.TempDir(), example(t, "Receiving", language)))
		})
	}
}

// inNode is code as a program.
func inNode(t *testing.T, dir, code string) *exec.Cmd {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "receiver.mjs")
	write(t, name, code)
	return exec.Command(node, name)
}

// TestPushService runs the push service of docs/hooks.md: phones of the users that
// events name are sent to, once, also when the push provider fails at first.
func TestPushService(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var pushed []string
	failing := true
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		if failing {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		pushed = append(pushed, string(body))
	}))
	defer provider.Close()
	secret, port := NewSecret(), freePort(t)
	cmd := inNode(t, t.TempDir(), example(t, "A push service", "js"))
	cmd.Env = append(os.Environ(), "HOOK_SECRET="+secret, "PORT="+port, "PUSH_URL="+provider.URL)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	await(t, port)
	url := "http://127.0.0.1:" + port + "/"
	ours := endpoint(t, Config{URL: url, Secret: secret}, nil)
	strangers := endpoint(t, Config{URL: url}, nil)
	batch := []byte(`{"events":[` +
		`{"id":"unr_1","type":"notification.unreached","data":{"notification":{"id":"n1","data":{"title":"Your turn"}},"users":["ann"]}},` +
		`{"id":"evt_1","type":"room.ended","data":{}},` +
		`{"id":"unr_2","type":"notification.unreached","data":{"notification":{"id":"n2"},"users":["bob"]}},` +
		`{"id":"unr_3","type":"notification.unreached","data":{"notification":{"id":"n3"},"users":["nobody"]}}]}`)
	for _, step := range []struct {
		from    *Endpoint
		failing bool
		want    hook.Verdict
	}{
		{strangers, false, hook.Failed},
		{ours, true, hook.Failed},
		{ours, false, hook.Delivered},
		{ours, false, hook.Delivered}, // a repeat
	} {
		mu.Lock()
		failing = step.failing
		mu.Unlock()
		if a := step.from.Post(t.Context(), "bat_1", batch); a.Verdict != step.want {
			t.Errorf("%+v, want %v", a, step.want)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	want := `{"phone":"phone-1","id":"n1","title":"Your turn"} {"phone":"phone-2","id":"n1","title":"Your turn"} {"phone":"phone-3","id":"n2","title":"News for you"}`
	if got := strings.Join(pushed, " "); got != want {
		t.Errorf("pushed %s, want %s", got, want)
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func tryReceiver(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	secret, port := NewSecret(), freePort(t)
	cmd.Env = append(os.Environ(), "HOOK_SECRET="+secret, "PORT="+port)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	url := "http://127.0.0.1:" + port + "/homing"
	ours := endpoint(t, Config{URL: url, SecretFile: file(t, NewSecret(), secret)}, nil)
	strangers := endpoint(t, Config{URL: url, SecretFile: file(t, NewSecret())}, nil)
	await(t, port)
	for _, step := range []struct {
		from *Endpoint
		id   string
		want hook.Verdict
	}{
		{strangers, "evt_0", hook.Failed},
		{ours, "evt_1", hook.Delivered},
		{ours, "evt_1", hook.Delivered},
		{ours, "evt_2", hook.Delivered},
	} {
		body := `{"type":"room.ended","timestamp":"2026-09-21T14:13:20.000Z","data":{"id":"` + step.id + `"}}`
		if a := step.from.Post(t.Context(), step.id, []byte(body)); a.Verdict != step.want {
			t.Errorf("%s: %v, %v; want %v", step.id, a.Verdict, a.Err, step.want)
		}
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	var lines []string
	for s := bufio.NewScanner(out); s.Scan(); {
		lines = append(lines, s.Text())
	}
	_ = cmd.Wait() // by the signal
	want := `room.ended {"id":"evt_1"};room.ended {"id":"evt_2"}`
	if got := strings.Join(lines, ";"); got != want {
		t.Errorf("the receiver has %s, want %s", got, want)
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)
}

// await waits until somebody listens.
func await(t *testing.T, port string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		conn, err := new(net.Dialer).DialContext(context.Background(), "tcp", "127.0.0.1:"+port)
		if err == nil {
			conn.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}
