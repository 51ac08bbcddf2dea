package ws

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/gobwas/ws"

	"github.com/homing/homing/front/http1"
)

// handshake is a browser's request, with header lines changed ("Name: value"),
// removed ("Name:") or added.
func handshake(target string, changes ...string) string {
	lines := []string{
		"Host: game.example", "Connection: keep-alive, Upgrade", "Upgrade: websocket", "Origin: https://game.example",
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
	}
	for _, c := range changes {
		name, value, _ := strings.Cut(c, ":")
		at := -1
		for i, l := range lines {
			if strings.HasPrefix(l, name+":") {
				at = i
			}
		}
		switch {
		case value == "" && at >= 0:
			lines = append(lines[:at], lines[at+1:]...)
		case at >= 0:
			lines[at] = c
		default:
			lines = append(lines, c)
		}
	}
	return "GET " + target + " HTTP/1.1\r\n" + strings.Join(lines, "\r\n") + "\r\n\r\n"
}

// requests are what servers meet; status is what each is answered, 101 when it
// is a handshake.
var requests = []struct {
	name    string
	request string
	status  int
	code    string
}{
	{"a browser", handshake("/ws"), 101, ""},
	{"with a query", handshake("/ws?token=a.b.c"), 101, ""},
	{"absolute form", handshake("http://game.example/ws"), 101, ""},
	{"names in lower case", handshake("/ws", "Upgrade:", "upgrade: WebSocket", "Sec-WebSocket-Version:", "sec-websocket-version: 13"), 101, ""},
	{"two subprotocols", handshake("/ws", "Sec-WebSocket-Protocol: homing.v1, bearer.abc"), 101, ""},
	{"extensions are passed over", handshake("/ws", "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"), 101, ""},
	{"frames behind it", handshake("/ws") + "\x81\x80....", 101, ""},
	{"an empty body", handshake("/ws", "Content-Length: 0"), 101, ""},
	{"long header", handshake("/ws", "Cookie: "+strings.Repeat("c", 6000)), 101, ""},

	{"empty elements", handshake("/ws", "Connection: ,keep-alive,, Upgrade ,", "Sec-WebSocket-Protocol: a,,b"), 101, ""},
	{"an empty list of subprotocols", handshake("/ws", "Sec-WebSocket-Protocol: "), 101, ""},
	{"Connection in two lines", handshake("/ws", "connection: x"), 101, ""},
	{"Connection in two lines, Upgrade in the second", handshake("/ws", "Connection: keep-alive", "connection: Upgrade"), 101, ""},
	{"Upgrade in two lines", handshake("/ws", "upgrade: h2c"), 101, ""},
	{"Upgrade with a choice", handshake("/ws", "Upgrade: h2c, websocket"), 101, ""},
	{"extensions in two lines", handshake("/ws", "Sec-WebSocket-Extensions: a, b", "sec-websocket-extensions: ,"), 101, ""},

	{"an empty Connection", handshake("/ws", "Connection: ,"), 426, "upgrade_required"},
	{"Connection that is no list", handshake("/ws", "Connection: Upgrade;x"), 426, "upgrade_required"},
	{"plain HTTP", "GET /ws HTTP/1.1\r\nHost: x\r\n\r\n", 426, "upgrade_required"},
	{"upgrade to something else", handshake("/ws", "Upgrade: h2c"), 426, "upgrade_required"},
	{"Connection without Upgrade", handshake("/ws", "Connection: keep-alive"), 426, "upgrade_required"},
	{"old version", handshake("/ws", "Sec-WebSocket-Version: 8"), 426, "websocket_version_not_supported"},
	{"no version", handshake("/ws", "Sec-WebSocket-Version:"), 400, "bad_request"},
	{"no key", handshake("/ws", "Sec-WebSocket-Key:"), 400, "bad_request"},
	{"short key", handshake("/ws", "Sec-WebSocket-Key: c2hvcnQ="), 400, "bad_request"},
	{"key not base64", handshake("/ws", "Sec-WebSocket-Key: ************************"), 400, "bad_request"},
	{"key of 17 bytes", handshake("/ws", "Sec-WebSocket-Key: MTIzNDU2Nzg5MDEyMzQ1Njc="), 400, "bad_request"},
	{"two keys", handshake("/ws", "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=="), 400, "bad_request"},
	{"POST", strings.Replace(handshake("/ws"), "GET", "POST", 1), 405, "method_not_allowed"},
	{"a body", handshake("/ws", "Content-Length: 5") + "hello", 400, "bad_request"},
	{"a chunked body", handshake("/ws", "Transfer-Encoding: chunked"), 400, "bad_request"},
	{"no host", handshake("/ws", "Host:"), 400, "bad_request"},
	{"two hosts", handshake("/ws", "host: other"), 400, "bad_request"},
	{"two origins", handshake("/ws", "origin: https://evil.example"), 400, "bad_request"},
	{"subprotocol with a space", handshake("/ws", "Sec-WebSocket-Protocol: a b"), 400, "bad_request"},
	{"HTTP/1.0", strings.Replace(handshake("/ws"), "1.1", "1.0", 1), 426, "upgrade_required"},
	{"HTTP/1.0 without a host", "GET / HTTP/1.0\r\n\r\n", 426, "upgrade_required"},
	{"HTTP/0.9", "GET / HTTP/0.9\r\n\r\n", 505, "http_version_not_supported"},
	{"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "http_version_not_supported"},
	{"TLS", "\x16\x03\x01\x02\x00\x01", 400, "bad_request"},
	{"bare line feeds", strings.ReplaceAll(handshake("/ws"), "\r", ""), 400, "bad_request"},
	{"one bare line feed", handshake("/ws", "X: a\nb"), 400, "bad_request"},
	{"folded line", handshake("/ws", "X: a\r\n b"), 400, "bad_request"},
	{"space before the colon", handshake("/ws", "X : a"), 400, "bad_request"},
	{"header without a name", handshake("/ws", ": a"), 400, "bad_request"},
	{"NUL in a header", handshake("/ws", "X: a\x00b"), 400, "bad_request"},
	{"no version of HTTP", "GET /ws\r\n\r\n", 400, "bad_request"},
	{"two spaces", handshake(" /ws"), 400, "bad_request"},
	{"relative target", handshake("ws"), 400, "bad_request"},
	{"bad escape", handshake("/%zz"), 400, "bad_request"},
	{"ftp", handshake("ftp://game.example/ws"), 400, "bad_request"},
	{"blank lines only", "\r\n\r\n", 400, "bad_request"},
}

func TestSubprotocolsOfSeveralLines(t *testing.T) {
	for _, c := range []struct {
		lines []string
		want  []string
	}{
		{nil, nil},
		{[]string{"Sec-WebSocket-Protocol: "}, nil},
		{[]string{"Sec-WebSocket-Protocol: , ,"}, nil},
		{[]string{"Sec-WebSocket-Protocol: homing.v1", "sec-websocket-protocol: bearer.a,b"}, []string{"homing.v1", "bearer.a", "b"}},
	} {
		req, _, err := http1.ParseRequest([]byte(handshake("/ws", c.lines...)))
		if err != nil {
			t.Fatal(err)
		}
		offered, err := Subprotocols(req)
		if err != nil || !slices.Equal(offered, c.want) {
			t.Errorf("%q: %q, %v; want %q", c.lines, offered, err, c.want)
			continue
		}
		if len(c.want) > 0 {
			reply, err := Accept(req, c.want[0])
			if err != nil || !bytes.Contains(reply, []byte("Sec-WebSocket-Protocol: "+c.want[0]+"\r\n")) {
				t.Errorf("%q: %q, %v", c.lines, reply, err)
			}
		}
	}
}

// answer is what a server on any path would reply.
func answer(request string) ([]byte, error) {
	req, _, err := http1.ParseRequest([]byte(request))
	if err != nil {
		return http1.Problem(err), err
	}
	reply, err := Accept(req, "")
	if err != nil {
		return http1.Problem(err), err
	}
	return reply, nil
}

func TestRequestsAreAnswered(t *testing.T) {
	for _, c := range requests {
		reply, err := answer(c.request)
		resp, readErr := http.ReadResponse(bufio.NewReader(bytes.NewReader(reply)), nil)
		if readErr != nil || resp.StatusCode != c.status {
			t.Errorf("%s: %.60q, %v; want %d", c.name, reply, err, c.status)
			continue
		}
		if c.status == http.StatusSwitchingProtocols {
			if got := resp.Header.Get("Sec-WebSocket-Accept"); got != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" || len(resp.Header["Sec-Websocket-Extensions"]) > 0 {
				t.Errorf("%s: %q", c.name, reply)
			}
			continue
		}
		checkProblem(t, c.name, resp, c.code)
	}
}

func checkProblem(t *testing.T, name string, resp *http.Response, code string) {
	t.Helper()
	body, err := io.ReadAll(resp.Body)
	var problem struct {
		Type, Title, Code, Detail string
		Status                    int
	}
	if err == nil {
		err = json.Unmarshal(body, &problem)
	}
	if err != nil || problem.Code != code || problem.Status != resp.StatusCode || problem.Detail == "" ||
		problem.Title != http.StatusText(resp.StatusCode) || resp.Header.Get("Content-Type") != "application/problem+json" || !resp.Close {
		t.Errorf("%s: %v, %s", name, err, body)
	}
	switch {
	case resp.StatusCode == 405 && resp.Header.Get("Allow") != "GET",
		resp.StatusCode == 426 && (resp.Header.Get("Upgrade") != "websocket" || resp.Header.Get("Sec-WebSocket-Version") != "13"):
		t.Errorf("%s: headers %v", name, resp.Header)
	}
}

func TestAcceptSelectsWhatWasOffered(t *testing.T) {
	req, _, err := http1.ParseRequest([]byte(handshake("/ws", "Sec-WebSocket-Protocol: bearer.abc, homing.v1")))
	if err != nil {
		t.Fatal(err)
	}
	for protocol, want := range map[string]string{"homing.v1": "homing.v1", "": ""} {
		reply, err := Accept(req, protocol)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(reply)), nil)
		if err != nil || resp.Header.Get("Sec-WebSocket-Protocol") != want {
			t.Errorf("Accept(%q): %v, %q", protocol, err, reply)
		}
	}
	if _, err := Accept(req, "homing"); err == nil {
		t.Error("a subprotocol that was not offered: want an error")
	}
}

// TestDialerAcceptsTheReply lets another implementation's client judge.
func TestDialerAcceptsTheReply(t *testing.T) {
	c := &loopback{}
	d := ws.Dialer{Protocols: []string{"homing.v1", "bearer.a.b.c"}}
	_, hs, err := d.Upgrade(c, &url.URL{Scheme: "ws", Host: "game.example", Path: "/ws", RawQuery: "x=1"})
	if err != nil || hs.Protocol != "homing.v1" {
		t.Errorf("%+v, %v", hs, err)
	}
}

// loopback answers a client in its own memory.
type loopback struct{ in, out bytes.Buffer }

func (l *loopback) Write(p []byte) (int, error) { return l.in.Write(p) }

func (l *loopback) Read(p []byte) (int, error) {
	if l.out.Len() == 0 {
		req, _, err := http1.ParseRequest(l.in.Bytes())
		if err != nil {
			return 0, err
		}
		reply, err := Accept(req, "homing.v1")
		if err != nil {
			return 0, err
		}
		l.out.Write(reply)
	}
	return l.out.Read(p)
}

func BenchmarkHandshake(b *testing.B) {
	in := []byte(handshake("/ws", "Sec-WebSocket-Protocol: homing.v1, bearer."+strings.Repeat("a", 180)))
	b.ReportAllocs()
	for b.Loop() {
		req, _, err := http1.ParseRequest(in)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := Accept(req, "homing.v1"); err != nil {
			b.Fatal(err)
		}
	}
}
