package webhook

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/homing/homing/hub/hook"
)

// TestAHandshakeThatNeverEnds: connections to a host that takes them and says nothing
// do not outlive their requests by much.
func TestAHandshakeThatNeverEnds(t *testing.T) {
	t.Parallel()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var open sync.WaitGroup
	open.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			open.Go(func() {
				defer c.Close()
				_, _ = io.Copy(io.Discard, c) // until the other end has closed
			})
		}
	})
	e := endpoint(t, Config{URL: "https://" + ln.Addr().String(), Timeout: 200 * time.Millisecond}, nil)
	for range 3 {
		if a := e.Post(t.Context(), "evt_1", []byte(`{}`)); a.Verdict != hook.Failed || a.Why != hook.TimedOut {
			t.Errorf("%+v", a)
		}
	}
	_ = ln.Close()
	closed := make(chan struct{})
	go func() { open.Wait(); close(closed) }()
	select {
	case <-closed:
	case <-time.After(20 * time.Second):
		t.Fatal("connections of requests that are over stay open")
	}
}

// wire is a TCP proxy whose connections can be made to carry nothing any more, as when
// a balancer forgets them; later ones work.
type wire struct {
	mu   sync.Mutex
	dead []chan struct{}
}

func (w *wire) carry(client net.Conn, to string) {
	server, err := net.Dial("tcp", to)
	if err != nil {
		_ = client.Close()
		return
	}
	dead := make(chan struct{})
	w.mu.Lock()
	w.dead = append(w.dead, dead)
	w.mu.Unlock()
	pass := func(to, from net.Conn) {
		defer to.Close()
		for b := make([]byte, 32<<10); ; {
			n, err := from.Read(b)
			if err != nil {
				return
			}
			select {
			case <-dead: // and goes on reading: nobody is told
			default:
				_, _ = to.Write(b[:n])
			}
		}
	}
	go pass(server, client)
	go pass(client, server)
}

func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, dead := range w.dead {
		close(dead)
	}
	w.dead = nil
}

// TestASharedConnectionThatDied: one of HTTP/2 that carries nothing any more is given
// up, and not used for every request until the kernel finds out.
func TestASharedConnectionThatDied(t *testing.T) {
	t.Parallel()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			t.Errorf("%s, want HTTP/2", r.Proto)
		}
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	w := &wire{}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			w.carry(c, s.Listener.Addr().String())
		}
	}()
	e := endpoint(t, Config{URL: "https://" + ln.Addr().String(), Timeout: 500 * time.Millisecond}, nil)
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	e.client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	post := func() bool { return delivered(e.Post(t.Context(), "evt_1", []byte(`{}`))) }
	for deadline := time.Now().Add(20 * time.Second); !post(); {
		if time.Now().After(deadline) {
			t.Fatal("nothing is delivered")
		}
	}
	w.cut()
	for deadline := time.Now().Add(20 * time.Second); !post(); {
		if time.Now().After(deadline) {
			t.Fatal("every request goes by the connection that is dead")
		}
	}
}
