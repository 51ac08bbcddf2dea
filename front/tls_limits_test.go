package front

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	gws "github.com/gobwas/ws"
	"golang.org/x/sys/unix"

	"github.com/homing/homing/front/tickets"
)

// helloOf is a client's first flight, of which nothing more follows.
func helloOf(tb testing.TB, cfg *tls.Config) []byte {
	tb.Helper()
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	go func() { _ = tls.Client(theirs, cfg).Handshake() }()
	buf := make([]byte, 16<<10)
	n, err := ours.Read(buf)
	if err != nil {
		tb.Fatal(err)
	}
	return buf[:n]
}

// sayHello connects and sends bytes, of a handshake that goes no further.
func (r *rig) sayHello(hello []byte) net.Conn {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = conn.Close() })
	if _, err := conn.Write(hello); err != nil {
		r.t.Fatal(err)
	}
	return conn
}

func (r *rig) tlsResult(result string) float64 {
	return r.metric("homing_front_tls_handshakes_total", "result", result)
}

// An idle connection has no goroutine.
func TestIdleTLSConnectionsHaveNoGoroutine(t *testing.T) {
	r, _ := startTLS(t, nil)
	r.joinTLS("first")
	wait(t, "the handshake's goroutine to end", func() bool { return r.metric("homing_front_tls_handshakes_running") == 0 })
	before := runtime.NumGoroutine()
	for range 20 {
		r.joinTLS("ann")
	}
	wait(t, "as many goroutines as before", func() bool { return runtime.NumGoroutine() <= before })
}

func TestTLSSessionsAreResumed(t *testing.T) {
	one, _ := startTLS(t, nil)
	other, _ := startTLS(t, nil)
	var keys tickets.Random
	k, err := keys.At(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	one.SetTicketKeys(k)
	other.SetTicketKeys(k)
	for name, version := range map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13} {
		cfg := clientTLS(tls.NewLRUClientSessionCache(1))
		cfg.MaxVersion = version
		for i, r := range []*rig{one, one, other} {
			full, resumed := r.tlsResult("full"), r.tlsResult("resumed")
			connectTLS(t, r, cfg)
			if i == 0 && r.tlsResult("full") != full+1 || i > 0 && r.tlsResult("resumed") != resumed+1 {
				t.Errorf("TLS %s, connection %d: %v full, %v resumed", name, i, r.tlsResult("full")-full, r.tlsResult("resumed")-resumed)
			}
		}
	}
}

// Handshakes beyond the rate wait, those of clients who go no further end with
// the handshake timeout, and nobody who is there is held up.
func TestTLSHandshakesAreAdmitted(t *testing.T) {
	r, _ := startTLS(t, func(c *Config) { c.AdmitRate = 10 })
	there := r.joinTLS("ann")
	hello := helloOf(t, clientTLS(nil))
	const n = 30
	var herd []net.Conn
	for range n {
		herd = append(herd, r.sayHello(hello))
	}
	wait(t, "handshakes that wait", func() bool { return r.metric("homing_front_tls_handshakes_waiting") > 0 })
	r.deliver(note(`1`, "ann"))
	if m := there.json(); m["t"] != "notify" {
		t.Errorf("got %v", m)
	}
	for _, conn := range herd[n/2:] {
		_ = conn.Close()
	}
	wait(t, "those who left to be forgotten", func() bool { return r.tlsResult("abandoned") == n/2 })
	wait(t, "the others to be closed", func() bool { return r.tlsResult("timeout") == n/2 })
	wait(t, "one connection", func() bool { return r.metric("homing_front_connections") == 1 })
	if w, u := r.metric("homing_front_tls_handshakes_waiting"), r.metric("homing_front_tls_handshakes_running"); w != 0 || u != 0 {
		t.Errorf("%v handshakes wait and %v run when all are over", w, u)
	}
}

// Addresses have their handshakes in turn: one that opens many keeps no other
// one out.
func TestTLSHandshakesAreFairToAddresses(t *testing.T) {
	r, _ := startTLS(t, func(c *Config) {
		strangers(c)
		c.AdmitRate, c.HandshakeTimeout = 5, 5*time.Minute
	})
	hello := helloOf(t, clientTLS(nil))
	const n = 200 // 40 s of them
	for range n {
		r.sayHello(hello)
	}
	waiting := func() float64 { return r.metric("homing_front_tls_handshakes_waiting") }
	wait(t, "handshakes that wait", func() bool { return waiting() > n/2 })
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}, Timeout: 20 * time.Second}
	conn, err := tls.DialWithDialer(&d, "tcp", r.addr, clientTLS(nil))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if waiting() == 0 {
		t.Error("it has come after all others")
	}
}

// No more handshakes run than may, however many clients leave theirs half done,
// and these keep nobody out.
func TestTLSHandshakesUnderWayAreBounded(t *testing.T) {
	r, _ := startTLS(t, func(c *Config) { c.TLSHandshakes = 2; c.HandshakeTimeout = time.Minute })
	hello := helloOf(t, clientTLS(nil))
	for range 5 {
		r.sayHello(hello)
	}
	wait(t, "the oldest three to be closed", func() bool { return r.tlsResult("crowded") == 3 })
	wait(t, "two that run", func() bool {
		return r.metric("homing_front_tls_handshakes_running") == 2 && r.metric("homing_front_tls_handshakes_waiting") == 0
	})
	r.joinTLS("ann")
}

// From accept to the end of a handshake that stalls there is one deadline: no
// time to close comes on top.
func TestAStalledTLSHandshakeEndsInTime(t *testing.T) {
	r, _ := startTLS(t, func(c *Config) { c.HandshakeTimeout = 200 * time.Millisecond; c.CloseTimeout = time.Hour })
	hello := helloOf(t, clientTLS(nil))
	for _, sent := range [][]byte{nil, hello[:3], hello[:len(hello)-1], hello} {
		conn := r.sayHello(sent)
		_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("with %d bytes sent it is not closed", len(sent))
		}
	}
	if n := r.tlsResult("timeout"); n != 4 {
		t.Errorf("%v timeouts, want 4", n)
	}
}

func TestFailedTLSHandshakesAreCounted(t *testing.T) {
	r, _ := startTLS(t, nil)
	r.sayHello([]byte("GET /ws HTTP/1.1\r\n\r\n"))
	wait(t, "not_tls", func() bool { return r.tlsResult("not_tls") == 1 })
	hello := helloOf(t, clientTLS(nil))
	r.sayHello(append(bytes.Clone(hello), make([]byte, 32<<10)...))
	wait(t, "too_large", func() bool { return r.tlsResult("too_large") == 1 })
	_, err := tls.Dial("tcp", r.addr, &tls.Config{ServerName: "first.example"}) // does not trust it
	if err == nil {
		t.Error("a certificate that nobody signed is trusted")
	}
	wait(t, "alert", func() bool { return r.tlsResult("alert") == 1 })
	_, err = tls.Dial("tcp", r.addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err == nil || !strings.Contains(err.Error(), "no application protocol") {
		t.Errorf("h2 only: %v, want an alert that says why", err)
	}
	wait(t, "failed", func() bool { return r.tlsResult("failed") == 1 })
}

// A connection that makes work by the record is closed, however few messages
// it sends.
func TestTLSRecordsAreCharged(t *testing.T) {
	r, _ := startTLS(t, func(c *Config) { c.MessageRate, c.MessageBurst = 1, 2 })
	c := r.joinTLS("ann")
	frame := gws.MustCompileFrame(gws.MaskFrame(gws.NewTextFrame([]byte(`{"t":"ping"}`))))
	for i := range frame[:len(frame)-1] { // one message, a byte per record, and not to its end
		if _, err := c.Write(frame[i : i+1]); err != nil {
			break
		}
	}
	c.wantClose(1008)
	wait(t, "the refusal to be counted", func() bool { return r.metric("homing_front_over_budget_total", "budget", "tls_records") == 1 })
}

// Sockets of TLS connections are as those of plain ones.
func TestTLSKeepsSocketOptions(t *testing.T) {
	r, _ := startTLS(t, nil)
	r.joinTLS("ann")
	got := make(chan [4]int, 1)
	r.Post(func() {
		var o [4]int
		for place := range r.loop.Places() {
			c := r.loop.At(place)
			if c == nil {
				continue
			}
			for i, opt := range [4][2]int{
				{unix.SOL_SOCKET, unix.SO_KEEPALIVE},
				{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE},
				{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT},
				{unix.SOL_SOCKET, unix.SO_SNDBUF},
			} {
				o[i], _ = unix.GetsockoptInt(c.Place(), opt[0], opt[1])
			}
		}
		got <- o
	})
	want := r.cfg.SocketOptions()
	if o := <-got; o != [4]int{1, int(want.KeepAlive.Seconds()), int(want.UserTimeout.Milliseconds()), 2 * want.SendBuffer} {
		t.Errorf("keepalive, its seconds, user timeout in ms, send buffer: %v", o)
	}
}

// Without a certificate only TLS is missing, until there is one.
func TestWithoutACertificatePlainIsServed(t *testing.T) {
	dir := t.TempDir()
	r := start(t, func(c *Config) {
		c.TLSListen = "127.0.0.1:0"
		c.TLSCert, c.TLSKey = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	})
	addrs := r.Addresses()
	r.addr = addrs[0].String()
	r.join("ann")
	if conn, err := net.Dial("tcp", addrs[1].String()); err == nil {
		_ = conn.Close()
		t.Error("the TLS port takes connections without a certificate")
	}
	if err := r.TLSClosed(); err == nil || !strings.Contains(err.Error(), "front.tls-cert") {
		t.Errorf("TLSClosed: %v", err)
	}
	r.Listen() // as a master has it: the listener stays closed
	writeCert(t, dir, "first.example")
	r.addr = addrs[1].String()
	wait(t, "TLS", func() bool {
		conn, err := net.Dial("tcp", r.addr)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	r.joinTLS("bob")
	if err := r.TLSClosed(); err != nil {
		t.Errorf("TLSClosed: %v", err)
	}
}

// A large message to a client that takes its time arrives whole, and leaves
// nothing behind.
func TestTLSWritesWaitForRoom(t *testing.T) {
	r, _ := startTLS(t, func(c *Config) { c.OutboxBytes = 8 << 20; c.SendBuffer = 4096 })
	c := r.joinTLS("ann")
	payload := `"` + strings.Repeat("x", 1<<20) + `"`
	for range 3 {
		r.deliver(note(payload, "ann"))
	}
	wait(t, "something to wait", func() bool { return r.metric("homing_front_waiting_connections") == 1 })
	for range 3 {
		if f := c.next(); len(f.Payload) < len(payload) || !bytes.Contains(f.Payload, []byte(payload)) {
			t.Fatalf("a message of %d bytes", len(f.Payload))
		}
	}
	wait(t, "nothing to wait", func() bool { return r.metric("homing_front_waiting_connections") == 0 })
}
