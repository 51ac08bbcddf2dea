package front

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	gws "github.com/gobwas/ws"
)

const upgradeHead = "Host: game.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

// raw sends request as it is and returns the reply, once the server has ended
// the connection or switched protocols.
func (r *rig) raw(request string) (*http.Response, string) {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = conn.Close() })
	if _, err := io.WriteString(conn, request); err != nil {
		r.t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	br := bufio.NewReader(conn)
	res, err := http.ReadResponse(br, nil)
	if err != nil {
		r.t.Fatalf("read the reply: %v", err)
	}
	if res.StatusCode == http.StatusSwitchingProtocols {
		return res, ""
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatalf("read the reply's body: %v", err)
	}
	if _, err := br.ReadByte(); !errors.Is(err, io.EOF) {
		r.t.Errorf("after the reply: %v, want EOF", err)
	}
	return res, string(body)
}

func TestRefusedHandshakes(t *testing.T) {
	r := start(t, func(c *Config) {
		c.Origins = []string{"https://game.example.com", "https://*.play.example.com"}
		c.HandshakeLimit = 1024
	})
	get := func(target, extra string) string {
		return "GET " + target + " HTTP/1.1\r\n" + upgradeHead + extra + "\r\n"
	}
	for name, tc := range map[string]struct {
		request string
		status  int
		code    string
	}{
		"wrong path":         {get("/nowhere", ""), 404, "not_found"},
		"no token":           {get("/ws", ""), 401, "token_missing"},
		"token in a header":  {get("/ws", "Authorization: Bearer ann\r\n"), 401, "token_missing"},
		"bad token":          {get("/ws?token=bad", ""), 401, "token_bad_signature"},
		"expired token":      {get("/ws?token=expired", ""), 401, "token_expired"},
		"bad bearer":         {get("/ws", "Sec-WebSocket-Protocol: homing.v1, bearer.bad\r\n"), 401, "token_bad_signature"},
		"key server down":    {get("/ws?token=broken", ""), 503, "auth_unavailable"},
		"other subprotocol":  {get("/ws?token=ann", "Sec-WebSocket-Protocol: graphql-ws\r\n"), 400, "unsupported_subprotocol"},
		"only a bearer":      {get("/ws", "Sec-WebSocket-Protocol: bearer.ann\r\n"), 400, "unsupported_subprotocol"},
		"wrong origin":       {get("/ws?token=ann", "Origin: https://evil.example.org\r\n"), 403, "origin_not_allowed"},
		"wrong scheme":       {get("/ws?token=ann", "Origin: http://game.example.com\r\n"), 403, "origin_not_allowed"},
		"suffix trick":       {get("/ws?token=ann", "Origin: https://evilplay.example.com\r\n"), 403, "origin_not_allowed"},
		"bare wildcard name": {get("/ws?token=ann", "Origin: https://play.example.com\r\n"), 403, "origin_not_allowed"},
		"null origin":        {get("/ws?token=ann", "Origin: null\r\n"), 403, "origin_not_allowed"},
		"long header":        {get("/ws?token=ann", "X-Long: "+strings.Repeat("a", 2000)+"\r\n"), 431, "header_too_large"},
		"endless header":     {"GET /ws HTTP/1.1\r\nX: " + strings.Repeat("a", 2000), 431, "header_too_large"},
		"not an upgrade":     {"GET /ws HTTP/1.1\r\nHost: a\r\n\r\n", 426, ""},
		"POST":               {"POST /ws HTTP/1.1\r\n" + upgradeHead + "\r\n", 405, ""},
		"old version":        {strings.Replace(get("/ws?token=ann", ""), "Version: 13", "Version: 8", 1), 426, ""},
		"bad key":            {strings.Replace(get("/ws?token=ann", ""), "dGhlIHNhbXBsZSBub25jZQ==", "short", 1), 400, ""},
		"no host":            {strings.Replace(get("/ws?token=ann", ""), "Host: game.example.com\r\n", "", 1), 400, ""},
		"HTTP/1.0":           {strings.Replace(get("/ws?token=ann", ""), "HTTP/1.1", "HTTP/1.0", 1), 426, ""},
		"HTTP/1.0, plainly":  {"GET / HTTP/1.0\r\n\r\n", 404, "not_found"},
		"not HTTP":           {"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r.t = t
			res, body := r.raw(tc.request)
			var problem struct {
				Status int
				Code   string
			}
			if err := json.Unmarshal([]byte(body), &problem); err != nil {
				t.Fatalf("body %q: %v", body, err)
			}
			if res.StatusCode != tc.status || problem.Status != tc.status {
				t.Errorf("status %d, in the body %d, want %d (%s)", res.StatusCode, problem.Status, tc.status, problem.Code)
			}
			if got := res.Header.Get("Content-Type"); got != "application/problem+json" {
				t.Errorf("content type %q", got)
			}
			if problem.Code == "" || tc.code != "" && problem.Code != tc.code {
				t.Errorf("code %q, want %q", problem.Code, tc.code)
			}
			if problem.Code == "token_missing" && !strings.Contains(body, "bearer.TOKEN") {
				t.Errorf("%s: where does a token go?", body)
			}
			if n := r.metric("homing_front_handshakes_total", "result", problem.Code); n == 0 {
				t.Errorf("handshakes_total{result=%q} is 0", problem.Code)
			}
		})
	}
	r.t = t
	if n := r.presence.sets; n != 0 {
		t.Errorf("%d users were registered", n)
	}
}

func TestSubprotocolIsSelected(t *testing.T) {
	r := start(t, nil)
	for offer, want := range map[string]string{"": "", "homing.v1": "homing.v1", "bearer.ann, homing.v1": "homing.v1"} {
		header := ""
		if offer != "" {
			header = "Sec-WebSocket-Protocol: " + offer + "\r\n"
		}
		res, _ := r.raw("GET /ws?token=ann HTTP/1.1\r\n" + upgradeHead + header + "\r\n")
		if res.StatusCode != http.StatusSwitchingProtocols || res.Header.Get("Sec-WebSocket-Protocol") != want {
			t.Errorf("offer %q: status %d, selected %q", offer, res.StatusCode, res.Header.Get("Sec-WebSocket-Protocol"))
		}
	}
}

func TestSlowHandshakeTimesOut(t *testing.T) {
	r := start(t, func(c *Config) { c.HandshakeTimeout = 200 * time.Millisecond })
	for _, request := range []string{"", "GET /ws HT", "GET /ws?token=slow HTTP/1.1\r\n" + upgradeHead + "\r\n"} {
		res, body := r.raw(request)
		if res.StatusCode != http.StatusRequestTimeout && res.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("request %q: %d %s", request, res.StatusCode, body)
		}
	}
	close(r.auth.hold)
}

func TestRequestInPiecesWithEarlyFrame(t *testing.T) {
	r := start(t, nil)
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	request := "GET /ws?token=ann HTTP/1.1\r\n" + upgradeHead + "\r\n" +
		string(gws.MustCompileFrame(gws.MaskFrame(gws.NewTextFrame([]byte(`{"t":"ping","ref":"early"}`)))))
	for len(request) > 0 {
		n := min(40, len(request))
		if _, err := io.WriteString(conn, request[:n]); err != nil {
			t.Fatal(err)
		}
		request = request[n:]
		time.Sleep(2 * time.Millisecond)
	}
	br := bufio.NewReader(conn)
	if res, err := http.ReadResponse(br, nil); err != nil || res.StatusCode != 101 {
		t.Fatalf("reply %v, error %v", res, err)
	}
	c := newClient(t, conn, br)
	got := []any{c.json()["t"], c.json()["t"]}
	if fmt.Sprint(got) != "[hello ok]" {
		t.Errorf("got %v, want hello, then the answer", got)
	}
}

// TestACrowdIsToldWhenToComeBack has more clients come at once than get in:
// each of the others is given a time, and gets in then.
func TestACrowdIsToldWhenToComeBack(t *testing.T) {
	r := start(t, func(c *Config) { c.AdmitRate = 5 })
	for i := range 5 {
		r.join(fmt.Sprintf("user%d", i))
	}
	for i := range 8 {
		res, body := r.raw("GET /ws?token=late HTTP/1.1\r\n" + upgradeHead + "\r\n")
		if res.StatusCode == http.StatusSwitchingProtocols {
			continue // a tick has passed
		}
		after, err := strconv.Atoi(res.Header.Get("Retry-After"))
		if res.StatusCode != 503 || !strings.Contains(body, `"crowded"`) || err != nil || after < 1 || after > 1+i/4 {
			t.Errorf("client %d: got %d, back after %q: %s", i, res.StatusCode, res.Header.Get("Retry-After"), body)
		}
	}
	wait(t, "the crowd to be gone", func() bool {
		res, _ := r.raw("GET /ws?token=late HTTP/1.1\r\n" + upgradeHead + "\r\n")
		return res.StatusCode == http.StatusSwitchingProtocols
	})
}

func TestTokensThatWaitForKeysKeepNobodyElseWaiting(t *testing.T) {
	r := start(t, func(c *Config) { c.AuthWorkers, c.AuthQueue = 1, 1 })
	request := "GET /ws?token=slow HTTP/1.1\r\n" + upgradeHead + "\r\n"
	for i := range 2 { // for one the keys are fetched, one waits
		conn, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_, _ = io.WriteString(conn, request)
		wait(t, "the token to be taken", func() bool {
			return i == 1 || len(r.entry.waiting) == 0 && r.metric("homing_front_accepted_connections_total") == 1
		})
	}
	wait(t, "the queue to fill", func() bool { return len(r.entry.waiting) == 1 })
	if res, body := r.raw(request); res.StatusCode != 503 || !strings.Contains(body, `"busy"`) {
		t.Errorf("got %d %s", res.StatusCode, body)
	}
	r.join("ann")
	close(r.auth.hold)
}

func TestEchoLetsEveryoneIn(t *testing.T) {
	r := startEcho(t)
	for range 3 {
		conn, _, _, err := gws.Dial(context.Background(), "ws://"+r.addr+"/")
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
	}
}

func TestEchoOfLargeAndFragmentedMessages(t *testing.T) {
	r := startEcho(t)
	conn, br, _, err := gws.Dial(context.Background(), "ws://"+r.addr+"/any/path")
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(t, conn, br)
	big := make([]byte, 16<<20)
	for i := range big {
		big[i] = byte(i * 7)
	}
	go c.write(gws.MaskFrame(gws.NewBinaryFrame(big)))
	if f := c.next(); f.Header.OpCode != gws.OpBinary || string(f.Payload) != string(big) {
		t.Errorf("got %v of %d bytes", f.Header.OpCode, len(f.Payload))
	}
	for i, part := range []string{"one ", "two ", "three"} {
		op := gws.OpContinuation
		if i == 0 {
			op = gws.OpText
		}
		c.write(gws.MaskFrame(gws.NewFrame(op, i == 2, []byte(part))))
		c.write(gws.MaskFrame(gws.NewPingFrame([]byte(part))))
	}
	for _, want := range []string{"one ", "two "} {
		if f := c.next(); f.Header.OpCode != gws.OpPong || string(f.Payload) != want {
			t.Errorf("got %v %q", f.Header.OpCode, f.Payload)
		}
	}
	got := map[gws.OpCode]string{}
	for range 2 {
		f := c.next()
		got[f.Header.OpCode] = string(f.Payload)
	}
	if got[gws.OpText] != "one two three" || got[gws.OpPong] != "three" {
		t.Errorf("got %v", got)
	}
	c.write(gws.MaskFrame(gws.NewCloseFrame(gws.NewCloseFrameBody(1000, ""))))
	c.wantClose(1000)
}

// TestWhoCannotBeCheckedComesBackSpread has not all clients come at once again
// while the keys cannot be had.
func TestWhoCannotBeCheckedComesBackSpread(t *testing.T) {
	r := start(t, nil)
	times := make(map[string]int)
	for range 40 {
		status, header := r.statusOn(r.dialFrom("127.0.0.1"), joining("broken"))
		if status != http.StatusServiceUnavailable {
			t.Fatalf("status %d, want 503", status)
		}
		times[header.Get("Retry-After")]++
	}
	for at := range times {
		if n, err := strconv.Atoi(at); err != nil || n < 1 || n > 4 {
			t.Errorf("Retry-After: %q, want 1 to 4", at)
		}
	}
	if len(times) < 2 {
		t.Errorf("all are told %v", times)
	}
}
