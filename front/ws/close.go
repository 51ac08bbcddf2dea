package ws

import (
	"encoding/binary"
	"errors"
	"unicode/utf8"
)

// CloseCode is a close status (RFC 6455 §7.4).
type CloseCode uint16

// The codes that this package and its callers send or recognize.
const (
	CloseNormal          CloseCode = 1000
	CloseGoingAway       CloseCode = 1001
	CloseProtocolError   CloseCode = 1002
	CloseUnsupportedData CloseCode = 1003
	CloseNoStatus        CloseCode = 1005 // never on the wire: an empty close frame
	CloseAbnormal        CloseCode = 1006 // never on the wire: no close frame at all
	CloseInvalidPayload  CloseCode = 1007
	ClosePolicyViolation CloseCode = 1008
	CloseTooBig          CloseCode = 1009
	CloseInternalError   CloseCode = 1011
	CloseServiceRestart  CloseCode = 1012 // come back, to the same address
	CloseTryAgainLater   CloseCode = 1013
)

// onWire reports whether a close frame may carry c: defined by RFC 6455
// §7.4.1, registered with IANA since (1012 to 1014), or left to libraries and
// applications (§7.4.2).
func (c CloseCode) onWire() bool {
	switch {
	case c >= 3000 && c <= 4999:
		return true
	case c == 1004, c == CloseNoStatus, c == CloseAbnormal:
		return false
	}
	return c >= 1000 && c <= 1014
}

// A FrameError is a violation of the protocol by the client, with the status
// that the connection is closed with.
type FrameError struct {
	Code CloseCode
	Text string // also the close frame's reason
}

// Error says what was wrong.
func (e *FrameError) Error() string { return e.Text }

// What a client can do wrong.
var (
	ErrReservedBits    = &FrameError{CloseProtocolError, "reserved bits set without an extension"}                   // §5.2
	ErrReservedOpCode  = &FrameError{CloseProtocolError, "reserved opcode"}                                          // §5.2
	ErrUnmasked        = &FrameError{CloseProtocolError, "client frame not masked"}                                  // §5.1
	ErrLengthForm      = &FrameError{CloseProtocolError, "payload length not in its shortest form or above 63 bits"} // §5.2
	ErrControlSplit    = &FrameError{CloseProtocolError, "control frame fragmented"}                                 // §5.5
	ErrControlLong     = &FrameError{CloseProtocolError, "control frame longer than 125 bytes"}                      // §5.5
	ErrNotStarted      = &FrameError{CloseProtocolError, "continuation without a message"}                           // §5.4
	ErrNotFinished     = &FrameError{CloseProtocolError, "new message before the last one ended"}                    // §5.4
	ErrCloseTruncated  = &FrameError{CloseProtocolError, "close payload of one byte"}                                // §5.5.1
	ErrCloseCode       = &FrameError{CloseProtocolError, "close status not allowed"}                                 // §7.4
	ErrCloseReasonUTF8 = &FrameError{CloseInvalidPayload, "close reason not UTF-8"}                                  // §5.5.1
	ErrTextUTF8        = &FrameError{CloseInvalidPayload, "text not UTF-8"}                                          // §8.1
	ErrTooBig          = &FrameError{CloseTooBig, "message too big"}                                                 // §7.4.1
)

// CodeOf returns the close status for err: that of the *FrameError it wraps,
// else CloseInternalError.
func CodeOf(err error) CloseCode {
	if fe, ok := errors.AsType[*FrameError](err); ok {
		return fe.Code
	}
	return CloseInternalError
}

// parseClose reads a close frame's payload (RFC 6455 §5.5.1).
func parseClose(payload []byte) (Message, error) {
	switch len(payload) {
	case 0:
		return Message{Op: OpClose, Code: CloseNoStatus}, nil
	case 1:
		return Message{}, ErrCloseTruncated
	}
	code, reason := CloseCode(binary.BigEndian.Uint16(payload)), payload[2:]
	if !code.onWire() {
		return Message{}, ErrCloseCode
	}
	if !utf8.Valid(reason) {
		return Message{}, ErrCloseReasonUTF8
	}
	return Message{Op: OpClose, Code: code, Payload: reason}, nil
}
