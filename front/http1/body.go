package http1

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// Continue is the interim response that a client with Expect: 100-continue
// waits for before it sends its body (RFC 9110 §10.1.1).
const Continue = "HTTP/1.1 100 Continue\r\n\r\n"

const (
	// maxChunkLine bounds the line before a chunk: its size and its extensions,
	// which nobody uses.
	maxChunkLine = 256
	// maxExtensions bounds the extensions of all chunks together.
	maxExtensions = 4 << 10
	// maxTrailer bounds the header lines after the last chunk, which are passed over.
	maxTrailer = 4 << 10
)

// Body reads the body of one request (RFC 9112 §6) from the bytes that follow
// its head. The zero value is the body of a request that has none.
type Body struct {
	limit   int
	left    int // bytes that are to come of the body or the present chunk
	stage   bodyStage
	content []byte
	excess  int // bytes of chunk extensions so far
	trailer int // bytes of the trailer so far
}

type bodyStage uint8

const (
	bodyEnded    bodyStage = iota // all is there
	bodySized                     // so many bytes, by Content-Length
	bodyChunk                     // a chunk's size is to come
	bodyContent                   // a chunk's content is
	bodyChunkEnd                  // the line end behind that is
	bodyTrailer                   // header lines and a blank line are
)

// Body returns what reads the body of r, of at most limit bytes. The error is a
// *Error: a body that says in two ways how long it is, which two parsers on the
// way might take differently; one that is said to be too long; a coding that we
// do not know.
func (r *Request) Body(limit int) (*Body, error) {
	codings, length := r.Values("Transfer-Encoding"), r.Values("Content-Length")
	switch {
	case len(codings) > 0 && len(length) > 0:
		return nil, BadRequest("both Transfer-Encoding and Content-Length")
	case len(codings) > 0 && r.HTTP10:
		return nil, BadRequest("Transfer-Encoding in HTTP/1.0")
	case len(codings) == 1 && IsToken(codings[0]) && strings.EqualFold(codings[0], "chunked"): // a token is ASCII: no other letter folds to k
		return &Body{limit: limit, stage: bodyChunk}, nil
	case len(codings) > 0:
		return nil, &Error{
			Status: http.StatusNotImplemented, Code: "transfer_encoding_unknown",
			Detail: fmt.Sprintf("Transfer-Encoding %.80q, want chunked", strings.Join(codings, ", ")),
		}
	case len(length) == 0:
		return &Body{}, nil
	}
	n, ok := number(length[0], 10)
	switch {
	case !ok:
		return nil, BadRequest("Content-Length: %.80q is not a number", length[0])
	case n > uint64(max(0, limit)):
		return nil, tooLarge(limit)
	case n == 0:
		return &Body{}, nil
	}
	return &Body{limit: limit, left: int(n), stage: bodySized}, nil
}

// ExpectsContinue reports whether the client waits for Continue before it sends
// its body. The error is a *Error: it expects something else (RFC 9110 §10.1.1).
// HTTP/1.0 knows no expectations.
func (r *Request) ExpectsContinue() (bool, error) {
	value, ok := r.Header("Expect")
	switch {
	case !ok || r.HTTP10:
		return false, nil
	case strings.EqualFold(value, "100-continue"):
		return true, nil
	}
	return false, &Error{
		Status: http.StatusExpectationFailed, Code: "expectation_failed",
		Detail: fmt.Sprintf("Expect: %.80q, want 100-continue", value),
	}
}

// KeepsAlive reports whether the client may send another request over the same
// connection. One that speaks HTTP/1.0 may not, whatever it asks for, and one
// whose Connection header is no list of tokens neither.
func (r *Request) KeepsAlive() bool {
	if r.HTTP10 {
		return false
	}
	for _, v := range r.Values("Connection") {
		for e := range Elements(v) {
			if !IsToken(e) || strings.EqualFold(e, "close") {
				return false
			}
		}
	}
	return true
}

// Ended reports whether the whole body is there.
func (b *Body) Ended() bool { return b.stage == bodyEnded }

// Bytes returns what is there of the body, decoded. It is the Body's until the
// body has ended, and the caller's then.
func (b *Body) Bytes() []byte { return b.content }

// Take takes what belongs to the body off the front of buf, which it copies, and
// returns how many bytes that were. What it leaves is a part of a line that is
// not whole yet, as long as the body has not ended, and the next request's
// otherwise. The error is a *Error, and nothing can follow on the connection.
func (b *Body) Take(buf []byte) (n int, err error) {
	for b.stage != bodyEnded && n < len(buf) {
		took, err := b.step(buf[n:])
		if err != nil {
			return n, err
		}
		if took == 0 {
			break
		}
		n += took
	}
	return n, nil
}

// step takes the next part of the body; 0 when it is not whole yet.
func (b *Body) step(buf []byte) (n int, err error) {
	switch b.stage {
	case bodySized:
		if n = b.takeContent(buf); b.left == 0 {
			b.stage = bodyEnded
		}
		return n, nil
	case bodyContent:
		if n = b.takeContent(buf); b.left == 0 {
			b.stage = bodyChunkEnd
		}
		return n, nil
	case bodyChunk:
		return b.takeSize(buf)
	case bodyChunkEnd:
		line, n, err := takeLine(buf, 0)
		if err == nil && n > 0 {
			b.stage = bodyChunk
		}
		if err != nil || line != "" {
			return 0, BadRequest("a chunk that is longer than it says")
		}
		return n, nil
	case bodyTrailer:
		return b.takeTrailer(buf)
	case bodyEnded:
	}
	return 0, nil
}

func (b *Body) takeContent(buf []byte) (n int) {
	n = min(b.left, len(buf))
	b.content = append(b.content, buf[:n]...)
	b.left -= n
	return n
}

// takeSize reads the line before a chunk.
func (b *Body) takeSize(buf []byte) (int, error) {
	line, n, err := takeLine(buf, maxChunkLine)
	if err != nil || n == 0 {
		return 0, err
	}
	digits, _, extended := strings.Cut(line, ";")
	if extended {
		digits = strings.TrimRight(digits, " \t")
		b.excess += len(line) - len(digits)
	}
	size, ok := number(digits, 16)
	switch {
	case !ok:
		return 0, BadRequest("%.80q is not the size of a chunk", line)
	case b.excess > maxExtensions:
		return 0, BadRequest("over %d bytes of chunk extensions", maxExtensions)
	case size > uint64(max(0, b.limit-len(b.content))):
		return 0, tooLarge(b.limit)
	case size == 0:
		b.stage = bodyTrailer
	default:
		b.left, b.stage = int(size), bodyContent
	}
	return n, nil
}

// takeTrailer passes over one line behind the last chunk.
func (b *Body) takeTrailer(buf []byte) (int, error) {
	line, n, err := takeLine(buf, maxTrailer-b.trailer)
	if err != nil || n == 0 {
		return 0, err
	}
	if line == "" {
		b.stage = bodyEnded
		return n, nil
	}
	if name, _, ok := strings.Cut(line, ":"); !ok || !IsToken(name) {
		return 0, BadRequest("%.80q is not a header line", line)
	}
	b.trailer += n
	return n, nil
}

// takeLine returns the line at the front of buf, of at most limit bytes, without
// its end, and its length with it; 0 when it is not whole yet.
func takeLine(buf []byte, limit int) (line string, n int, err error) {
	end := bytes.IndexByte(buf, '\n')
	switch {
	case end < 0 && len(buf) <= limit+len("\r"):
		return "", 0, nil
	case end < 0 || end > limit+len("\r"):
		return "", 0, BadRequest("a line of a chunked body is over %d bytes long", limit)
	case end == 0 || buf[end-1] != '\r':
		return "", 0, BadRequest("line feed without carriage return")
	}
	text := buf[:end-1]
	if bytes.ContainsFunc(text, isControl) {
		return "", 0, BadRequest("control character in a chunked body")
	}
	return string(text), end + 1, nil
}

// number reads a number of digits alone, without sign, in a base up to 16. It may
// have 8 digits at most: no body is that long.
func number(s string, base int) (n uint64, ok bool) {
	if s == "" || len(strings.TrimLeft(s, "0")) > 8 || len(s) > 32 {
		return 0, false
	}
	n, err := strconv.ParseUint(s, base, 32)
	return n, err == nil && s[0] != '+' && !strings.Contains(s, "_")
}

func tooLarge(limit int) error {
	return &Error{
		Status: http.StatusRequestEntityTooLarge, Code: "body_too_large",
		Detail: fmt.Sprintf("the body is over %d bytes long", limit),
	}
}

// AppendChunk appends a chunk of a response with Transfer-Encoding: chunked (RFC
// 9112 §7.1). Data must not be empty: that would be the last one.
func AppendChunk(b, data []byte) []byte {
	b = strconv.AppendUint(b, uint64(len(data)), 16)
	b = append(b, "\r\n"...)
	b = append(b, data...)
	return append(b, "\r\n"...)
}

// LastChunk ends a response with Transfer-Encoding: chunked.
const LastChunk = "0\r\n\r\n"
