package client

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// peer is the server's end of one connection under a test's control.
type peer struct {
	t    *testing.T
	conn net.Conn
}

// serve starts a server that upgrades each connection and hands it to script.
func serve(t *testing.T, script func(p *peer, nth int)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for nth := 0; ; nth++ {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			u := ws.Upgrader{Protocol: func(p []byte) bool { return string(p) == Protocol }}
			if _, err := u.Upgrade(c); err == nil {
				script(&peer{t: t, conn: c}, nth)
			}
			c.Close()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return "ws://" + ln.Addr().String() + "/ws"
}

func (p *peer) frame(f ws.Frame) {
	p.t.Helper()
	if err := ws.WriteFrame(p.conn, f); err != nil {
		p.t.Errorf("server write: %v", err)
	}
}

func (p *peer) text(s string) { p.t.Helper(); p.frame(ws.NewTextFrame([]byte(s))) }

func (p *peer) hello() { p.t.Helper(); p.text(`{"t":"hello","user":"ada","conn":"c1","ping":30000}`) }

func (p *peer) bye(code ws.StatusCode, why string) {
	p.t.Helper()
	p.frame(ws.NewCloseFrame(ws.NewCloseFrameBody(code, why)))
	p.read() // the answer
}

// read returns the client's next frame, unmasked.
func (p *peer) read() ws.Frame {
	_ = p.conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	h, err := ws.ReadHeader(p.conn)
	f := ws.Frame{Header: h, Payload: make([]byte, h.Length)}
	if err != nil {
		return ws.Frame{}
	}
	if _, err := io.ReadFull(p.conn, f.Payload); err != nil {
		return ws.Frame{}
	}
	if !f.Header.Masked {
		p.t.Error("client sent an unmasked frame")
	}
	return ws.UnmaskFrame(f)
}

func dial(t *testing.T, url string) *Conn {
	t.Helper()
	c, err := Dial(t.Context(), Options{URL: url, Token: StaticToken("secret")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Abort() })
	return c
}

func TestReceive(t *testing.T) {
	url := serve(t, func(p *peer, _ int) {
		p.hello()
		p.text(`{"t":"notify","id":"n1","type":"mail","from":"chess","data":{"a":1}}`)
		p.text(`{"t":"reconnect","after_ms":1500,"to":"elsewhere:80"}`)
		p.text(`{"t":"room","x":1}`)
		p.bye(ws.StatusGoingAway, "bye")
	})
	c := dial(t, url)
	if h := c.Hello(); h.User != "ada" || h.Conn != "c1" || h.Ping != 30*time.Second {
		t.Errorf("hello = %+v", h)
	}
	m, err := c.Receive(t.Context())
	if n := m.Notification; err != nil || n == nil || n.ID != "n1" || n.Type != "mail" || n.From != "chess" || string(n.Data) != `{"a":1}` {
		t.Fatalf("notification = %+v, %v", m, err)
	}
	m, err = c.Receive(t.Context())
	if r := m.Reconnect; err != nil || r == nil || r.After != 1500*time.Millisecond || r.To != "elsewhere:80" {
		t.Fatalf("reconnect = %+v, %v", m, err)
	}
	if m, err = c.Receive(t.Context()); err != nil || m.Kind != "room" || string(m.Raw) != `{"t":"room","x":1}` {
		t.Fatalf("unknown kind = %+v, %v", m, err)
	}
	_, err = c.Receive(t.Context())
	if CloseCode(err) != 1001 || !strings.Contains(err.Error(), "bye") {
		t.Fatalf("end = %v, want close code 1001", err)
	}
}

func TestFragmentsWithPingBetween(t *testing.T) {
	pong := make(chan ws.Frame, 1)
	url := serve(t, func(p *peer, _ int) {
		p.hello()
		first := ws.NewFrame(ws.OpText, false, []byte(`{"t":"notify",`))
		p.frame(first)
		p.frame(ws.NewPingFrame([]byte("hi")))
		p.frame(ws.NewFrame(ws.OpContinuation, true, []byte(`"id":"n2"}`)))
		pong <- p.read()
		p.read()
	})
	c := dial(t, url)
	m, err := c.Receive(t.Context())
	if err != nil || m.Notification == nil || m.Notification.ID != "n2" {
		t.Fatalf("message = %+v, %v", m, err)
	}
	if f := <-pong; f.Header.OpCode != ws.OpPong || string(f.Payload) != "hi" {
		t.Fatalf("answer to ping = %+v", f)
	}
	c.Close()
}

func TestViolations(t *testing.T) {
	masked := ws.MaskFrame(ws.NewTextFrame([]byte(`{"t":"x"}`)))
	huge := ws.Frame{Header: ws.Header{Fin: true, OpCode: ws.OpText, Length: 1 << 40}}
	cases := map[string]ws.Frame{
		"masked":        masked,
		"too long":      huge,
		"continuation":  ws.NewFrame(ws.OpContinuation, true, []byte("x")),
		"not UTF-8":     ws.NewTextFrame([]byte("{\"t\":\"\xff\"}")),
		"not JSON":      ws.NewTextFrame([]byte(`nope`)),
		"without kind":  ws.NewTextFrame([]byte(`{}`)),
		"bad close":     ws.NewCloseFrame([]byte{0, 5}),
		"reserved bits": {Header: ws.Header{Fin: true, Rsv: 4, OpCode: ws.OpText}},
	}
	for name, bad := range cases {
		t.Run(name, func(t *testing.T) {
			url := serve(t, func(p *peer, _ int) {
				p.hello()
				_ = ws.WriteFrame(p.conn, bad)
				p.read()
			})
			c := dial(t, url)
			_, err := c.Receive(t.Context())
			_ = c.Abort()
			if !errors.Is(err, ErrProtocol) || !Permanent(err) {
				t.Fatalf("error = %v, want ErrProtocol", err)
			}
		})
	}
}

func TestDialWaitsForHello(t *testing.T) {
	url := serve(t, func(p *peer, _ int) { p.read() })
	start := time.Now()
	_, err := Dial(t.Context(), Options{URL: url, HandshakeTimeout: 100 * time.Millisecond})
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 3*time.Second {
		t.Fatalf("error = %v after %v", err, time.Since(start))
	}
	url = serve(t, func(p *peer, _ int) { p.bye(4401, "token expired") })
	if _, err = Dial(t.Context(), Options{URL: url}); CloseCode(err) != 4401 {
		t.Fatalf("error = %v, want close code 4401", err)
	}
}

func TestReceiveEndsWithContextAndSilence(t *testing.T) {
	url := serve(t, func(p *peer, _ int) { p.hello(); p.read() })
	c := dial(t, url)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Receive(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("error = %v, want the context's", err)
	}
	c2, err := Dial(t.Context(), Options{URL: url, Silence: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c2.Abort() })
	if _, err := c2.Receive(t.Context()); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("error = %v, want a deadline", err)
	}
}

func TestClientReconnectsAndDropsRepeats(t *testing.T) {
	url := serve(t, func(p *peer, nth int) {
		p.hello()
		p.text(`{"t":"notify","id":"same","data":1}`)
		switch nth {
		case 0:
			p.text(`{"t":"reconnect","after_ms":400}`)
			time.Sleep(100 * time.Millisecond)
			p.bye(1012, "restart")
		case 1: // vanishes without a close frame
			p.text(`{"t":"notify","id":"second","data":2}`)
		default:
			p.text(`{"t":"notify","id":"third","data":3}`)
			p.bye(1008, "not you")
		}
	})
	var ups int
	var ids []string
	var pauses []time.Duration
	c := New(Options{URL: url}, Handler{
		Up:     func(Hello) { ups++ },
		Notify: func(n Notification) { ids = append(ids, n.ID) },
		Down:   func(_ error, d time.Duration) { pauses = append(pauses, d) },
	})
	err := c.Run(bounded(t))
	if CloseCode(err) != 1008 {
		t.Fatalf("Run = %v, want close code 1008", err)
	}
	if got := strings.Join(ids, " "); ups != 3 || got != "same second third" {
		t.Errorf("%d connections, notifications %q", ups, got)
	}
	if len(pauses) != 2 || pauses[0] > 650*time.Millisecond {
		t.Errorf("pauses = %v, want the first to be what is left of 400 ms, and up to 250 more", pauses)
	}
}

func TestSeenForgetsTheOldest(t *testing.T) {
	var s seen
	for i := range seenLimit + 1 {
		if s.has(string(rune('一' + i))) {
			t.Fatalf("id %d was known", i)
		}
		s.add(string(rune('一' + i)))
	}
	s.add("")
	if s.has(string(rune('一'))) || !s.has(string(rune('一'+seenLimit))) || s.has("") {
		t.Error("want the oldest forgotten, the newest known, the empty never")
	}
	if len(s.ids) != seenLimit {
		t.Errorf("%d ids kept, want %d", len(s.ids), seenLimit)
	}
}

// newFrames reads messages of any size that a test sends from c's stream.
func newFrames(c *Conn) frames {
	return frames{in: bufio.NewReader(c.socket), limit: 1 << 20, onControl: c.control}
}
