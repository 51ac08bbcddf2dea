package clients

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/homing/homing/bench/socket"
)

// appendRequest appends a WebSocket handshake's request, or that of a stream or a
// session.
func (s speech) appendRequest(dst []byte, host, path, token string) []byte {
	if s.carrier == stream {
		return fmt.Appendf(dst, "GET %s%s HTTP/1.1\r\nHost: %s\r\nAccept: text/event-stream\r\n\r\n", path, s.query(token), host)
	}
	return socket.AppendUpgrade(dst, host, path+s.query(token), s.protocol)
}

var accepted = []byte("HTTP/1.1 200")

var errRefused = errors.New("handshake refused")

// readReply reads the answer to a handshake. Whatever follows it is rest;
// whole is false while there is not enough of it.
func (s speech) readReply(in []byte) (rest []byte, whole bool, err error) {
	head, rest, whole := socket.ReadHead(in)
	if !whole {
		return in, false, nil
	}
	if s.carrier == stream && bytes.HasPrefix(head, accepted) || socket.Switched(head) {
		return rest, true, nil
	}
	return nil, true, refusal(head)
}

// refusal is why a front does not switch protocols; a waitError when it says
// when to come back.
func refusal(head []byte) error {
	reply, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(head)), nil)
	if err != nil {
		return fmt.Errorf("%w: %w", errRefused, err)
	}
	reply.Body.Close()
	seconds, err := strconv.Atoi(reply.Header.Get("Retry-After"))
	if reply.StatusCode == http.StatusServiceUnavailable && err == nil && seconds >= 0 {
		return &waitError{wait: time.Duration(seconds) * time.Second, why: fmt.Sprintf("%v: %s", errRefused, reply.Status)}
	}
	return fmt.Errorf("%w: %s", errRefused, reply.Status)
}
