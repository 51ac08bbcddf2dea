package ws

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/gobwas/ws"

	"github.com/homing/homing/front/http1"
)

// upgradeHeader goes with every 426 (RFC 9110 §15.5.22, RFC 6455 §4.2.2).
const upgradeHeader = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13"

// CheckUpgrade reports why r is not a WebSocket opening handshake that we can
// accept (RFC 6455 §4.2.1), as a *http1.Error, or nil. Path, origin and
// subprotocols are the caller's to judge.
func CheckUpgrade(r *http1.Request) error {
	version, hasVersion := r.Header("Sec-WebSocket-Version")
	key, _ := r.Header("Sec-WebSocket-Key")
	length, hasLength := r.Header("Content-Length")
	_, hasEncoding := r.Header("Transfer-Encoding")
	switch {
	case r.Method != http.MethodGet:
		return &http1.Error{
			Status: http.StatusMethodNotAllowed, Code: "method_not_allowed",
			Detail: fmt.Sprintf("%.20s, want GET", r.Method), Header: "Allow: GET",
		}
	case r.HTTP10, !r.Lists("Upgrade", "websocket"), !r.Lists("Connection", "upgrade"):
		return upgradeRequired("upgrade_required", "this address speaks WebSocket only")
	case !hasVersion:
		return http1.BadRequest("no Sec-WebSocket-Version header")
	case version != "13":
		return upgradeRequired("websocket_version_not_supported", fmt.Sprintf("version %.20q, want 13", version))
	case !isKey(key):
		return http1.BadRequest("Sec-WebSocket-Key: want 16 bytes in base64")
	case hasLength && length != "0", hasEncoding:
		return http1.BadRequest("a body where the first frame should begin")
	}
	return nil
}

func upgradeRequired(code, detail string) *http1.Error {
	return &http1.Error{Status: http.StatusUpgradeRequired, Code: code, Detail: detail, Header: upgradeHeader}
}

func isKey(v string) bool {
	var key [18]byte
	if len(v) != base64.StdEncoding.EncodedLen(16) {
		return false
	}
	n, err := base64.StdEncoding.Decode(key[:], []byte(v))
	return err == nil && n == 16
}

// Subprotocols returns what the client offers in Sec-WebSocket-Protocol (RFC
// 6455 §11.3.4), in its order. The error is a *http1.Error.
func Subprotocols(r *http1.Request) (offered []string, err error) {
	for _, v := range r.Values("Sec-WebSocket-Protocol") {
		for p := range http1.Elements(v) {
			if !http1.IsToken(p) {
				return nil, http1.BadRequest("%.80q is not a subprotocol", p)
			}
			offered = append(offered, p)
		}
	}
	return offered, nil
}

// Accept returns the bytes of the 101 response (RFC 6455 §4.2.2) that selects
// protocol, which is one of Subprotocols, or empty to select none. Extensions
// are not negotiated. The error is a *http1.Error.
//
// The response is gobwas/ws's, which is given the request in its plainest form:
// one line for each header that counts.
func Accept(r *http1.Request, protocol string) ([]byte, error) {
	if err := CheckUpgrade(r); err != nil {
		return nil, err
	}
	offered, err := Subprotocols(r)
	if err != nil {
		return nil, err
	}
	head := plain(r, offered)
	up := ws.Upgrader{ReadBufferSize: max(ws.DefaultServerReadBufferSize, len(head))}
	if protocol != "" {
		if !slices.Contains(offered, protocol) {
			return nil, http1.BadRequest("subprotocol %.80q was not offered", protocol)
		}
		up.Protocol = func(offered []byte) bool { return string(offered) == protocol }
	}
	x := exchange{in: strings.NewReader(head)}
	hs, err := up.Upgrade(&x)
	if err != nil {
		return nil, http1.BadRequest("%v", err)
	}
	if hs.Protocol != protocol {
		return nil, http1.BadRequest("subprotocols: %.80q found, want %.80q", hs.Protocol, protocol)
	}
	return x.out.Bytes(), nil
}

// plain writes the headers of a handshake that CheckUpgrade has accepted.
func plain(r *http1.Request, offered []string) string {
	key, _ := r.Header("Sec-WebSocket-Key")
	var b strings.Builder
	b.WriteString("GET / HTTP/1.1\r\nHost: \r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ")
	b.WriteString(key)
	if len(offered) > 0 {
		b.WriteString("\r\nSec-WebSocket-Protocol: ")
		b.WriteString(strings.Join(offered, ", "))
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
