package socket

import (
	"encoding/binary"
	"errors"

	"github.com/gobwas/ws"
)

// ErrBadFrame marks bytes that a server never sends.
var ErrBadFrame = errors.New("unexpected frame")

// Frame is one whole frame; Payload is a view of the bytes parsed.
type Frame struct {
	Op      ws.OpCode
	Payload []byte
}

// MaxFrame bounds what one connection may make us keep.
const MaxFrame = 1 << 20

// Parse takes one frame off the front of b. n is 0 when b holds only a part of
// one. A server sends neither fragments nor masked frames.
func Parse(b []byte) (f Frame, n int, err error) {
	if len(b) < 2 {
		return Frame{}, 0, nil
	}
	if b[0]&0xf0 != 0x80 || b[1]&0x80 != 0 {
		return Frame{}, 0, ErrBadFrame
	}
	size, head := int(b[1]), 2
	switch {
	case size == 126 && len(b) >= 4:
		size, head = int(binary.BigEndian.Uint16(b[2:])), 4
	case size == 127 && len(b) >= 10:
		long := binary.BigEndian.Uint64(b[2:])
		if long > MaxFrame {
			return Frame{}, 0, ErrBadFrame
		}
		size, head = int(long), 10
	case size > 125:
		return Frame{}, 0, nil
	}
	if len(b) < head+size {
		return Frame{}, 0, nil
	}
	return Frame{Op: ws.OpCode(b[0] & 0x0f), Payload: b[head : head+size]}, head + size, nil
}

// AppendMasked appends a frame as a client sends it.
func AppendMasked(dst []byte, op ws.OpCode, mask [4]byte, payload []byte) []byte {
	const masked = 0x80
	dst = append(dst, 0x80|byte(op))
	switch size := len(payload); {
	case size <= 125:
		dst = append(dst, masked|byte(size))
	case size <= 0xffff:
		dst = binary.BigEndian.AppendUint16(append(dst, masked|126), uint16(size))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, masked|127), uint64(size))
	}
	dst = append(append(dst, mask[:]...), payload...)
	ws.Cipher(dst[len(dst)-len(payload):], mask, 0)
	return dst
}
