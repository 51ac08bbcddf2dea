package socket

import (
	"bytes"
	"fmt"
)

// AppendUpgrade appends a WebSocket handshake's request. An empty protocol asks
// for none.
func AppendUpgrade(dst []byte, host, path, protocol string) []byte {
	dst = fmt.Appendf(dst, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", path, host)
	if protocol != "" {
		dst = append(append(append(dst, "Sec-WebSocket-Protocol: "...), protocol...), "\r\n"...)
	}
	return append(dst, "\r\n"...)
}

var (
	switching = []byte("HTTP/1.1 101")
	accepted  = []byte("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") // proves that our key was read (RFC 6455 §1.3)
	blankLine = []byte("\r\n\r\n")
)

// ReadHead takes the head of an HTTP answer, with its blank line, off the front
// of in; whole is false while there is not enough of it.
func ReadHead(in []byte) (head, rest []byte, whole bool) {
	i := bytes.Index(in, blankLine)
	if i < 0 {
		return nil, in, false
	}
	i += len(blankLine)
	return in[:i], in[i:], true
}

// Switched reports whether the head of an answer agrees to a handshake of
// AppendUpgrade.
func Switched(head []byte) bool {
	return bytes.HasPrefix(head, switching) && bytes.Contains(head, accepted)
}
