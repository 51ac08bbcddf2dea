package master

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/homing/homing/front/epoll"
	"github.com/homing/homing/front/tickets"
)

// envCert names the file with the workers' certificate and its key.
const envCert = "HOMING_TEST_CERT"

// writeCert puts a fresh certificate and its key into one file.
func writeCert(t *testing.T, name string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, &tmpl, &tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	both := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs})...)
	if err := os.WriteFile(name, both, 0o600); err != nil {
		t.Fatal(err)
	}
}

// startTLS runs a master whose workers listen with and without TLS, and
// returns its two addresses and the certificate's file.
func startTLS(t *testing.T, source TicketKeys) (r *rig, plain, secure, cert string) {
	t.Helper()
	cert = filepath.Join(t.TempDir(), "cert.pem")
	writeCert(t, cert)
	t.Setenv(envCert, cert)
	var cfg Config
	if err := kong.ApplyDefaults(&cfg); err != nil {
		t.Fatal(err)
	}
	cfg.Workers = 2
	m, err := New(cfg, []Address{{Addr: "127.0.0.1:0"}, {Addr: "127.0.0.1:0", TLS: true}}, epoll.Options{}, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	if err := m.ShareTickets(source); err != nil {
		t.Fatal(err)
	}
	r = &rig{Master: m, t: t, addr: m.Addresses()[0].Addr}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	r.stop = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	})
	r.wait("all workers", func() bool { return count(m.slots, isServing) == 2 })
	return r, m.Addresses()[0].Addr, m.Addresses()[1].Addr, cert
}

// dialTLS reports whether the session in cfg's cache was resumed.
func dialTLS(addr string, cfg *tls.Config) (resumed bool, err error) {
	conn, err := tls.Dial("tcp", addr, cfg)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	return conn.ConnectionState().DidResume, nil
}

// keysInTurn gives other keys when it is told to.
type keysInTurn struct {
	mu   sync.Mutex
	keys tickets.Keys
	err  error
}

func (k *keysInTurn) At(time.Time) (tickets.Keys, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.keys, k.err
}

func (k *keysInTurn) set(keys tickets.Keys, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keys, k.err = keys, err
}

func TestSessionsAreResumedAtEveryWorker(t *testing.T) {
	source := &keysInTurn{keys: tickets.Keys{{1}}}
	r, _, addr, _ := startTLS(t, source)
	// A session of TLS 1.2 can be resumed more than once.
	cfg := &tls.Config{InsecureSkipVerify: true, ServerName: "a", MaxVersion: tls.VersionTLS12, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	if _, err := dialTLS(addr, cfg); err != nil {
		t.Fatal(err)
	}
	everywhere := func() bool { // 20 connects reach both workers, all but once in a million
		for range 20 {
			if resumed, err := dialTLS(addr, cfg); err != nil || !resumed {
				return false
			}
		}
		return true
	}
	r.wait("every worker to resume", everywhere)
	for _, pid := range r.pids() {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	old := r.pids()
	r.wait("other workers", func() bool { p := r.pids(); return p[0] != old[0] && p[1] != old[1] && p[0]*p[1] != 0 })
	r.wait("every new worker to resume", everywhere)

	source.set(nil, errors.New("the file is away")) // which changes nothing
	r.wait("the failure to be counted", func() bool {
		rec := httptest.NewRecorder()
		r.serveMetrics(rec, httptest.NewRequest("GET", "/metrics", nil))
		return strings.Contains(rec.Body.String(), "homing_front_master_ticket_key_failures_total") &&
			!strings.Contains(rec.Body.String(), "homing_front_master_ticket_key_failures_total 0")
	})
	if !everywhere() {
		t.Error("sessions are not resumed while there are no newer keys")
	}
	source.set(tickets.Keys{{2}}, nil) // rotated at once, and the old key forgotten
	r.wait("the old session to be useless somewhere", func() bool {
		resumed, err := dialTLS(addr, cfg)
		return err == nil && !resumed
	})
	r.wait("every worker to resume with the new key", everywhere)
}

func TestABadCertificateKeepsPlainInService(t *testing.T) {
	r, plain, secure, cert := startTLS(t, &tickets.Random{})
	good, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cert, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := &tls.Config{InsecureSkipVerify: true}

	// A replacement sees that it would serve less, and leaves the old ones.
	before := r.pids()
	r.roll(context.Background())
	if after := r.pids(); after[0] != before[0] || after[1] != before[1] {
		t.Errorf("workers %v were replaced by %v without a certificate", before, after)
	}
	if _, err := dialTLS(secure, cfg); err != nil {
		t.Errorf("TLS after a replacement that was given up: %v", err)
	}

	// Those that start because others died serve what they can.
	for _, pid := range before {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	r.wait("two without TLS", func() bool { return len(r.Degraded()) == 2 })
	if err := r.Ready(); err != nil {
		t.Errorf("not ready: %v", err)
	}
	rec := httptest.NewRecorder()
	r.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/readyz", nil))
	if rec.Code != 200 || !strings.Contains(rec.Body.String(), "TLS listener is closed") {
		t.Errorf("/readyz: %d %s", rec.Code, rec.Body)
	}
	conn, _, err := join(plain)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	if _, err := dialTLS(secure, cfg); err == nil {
		t.Error("the TLS port takes connections without a certificate")
	}
	r.plain = false // had there been TLS only
	if err := r.Ready(); err == nil {
		t.Error("ready with nothing to offer")
	}
	r.plain = true

	if err := os.WriteFile(cert, good, 0o600); err != nil {
		t.Fatal(err)
	}
	r.wait("TLS", func() bool { return len(r.Degraded()) == 0 })
	if _, err := dialTLS(secure, cfg); err != nil {
		t.Errorf("TLS with the certificate back: %v", err)
	}
}
