package bridge

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/gobwas/ws"

	"github.com/homing/homing/front/engineio"
)

// socket carries packets over a WebSocket.
type socket struct {
	conn   net.Conn
	in     io.Reader
	unbind func() bool // from the context that it was dialed with

	mu sync.Mutex // guards writes
}

// writeTimeout is how long a front may take to take a packet.
const writeTimeout = 5 * time.Second

// path is where fronts speak Socket.IO.
const path = "/socket.io/?EIO=4&transport="

// dialSocket opens a WebSocket for a session that begins, or for the one that the query
// names. It is cut when ctx ends. The refusal of a front is *refused.
func dialSocket(ctx context.Context, dial Dial, addr, query string) (*socket, error) {
	var no *refused
	d := ws.Dialer{NetDial: dial, OnStatusError: func(status int, _ []byte, reply io.Reader) {
		no = &refused{status: status}
		if r, err := http.ReadResponse(bufio.NewReader(reply), nil); err == nil {
			no = refusal(r)
			_ = r.Body.Close()
		}
	}}
	conn, early, _, err := d.Dial(ctx, "ws://"+addr+path+"websocket"+query)
	switch {
	case no != nil:
		return nil, no
	case err != nil:
		return nil, fmt.Errorf("open a WebSocket: %w", err)
	}
	s := &socket{conn: conn, in: conn}
	s.unbind = context.AfterFunc(ctx, func() { _ = conn.Close() })
	if early != nil {
		s.in = early
	}
	return s, nil
}

// brief is what a reply says, as far as people want to read.
func brief(body io.Reader) string {
	text, _ := io.ReadAll(io.LimitReader(body, 1000)) // as much as there is
	return string(text)
}

func (s *socket) addr() net.Addr { return s.conn.LocalAddr() }

func (s *socket) receive() (p engineio.Packet, err error) {
	for {
		f, err := readFrame(s.in)
		switch {
		case err != nil:
			return p, fmt.Errorf("read: %w", err)
		case f.Header.OpCode == ws.OpText:
			return engineio.ParseText(f.Payload)
		case f.Header.OpCode == ws.OpBinary:
			return engineio.Packet{Type: engineio.Message, Binary: true, Data: f.Payload}, nil
		case f.Header.OpCode == ws.OpClose:
			end := new(closed)
			end.Code, end.Reason = ws.ParseCloseFrameData(f.Payload)
			return p, end
		}
	}
}

func (s *socket) send(packet []byte) error {
	return s.write(ws.NewTextFrame(bytes.Clone(packet)))
}

func (s *socket) write(f ws.Frame) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if err := ws.WriteFrame(s.conn, ws.MaskFrameInPlace(f)); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

func (s *socket) leave() {
	_ = s.write(ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusNormalClosure, ""))) // it may be gone
}

func (s *socket) cut() {
	s.unbind()
	_ = s.conn.Close()
}

// maxFrame bounds what a peer may have us read at once.
const maxFrame = 4 << 20

// readFrame reads a frame, which is not in parts.
func readFrame(r io.Reader) (f ws.Frame, err error) {
	if f.Header, err = ws.ReadHeader(r); err != nil {
		return f, err
	}
	if !f.Header.Fin || f.Header.Length > maxFrame {
		return f, errFrame
	}
	f.Payload = make([]byte, f.Header.Length)
	_, err = io.ReadFull(r, f.Payload)
	return f, err
}

var errFrame = errors.New("a frame in parts, or too long")

var errProbe = errors.New("the probe is not answered")

// goOver has the session, which is polled, go over to a WebSocket. A front that does not
// let it has it be polled further on.
func (x *crossing) goOver(ctx context.Context) error {
	polled := x.carrier.(*polling)
	s, err := dialSocket(ctx, x.dial, x.addr, "&sid="+polled.sid)
	if _, no := errors.AsType[*refused](err); no {
		x.bridges.Kept.Add(1)
		return nil
	}
	if err != nil {
		return err
	}
	x.carrier = s
	if err := s.send([]byte{byte(engineio.Ping), 'p', 'r', 'o', 'b', 'e'}); err != nil {
		return err
	}
	if p, err := s.receive(); err != nil || p.Type != engineio.Pong || string(p.Data) != engineio.Probe {
		return errors.Join(errProbe, err)
	}
	return s.send([]byte{byte(engineio.Upgrade)})
}
