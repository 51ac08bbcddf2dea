package clients

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/gobwas/ws"
)

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

const (
	restartPause = time.Second     // after close code 1012
	laterPause   = 5 * time.Second // after 1013
)

var errClosed = errors.New("closed by the front")

// closed is why a front closed, by what its close frame says.
func closed(payload []byte) error {
	code, reason := ws.ParseCloseFrameData(payload)
	return closedWith(code, reason)
}

// closedWith is the same, by the code.
func closedWith(code ws.StatusCode, reason string) error {
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
