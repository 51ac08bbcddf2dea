package front

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	gws "github.com/gobwas/ws"
)

// TestConnectionsThatDieLeaveNothing has clients end their connections in every
// state there is, in every way, and looks for what is still counted then.
func TestConnectionsThatDieLeaveNothing(t *testing.T) {
	for _, overTLS := range []bool{false, true} {
		for _, proxied := range []bool{false, true} {
			t.Run(fmt.Sprintf("tls=%v,proxied=%v", overTLS, proxied), func(t *testing.T) {
				newMortals(t, overTLS, proxied).live(160)
			})
		}
	}
}

// mortals are clients of one worker.
type mortals struct {
	*rig

	overTLS, proxied bool
	hello            []byte // of a TLS client
	inbox            *fakeInbox
	seed             uint64
}

func newMortals(t *testing.T, overTLS, proxied bool) *mortals {
	t.Helper()
	dir := t.TempDir()
	writeCert(t, dir, "first.example")
	m := &mortals{overTLS: overTLS, proxied: proxied, inbox: newFakeInbox(), seed: rand.Uint64()}
	m.hello = helloOf(t, clientTLS(nil))
	m.rig = startWith(t, m.inbox, func(c *Config) {
		smallBuffers(c)
		if overTLS {
			c.Listen, c.TLSListen = "", "127.0.0.1:0"
			c.TLSCert, c.TLSKey = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
		}
		if c.ProxyProtocol, c.TLSProxyProtocol = proxied, proxied; !proxied {
			c.TrustedProxies = nil // so that loopback is counted
		}
		c.AddressRate, c.AddressBurst, c.AddressConnections = 1<<20, 1<<20, 30
		c.Pending, c.AddressPending, c.TLSHandshakes = 40, 20, 8
		c.ReplayBytes, c.ResumeWorkers, c.UserConnections = 1<<20, 4, 3
		c.MessageBurst, c.InboxRate = 20, 0
		c.HandshakeTimeout, c.RegisterTimeout, c.ResumeTimeout = time.Second, time.Second, time.Second
	})
	return m
}

// live has n clients come, some at the same time, and end.
func (m *mortals) live(n int) {
	m.t.Logf("seed %d", m.seed)
	ctx, cancel := context.WithCancel(context.Background())
	var helpers, clients sync.WaitGroup
	helpers.Go(func() { m.answerReads(ctx) })
	places := make(chan struct{}, 60)
	for i := range n {
		places <- struct{}{}
		clients.Go(func() {
			m.one(rand.New(rand.NewPCG(m.seed, uint64(i))))
			<-places
		})
		m.deliver(stored(fmt.Sprint("live", i), "ann", "bob", "eve"))
		switch i % 60 {
		case 20:
			m.presence.goAway()
		case 40:
			m.presence.back(nil)
		}
	}
	clients.Wait()
	m.presence.back(nil)
	m.wantNothing()
	cancel()
	helpers.Wait()
}

// answerReads finds nothing, something, much, or fails.
func (m *mortals) answerReads(ctx context.Context) {
	much, _ := large(60)
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case read := <-m.inbox.reads:
			switch i % 4 {
			case 0:
				read.finds()
			case 1:
				read.answer <- fakeAnswer{missed: much}
			case 2:
				read.answer <- fakeAnswer{err: context.DeadlineExceeded}
			case 3: // never
			}
		}
	}
}

// one connects, goes as far as chance has it, and ends.
func (m *mortals) one(r *rand.Rand) {
	conn, err := net.Dial("tcp", m.addr)
	if err != nil {
		return // the worker's queue is full
	}
	defer m.end(r, conn.(*net.TCPConn))
	_ = conn.SetDeadline(time.Now().Add(3 * time.Second))
	if m.proxied && !sendPart(r, conn, proxyHeaderFor(m.t, fmt.Sprint("10.0.0.", r.IntN(3)))) {
		return
	}
	if m.overTLS {
		if r.IntN(4) == 0 {
			sendPart(r, conn, m.hello)
			return
		}
		over := tls.Client(conn, clientTLS(nil))
		if over.Handshake() != nil {
			return
		}
		conn = over
	}
	token := []string{"bad", "slow", "broken", "ann", "ann", "bob", "cat", "dan", "eve", "eve@game"}[r.IntN(10)]
	request := "GET /ws?token=" + token + " HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	if !sendPart(r, conn, []byte(request)) || r.IntN(4) == 0 {
		return
	}
	_, _ = io.ReadAtLeast(conn, make([]byte, 256), 129+20) // the reply and some of hello
	speak(r, conn)
}

// speak sends what a client may, and what it may not.
func speak(r *rand.Rand, conn net.Conn) {
	for range r.IntN(6) {
		var f gws.Frame
		switch r.IntN(8) {
		case 0, 1, 2:
			f = gws.NewTextFrame([]byte(`{"t":"resume","ref":1}`))
		case 3:
			f = gws.NewPingFrame([]byte("x"))
		case 4:
			f = gws.NewFrame(gws.OpText, false, []byte("half"))
		case 5:
			f = gws.NewCloseFrame(nil)
		case 6:
			f = gws.NewTextFrame([]byte(`{"t":"ack","id":"n","ref":1}`))
		case 7:
			for range 25 { // more than may be
				_ = gws.WriteFrame(conn, gws.MaskFrame(gws.NewTextFrame([]byte(`{"t":"ping","ref":1}`))))
			}
		}
		if gws.WriteFrame(conn, gws.MaskFrame(f)) != nil {
			return
		}
		if r.IntN(3) == 0 {
			_, _ = conn.Read(make([]byte, 4096))
		}
	}
}

// sendPart sends a part of b and reports whether it was all.
func sendPart(r *rand.Rand, conn net.Conn, b []byte) bool {
	n := len(b)
	if r.IntN(4) == 0 {
		n = r.IntN(len(b))
	}
	_, err := conn.Write(b[:n])
	return err == nil && n == len(b)
}

// end closes conn at once, in order, by a reset, or not before the worker does.
func (m *mortals) end(r *rand.Rand, conn *net.TCPConn) {
	switch r.IntN(5) {
	case 0:
		_ = conn.SetLinger(0)
	case 1:
		_ = conn.CloseWrite()
		_, _ = io.Copy(io.Discard, conn)
	case 2:
		_, _ = io.Copy(io.Discard, conn)
	case 3:
		time.Sleep(time.Duration(r.IntN(300)) * time.Millisecond)
	}
	_ = conn.Close()
}

// wantNothing fails the test while anything is counted for anybody.
func (m *mortals) wantNothing() {
	m.t.Helper()
	var left string
	deadline := time.Now().Add(20 * time.Second)
	for left = m.left(); left != "" && time.Now().Before(deadline); left = m.left() {
		time.Sleep(20 * time.Millisecond)
	}
	if left != "" {
		m.t.Errorf("all clients have gone, seed %d: %s", m.seed, left)
	}
	if n := m.presence.count(); n != 0 {
		m.t.Errorf("the index names %d users", n)
	}
}

// left is what the worker still counts.
func (m *mortals) left() string {
	found := make(chan []string)
	m.Post(func() {
		w := m.Worker
		var out []string
		users, budget := &w.sessions.users, w.sessions.replays
		for _, x := range []struct {
			what string
			n    int
		}{
			{"connections", w.loop.Len()},
			{"pending connections", int(m.metric("homing_front_pending_connections"))},
			{"addresses", int(m.metric("homing_front_known_addresses"))},
			{"TLS handshakes that wait", int(m.metric("homing_front_tls_handshakes_waiting"))},
			{"TLS handshakes that run", int(m.metric("homing_front_tls_handshakes_running"))},
			{"bytes of replays", budget.used},
			{"inboxes being read", budget.reading},
			{"resumes that wait", budget.waiting.Len()},
			{"replays", budget.sending.Len()},
			{"users", len(users.newest)},
			{"users that were here", len(users.absent.users)},
			{"users that were here, in order", len(users.absent.order) - users.absent.head},
			{"connections with a write queue", int(m.metric("homing_front_waiting_connections"))},
		} {
			if x.n != 0 {
				out = append(out, fmt.Sprint(x.n, " ", x.what))
			}
		}
		found <- out
	})
	return strings.Join(<-found, ", ")
}
