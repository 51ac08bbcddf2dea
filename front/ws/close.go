package ws

import "errors"

// CloseCode is a close status (RFC 6455 §7.4).
type CloseCode uint16

// The codes that this package and its callers send or recognise.
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

// A FrameError is a violation of the protocol by the client, with the status
// that the connection is closed with.
type FrameError struct {
	Code CloseCode
	Text string // also the close frame's reason
}

// Error says what was wrong.
func (e *FrameError) Error() string { return e.Text }

// CodeOf returns the close status for err: that of the *FrameError it wraps,
// else CloseInternalError.
func CodeOf(err error) CloseCode {
	if fe, ok := errors.AsType[*FrameError](err); ok {
		return fe.Code
	}
	return CloseInternalError
}
