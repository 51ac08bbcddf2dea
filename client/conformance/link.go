package conformance

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"
)

// link is the server's end of a connection: a WebSocket, or an event stream, which
// only speaks.
type link struct {
	conn   net.Conn
	stream bool

	frozen  atomic.Bool
	goodbye atomic.Bool // the server has closed in form; nothing may follow it
	mu      sync.Mutex  // guards writes

	got chan string // one word for each thing that came, to wake whoever waits

	inbox    sync.Mutex
	messages []map[string]any
	binary   [][]byte
	acked    []string
	closed   int // the code that the client has closed with; 0: none yet
	ended    error
}

// maxMessage bounds what a client may send at once, in bytes.
const maxMessage = 1 << 20

func newLink(conn net.Conn, in *bufio.Reader) *link {
	l := &link{conn: conn, got: make(chan string, 1)}
	go l.read(in)
	return l
}

// newStream answers a request for events.
func newStream(x *attempt) (*link, error) {
	conn, _, err := http.NewResponseController(x.w).Hijack()
	close(x.done)
	if err != nil {
		return nil, fmt.Errorf("begin an event stream: %w", err)
	}
	l := &link{conn: conn, stream: true, got: make(chan string, 1)}
	go l.read(bufio.NewReader(conn))
	return l, l.write([]byte("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"))
}

// read takes what the client sends until the connection ends.
func (l *link) read(in *bufio.Reader) {
	var err error
	for err == nil {
		if l.frozen.Load() {
			return // and nothing more is read
		}
		err = l.frame(in)
	}
	l.cut() // the server ends the connection, as RFC 6455 §7.1.1 has it
	l.inbox.Lock()
	l.ended = err
	l.inbox.Unlock()
	l.wake()
}

func (l *link) wake() {
	select {
	case l.got <- "something":
	default: // whoever waits looks at all that there is
	}
}

func (l *link) frame(in *bufio.Reader) error {
	if l.stream { // a client says nothing there; this waits for its end
		_, err := in.ReadByte()
		return err
	}
	h, err := ws.ReadHeader(in)
	if err != nil {
		return err
	}
	if h.Length > maxMessage || !h.Fin || !h.Masked {
		return fmt.Errorf("a frame of %d bytes that is not masked, in parts or too long", h.Length)
	}
	payload := make([]byte, h.Length)
	if _, err := io.ReadFull(in, payload); err != nil {
		return err
	}
	ws.Cipher(payload, h.Mask, 0)
	if l.frozen.Load() {
		return nil
	}
	defer l.wake()
	return l.take(h.OpCode, payload)
}

func (l *link) take(op ws.OpCode, payload []byte) error {
	switch op {
	case ws.OpText:
		return l.text(payload)
	case ws.OpBinary:
		l.inbox.Lock()
		l.binary = append(l.binary, payload)
		l.inbox.Unlock()
	case ws.OpPing:
		return l.writeFrame(ws.NewPongFrame(payload))
	case ws.OpClose:
		code, _ := ws.ParseCloseFrameData(payload)
		if !l.goodbye.Swap(true) {
			_ = l.writeFrame(ws.NewCloseFrame(payload)) // a client that has gone already does not read it
		}
		l.inbox.Lock()
		l.closed = int(code)
		l.inbox.Unlock()
		return io.EOF
	default:
	}
	return nil
}

// text takes a JSON message. Pings are answered at once, acknowledgements gathered.
func (l *link) text(payload []byte) error {
	var m map[string]any
	if err := json.Unmarshal(payload, &m); err != nil {
		return fmt.Errorf("the client sends %q: %w", payload, err)
	}
	if m["t"] == "ping" {
		b, _ := json.Marshal(map[string]any{"t": "ok", "ref": m["ref"]}) // it came from JSON
		return l.send(b)
	}
	l.inbox.Lock()
	defer l.inbox.Unlock()
	if m["t"] == "ack" {
		l.acked = append(l.acked, idsOf(m)...)
		return nil
	}
	l.messages = append(l.messages, m)
	return nil
}

func idsOf(ack map[string]any) (ids []string) {
	all, _ := ack["ids"].([]any)
	for _, id := range append(all, ack["id"]) {
		if s, ok := id.(string); ok {
			ids = append(ids, s)
		}
	}
	return ids
}

// send writes a message.
func (l *link) send(message []byte) error {
	if l.frozen.Load() {
		return nil
	}
	if l.stream {
		return l.write(event(message))
	}
	return l.writeFrame(ws.NewTextFrame(message))
}

// event is a message as an event stream has it.
func event(message []byte) []byte {
	var m struct {
		T, ID  string
		Stored bool
	}
	_ = json.Unmarshal(message, &m) // a message that is wrong has neither
	names := map[string]string{"notify": "", "error": "problem", "subscribed": "topic", "unsubscribed": "topic"}
	name, known := names[m.T]
	if !known {
		name = m.T
	}
	var b []byte
	if name != "" {
		b = fmt.Appendf(b, "event: %s\n", name)
	}
	if m.Stored {
		b = fmt.Appendf(b, "id: %s\n", m.ID)
	}
	return fmt.Appendf(b, "data: %s\n\n", message)
}

func (l *link) sendBinary(digits string) error {
	b, err := hex.DecodeString(digits)
	if err != nil {
		return fmt.Errorf("read a step: %w", err)
	}
	return l.writeFrame(ws.NewBinaryFrame(b))
}

func (l *link) writeFrame(f ws.Frame) error {
	b, err := ws.CompileFrame(f)
	if err != nil {
		return fmt.Errorf("build a frame: %w", err)
	}
	return l.write(b)
}

// writeTimeout bounds one write: a client that reads nothing holds up no test.
const writeTimeout = 10 * time.Second

func (l *link) write(b []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.conn.SetWriteDeadline(time.Now().Add(writeTimeout)) // a closed connection says so at the write
	if _, err := l.conn.Write(b); err != nil {
		return fmt.Errorf("write to the client: %w", err)
	}
	return nil
}

// close says goodbye and waits until the client has closed too.
func (l *link) close(ctx context.Context, c *Close) error {
	defer l.cut()
	if l.stream {
		b, _ := json.Marshal(map[string]any{"t": "closing", "code": c.Code, "reason": c.Reason}) // always marshals
		return l.send(b)
	}
	l.goodbye.Store(true)
	if err := l.writeFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusCode(c.Code), c.Reason))); err != nil {
		return err
	}
	return l.wait(ctx, "that the client answers the close frame", func() (bool, error) { return l.ended != nil, nil })
}

// cut ends the connection without a word.
func (l *link) cut() { _ = l.conn.Close() }

// wait calls ready, which may look at what came, until it is true. It returns the
// error that ready does, or what was waited for.
func (l *link) wait(ctx context.Context, what string, ready func() (bool, error)) error {
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		l.inbox.Lock()
		ok, err := ready()
		ended := l.ended
		l.inbox.Unlock()
		switch {
		case ok || err != nil:
			return err
		case ended != nil:
			return fmt.Errorf("waited for %s, and the connection has ended: %w", what, ended)
		}
		select {
		case <-l.got:
		case <-late.C:
			return fmt.Errorf("waited for %s for %v", what, patience)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// next takes the next message of a kind.
func (l *link) next(ctx context.Context, kind string) (m map[string]any, err error) {
	err = l.wait(ctx, "a message "+kind, func() (bool, error) {
		i := slices.IndexFunc(l.messages, func(m map[string]any) bool { return m["t"] == kind })
		if i < 0 {
			return false, nil
		}
		m = l.messages[i]
		l.messages = slices.Delete(l.messages, i, i+1)
		return true, nil
	})
	return m, err
}

func (l *link) nextBinary(ctx context.Context, want string) error {
	return l.wait(ctx, "a binary message", func() (bool, error) {
		if len(l.binary) == 0 {
			return false, nil
		}
		got := hex.EncodeToString(l.binary[0])
		l.binary = l.binary[1:]
		if got != want {
			return false, fmt.Errorf("the client sends the bytes %s, want %s", got, want)
		}
		return true, nil
	})
}

// untilAcked waits until all ids are acknowledged here; others must not be.
func (l *link) untilAcked(ctx context.Context, ids []string) error {
	return l.wait(ctx, fmt.Sprintf("acknowledgements of %q", ids), func() (bool, error) {
		all := true
		for _, id := range ids {
			all = all && slices.Contains(l.acked, id)
		}
		if all {
			l.acked = slices.DeleteFunc(l.acked, func(id string) bool { return slices.Contains(ids, id) })
		}
		return all, nil
	})
}

// quiet waits, and reports what came of a kind.
func (l *link) quiet(ctx context.Context, q *Quiet) error {
	if err := sleep(ctx, time.Duration(q.MS)*time.Millisecond); err != nil {
		return err
	}
	l.inbox.Lock()
	defer l.inbox.Unlock()
	if (q.T == "ack" || q.T == "any") && len(l.acked) > 0 {
		return fmt.Errorf("the client acknowledges %q", l.acked)
	}
	for _, m := range l.messages {
		if q.T == "any" || m["t"] == q.T {
			return fmt.Errorf("the client sends %s", text(m))
		}
	}
	return nil
}

// untilClosed waits for the client's close frame.
func (l *link) untilClosed(ctx context.Context, code int) error {
	defer l.cut()
	return l.wait(ctx, "the client's close frame", func() (bool, error) {
		if l.closed != 0 && l.closed != code {
			return false, fmt.Errorf("the client closes with %d, want %d", l.closed, code)
		}
		return l.closed == code || l.stream && l.ended != nil, nil
	})
}

// rest reports what the client has sent that no step has asked for.
func (l *link) rest() error {
	l.inbox.Lock()
	defer l.inbox.Unlock()
	var errs []error
	for _, m := range l.messages {
		errs = append(errs, fmt.Errorf("the client has sent %s, which nobody asked for", text(m)))
	}
	if len(l.acked) > 0 {
		errs = append(errs, fmt.Errorf("the client has acknowledged %q, which nobody asked for", l.acked))
	}
	if len(l.binary) > 0 {
		errs = append(errs, fmt.Errorf("the client has sent %d binary messages, which nobody asked for", len(l.binary)))
	}
	return errors.Join(errs...)
}

// sleep waits, unless ctx ends before.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
