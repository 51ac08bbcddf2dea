package front

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/homing/homing/hub"
)

func TestLoadBalancersAreAnswered(t *testing.T) {
	r := start(t, nil)
	for _, c := range []struct {
		request string
		status  int
		body    string
	}{
		{"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 200, `{"status":"ok"}`},
		{"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n", 200, `{"status":"ready"}`},
		{"GET /readyz HTTP/1.0\r\n\r\n", 200, `{"status":"ready"}`},
		{"HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 200, ""},
		{"HEAD /readyz HTTP/1.0\r\n\r\n", 200, ""},
		{"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", 404, ""},
		{"HEAD /ws HTTP/1.1\r\nHost: x\r\n\r\n", 405, ""},
		{"HEAD / HTTP/1.1\r\n\r\n", 400, ""},
	} {
		conn := r.dialFrom("127.0.0.1")
		_, _ = io.WriteString(conn, c.request)
		reply, err := io.ReadAll(conn)
		if err != nil {
			t.Fatal(err)
		}
		status, body := parseReply(t, string(reply))
		if status != c.status || body != c.body {
			t.Errorf("%q: %d %q, want %d %q", c.request, status, body, c.status, c.body)
		}
	}
	if res, _ := r.raw("POST /readyz HTTP/1.1\r\nHost: x\r\n\r\n"); res.StatusCode != 405 || res.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %d, %v", res.StatusCode, res.Header)
	}
	if n := r.metric("homing_front_health_requests_total", "status", "200"); n != 5 {
		t.Errorf("%v counted, want 5", n)
	}
	if n := r.metric("homing_front_handshakes_total"); n != 3 {
		t.Errorf("%v handshakes counted, want the 3 that are none of these", n)
	}
}

func parseReply(t *testing.T, reply string) (status int, body string) {
	t.Helper()
	head, body, ok := strings.Cut(reply, "\r\n\r\n")
	if _, err := fmt.Sscanf(head, "HTTP/1.1 %d ", &status); err != nil || !ok {
		t.Fatalf("reply %q: %v", reply, err)
	}
	return status, body
}

func TestReadyzFollowsTheStandingAndTheDrain(t *testing.T) {
	r := start(t, func(c *Config) { c.DrainTimeout = time.Minute })
	ask := func(path string) int {
		t.Helper()
		fd, peer := socketPair(t) // a stop closes the listener
		r.Adopt(fd, false)
		_ = peer.SetReadDeadline(time.Now().Add(10 * time.Second))
		status, _ := r.statusOn(peer, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n")
		return status
	}
	r.standing.set(hub.StandingDoubt)
	if a, b := ask("/readyz"), ask("/healthz"); a != 503 || b != 200 {
		t.Errorf("in doubt: %d, %d", a, b)
	}
	r.standing.set(hub.StandingGood)
	if a := ask("/readyz"); a != 200 {
		t.Errorf("in good standing again: %d", a)
	}
	idle, peer := socketPair(t) // keeps the worker from ending at once
	r.Adopt(idle, false)
	defer peer.Close()
	wait(t, "the connection", func() bool { return r.metric("homing_front_connections") == 1 })
	r.Drain()
	if a, b := ask("/readyz"), ask("/healthz"); a != 503 || b != 200 {
		t.Errorf("while draining: %d, %d", a, b)
	}
}

func TestHealthCanBeTurnedOff(t *testing.T) {
	r := start(t, func(c *Config) { c.Health = false })
	if res, _ := r.raw("GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"); res.StatusCode != http.StatusNotFound {
		t.Errorf("status %d", res.StatusCode)
	}
}
