package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/homing/homing/bench/clients"
	"github.com/homing/homing/client/go"
)

var binaryDir string

func TestMain(m *testing.M) {
	code := m.Run()
	_ = os.RemoveAll(binaryDir) // empty: nothing was built
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

var built = sync.OnceValues(func() (string, error) {
	var err error
	if binaryDir, err = os.MkdirTemp("", "homing-test-"); err != nil {
		return "", err
	}
	binary := filepath.Join(binaryDir, "homing")
	if out, err := exec.Command("go", "build", "-o", binary, "github.com/homing/homing/cmd/homing").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build homing: %w\n%s", err, out)
	}
	return binary, nil
})

// start starts a site whose proxies cut off what is silent for 20 s.
func start(t *testing.T, frontArgs ...string) *site {
	t.Helper()
	for _, name := range []string{"nginx", "haproxy"} {
		if _, err := program(name); err != nil {
			t.Fatal(err) // tools/setup proxies installs them
		}
	}
	binary, err := built()
	if err != nil {
		t.Fatal(err)
	}
	s, err := begin(t.Context(), options{binary: binary, frontArgs: frontArgs, change: impatient})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.end)
	return s
}

var haTimeout = regexp.MustCompile(`timeout (client|server) +50s`)

func impatient(config string) string {
	config = haTimeout.ReplaceAllString(config, "timeout $1 20s")
	config = strings.Replace(config, "\nhttp {", "\nhttp {\n proxy_read_timeout 20s;\n proxy_send_timeout 20s;\n send_timeout 20s;", 1)
	return strings.Replace(config, "proxy_pass fronts;", "proxy_pass fronts;\n proxy_timeout 20s;", 1)
}

const idle = 45 * time.Second

// TestIdlePlayersStayBehindProxies holds players for longer than the proxies' time-outs:
// signs of life keep the connections up.
func TestIdlePlayersStayBehindProxies(t *testing.T) {
	t.Parallel()
	s := start(t, "--front-ping-interval", "8s")
	if err := s.holdAll(t.Context(), idle, t.Logf); err != nil {
		t.Error(errors.Join(err, s.logs()))
	}
}

// TestProxiesCutOffWhatIsSilent is the other half: without pings the proxies do it, so
// the test above shows something.
func TestProxiesCutOffWhatIsSilent(t *testing.T) {
	t.Parallel()
	s := start(t, "--front-ping-interval", "10m")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	for _, at := range s.ends {
		wg.Go(func() {
			token, err := clients.Token(s.stack.Access.Secret(), "silent", "")
			if err != nil {
				t.Error(err)
				return
			}
			err = webSocket(ctx, dialer{addr: at.addr}, token, func() {})
			if err == nil || ctx.Err() != nil {
				t.Errorf("%s does not cut off what is silent: %v", at.name, err)
			}
		})
	}
	wg.Wait()
}

// TestPlayersAddressesComeThroughProxies has a limit for each address: the fourth of one
// is refused where the fronts are told whose connection it is, and nobody of another.
func TestPlayersAddressesComeThroughProxies(t *testing.T) {
	t.Parallel()
	s := start(t, "--front-address-connections", "3")
	for i, at := range s.ends {
		t.Run(at.name, func(t *testing.T) {
			open := func(from string) error {
				token, err := clients.Token(s.stack.Access.Secret(), "ann", "")
				if err != nil {
					return err
				}
				d := dialer{addr: at.addr, from: from}
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				c, err := client.Dial(ctx, client.Options{URL: "wss://" + at.addr + "/ws", Token: client.StaticToken(token), TLS: trusting, NetDial: d.dial, Header: http.Header{"X-Forwarded-For": {fmt.Sprintf("192.0.2.%d", time.Now().Nanosecond()%200)}}})
				if err == nil {
					t.Cleanup(func() { _ = c.Close() })
				}
				return err
			}
			crowd := fmt.Sprintf("127.0.%d.2", i+1)
			for n := range 3 {
				if err := open(crowd); err != nil {
					t.Fatalf("connection %d: %v", n, err)
				}
			}
			err := open(crowd)
			if refused, ok := errors.AsType[*client.RefusedError](err); at.address != (ok && refused.Status == http.StatusTooManyRequests) {
				t.Errorf("the fourth of one address: %v", err)
			}
			if err := open(fmt.Sprintf("127.0.%d.3", i+1)); err != nil {
				t.Errorf("the first of another address: %v", err)
			}
		})
	}
}
