package front

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	gws "github.com/gobwas/ws"

	"github.com/homing/homing/hub"
)

// writeCert puts a fresh self-signed certificate into dir.
func writeCert(tb testing.TB, dir, name string) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	tmpl := x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, &tmpl, &tmpl, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	pkcs, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		"cert.pem": {Type: "CERTIFICATE", Bytes: der},
		"key.pem":  {Type: "PRIVATE KEY", Bytes: pkcs},
	} {
		if err := os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
}

func startTLS(tb testing.TB, change func(*Config)) (*rig, string) {
	tb.Helper()
	dir := tb.TempDir()
	writeCert(tb, dir, "first.example")
	return start(tb, func(c *Config) {
		c.Listen, c.TLSListen = "", "127.0.0.1:0"
		c.TLSCert, c.TLSKey = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
		if change != nil {
			change(c)
		}
	}), dir
}

func (r *rig) joinTLS(token string) *peer {
	r.t.Helper()
	d := gws.Dialer{Timeout: 5 * time.Second, TLSConfig: &tls.Config{InsecureSkipVerify: true}}
	conn, br, _, err := d.Dial(context.Background(), "wss://"+r.addr+"/ws?token="+token)
	if err != nil {
		r.t.Fatal(err)
	}
	c := newClient(r.t, conn, br)
	if m := c.json(); m["t"] != "hello" {
		r.t.Fatalf("first message %v, want hello", m)
	}
	return c
}

func TestTLSSession(t *testing.T) {
	r, _ := startTLS(t, nil)
	c := r.joinTLS("ann@chess")
	r.deliver(note(`1`, "ann"))
	if m := c.json(); m["t"] != "notify" {
		t.Errorf("got %v", m)
	}
	c.text(`{"t":"ping","ref":1}`)
	if m := c.json(); m["t"] != "ok" {
		t.Errorf("got %v", m)
	}
	r.deliver(hub.Envelope{Kind: hub.KindDisconnect, Users: []hub.UserID{"ann"}, Payload: []byte("bye")})
	c.wantClose(4003)
	_ = c.Close()
	wait(t, "no sockets", func() bool { return r.metric("homing_front_connections") == 0 })
}

func TestTLSBacklogArrivesInOrder(t *testing.T) {
	r, _ := startTLS(t, func(c *Config) { c.OutboxBytes = 4 << 20; c.OutboxMessages = 5000 })
	c := r.joinTLS("ann")
	const n = 1000
	for i := range n {
		r.deliver(classNote(hub.ClassMust, "", i, "ann"))
	}
	for i := range n {
		if id := c.json()["id"]; id != strconv.Itoa(i) {
			t.Fatalf("message %v in the place of %d", id, i)
		}
	}
}

func TestTLSSlowReaderIsClosed(t *testing.T) {
	r, _ := startTLS(t, func(c *Config) { smallOutbox(c); c.WriteTimeout = 500 * time.Millisecond })
	r.joinTLS("ann")
	for i := range 2000 {
		r.deliver(classNote(hub.ClassMust, "", i, "ann"))
	}
	wait(t, "the index to forget ann", func() bool { return r.presence.of("ann") == nil })
	wait(t, "no sockets", func() bool { return r.metric("homing_front_connections") == 0 })
}

func TestTLSRefusalCanBeRead(t *testing.T) {
	r, _ := startTLS(t, nil)
	d := gws.Dialer{TLSConfig: &tls.Config{InsecureSkipVerify: true}}
	_, _, _, err := d.Dial(context.Background(), "wss://"+r.addr+"/ws?token=bad")
	if !errors.Is(err, gws.StatusError(401)) {
		t.Errorf("got %v, want status 401", err)
	}
}

func TestPlainTextOnTLSPort(t *testing.T) {
	r, _ := startTLS(t, func(c *Config) { c.HandshakeTimeout = 300 * time.Millisecond })
	for _, hello := range []string{"", "GET /ws HTTP/1.1\r\n\r\n"} { // one never speaks
		conn, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_, _ = conn.Write([]byte(hello))
	}
	wait(t, "both accepted", func() bool { return r.metric("homing_front_accepted_connections_total") == 2 })
	wait(t, "both closed", func() bool { return r.metric("homing_front_connections") == 0 })
}

func TestCertificateIsReadAgain(t *testing.T) {
	r, dir := startTLS(t, nil)
	name := func() string {
		conn, err := tls.Dial("tcp", r.addr, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].DNSNames[0]
	}
	if got := name(); got != "first.example" {
		t.Fatalf("certificate of %s", got)
	}
	if err := os.WriteFile(filepath.Join(dir, "cert.pem"), []byte("half of it"), 0o600); err != nil {
		t.Fatal(err)
	}
	wait(t, "the half file to be looked at", func() bool { return r.metric("homing_front_tls_certificate_loads_total", "result", "failed") > 0 })
	if got := name(); got != "first.example" {
		t.Fatalf("certificate of %s while the files do not fit", got)
	}
	writeCert(t, dir, "second.example")
	wait(t, "the new certificate", func() bool { return name() == "second.example" })
}

func TestTLSConnectionsEndWithTheWorker(t *testing.T) {
	r, _ := startTLS(t, nil)
	c := r.joinTLS("ann")
	go func() { _ = r.stop() }()
	if m := c.json(); m["t"] != "reconnect" {
		t.Errorf("got %v", m)
	}
	c.wantClose(1012)
}

func TestTLSListenerNeedsACertificate(t *testing.T) {
	cfg := testConfig(t)
	listeners, err := Listen(&cfg)
	if err != nil {
		t.Fatal(err)
	}
	listeners[0].TLS = true
	_, err = NewWorker(cfg, listeners, Deps{Log: testLog(t), Registry: newRegistry(), Presence: nobody{}, NeedCertificate: true})
	if err == nil || !strings.Contains(err.Error(), "front.tls-cert") {
		t.Errorf("got %v, want an error that names front.tls-cert", err)
	}
}
