package front

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	gws "github.com/gobwas/ws"
)

// TestSmallPiecesAreChargedAsReads sends pings so that the worker reads each by
// itself: a client with budget for 3,600 bytes has it for 28 reads.
func TestSmallPiecesAreChargedAsReads(t *testing.T) {
	r := start(t, few)
	c := r.join("ann")
	for range 28 {
		c.write(gws.MaskFrame(gws.NewPingFrame(nil)))
		if f := c.next(); f.Header.OpCode != gws.OpPong {
			t.Fatalf("got %v %q, want a pong", f.Header.OpCode, f.Payload)
		}
	}
	c.write(gws.MaskFrame(gws.NewPingFrame(nil)))
	c.wantClose(1008)
}

// gathered is a connection whose writes wait while it is held.
type gathered struct {
	net.Conn

	held bool
	buf  bytes.Buffer
}

func (g *gathered) Write(p []byte) (int, error) {
	if g.held {
		return g.buf.Write(p)
	}
	return g.Conn.Write(p)
}

// bytewise writes text in TLS records of one byte each, and then all of them at
// once to the socket.
func (g *gathered) bytewise(tb testing.TB, over *tls.Conn, text string) {
	tb.Helper()
	g.held = true
	for i := range text {
		if _, err := io.WriteString(over, text[i:i+1]); err != nil {
			tb.Fatal(err)
		}
	}
	g.held = false
	if _, err := g.buf.WriteTo(g.Conn); err != nil {
		tb.Fatal(err)
	}
}

func (r *rig) dialGathered() (*gathered, *tls.Conn) {
	r.t.Helper()
	raw, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	g := &gathered{Conn: raw}
	over := tls.Client(g, clientTLS(nil))
	r.t.Cleanup(func() { _ = over.Close() })
	if err := over.Handshake(); err != nil {
		r.t.Fatal(err)
	}
	wait(r.t, "the worker's side of the handshake", func() bool { return r.tlsResult("full") == 1 })
	return g, over
}

// TestTLSIsChargedAsItComes spends a budget on what TLS puts around 300 bytes.
func TestTLSIsChargedAsItComes(t *testing.T) {
	r, _ := startTLS(t, few)
	g, over := r.dialGathered()
	if _, err := io.WriteString(over, joining("ann")); err != nil {
		t.Fatal(err)
	}
	c := newClient(t, over, nil)
	c.skipReply()
	if m := c.json(); m["t"] != "hello" {
		t.Fatalf("got %v", m)
	}
	g.bytewise(t, over, "\x81\xfe\x13\x88\x00\x00\x00\x00"+strings.Repeat("x", 300)) // of a message of 5,000 bytes
	if code, reason := c.closed(); code != 1008 || reason != "too many bytes" {
		t.Errorf("closed with %d %q, want 1008 too many bytes", code, reason)
	}
}

// TestBytesBeforeATokenAreCharged sends the head of a request in a way that costs
// 25 KB.
func TestBytesBeforeATokenAreCharged(t *testing.T) {
	r, _ := startTLS(t, few)
	g, over := r.dialGathered()
	g.bytewise(t, over, strings.Replace(joining("ann"), "\r\n", "\r\nX: "+strings.Repeat("x", 900)+"\r\n", 1))
	_ = over.SetReadDeadline(time.Now().Add(10 * time.Second))
	if status, _ := r.answerOn(over); status != 431 {
		t.Errorf("status %d, want 431", status)
	}
	if n := r.metric("homing_front_over_budget_total", "budget", "handshake"); n != 1 {
		t.Errorf("%v counted, want 1", n)
	}
}

// TestAClosedTLSConnectionIsNotReadForLong has a client that has been closed for
// its records go on.
func TestAClosedTLSConnectionIsNotReadForLong(t *testing.T) {
	r, _ := startTLS(t, func(c *Config) { c.CloseTimeout, c.MessageBurst, c.ByteRate = time.Hour, 1, 1 })
	g, over := r.dialGathered()
	if _, err := io.WriteString(over, joining("ann")); err != nil {
		t.Fatal(err)
	}
	c := newClient(t, over, nil)
	c.skipReply()
	g.bytewise(t, over, "\x81\xfe\x13\x88\x00\x00\x00\x00") // more records than five
	if code, _ := c.closed(); code != 1008 {
		t.Fatalf("closed with %d, want 1008", code)
	}
	_ = g.SetWriteDeadline(time.Now().Add(10 * time.Second))
	for chunk := make([]byte, 64<<10); ; {
		if _, err := g.Conn.Write(chunk); err != nil {
			break
		}
	}
	wait(t, "the connection to be cut", func() bool {
		return r.metric("homing_front_over_budget_total", "budget", "closing") == 1
	})
}
