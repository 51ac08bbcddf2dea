package ws

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/gobwas/ws"
)

// upgradeHeader goes with every 426 (RFC 9110 §15.5.22, RFC 6455 §4.2.2).
const upgradeHeader = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13"

// CheckUpgrade reports why r is not a WebSocket opening handshake that we can
// accept (RFC 6455 §4.2.1), as a *RequestError, or nil. Path, origin and
// subprotocol are the caller's to judge.
func (r *Request) CheckUpgrade() error {
	version, hasVersion := r.Header("Sec-WebSocket-Version")
	key, _ := r.Header("Sec-WebSocket-Key")
	length, hasLength := r.Header("Content-Length")
	_, hasEncoding := r.Header("Transfer-Encoding")
	switch {
	case r.Method != http.MethodGet:
		return &RequestError{
			Status: http.StatusMethodNotAllowed, Code: "method_not_allowed",
			Detail: fmt.Sprintf("%.20s, want GET", r.Method), Header: "Allow: GET",
		}
	case r.old, !r.lists("Upgrade", "websocket"), !r.lists("Connection", "upgrade"):
		return upgradeRequired("upgrade_required", "this address speaks WebSocket only")
	case !hasVersion:
		return badRequest("no Sec-WebSocket-Version header")
	case version != "13":
		return upgradeRequired("websocket_version_not_supported", fmt.Sprintf("version %.20q, want 13", version))
	case !isKey(key):
		return badRequest("Sec-WebSocket-Key: want 16 bytes in base64")
	case hasLength && length != "0", hasEncoding:
		return badRequest("a body where the first frame should begin")
	}
	return nil
}

func upgradeRequired(code, detail string) *RequestError {
	return &RequestError{Status: http.StatusUpgradeRequired, Code: code, Detail: detail, Header: upgradeHeader}
}

func isKey(v string) bool {
	var key [18]byte
	if len(v) != base64.StdEncoding.EncodedLen(16) {
		return false
	}
	n, err := base64.StdEncoding.Decode(key[:], []byte(v))
	return err == nil && n == 16
}

// Accept returns the bytes of the 101 response (RFC 6455 §4.2.2) that selects
// protocol, which is one of r.Protocols, or empty to select none. Extensions
// are not negotiated. The error is a *RequestError.
//
// The response is gobwas/ws's, which is given the request in its plainest form:
// one line for each header that counts.
func (r *Request) Accept(protocol string) ([]byte, error) {
	if err := r.CheckUpgrade(); err != nil {
		return nil, err
	}
	head := r.plain()
	up := ws.Upgrader{ReadBufferSize: max(ws.DefaultServerReadBufferSize, len(head))}
	if protocol != "" {
		if !slices.Contains(r.Protocols, protocol) {
			return nil, badRequest("subprotocol %.80q was not offered", protocol)
		}
		up.Protocol = func(offered []byte) bool { return string(offered) == protocol }
	}
	x := exchange{in: strings.NewReader(head)}
	hs, err := up.Upgrade(&x)
	if err != nil {
		return nil, badRequest("%v", err)
	}
	if hs.Protocol != protocol {
		return nil, badRequest("subprotocols: %.80q found, want %.80q", hs.Protocol, protocol)
	}
	return x.out.Bytes(), nil
}

// plain writes the headers of a handshake that CheckUpgrade has accepted.
func (r *Request) plain() string {
	key, _ := r.Header("Sec-WebSocket-Key")
	var b strings.Builder
	b.WriteString("GET / HTTP/1.1\r\nHost: \r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ")
	b.WriteString(key)
	if len(r.Protocols) > 0 {
		b.WriteString("\r\nSec-WebSocket-Protocol: ")
		b.WriteString(strings.Join(r.Protocols, ", "))
	}
	b.WriteString("\r\n\r\n")
	return b.String()
}

// exchange is the connection that the Upgrader sees.
type exchange struct {
	in  *strings.Reader
	out bytes.Buffer
}

func (x *exchange) Read(p []byte) (int, error)  { return x.in.Read(p) }
func (x *exchange) Write(p []byte) (int, error) { return x.out.Write(p) }
