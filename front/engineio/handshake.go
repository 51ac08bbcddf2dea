package engineio

import (
	"encoding/json"
	"net/http"
	"time"
)

// Handshake is what an Open packet tells the client.
type Handshake struct {
	SID          string        // names the session; whoever knows it may use it
	Upgrades     bool          // the client may go over to a WebSocket
	PingInterval time.Duration // in whole milliseconds: after so long the server pings
	PingTimeout  time.Duration // in whole milliseconds: after so long without a Pong the session ends
	MaxPayload   int           // bytes that the client may send at once
}

// Bytes returns the Open packet.
func (h *Handshake) Bytes() []byte {
	upgrades := []string{}
	if h.Upgrades {
		upgrades = append(upgrades, "websocket")
	}
	b, _ := json.Marshal(struct { // strings and numbers always marshal
		SID          string   `json:"sid"`
		Upgrades     []string `json:"upgrades"`
		PingInterval int64    `json:"pingInterval"`
		PingTimeout  int64    `json:"pingTimeout"`
		MaxPayload   int      `json:"maxPayload"`
	}{h.SID, upgrades, h.PingInterval.Milliseconds(), h.PingTimeout.Milliseconds(), h.MaxPayload})
	return append([]byte{byte(Open)}, b...)
}

// Error is why a request is refused. The codes are those of the reference server.
type Error struct {
	Code    int
	Status  int // of HTTP
	Message string
}

func (e *Error) Error() string { return e.Message }

// Bytes returns the body of the answer.
func (e *Error) Bytes() []byte {
	b, _ := json.Marshal(struct { // a number and a string always marshal
		Code    int    `json:"code"`
		Message string `json:"message"`
	}{e.Code, e.Message})
	return b
}

// The refusals.
var (
	ErrTransport = &Error{0, http.StatusBadRequest, "Transport unknown"}
	ErrSession   = &Error{1, http.StatusBadRequest, "Session ID unknown"}
	ErrMethod    = &Error{2, http.StatusBadRequest, "Bad handshake method"}
	ErrRequest   = &Error{3, http.StatusBadRequest, "Bad request"}
	ErrForbidden = &Error{4, http.StatusForbidden, "Forbidden"}
	ErrVersion   = &Error{5, http.StatusBadRequest, "Unsupported protocol version"}
)
