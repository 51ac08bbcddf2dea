package agent

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// order is the coordinator's first line.
type order struct {
	Proof []byte `json:"proof"`
	Role  string `json:"role"` // the helper that is wanted
}

// receipt is the agent's answer. After one without an error the connection
// carries what the helper reads and writes.
type receipt struct {
	Proof []byte `json:"proof,omitempty"` // only to who has proved himself
	Error string `json:"error,omitempty"`
}

const (
	maxLine          = 4 << 10 // bytes of an order or a receipt
	handshakeTimeout = 10 * time.Second
)

// newReader holds maxLine bytes, which is what readLine takes at most.
func newReader(r io.Reader) *bufio.Reader { return bufio.NewReaderSize(r, maxLine) }

func readLine(r *bufio.Reader, v any) error {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return fmt.Errorf("read a line of at most %d bytes: %w", maxLine, err)
	}
	return json.Unmarshal(line, v)
}

func writeLine(w io.Writer, v any) error { return json.NewEncoder(w).Encode(v) }

// How a machine at the other end that is gone without a word is noticed.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 5 * time.Second, Count: 3}

// unheard is how long the other end may leave what we sent unconfirmed.
const unheard = 20 * time.Second

// watchPeer makes a connection fail within about twenty seconds of the other
// machine's silence.
func watchPeer(c *net.TCPConn) error {
	if err := c.SetKeepAliveConfig(keepAlive); err != nil {
		return fmt.Errorf("watch the other end: %w", err)
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return fmt.Errorf("watch the other end: %w", err)
	}
	e := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(unheard.Milliseconds()))
	})
	if e != nil || err != nil {
		return fmt.Errorf("watch the other end: %w", errors.Join(e, err))
	}
	return nil
}
