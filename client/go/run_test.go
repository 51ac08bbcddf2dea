package client

import (
	"context"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"
)

// patience bounds what a test waits for.
const patience = 30 * time.Second

// bounded ends with the test, or when patience does.
func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// accept is the answer to a handshake's key.
func accept(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

func (p *peer) resumed() {
	p.t.Helper()
	p.helloAndResume()
	p.read()
	p.text(`{"t":"resumed","recovered":true,"count":0,"last":""}`)
}

func (p *peer) must(id string) {
	p.t.Helper()
	p.text(`{"t":"notify","id":"` + id + `","stored":true,"ack":true,"data":1}`)
}

func TestWhatTheHandlerPanicsAtComesAgain(t *testing.T) {
	acked := make(chan string, 2)
	url := serve(t, func(p *peer, nth int) {
		p.resumed()
		if nth == 0 {
			p.must("before")
		}
		p.must("a")
		for f := p.read(); f.Header.OpCode == ws.OpText; f = p.read() {
			acked <- fmt.Sprint(nth, string(f.Payload))
			if nth == 1 {
				p.bye(ws.StatusPolicyViolation, "")
				return
			}
		}
	})
	var done []string
	away := true
	c := New(Options{URL: url}, Handler{Notify: func(n Notification) {
		if n.ID == "a" && away {
			away = false
			panic("the database is away")
		}
		done = append(done, n.ID)
	}})
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic is lost")
			}
		}()
		_ = c.Run(bounded(t))
	}()
	if c.Position() != "before" {
		t.Errorf("position %q, want before", c.Position())
	}
	if err := c.Run(bounded(t)); CloseCode(err) != 1008 {
		t.Errorf("the second Run = %v", err)
	}
	want(t, done, "before a")
	if got := <-acked; got != `0{"t":"ack","ids":["before"]}` {
		t.Errorf("the first connection acknowledged %s", got)
	}
	if got := <-acked; got != `1{"t":"ack","ids":["a"]}` {
		t.Errorf("the second connection acknowledged %s", got)
	}
}

// The server goes on sending, so that there are always bytes that were not
// read: a socket that is closed then drops what it has not sent yet.
func TestCancelingAcknowledgesWhatWasDealtWith(t *testing.T) {
	heard := make(chan string, 9)
	url := serve(t, func(p *peer, _ int) {
		p.resumed()
		for i := range 20 {
			p.must(fmt.Sprint("m", i))
		}
		stop := make(chan struct{})
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			for {
				select {
				case <-stop:
					return
				default:
					_ = ws.WriteFrame(p.conn, ws.NewTextFrame([]byte(`{"t":"notify","id":"more","data":1}`)))
				}
			}
		}()
		for {
			f := p.read()
			heard <- fmt.Sprintf("%v %q", f.Header.OpCode, f.Payload)
			if f.Header.OpCode != ws.OpText {
				break
			}
		}
		close(stop)
		<-stopped
		p.frame(ws.NewCloseFrame(ws.NewCloseFrameBody(1000, "")))
	})
	ctx, cancel := context.WithCancel(bounded(t))
	defer cancel()
	n := 0
	c := New(Options{URL: url, CloseTimeout: patience}, Handler{Notify: func(got Notification) {
		if got.Ack {
			if n++; n == 20 {
				cancel()
			}
		}
	}})
	if err := c.Run(ctx); !errors.Is(err, context.Canceled) || n != 20 {
		t.Errorf("Run = %v, dealt with %d", err, n)
	}
	var all strings.Builder
	for range len(heard) {
		all.WriteString(<-heard)
	}
	for i := range 20 {
		if !strings.Contains(all.String(), fmt.Sprintf(`\"m%d\"`, i)) {
			t.Errorf("m%d was not acknowledged: %s", i, all.String())
		}
	}
	if !strings.HasSuffix(all.String(), fmt.Sprintf("%v %q", ws.OpClose, "\x03\xe8")) {
		t.Errorf("no good-bye: %s", all.String())
	}
}

// After the answer to a close frame nothing is sent: what the handler deals
// with later is acknowledged when it comes again.
func TestNothingIsSentAfterGoodBye(t *testing.T) {
	answered := make(chan struct{})
	url := serve(t, func(p *peer, nth int) {
		p.resumed()
		p.must("a")
		if nth == 1 {
			p.wantText(`{"t":"ack","ids":["a"]}`)
			p.bye(ws.StatusPolicyViolation, "")
			return
		}
		p.bye(1012, "")
		close(answered)
		if rest, err := io.ReadAll(p.conn); len(rest) > 0 {
			t.Errorf("after the close frame the client sent %q, %v", rest, err)
		}
	})
	given := 0
	c := New(Options{URL: url, Pause: func(error, *Reconnect) time.Duration { return 0 }}, Handler{Notify: func(Notification) {
		given++
		<-answered
	}})
	if err := c.Run(bounded(t)); CloseCode(err) != 1008 || given != 1 {
		t.Errorf("Run = %v, given %d times", err, given)
	}
}

// A server that neither reads nor writes any more does not hold up the end of
// Run, an acknowledgement under way included.
func TestTheEndIsBounded(t *testing.T) {
	here, there := net.Pipe()
	defer there.Close()
	conn := &Conn{socket: &socket{Conn: here}, stream: here, timeout: time.Hour}
	conn.frames = newFrames(conn)
	s := newSession(New(Options{}, Handler{}), conn)
	for range ackBatch - 1 {
		s.acks.add("a")
	}
	writing := make(chan struct{})
	go func() { defer close(writing); s.acks.add("a") }()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		leave(readAhead(t.Context(), conn, &Options{}), s, 20*time.Millisecond, nil)
	}()
	select {
	case <-ended:
	case <-time.After(patience):
		t.Fatal("the end waits for a server that does nothing")
	}
	<-writing
}

// A write that fails leaves some time for the server's last words, but not
// after the end is set.
func TestTheEndStands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		defer there.Close()
		s := &socket{Conn: here, silence: time.Minute}
		start := time.Now()
		s.endReading(start.Add(time.Second))
		s.endReading(start.Add(time.Hour))
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("Read = %v after %v", err, time.Since(start))
		}
	})
}

func TestASecondRunIsRefused(t *testing.T) {
	url := serve(t, func(p *peer, _ int) { p.hello(); p.read() })
	ctx, cancel := context.WithCancel(bounded(t))
	var c *Client
	c = New(Options{URL: url, CloseTimeout: -1}, Handler{Up: func(Hello) {
		if err := c.Run(ctx); !errors.Is(err, ErrRunning) {
			t.Errorf("the second Run = %v", err)
		}
		cancel()
	}})
	for range 2 { // one after the other is fine
		if err := c.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Run = %v", err)
		}
	}
}

func TestCancelingEndsADial(t *testing.T) {
	ctx, cancel := context.WithCancel(bounded(t))
	url := serve(t, func(p *peer, _ int) { cancel(); p.read() }) // and no hello
	if err := New(Options{URL: url}, Handler{}).Run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Run = %v", err)
	}
}

func TestPingsAreAnsweredWhileTheHandlerWorks(t *testing.T) {
	ponged := make(chan struct{})
	url := serve(t, func(p *peer, _ int) {
		p.hello()
		p.text(`{"t":"notify","id":"a","data":1}`)
		p.frame(ws.NewPingFrame([]byte("x")))
		if f := p.read(); f.Header.OpCode != ws.OpPong {
			t.Errorf("client sent %v, want a pong", f.Header.OpCode)
		}
		close(ponged)
		p.bye(ws.StatusPolicyViolation, "")
	})
	c := New(Options{URL: url}, Handler{Notify: func(Notification) {
		select {
		case <-ponged:
		case <-time.After(patience):
			t.Error("no pong while the handler works")
		}
	}})
	_ = c.Run(bounded(t))
}

// counted is a connection that counts the bytes it has read.
type counted struct {
	net.Conn
	read atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.read.Add(int64(n))
	return n, err
}

// The client reads no further than its bounds, and what it has read is all
// given to the handler, although the connection has ended meanwhile.
func TestAHandlerThatIsSlowStopsTheReading(t *testing.T) {
	const size, number = 1000, 200
	for name, o := range map[string]Options{
		"messages": {QueueMessages: 10, QueueBytes: 1 << 30},
		"bytes":    {QueueMessages: 1 << 10, QueueBytes: 10 * size},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn := flood(t, &o, number, size)
				given := 0
				c := New(o, Handler{Notify: func(Notification) {
					if given++; given == 1 {
						synctest.Wait() // until nobody can do any more
						if n := conn.read.Load(); n < 9*size || n > 16*size {
							t.Errorf("%d bytes read while the handler is at the first message", n)
						}
					}
				}})
				if err := c.Run(t.Context()); CloseCode(err) != 1008 || given != number {
					t.Errorf("Run = %v, %d given, want %d", err, given, number)
				}
			})
		})
	}
}

// Canceling gives the handler nothing more of what was read ahead, and a
// reader that waits for room goes on.
func TestCancelingWhileTheQueueIsFull(t *testing.T) {
	for name, o := range map[string]Options{
		"messages": {QueueMessages: 10, QueueBytes: 1 << 30},
		"bytes":    {QueueMessages: 1 << 10, QueueBytes: 10 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			for range 10 { // a choice between two ready channels is random
				synctest.Test(t, func(t *testing.T) {
					flood(t, &o, 100, 1000)
					ctx, cancel := context.WithCancel(t.Context())
					given := 0
					c := New(o, Handler{Notify: func(Notification) {
						given++
						synctest.Wait()
						cancel()
					}})
					if err := c.Run(ctx); !errors.Is(err, context.Canceled) || given != 1 {
						t.Errorf("Run = %v, %d given, want 1", err, given)
					}
				})
			}
		})
	}
}

// flood has o's dial reach a server that sends so many notifications of so
// many bytes and then closes with 1008.
func flood(t *testing.T, o *Options, number, size int) *counted {
	t.Helper()
	here, there := net.Pipe()
	conn := &counted{Conn: here}
	o.URL = "ws://front.example.com/ws"
	o.NetDial = func(context.Context, string, string) (net.Conn, error) { return conn, nil }
	go func() {
		defer there.Close()
		u := ws.Upgrader{Protocol: func(p []byte) bool { return string(p) == Protocol }}
		if _, err := u.Upgrade(there); err != nil {
			t.Error(err)
			return
		}
		go func() { _, _ = io.Copy(io.Discard, there) }() // what the client says, on a pipe without a buffer
		_ = ws.WriteFrame(there, ws.NewTextFrame([]byte(`{"t":"hello"}`)))
		for i := range number {
			text := fmt.Appendf(nil, `{"t":"notify","id":"%d","data":"%s"}`, i, strings.Repeat("x", size))
			_ = ws.WriteFrame(there, ws.NewTextFrame(text))
		}
		_ = ws.WriteFrame(there, ws.NewCloseFrame(ws.NewCloseFrameBody(1008, "")))
	}()
	return conn
}

// A message may take longer than the silence that is allowed, as long as
// bytes come.
func TestASlowMessageIsNoSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		conn := &Conn{socket: &socket{Conn: here}, stream: here, timeout: time.Second}
		conn.frames = newFrames(conn)
		conn.socket.allowSilence(time.Second)
		go func() {
			text := `{"t":"notify","id":"big","data":"` + strings.Repeat("z", 60000) + `"}`
			f, err := ws.CompileFrame(ws.NewTextFrame([]byte(text)))
			if err != nil {
				t.Error(err)
			}
			for len(f) > 0 {
				n := min(len(f), 1000)
				_, _ = there.Write(f[:n])
				f = f[n:]
				time.Sleep(900 * time.Millisecond)
			}
		}()
		if m, err := conn.Receive(t.Context()); err != nil || m.Notification.ID != "big" {
			t.Errorf("Receive = %v", err)
		}
		if _, err := conn.Receive(t.Context()); err == nil {
			t.Error("silence is not noticed")
		}
		_ = conn.Abort()
	})
}

func TestAReconnectElsewhereIsNotFollowed(t *testing.T) {
	other := answer(t, func(head string) string {
		t.Errorf("the other host was asked: %q", head)
		return ""
	})
	url := serve(t, func(p *peer, nth int) {
		p.hello()
		if nth == 1 {
			p.bye(ws.StatusPolicyViolation, "")
			return
		}
		p.text(`{"t":"reconnect","after_ms":0,"to":"` + other + `"}`)
		p.bye(1012, "")
	})
	var down error
	c := New(Options{URL: url, Token: StaticToken(secret), Hosts: []string{"game.example"}}, Handler{Down: func(err error, _ time.Duration) { down = err }})
	if err := c.Run(bounded(t)); CloseCode(err) != 1008 {
		t.Errorf("Run = %v, want the second connection at home", err)
	}
	if !errors.Is(down, ErrTarget) || CloseCode(down) != 1012 {
		t.Errorf("told of %v, want the close code and the target that is not allowed", down)
	}
}

func TestAReconnectToAListedHostIsFollowedOnce(t *testing.T) {
	heads := make(chan string, 1)
	other := answer(t, func(head string) string {
		heads <- head
		return "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
	})
	url := serve(t, func(p *peer, nth int) {
		p.hello()
		if nth == 1 {
			p.bye(ws.StatusPolicyViolation, "")
			return
		}
		p.text(`{"t":"reconnect","after_ms":0,"to":"` + other + `"}`)
		p.bye(1012, "")
	})
	c := New(Options{
		URL: url, Token: StaticToken(secret), Hosts: []string{other},
		Pause: func(error, *Reconnect) time.Duration { return 0 },
	}, Handler{})
	if err := c.Run(bounded(t)); CloseCode(err) != 1008 {
		t.Errorf("Run = %v, want the third dial at home", err)
	}
	if head := <-heads; !strings.HasPrefix(head, "GET /ws ") || !strings.Contains(head, secret) {
		t.Errorf("the other host was asked %q", head)
	}
}

// brokenWrites is a connection that takes nothing after the handshake.
type brokenWrites struct {
	net.Conn
	writes atomic.Int32
}

func (c *brokenWrites) Write(p []byte) (int, error) {
	if c.writes.Add(1) > 1 {
		return 0, net.ErrClosed
	}
	return c.Conn.Write(p)
}

// What the server said before the first write failed counts: here a wish and
// why it left.
func TestAFailedResumeLosesNoHint(t *testing.T) {
	url := serve(t, func(p *peer, nth int) {
		p.helloAndResume()
		if nth == 0 {
			p.text(`{"t":"reconnect","after_ms":77}`)
			p.frame(ws.NewCloseFrame(ws.NewCloseFrameBody(1012, "")))
			p.read()
			return
		}
		p.read()
		p.bye(ws.StatusPolicyViolation, "")
	})
	var hints []*Reconnect
	var dials int
	c := New(Options{
		URL: url,
		NetDial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			raw, err := new(net.Dialer).DialContext(ctx, network, addr)
			if dials++; dials == 1 && err == nil {
				return &brokenWrites{Conn: raw}, nil
			}
			return raw, err
		},
		Pause: func(err error, hint *Reconnect) time.Duration {
			if CloseCode(err) != 1012 {
				t.Errorf("down with %v, want close code 1012", err)
			}
			hints = append(hints, hint)
			return 0
		},
	}, Handler{})
	if err := c.Run(bounded(t)); CloseCode(err) != 1008 {
		t.Errorf("Run = %v", err)
	}
	if len(hints) != 1 || hints[0] == nil || hints[0].After != 77*time.Millisecond {
		t.Errorf("hints = %v, want the one of 77 ms", hints)
	}
}

// A server that takes nothing and says nothing is not read for ever, although
// no silence is too long.
func TestAFailedWriteEndsTheReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		defer there.Close()
		conn := &Conn{socket: &socket{Conn: here}, stream: &brokenWrites{Conn: here, writes: atomic.Int32{}}, timeout: time.Second}
		conn.frames = newFrames(conn)
		conn.stream.(*brokenWrites).writes.Store(1)
		start := time.Now()
		err := conn.Send([]byte(`{"t":"ping"}`))
		if err == nil || conn.Send(nil) != err { //nolint:errorlint // the very same
			t.Errorf("Send = %v", err)
		}
		if _, got := conn.Receive(t.Context()); !errors.Is(got, net.ErrClosed) || time.Since(start) != lastWords {
			t.Errorf("Receive = %v after %v", got, time.Since(start))
		}
		_ = conn.Abort()
	})
}

// One timer asks again, however often the server refuses.
func TestRefusalsOfResumeDoNotPileUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		conn := &Conn{socket: &socket{Conn: here}, stream: here, timeout: time.Second}
		asked := make(chan struct{}, 1000)
		go func() {
			for {
				h, err := ws.ReadHeader(there)
				if err != nil {
					return
				}
				_, _ = io.CopyN(io.Discard, there, h.Length)
				asked <- struct{}{}
			}
		}()
		conn.hello.Resume = true
		s := newSession(New(Options{}, Handler{}), conn)
		s.begin()
		for range 100 {
			if err := s.take(Message{Error: &ServerError{Code: "unavailable", Of: "resume"}}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2*resumeAgain + time.Millisecond)
		if n := len(asked); n != 2 {
			t.Errorf("asked %d times in 2 s, want at first and once more", n)
		}
		s.end()
		_ = conn.Abort()
		there.Close()
	})
}

func TestWhatIsSetAsideIsBoundedInBytes(t *testing.T) {
	s := &session{phase: asking}
	n := Notification{Data: make([]byte, 1<<20)}
	for range asideMost >> 20 {
		if err := s.notification(&n); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.notification(&n); !errors.Is(err, errTooMuchAside) {
		t.Errorf("%d bytes aside: %v", s.asideBytes, err)
	}
}

func TestLongIDsAreAcknowledgedInPieces(t *testing.T) {
	id := strings.Repeat("i", maxID)
	url := serve(t, func(p *peer, _ int) {
		p.resumed()
		for i := range ackBatch {
			p.must(fmt.Sprintf("%s%02d", id[2:], i))
		}
		for got := 0; got < ackBatch; {
			f := p.read()
			if f.Header.Length == 0 || f.Header.Length > ackBytes+2*maxID {
				t.Errorf("an acknowledgement of %d bytes", f.Header.Length)
				return
			}
			got += strings.Count(string(f.Payload), id[2:])
		}
		p.bye(ws.StatusPolicyViolation, "")
	})
	if err := New(Options{URL: url}, Handler{}).Run(bounded(t)); CloseCode(err) != 1008 {
		t.Errorf("Run = %v", err)
	}
}
