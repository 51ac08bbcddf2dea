package webhook

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"go.uber.org/goleak"

	"github.com/homing/homing/hub/hook"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// TestSignature compares with the example that the convention publishes.
func TestSignature(t *testing.T) {
	t.Parallel()
	all, err := parse([]byte("# a comment\n\n  whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := all.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; err != nil || got != want {
		t.Errorf("got %s, %v; want %s", got, err, want)
	}
}

// file writes secrets, one a line.
func file(t *testing.T, lines ...string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "hook.secret")
	if err := os.WriteFile(name, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// endpoint is one that f serves.
func endpoint(t *testing.T, c Config, f http.HandlerFunc) *Endpoint {
	t.Helper()
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	if c.URL == "" {
		c.URL = s.URL + "/in?game=1"
	}
	if c.Timeout == 0 {
		c.Timeout = 5 * time.Second
	}
	if c.SecretFile == "" && c.Secret == "" && c.Format != formatSlack {
		c.SecretFile = file(t, NewSecret())
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	e, err := New(c, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

// TestRotation: each of several secrets verifies what is sent, and a file that
// changes is noticed; one that is broken changes nothing.
func TestRotation(t *testing.T) {
	t.Parallel()
	before, now, later := NewSecret(), NewSecret(), NewSecret()
	secrets := []string{before, now, later}
	name := file(t, before)
	var valid string // which secrets verify
	e := endpoint(t, Config{SecretFile: name}, func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		valid = ""
		for i, s := range secrets {
			if v, err := standardwebhooks.NewWebhook(s); err == nil && v.Verify(body, r.Header) == nil {
				valid += fmt.Sprint(i)
			}
		}
	})
	for _, step := range []struct{ text, want string }{
		{before, "0"},
		{before + "\n" + now, "01"},
		{"broken", "01"},
		{now + "\n" + later + "\n", "12"},
	} {
		if err := os.WriteFile(name, []byte(step.text), 0o600); err != nil {
			t.Fatal(err)
		}
		e.mu.Lock()
		e.read = time.Now().Add(-secretsPoll)
		e.mu.Unlock()
		if a := e.Post(t.Context(), "evt_1", []byte(`{}`)); a.Verdict != hook.Delivered || valid != step.want {
			t.Errorf("verified by %s, want %s; %v", valid, step.want, a)
		}
	}
}

// TestAnswers: what each status means, and that a redirect is not followed.
func TestAnswers(t *testing.T) {
	t.Parallel()
	followed := false
	e := endpoint(t, Config{}, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/in" {
			followed = true
		}
		if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" || r.URL.RawQuery != "game=1" {
			t.Errorf("%s %s %v", r.Method, r.URL, r.Header)
		}
		var status int
		if _, err := fmt.Sscan(r.Header.Get("webhook-id"), &status); err != nil {
			t.Error(err)
		}
		w.Header().Set("Location", "/elsewhere")
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(status)
		_, _ = w.Write(bytes.Repeat([]byte("no "), 10_000))
	})
	for status, want := range map[int]hook.Verdict{
		200: hook.Delivered, 202: hook.Delivered, 299: hook.Delivered,
		301: hook.Failed, 307: hook.Failed, 308: hook.Failed, 400: hook.Failed, 404: hook.Failed,
		410: hook.Gone, 429: hook.Failed, 500: hook.Failed, 503: hook.Failed,
	} {
		a := e.Post(t.Context(), fmt.Sprint(status), []byte(`{}`))
		if a.Verdict != want || (a.Err == nil) != (want == hook.Delivered) {
			t.Errorf("%d: %v, %v; want %v", status, a.Verdict, a.Err, want)
		}
		if want == hook.Failed && (a.After != 7*time.Second || len(a.Err.Error()) > 300) {
			t.Errorf("%d: after %v: %v", status, a.After, a.Err)
		}
	}
	if followed {
		t.Error("a redirect was followed")
	}
}

// TestABackendThatHangs: the request ends by its timeout, or when it is broken off.
func TestABackendThatHangs(t *testing.T) {
	t.Parallel()
	e := endpoint(t, Config{Timeout: 200 * time.Millisecond}, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // else its end is not noticed
		<-r.Context().Done()
	})
	begun := time.Now()
	a := e.Post(t.Context(), "evt_1", []byte(`{}`))
	if took := time.Since(begun); a.Verdict != hook.Failed || a.Err == nil || took < 200*time.Millisecond || took > 2*time.Second {
		t.Errorf("%v after %v", a, took)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if a := e.Post(ctx, "evt_1", []byte(`{}`)); a.Verdict != hook.Failed {
		t.Errorf("%v", a)
	}
}

// TestPasswordsStayOut: what an error says of a URL has nothing in it that may be a
// secret: errors are logged, and shown by GET /hooks.
func TestPasswordsStayOut(t *testing.T) {
	t.Parallel()
	secret := file(t, NewSecret())
	for _, url := range []string{
		"ftp://game:geheim@host/", "http://game:geheim@host/#x", "http://game:geheim@ho st/",
		"ftp://host/?key=geheim", "http://geheim@host/geheim?key=geheim#geheim",
	} {
		c := Config{URL: url, SecretFile: secret, Timeout: time.Second}
		if err := c.Validate(); err == nil || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%s: %v", url, err)
		}
	}
	for _, url := range []string{"http://game:geheim@127.0.0.1:1/", "http://geheim@127.0.0.1:1/geheim?key=geheim"} {
		e := endpoint(t, Config{URL: url}, nil)
		if a := e.Post(t.Context(), "evt_1", []byte(`{}`)); a.Err == nil || strings.Contains(a.Err.Error(), "geheim") {
			t.Errorf("%v", a.Err)
		}
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	good := Config{URL: "https://games.example/hook", SecretFile: "f", Timeout: time.Second}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	if err := (&Config{}).Validate(); err != nil {
		t.Errorf("without a URL: %v", err)
	}
	for want, change := range map[string]func(*Config){
		"--hook-url: ":         func(c *Config) { c.URL = "games.example/hook" },
		"--hook-url: \"ws:":    func(c *Config) { c.URL = "ws://games.example/hook" },
		"--hook-url: \"http:":  func(c *Config) { c.URL = "http:///hook" },
		"--hook-secret-file: ": func(c *Config) { c.SecretFile = "" },
		"--hook-timeout: 1h":   func(c *Config) { c.Timeout = time.Hour },
		"--hook-timeout: 0s":   func(c *Config) { c.Timeout = 0 },
	} {
		c := good
		change(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestSecretsThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                         "0 secrets",
		"# only a comment":         "0 secrets",
		"geheim":                   "line 1: want whsec_",
		"\nwhsec_ge*heim":          "line 2: what follows whsec_ is not base64",
		"whsec_Z2VoZWlt":           "line 1: a secret of 6 bytes",
		strings.Repeat("#", 1<<15): "32768 bytes, want at most",
		strings.Repeat(NewSecret()+"\n", maxSecrets+1): "9 secrets",
	} {
		_, err := New(Config{URL: "http://x", SecretFile: file(t, text)}, quiet)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "--hook-secret-file: ") || strings.Contains(err.Error(), "heim") {
			t.Errorf("%.20q: %v, want %s", text, err, want)
		}
	}
	if _, err := New(Config{URL: "http://x", SecretFile: "/nothing"}, quiet); err == nil {
		t.Error("a file that is not there is accepted")
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"":                              0,
		"120":                           2 * time.Minute,
		"-5":                            0,
		"99999999999999999999":          0,
		"soon":                          0,
		"Thu, 01 Jan 2026 00:00:30 GMT": 30 * time.Second,
		"Wed, 31 Dec 2025 00:00:30 GMT": 0,
	} {
		if got := retryAfter(value, now); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}
