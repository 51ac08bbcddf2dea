package loop

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/homing/homing/front/tickets"
)

// writeCertificate puts a fresh self-signed certificate into dir, and returns who
// trusts it.
func writeCertificate(tb testing.TB, dir string) *tls.Config {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	tmpl := x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, &tmpl, &tmpl, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	pkcs, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for file, b := range map[string][]byte{
		"key.pem":  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs}),
		"cert.pem": certificate,
	} {
		if err := os.WriteFile(filepath.Join(dir, file), b, 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certificate)
	return &tls.Config{RootCAs: roots, ServerName: "127.0.0.1"}
}

// startTLS runs a loop over TLS and returns what its clients use.
func startTLS(tb testing.TB, change func(*Config, *lines)) (*rig, *tls.Config) {
	tb.Helper()
	dir := tb.TempDir()
	client := writeCertificate(tb, dir)
	return start(tb, func(cfg *Config, h *lines) {
		cfg.TLS.Cert, cfg.TLS.Key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
		if change != nil {
			change(cfg, h)
		}
	}), client
}

// over speaks TLS on conn.
func (r *rig) over(conn net.Conn, cfg *tls.Config) *tls.Conn {
	r.t.Helper()
	over := tls.Client(conn, cfg)
	if err := over.Handshake(); err != nil {
		r.t.Fatal(err)
	}
	return over
}

// wantNotified fails the test unless conn ends as TLS says it should.
func (r *rig) wantNotified(conn *tls.Conn) {
	r.t.Helper()
	if n, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		r.t.Errorf("%d bytes, error %v, want EOF", n, err)
	}
}

func (r *rig) handshakes(result string) float64 {
	r.t.Helper()
	return r.metric("homing_front_tls_handshakes_total", result)
}

func TestLinesOverTLS(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, slow := range []bool{false, true} {
			r, client := startTLS(t, func(cfg *Config, _ *lines) { cfg.QueueBytes, cfg.QueueMessages = 1<<20, 1000 })
			client.MinVersion, client.MaxVersion = version, version
			raw := r.dial()
			if slow {
				raw = r.dialSlow()
			}
			conn := r.over(raw, client)
			r.say(conn, "x", 2)
			var want strings.Builder
			r.on(func() {
				for i := range 200 {
					line := strings.Repeat(string(rune('a'+i%26)), 1+i*7%3000) + "\n"
					want.WriteString(line)
					r.Send(r.only(), &Message{Data: []byte(line), Class: Must})
				}
			})
			if got := r.read(conn, want.Len()); got != want.String() {
				t.Errorf("version %x, slow %t: the bytes differ", version, slow)
			}
			r.on(func() { r.End(r.only(), []byte("bye"), false) })
			if got := r.read(conn, 3); got != "bye" {
				t.Errorf("read %q", got)
			}
			r.wantNotified(conn)
			_ = conn.Close()
			r.gone(1)
			if n := r.handshakes(tlsFull); n != 1 {
				t.Errorf("%v full handshakes, want 1", n)
			}
		}
	}
}

// pieces is a connection that is written to byte by byte.
type pieces struct{ net.Conn }

func (p pieces) Write(b []byte) (int, error) {
	for i := range b {
		if _, err := p.Conn.Write(b[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(b), nil
}

func TestTLSMayComeInPieces(t *testing.T) {
	r, client := startTLS(t, nil)
	conn := r.over(pieces{r.dial()}, client)
	if got := r.say(conn, "piecemeal", 10); got != "piecemeal\n" {
		t.Errorf("read %q", got)
	}
}

// What comes right behind the handshake is not lost, nor is it when its client
// ends its side at once.
func TestBytesRightBehindATLSHandshake(t *testing.T) {
	for _, ends := range []bool{false, true} {
		r, client := startTLS(t, nil)
		raw := r.dial()
		g := &gathered{Conn: raw}
		over := tls.Client(g, client)
		g.holdAfter = 1 // the ClientHello goes, the rest waits for the line
		if err := over.Handshake(); err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(over, "behind\n")
		if _, err := g.buf.WriteTo(raw); err != nil {
			t.Fatal(err)
		}
		if ends {
			_ = raw.(*net.TCPConn).CloseWrite()
		}
		if got := r.read(over, 7); got != "behind\n" {
			t.Errorf("read %q", got)
		}
		if ends {
			r.gone(1)
		}
	}
}

// gathered is a connection whose writes wait after some of them.
type gathered struct {
	net.Conn

	holdAfter int
	buf       bytes.Buffer
}

func (g *gathered) Write(p []byte) (int, error) {
	if g.holdAfter--; g.holdAfter < 0 {
		return g.buf.Write(p)
	}
	return g.Conn.Write(p)
}

// Loops with the same ticket keys resume each other's sessions.
func TestTLSSessionsAreResumedElsewhere(t *testing.T) {
	var keys tickets.Random
	shared, err := keys.At(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	first, client := startTLS(t, nil)
	second, _ := startTLS(t, nil)
	first.SetTicketKeys(shared)
	second.SetTicketKeys(shared)
	client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	first.say(first.over(first.dial(), client), "x", 2) // the ticket comes before the answer
	conn := second.over(second.dial(), client)
	second.say(conn, "x", 2)
	if !conn.ConnectionState().DidResume || second.handshakes(tlsResumed) != 1 {
		t.Error("the session was not resumed")
	}
}

// helloOf is the first flight of a client.
func helloOf(tb testing.TB, cfg *tls.Config) string {
	tb.Helper()
	ours, theirs := net.Pipe()
	defer func() { _, _ = ours.Close(), theirs.Close() }()
	go func() { _ = tls.Client(theirs, cfg).Handshake() }()
	buf := make([]byte, 16<<10)
	n, err := ours.Read(buf)
	if err != nil {
		tb.Fatal(err)
	}
	return string(buf[:n])
}

// A loop without a certificate keeps its TLS listeners closed until there is one.
func TestWithoutACertificateTheListenerIsClosed(t *testing.T) {
	dir := t.TempDir()
	r := start(t, func(cfg *Config, _ *lines) {
		cfg.TLS.Cert, cfg.TLS.Key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	})
	if !r.refuses() || r.TLSClosed() == nil {
		t.Error("the listener is open")
	}
	r.Listen()
	r.on(func() {})
	if !r.refuses() {
		t.Error("the listener opens for who asks")
	}
	client := writeCertificate(t, dir)
	wait(t, "the listener", func() bool { return !r.refuses() })
	if err := r.TLSClosed(); err != nil {
		t.Error(err)
	}
	r.say(r.over(r.dial(), client), "x", 2)
}

// What comes behind a PROXY header over TLS is a TLS handshake.
func TestAProxyHeaderBeforeTLS(t *testing.T) {
	r, client := startTLS(t, behindProxy)
	raw := r.dial()
	_, _ = raw.Write(headerOf(t, 2, "192.0.2.1"))
	over := r.over(raw, client)
	want := "x from 192.0.2.1\n"
	if got := r.say(over, "x", len(want)); got != want {
		t.Errorf("read %q, want %q", got, want)
	}
}

// At the end of the loop handshakes end wherever they stand.
func TestTheLoopEndsTLSHandshakes(t *testing.T) {
	r, client := startTLS(t, nil)
	hello := helloOf(t, client)
	for range 20 {
		_, _ = io.WriteString(r.dial(), hello)
	}
	wait(t, "handshakes", func() bool { return r.metric("homing_front_accepted_connections_total") == 20 })
	r.stop()
	if n := r.handshakes(tlsAbandoned) + r.handshakes(tlsCrowded); n != 20 {
		t.Errorf("%v abandoned, want 20", n)
	}
}

// An idle connection over TLS has no goroutine either.
func TestIdleTLSConnectionsHaveNoGoroutine(t *testing.T) {
	r, client := startTLS(t, nil)
	r.say(r.over(r.dial(), client), "x", 2)
	before := runtime.NumGoroutine()
	for range 10 {
		r.say(r.over(r.dial(), client), "x", 2)
	}
	wait(t, "the handshakes' goroutines to end", func() bool { return runtime.NumGoroutine() <= before })
}
