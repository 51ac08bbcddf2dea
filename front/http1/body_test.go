package http1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

func post(body string, headers ...string) string {
	return "POST /poll HTTP/1.1\r\nHost: x\r\n" + strings.Join(append(headers, ""), "\r\n") + "\r\n" + body
}

const bodyLimit = 64

// bodies are what follows a head; code is that of the refusal, rest what is left
// for the next request.
var bodies = []struct{ name, request, content, rest, code string }{
	{"none", post(""), "", "", ""},
	{"none, and another request", post("GET / HTTP/1.1\r\n"), "", "GET / HTTP/1.1\r\n", ""},
	{"by length", post("hello", "Content-Length: 5"), "hello", "", ""},
	{"by length, and another request", post("helloGET /", "Content-Length: 5"), "hello", "GET /", ""},
	{"of length 0", post("GET", "Content-Length: 0"), "", "GET", ""},
	{"as long as may be", post(strings.Repeat("x", bodyLimit), "Content-Length: 64"), strings.Repeat("x", bodyLimit), "", ""},
	{"chunked", post("5\r\nhello\r\n7;ext=1\r\n, world\r\n0\r\n\r\nGET", "Transfer-Encoding: chunked"), "hello, world", "GET", ""},
	{"chunked, with a trailer", post("A\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n", "transfer-encoding: Chunked"), "0123456789", "", ""},
	{"HTTP/1.0", "POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi", "hi", "", ""},

	{"too long", post("", "Content-Length: 65"), "", "", "body_too_large"},
	{"far too long", post("", "Content-Length: 18446744073709551617"), "", "", "bad_request"},
	{"of negative length", post("", "Content-Length: -1"), "", "", "bad_request"},
	{"of length +1", post("", "Content-Length: +1"), "", "", "bad_request"},
	{"of two lengths in one", post("", "Content-Length: 5, 5"), "", "", "bad_request"},
	{"of no length", post("", "Content-Length:"), "", "", "bad_request"},
	{"both ways", post("", "Content-Length: 5", "Transfer-Encoding: chunked"), "", "", "bad_request"},
	{"compressed", post("", "Transfer-Encoding: gzip, chunked"), "", "", "transfer_encoding_unknown"},
	{"chunked with the sign of Kelvin", post("", "Transfer-Encoding: chun\u212Aed"), "", "", "transfer_encoding_unknown"},
	{"extensions without end", post(strings.Repeat("1;"+strings.Repeat("x", 200)+"\r\ny\r\n", 30), "Transfer-Encoding: chunked"), "", "", "bad_request"},
	{"a chunk size with a space", post("1 \r\ny\r\n0\r\n\r\n", "Transfer-Encoding: chunked"), "", "", "bad_request"},
	{"chunked twice", post("", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), "", "", "transfer_encoding_unknown"},
	{"chunked, in HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", "", "", "bad_request"},
	{"a chunk too large", post("41\r\n", "Transfer-Encoding: chunked"), "", "", "body_too_large"},
	{"chunks too large together", post("3F\r\n"+strings.Repeat("x", 63)+"\r\n2\r\n", "Transfer-Encoding: chunked"), "", "", "body_too_large"},
	{"a chunk that is longer than it says", post("1\r\nxy\r\n0\r\n\r\n", "Transfer-Encoding: chunked"), "", "", "bad_request"},
	{"a chunk without a size", post("\r\n", "Transfer-Encoding: chunked"), "", "", "bad_request"},
	{"a chunk of size 0x1", post("0x1\r\n", "Transfer-Encoding: chunked"), "", "", "bad_request"},
	{"a bare line feed", post("1\nx\n0\n\n", "Transfer-Encoding: chunked"), "", "", "bad_request"},
	{"an extension without end", post("1;"+strings.Repeat("x", 300), "Transfer-Encoding: chunked"), "", "", "bad_request"},
	{"a trailer without end", post("0\r\n"+strings.Repeat("X: "+strings.Repeat("y", 200)+"\r\n", 30), "Transfer-Encoding: chunked"), "", "", "bad_request"},
	{"a trailer that is none", post("0\r\nGET / HTTP/1.1\r\n\r\n", "Transfer-Encoding: chunked"), "", "", "bad_request"},
}

// read reads a request with its body, which comes in pieces of a size, as it does
// off a connection: what is left of one is in front of the next.
func read(request []byte, piece int) (content, rest []byte, ended bool, err error) {
	req, n, err := ParseRequest(request)
	if err != nil {
		return nil, nil, false, err
	}
	b, err := req.Body(bodyLimit)
	if err != nil {
		return nil, nil, false, err
	}
	var held []byte
	for came := request[n:]; ; came = came[min(piece, len(came)):] {
		held = append(held, came[:min(piece, len(came))]...)
		took, err := b.Take(held)
		if err != nil {
			return nil, nil, false, err
		}
		held = held[took:]
		if len(came) == 0 {
			return b.Bytes(), held, b.Ended(), nil
		}
	}
}

func TestBodies(t *testing.T) {
	for _, c := range bodies {
		for _, piece := range []int{1, 3, 1 << 20} {
			content, rest, ended, err := read([]byte(c.request), piece)
			code := ""
			if refused, ok := errors.AsType[*Error](err); ok {
				code = refused.Code
			}
			if code != c.code || err == nil && !ended || string(content) != c.content || string(rest) != c.rest {
				t.Errorf("%s, in pieces of %d: %q, then %q, ended %t, %v", c.name, piece, content, rest, ended, err)
			}
		}
	}
}

// FuzzBody checks that what we accept, net/http reads the same way, and that
// pieces do not matter.
func FuzzBody(f *testing.F) {
	for _, c := range bodies {
		f.Add([]byte(c.request), 3)
	}
	f.Fuzz(func(t *testing.T, in []byte, piece int) {
		content, rest, ended, err := read(in, len(in)+1)
		if err != nil {
			return
		}
		again, left, twice, err := read(in, max(piece, 1))
		if err != nil || !bytes.Equal(again, content) || !bytes.Equal(left, rest) || twice != ended {
			t.Fatalf("in pieces: %q, then %q, %t, %v; else %q, then %q, %t", again, left, twice, err, content, rest, ended)
		}
		if len(content) > bodyLimit {
			t.Fatalf("%d bytes", len(content))
		}
		if !ended {
			return
		}
		from := bufio.NewReader(bytes.NewReader(in))
		theirs, err := http.ReadRequest(from)
		if err != nil {
			return // they know what headers mean
		}
		body, err := io.ReadAll(theirs.Body)
		next, _ := io.ReadAll(from)
		if err != nil || !bytes.Equal(body, content) || !bytes.Equal(next, rest) {
			t.Fatalf("we read %q, then %q\nnet/http %q, then %q, %v", content, rest, body, next, err)
		}
	})
}

func TestExpectAndKeepAlive(t *testing.T) {
	for _, c := range []struct {
		request     string
		waits, keep bool
		status      int
	}{
		{post(""), false, true, 0},
		{post("", "Expect: 100-Continue"), true, true, 0},
		{post("", "Expect: a miracle"), false, true, http.StatusExpectationFailed},
		{post("", "Connection: keep-alive, Close"), false, false, 0},
		{post("", `Connection: close, "x y"`), false, false, 0},
		{"POST / HTTP/1.0\r\nConnection: keep-alive\r\nExpect: 100-continue\r\n\r\n", false, false, 0},
	} {
		req, _, err := ParseRequest([]byte(c.request))
		if err != nil {
			t.Fatal(err)
		}
		waits, err := req.ExpectsContinue()
		status := 0
		if err != nil {
			status = StatusOf(err)
		}
		if waits != c.waits || status != c.status || req.KeepsAlive() != c.keep {
			t.Errorf("%q: waits %t, %v, keeps alive %t", c.request, waits, err, req.KeepsAlive())
		}
	}
}

// What we write, net/http reads, one response after the other.
func TestResponsesOnOneConnection(t *testing.T) {
	b := append([]byte(Continue), ReplyKept(http.StatusOK, "text/plain", []byte("one"))...)
	b = append(b, ChunkedHead("text/plain", "X: y")...)
	for i := range 3 {
		b = AppendChunk(b, []byte(strings.Repeat(strconv.Itoa(i), 10+i)))
	}
	b = append(b, LastChunk...)
	b = append(b, Reply(http.StatusNotFound, "text/plain", []byte("two"))...)
	from := bufio.NewReader(bytes.NewReader(b))
	for _, want := range []struct {
		status int
		body   string
		closes bool
	}{
		{http.StatusContinue, "", false},
		{http.StatusOK, "one", false},
		{http.StatusOK, "0000000000" + "11111111111" + "222222222222", false},
		{http.StatusNotFound, "two", true},
	} {
		resp, err := http.ReadResponse(from, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != want.status || string(body) != want.body || resp.Close != want.closes {
			t.Errorf("%d %q, closes %t, %v; want %+v", resp.StatusCode, body, resp.Close, err, want)
		}
	}
}
