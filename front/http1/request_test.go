package http1

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
)

// get is a browser's request, with header lines changed ("Name: value"), removed
// ("Name:") or added.
func get(target string, changes ...string) string {
	lines := []string{"Host: game.example", "Connection: keep-alive", "Origin: https://game.example", "Accept: */*"}
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

// requests are what servers meet; code is that of the refusal, empty when the
// head can be read.
var requests = []struct{ name, request, code string }{
	{"a browser", get("/events"), ""},
	{"with a query", get("/events?token=a.b.c"), ""},
	{"absolute form", get("http://game.example/events"), ""},
	{"a body behind it", get("/events", "Content-Length: 5") + "hello", ""},
	{"long header", get("/events", "Cookie: "+strings.Repeat("c", 6000)), ""},
	{"HTTP/1.0 without a host", "GET / HTTP/1.0\r\n\r\n", ""},
	{"POST", strings.Replace(get("/"), "GET", "POST", 1), ""},

	{"no host", get("/", "Host:"), "bad_request"},
	{"two hosts", get("/", "host: other"), "bad_request"},
	{"two origins", get("/", "origin: https://evil.example"), "bad_request"},
	{"two lengths", get("/", "Content-Length: 1", "content-length: 2"), "bad_request"},
	{"HTTP/0.9", "GET / HTTP/0.9\r\n\r\n", "http_version_not_supported"},
	{"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "http_version_not_supported"},
	{"TLS", "\x16\x03\x01\x02\x00\x01", "bad_request"},
	{"bare line feeds", strings.ReplaceAll(get("/"), "\r", ""), "bad_request"},
	{"one bare line feed", get("/", "X: a\nb"), "bad_request"},
	{"folded line", get("/", "X: a\r\n b"), "bad_request"},
	{"space before the colon", get("/", "X : a"), "bad_request"},
	{"header without a name", get("/", ": a"), "bad_request"},
	{"NUL in a header", get("/", "X: a\x00b"), "bad_request"},
	{"no version of HTTP", "GET /\r\n\r\n", "bad_request"},
	{"two spaces", get(" /"), "bad_request"},
	{"relative target", get("events"), "bad_request"},
	{"bad escape", get("/%zz"), "bad_request"},
	{"ftp", get("ftp://game.example/"), "bad_request"},
	{"blank lines only", "\r\n\r\n", "bad_request"},
}

func TestRequestsAreReadStrictly(t *testing.T) {
	for _, c := range requests {
		_, _, err := ParseRequest([]byte(c.request))
		refused, _ := errors.AsType[*Error](err)
		if (err == nil) != (c.code == "") || err != nil && (refused == nil || refused.Code != c.code) {
			t.Errorf("%s: %v, want code %q", c.name, err, c.code)
		}
	}
}

func TestRequestsArriveInPieces(t *testing.T) {
	for _, c := range requests {
		whole, n, wholeErr := ParseRequest([]byte(c.request))
		for i := range len(c.request) {
			got, m, err := ParseRequest([]byte(c.request[:i]))
			switch {
			case errors.Is(err, ErrIncomplete) && (wholeErr != nil || i < n):
			case err != nil && wholeErr != nil:
			case err == nil && i >= n && m == n && reflect.DeepEqual(got, whole):
			default:
				t.Errorf("%s: at %d of %d bytes: %v, %v", c.name, i, n, got, err)
			}
		}
	}
}

func TestRequestSaysWhatWasAsked(t *testing.T) {
	in := get("/a%20b/ws?token=x%2Ey&token=second&bad=%zz&empty", "Sec-WebSocket-Protocol: homing.v1,bearer.a.b-_c",
		"sec-websocket-protocol: third", "X-Game:  chess \t")
	req, n, err := ParseRequest([]byte(in + "more"))
	if err != nil || n != len(in) {
		t.Fatal(n, err)
	}
	if req.Method != "GET" || req.Path != "/a b/ws" || req.Host != "game.example" || req.Origin != "https://game.example" ||
		strings.Join(req.Values("sec-websocket-protocol"), "|") != "homing.v1,bearer.a.b-_c|third" {
		t.Errorf("%+v", req)
	}
	for name, want := range map[string]string{"token": "x.y", "bad": "", "empty": "", "none": ""} {
		if got := req.Query(name); got != want {
			t.Errorf("Query(%q) = %q, want %q", name, got, want)
		}
	}
	if v, ok := req.Header("x-gAME"); !ok || v != "chess" {
		t.Errorf("Header: %q, %v", v, ok)
	}
	if v, ok := req.Header("X-Gam"); ok || v != "" {
		t.Errorf("Header of none: %q, %v", v, ok)
	}
	absolute, _, err := ParseRequest([]byte("GET http://other.example HTTP/1.1\r\nHost: game.example\r\n\r\n"))
	if err != nil || absolute.Host != "other.example" || absolute.Path != "/" || absolute.Origin != "" {
		t.Errorf("absolute form: %+v, %v", absolute, err)
	}
}

func TestProblemOfAnUnforeseenErrorKeepsItsDetails(t *testing.T) {
	reply := Problem(errors.New("secret detail"))
	if !bytes.HasPrefix(reply, []byte("HTTP/1.1 500 ")) || bytes.Contains(reply, []byte("secret")) {
		t.Errorf("%s", reply)
	}
	reply = Problem(BadRequest("quoted \r\n %q", "\x00"))
	if !bytes.HasPrefix(reply, []byte("HTTP/1.1 400 ")) || bytes.Count(reply, []byte("\r\n\r\n")) != 1 {
		t.Errorf("%s", reply)
	}
}
