package client

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// RefusedError is a handshake that the server answered with an HTTP status
// instead of a WebSocket.
type RefusedError struct {
	Status int
	Code   string        // of the problem document, token_expired for example; empty: none was read
	After  time.Duration // what the server asks to wait before the next attempt; 0: it did not say
}

// Error implements error.
func (e *RefusedError) Error() string {
	if e.Code == "" {
		return fmt.Sprintf("handshake refused: HTTP %d", e.Status)
	}
	return fmt.Sprintf("handshake refused: HTTP %d %s", e.Status, e.Code)
}

// maxReply bounds what is read of a refusal, maxCode its code.
const (
	maxReply = 16 << 10
	maxCode  = 64
)

// readRefusal reads as much of a refusal as it can make sense of.
func readRefusal(status int, reply io.Reader) *RefusedError {
	e := &RefusedError{Status: status}
	resp, err := http.ReadResponse(bufio.NewReader(io.LimitReader(reply, maxReply)), nil)
	if err != nil {
		return e
	}
	defer resp.Body.Close()
	e.After = retryAfter(resp.Header, time.Now())
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "application/problem+json") {
		e.Code = problemCode(resp.Body)
	}
	return e
}

// retryAfter reads Retry-After, seconds or a date; 0: there is none that makes
// sense, or it is over. A date is measured by the server's own clock when it
// tells its Date, else from now.
func retryAfter(h http.Header, now time.Time) time.Duration {
	value := strings.TrimSpace(h.Get("Retry-After"))
	if value != "" && strings.Trim(value, "0123456789") == "" {
		seconds, err := strconv.ParseInt(value, 10, 64)
		if err != nil || seconds > math.MaxInt64/int64(time.Second) { // digits only: it is too large
			return math.MaxInt64
		}
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	if told, err := http.ParseTime(h.Get("Date")); err == nil {
		now = told
	}
	return max(0, at.Sub(now))
}

// problemCode returns the code of an RFC 9457 problem document, or nothing
// when it is not one that Homing could have written.
func problemCode(body io.Reader) string {
	var problem struct {
		Code string `json:"code"`
	}
	if json.NewDecoder(body).Decode(&problem) != nil || len(problem.Code) > maxCode {
		return ""
	}
	if strings.Trim(problem.Code, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
		return ""
	}
	return problem.Code
}
