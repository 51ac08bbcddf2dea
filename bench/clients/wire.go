package clients

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/gobwas/ws"
)

// errBadFrame marks bytes that a front never sends.
var errBadFrame = errors.New("unexpected frame")

// frame is one whole frame; payload is a view of the bytes parsed.
type frame struct {
	op      ws.OpCode
	payload []byte
}

// maxFrame bounds what one connection may make us keep.
const maxFrame = 1 << 20

// parseFrame takes one frame off the front of b. n is 0 when b holds only a
// part of one. A front sends neither fragments nor masked frames.
func parseFrame(b []byte) (f frame, n int, err error) {
	if len(b) < 2 {
		return frame{}, 0, nil
	}
	if b[0]&0xf0 != 0x80 || b[1]&0x80 != 0 {
		return frame{}, 0, errBadFrame
	}
	size, head := int(b[1]), 2
	switch {
	case size == 126 && len(b) >= 4:
		size, head = int(binary.BigEndian.Uint16(b[2:])), 4
	case size == 127 && len(b) >= 10:
		long := binary.BigEndian.Uint64(b[2:])
		if long > maxFrame {
			return frame{}, 0, errBadFrame
		}
		size, head = int(long), 10
	case size > 125:
		return frame{}, 0, nil
	}
	if len(b) < head+size {
		return frame{}, 0, nil
	}
	return frame{op: ws.OpCode(b[0] & 0x0f), payload: b[head : head+size]}, head + size, nil
}

// stamp is what our notifications carry in their data: when the schedule
// wanted them sent and which one of the plan they are.
type stamp struct {
	at int64 // Unix nanoseconds
	n  uint32
}

var (
	stampStart = []byte(`"data":{"at":`)
	stampNext  = []byte(`,"n":`)
)

// AppendData appends a notification's data: the stamp, and padding up to about
// size bytes.
func AppendData(dst []byte, at int64, n uint32, size int) []byte {
	start := len(dst)
	dst = append(dst, `{"at":`...)
	dst = strconv.AppendInt(dst, at, 10)
	dst = append(dst, stampNext...)
	dst = strconv.AppendUint(dst, uint64(n), 10)
	dst = append(dst, `,"pad":"`...)
	for len(dst)-start < size-2 {
		dst = append(dst, 'x')
	}
	return append(dst, `"}`...)
}

// parseStamp finds the stamp in a notify message.
func parseStamp(text []byte) (stamp, bool) {
	_, data, ok := bytes.Cut(text, stampStart)
	if !ok {
		return stamp{}, false
	}
	at, rest := digits(data)
	if !bytes.HasPrefix(rest, stampNext) {
		return stamp{}, false
	}
	n, _ := digits(rest[len(stampNext):])
	return stamp{at: at, n: uint32(n)}, true
}

// digits reads a decimal number off the front of b.
func digits(b []byte) (v int64, rest []byte) {
	for len(b) > 0 && b[0] >= '0' && b[0] <= '9' {
		v = v*10 + int64(b[0]-'0')
		b = b[1:]
	}
	return v, b
}

// masked is a frame as a client sends it.
func masked(op ws.OpCode, payload []byte) ([]byte, error) {
	return ws.CompileFrame(ws.MaskFrame(ws.NewFrame(op, true, payload)))
}

const (
	restartPause = time.Second     // after close code 1012
	laterPause   = 5 * time.Second // after 1013
)

var errClosed = errors.New("closed by the front")

// closed is why a front closed, by what its close frame says.
func closed(payload []byte) error {
	code, reason := ws.ParseCloseFrameData(payload)
	why := fmt.Errorf("%w: %d %s", errClosed, code, reason)
	switch code {
	case closeRestart:
		return &waitError{wait: restartPause, why: why.Error()}
	case closeLater:
		return &waitError{wait: laterPause, why: why.Error()}
	default:
		return why
	}
}

// Close codes that ask to come back: registered since RFC 6455.
const (
	closeRestart ws.StatusCode = 1012
	closeLater   ws.StatusCode = 1013
)
