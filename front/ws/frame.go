package ws

import (
	"encoding/binary"
	"unicode/utf8"
)

// OpCode says what a frame or message is (RFC 6455 §5.2).
type OpCode uint8

// The opcodes.
const (
	OpContinuation OpCode = 0x0
	OpText         OpCode = 0x1
	OpBinary       OpCode = 0x2
	OpClose        OpCode = 0x8
	OpPing         OpCode = 0x9
	OpPong         OpCode = 0xA
)

func (o OpCode) isControl() bool { return o&0x8 != 0 }

func (o OpCode) isReserved() bool { return o > OpPong || o > OpBinary && o < OpClose }

// MaxControl is the largest payload of a control frame (RFC 6455 §5.5).
const MaxControl = 125

// The layout of a frame's header (RFC 6455 §5.2).
const (
	bitFin      = 0x80
	bitsRsv     = 0x70
	bitsOpCode  = 0x0f
	bitMask     = 0x80
	bitsLen     = 0x7f
	len16       = 126 // 16 bits of length follow
	len64       = 127 // 64 bits of length follow
	maxLen16    = 1<<16 - 1
	shortHeader = 2
	maskSize    = 4
	maxHeader   = shortHeader + 8 + maskSize
)

// MaxHeader is the largest header of a frame.
const MaxHeader = maxHeader

// FrameSize is the length of a server frame with n bytes of payload.
func FrameSize(n int) int {
	switch {
	case n < len16:
		return shortHeader + n
	case n <= maxLen16:
		return shortHeader + 2 + n
	default:
		return shortHeader + 8 + n
	}
}

// AppendFrame appends a whole, unfragmented server frame to dst (RFC 6455
// §5.2): final, unmasked. A control frame's payload is at most MaxControl.
func AppendFrame(dst []byte, op OpCode, payload []byte) []byte {
	return append(appendHeader(dst, op, len(payload)), payload...)
}

// AppendText appends a text frame whose payload is first and then rest, as
// AppendFrame does.
func AppendText(dst []byte, first byte, rest []byte) []byte {
	return append(append(appendHeader(dst, OpText, 1+len(rest)), first), rest...)
}

// appendHeader appends the header of a frame with n bytes of payload.
func appendHeader(dst []byte, op OpCode, n int) []byte {
	dst = append(dst, bitFin|byte(op))
	switch {
	case n < len16:
		dst = append(dst, byte(n)) //nolint:gosec // below len16
	case n <= maxLen16:
		dst = append(dst, len16)
		dst = binary.BigEndian.AppendUint16(dst, uint16(n))
	default:
		dst = append(dst, len64)
		dst = binary.BigEndian.AppendUint64(dst, uint64(n))
	}
	return dst
}

// Frame returns a frame of its own memory, to be shared by many connections.
func Frame(op OpCode, payload []byte) []byte {
	return AppendFrame(make([]byte, 0, FrameSize(len(payload))), op, payload)
}

// CloseFrame returns a close frame (RFC 6455 §5.5.1). A reason that is too
// long is cut at a character boundary. CloseNoStatus makes an empty payload.
func CloseFrame(code CloseCode, reason string) []byte {
	if code == CloseNoStatus {
		return Frame(OpClose, nil)
	}
	if room := MaxControl - 2; len(reason) > room {
		for room > 0 && !utf8.RuneStart(reason[room]) {
			room--
		}
		reason = reason[:room]
	}
	payload := binary.BigEndian.AppendUint16(make([]byte, 0, MaxControl), uint16(code))
	return Frame(OpClose, append(payload, reason...))
}

// frameHeader is what the header of a client's frame says.
type frameHeader struct {
	length int64 // of the payload
	mask   [maskSize]byte
	op     OpCode
	fin    bool
}

// parseHeader reads the header at the front of p and checks all that can be
// checked without knowing the frames before it. n is the header's length, or 0
// when p ends before it does.
func parseHeader(p []byte) (h frameHeader, n int, err error) {
	if len(p) < shortHeader {
		return h, 0, nil
	}
	h.fin, h.op, h.length = p[0]&bitFin != 0, OpCode(p[0]&bitsOpCode), int64(p[1]&bitsLen)
	switch {
	case p[0]&bitsRsv != 0:
		return h, 0, ErrReservedBits
	case h.op.isReserved():
		return h, 0, ErrReservedOpCode
	case p[1]&bitMask == 0:
		return h, 0, ErrUnmasked
	case h.op.isControl() && !h.fin:
		return h, 0, ErrControlSplit
	case h.op.isControl() && h.length > MaxControl:
		return h, 0, ErrControlLong
	}
	n = shortHeader
	switch h.length {
	case len16:
		n += 2
	case len64:
		n += 8
	}
	if len(p) < n+maskSize {
		return h, 0, nil
	}
	h.mask = [maskSize]byte(p[n:])
	if n > shortHeader && !h.extend(p[shortHeader:n]) {
		return h, 0, ErrLengthForm
	}
	return h, n + maskSize, nil
}

// extend reads the length that follows the first two bytes and reports whether
// it is one that RFC 6455 §5.2 allows there.
func (h *frameHeader) extend(p []byte) bool {
	if len(p) == 2 {
		h.length = int64(binary.BigEndian.Uint16(p))
		return h.length >= len16
	}
	h.length = int64(binary.BigEndian.Uint64(p)) //nolint:gosec // above 63 bits it is negative, and refused
	return h.length > maxLen16
}
