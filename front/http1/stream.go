package http1

import (
	"net/http"
	"strconv"
)

// StreamHead returns the head of a response with status 200 whose body goes on
// until the connection ends (RFC 9112 §6.3, the last case), and that nobody
// keeps. Each of headers is a line; empty ones are left out. Nothing is escaped,
// as in Reply.
func StreamHead(contentType string, headers ...string) []byte {
	b := append(make([]byte, 0, 256), "HTTP/1.1 200 OK\r\nContent-Type: "...)
	b = append(b, contentType...)
	b = append(b, "\r\nCache-Control: no-store"...)
	return append(appendHeaders(b, headers), closing...)
}

// ChunkedHead returns the head of a response with status 200 whose body is
// chunked, with AppendChunk and LastChunk, so that the connection can outlive
// it. A client that speaks HTTP/1.0 does not know that. Each of headers is a
// line; empty ones are left out. Nothing is escaped, as in Reply.
func ChunkedHead(contentType string, headers ...string) []byte {
	b := append(make([]byte, 0, 256), "HTTP/1.1 200 OK\r\nContent-Type: "...)
	b = append(b, contentType...)
	b = append(b, "\r\nCache-Control: no-store\r\nTransfer-Encoding: chunked"...)
	return append(appendHeaders(b, headers), "\r\n\r\n"...)
}

// closing ends a head whose connection ends.
const closing = "\r\nConnection: close\r\n\r\n"

// appendHeaders appends header lines, each behind a line end.
func appendHeaders(b []byte, headers []string) []byte {
	for _, h := range headers {
		if h != "" {
			b = append(b, "\r\n"...)
			b = append(b, h...)
		}
	}
	return b
}

// AllowOrigin returns the header lines that let a page of origin, which Origins
// has allowed, read the response (Fetch §3.2); none when the request is of no
// page. What is in origin must have been checked: Allow has.
func AllowOrigin(origin string) []string {
	if origin == "" {
		return nil
	}
	return []string{"Access-Control-Allow-Origin: " + origin, "Vary: Origin"}
}

// preflightAge is for how long a browser may remember a Preflight.
const preflightAge = "600"

// Preflight returns the answer to an OPTIONS request of a page of origin, which
// Origins has allowed: it may use the methods, and send the headers, of these
// lists (Fetch §4.8). More are header lines, as in Reply.
func Preflight(origin, methods, headers string, more ...string) []byte {
	b := append(make([]byte, 0, 256), "HTTP/1.1 "...)
	b = strconv.AppendInt(b, http.StatusNoContent, 10)
	b = append(b, " No Content"...)
	b = appendHeaders(b, append(AllowOrigin(origin),
		"Access-Control-Allow-Methods: "+methods, "Access-Control-Allow-Headers: "+headers,
		"Access-Control-Max-Age: "+preflightAge))
	b = appendHeaders(b, more)
	return append(b, closing...)
}
