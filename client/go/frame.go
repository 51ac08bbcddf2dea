package client

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// CloseError is the end of a connection that the server closed in form.
type CloseError struct {
	Code   int // RFC 6455 §7.4; 1005 when the server gave none
	Reason string
}

// Error implements error.
func (e *CloseError) Error() string {
	return fmt.Sprintf("closed by the server: %d %s", e.Code, e.Reason)
}

// CloseCode returns the code that the server closed with, or 0 when err is
// not such an end.
func CloseCode(err error) int {
	if c, ok := errors.AsType[*CloseError](err); ok {
		return c.Code
	}
	return 0
}

// frames reads whole messages off a server's stream and hands control frames
// to onControl as they come, between fragments too.
type frames struct {
	in        *bufio.Reader
	limit     int // bytes of one message
	onControl func(op ws.OpCode, payload []byte)
}

// next blocks for the next text or binary message. The bytes are the
// caller's. A close frame ends it with *CloseError.
func (f *frames) next() ([]byte, error) {
	var message []byte
	var op ws.OpCode // of the message in parts; 0 between messages
	for {
		h, err := f.header(op != 0)
		if err != nil {
			return nil, err
		}
		if h.OpCode.IsControl() {
			if err := f.control(h); err != nil {
				return nil, err
			}
			continue
		}
		if op == 0 {
			op = h.OpCode
		}
		if message, err = f.append(message, h.Length); err != nil {
			return nil, err
		}
		if !h.Fin {
			continue
		}
		if op == ws.OpText && !utf8.Valid(message) {
			return nil, fmt.Errorf("%w: text message is not UTF-8", ErrProtocol)
		}
		return message, nil
	}
}

// header reads and checks one frame header.
func (f *frames) header(inParts bool) (ws.Header, error) {
	h, err := ws.ReadHeader(f.in)
	if err != nil {
		return h, fmt.Errorf("read frame header: %w", err)
	}
	state := ws.StateClientSide
	if inParts {
		state = state.Set(ws.StateFragmented)
	}
	if err := ws.CheckHeader(h, state); err != nil {
		return h, fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	if h.Masked {
		return h, fmt.Errorf("%w: masked frame from a server", ErrProtocol)
	}
	return h, nil
}

func (f *frames) control(h ws.Header) error {
	payload, err := f.append(nil, h.Length)
	if err != nil {
		return err
	}
	if h.OpCode != ws.OpClose {
		f.onControl(h.OpCode, payload)
		return nil
	}
	e := &CloseError{Code: int(ws.StatusNoStatusRcvd)}
	if len(payload) > 0 {
		code, reason := ws.ParseCloseFrameData(payload)
		if !validClose(int(code)) || !utf8.ValidString(reason) {
			return fmt.Errorf("%w: close frame with code %d", ErrProtocol, code)
		}
		e.Code, e.Reason = int(code), reason
	}
	f.onControl(ws.OpClose, payload)
	return e
}

// validClose reports whether a close frame may carry code: those that RFC
// 6455 and its registry name (1012 to 1014 came after the RFC, which is why
// ws.CheckCloseFrameData does not know them), libraries' and applications'.
func validClose(code int) bool {
	switch {
	case code >= 1000 && code <= 1003, code >= 1007 && code <= 1014, code >= 3000 && code <= 4999:
		return true
	}
	return false
}

// append reads n more bytes of a message; the limit holds before any is
// allocated.
func (f *frames) append(message []byte, n int64) ([]byte, error) {
	if n > int64(f.limit-len(message)) {
		return nil, fmt.Errorf("%w: message over %d bytes", ErrProtocol, f.limit)
	}
	have := len(message)
	message = append(message, make([]byte, n)...)
	if _, err := io.ReadFull(f.in, message[have:]); err != nil {
		return nil, fmt.Errorf("read frame: %w", err)
	}
	return message, nil
}
