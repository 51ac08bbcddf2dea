package http1

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
)

// Reply returns an HTTP response that ends the connection. Each of headers is a
// line such as "Allow: GET"; empty ones are left out. Nothing is escaped: neither
// they nor the content type may come from outside.
func Reply(status int, contentType string, body []byte, headers ...string) []byte {
	return append(ReplyHead(status, contentType, len(body), headers...), body...)
}

// ReplyHead returns the head of a Reply whose body of size bytes follows.
func ReplyHead(status int, contentType string, size int, headers ...string) []byte {
	return append(appendHeaders(replyHead(status, contentType, size), headers), closing...)
}

// ReplyKept is Reply that leaves the connection open. Its request must keep it
// alive (Request.KeepsAlive), and the request's body must have ended.
func ReplyKept(status int, contentType string, body []byte, headers ...string) []byte {
	b := appendHeaders(replyHead(status, contentType, len(body)), headers)
	return append(append(b, "\r\n\r\n"...), body...)
}

// replyHead is the head of a reply without the lines that differ and its end. It
// has room for the rest.
func replyHead(status int, contentType string, size int) []byte {
	b := make([]byte, 0, 256+size)
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, ' ')
	b = append(b, http.StatusText(status)...)
	b = append(b, "\r\nContent-Type: "...)
	b = append(b, contentType...)
	b = append(b, "\r\nContent-Length: "...)
	return strconv.AppendInt(b, int64(size), 10)
}

// StatusOf is the HTTP status that Problem answers err with.
func StatusOf(err error) int {
	if refused, ok := errors.AsType[*Error](err); ok {
		return refused.Status
	}
	return http.StatusInternalServerError
}

// Bodiless returns the part of a reply that answers a HEAD request: all but the
// body (RFC 9110 §9.3.2).
func Bodiless(reply []byte) []byte {
	if i := bytes.Index(reply, []byte("\r\n\r\n")); i >= 0 {
		return reply[:i+len("\r\n\r\n")]
	}
	return reply
}

// Problem returns the reply to a refused request: an RFC 9457 problem document
// with the status, code and detail of the *Error that err wraps; for
// any other error a bare 500, whose details stay with us. headers are as in Reply.
func Problem(err error, headers ...string) []byte {
	refused, ok := errors.AsType[*Error](err)
	if !ok {
		refused = &Error{Status: http.StatusInternalServerError, Code: "internal", Detail: "the request could not be served"}
	}
	body, _ := json.Marshal(struct { // strings and a number always marshal
		Type   string `json:"type"`
		Title  string `json:"title"`
		Status int    `json:"status"`
		Code   string `json:"code"`
		Detail string `json:"detail"`
	}{"about:blank", http.StatusText(refused.Status), refused.Status, refused.Code, refused.Detail})
	return Reply(refused.Status, "application/problem+json", body, append(headers, refused.Header)...)
}
