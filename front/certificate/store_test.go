package certificate

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// files are a certificate's two files.
type files struct {
	t         *testing.T
	cert, key string
}

func newFiles(t *testing.T) files {
	t.Helper()
	dir := t.TempDir()
	return files{t, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}
}

// pair makes the contents of both files.
func (f files) pair(name string, notAfter time.Time) (cert, key []byte) {
	f.t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.t.Fatal(err)
	}
	tmpl := x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotAfter: notAfter}
	der, err := x509.CreateCertificate(rand.Reader, &tmpl, &tmpl, k.Public(), k)
	if err != nil {
		f.t.Fatal(err)
	}
	pkcs, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		f.t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs})
}

func (f files) write(name string, data []byte) {
	f.t.Helper()
	if err := os.WriteFile(name, data, 0o600); err != nil {
		f.t.Fatal(err)
	}
}

func (f files) renew(name string) {
	f.t.Helper()
	cert, key := f.pair(name, time.Now().Add(time.Hour))
	f.write(f.cert, cert)
	f.write(f.key, key)
}

func (f files) open() *Store {
	return New(f.cert, f.key, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
}

func (f files) want(s *Store, name string) {
	f.t.Helper()
	c, err := s.Get(nil)
	switch {
	case name == "" && err == nil:
		f.t.Errorf("certificate of %v, want none", c.Leaf.DNSNames)
	case name == "":
	case err != nil:
		f.t.Errorf("certificate of %s: %v", name, err)
	case c.Leaf.DNSNames[0] != name:
		f.t.Errorf("certificate of %s, want %s", c.Leaf.DNSNames[0], name)
	}
}

// Files of a renewal may carry the times at which they were made elsewhere.
func TestARenewalMayBeOlder(t *testing.T) {
	f := newFiles(t)
	f.renew("first")
	s := f.open()
	now := time.Now()
	f.want(s, "first")
	if s.look(now) {
		t.Error("files that are as they were are read again")
	}
	f.renew("second")
	for _, name := range []string{f.cert, f.key} {
		if err := os.Chtimes(name, now, now.Add(-24*time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	if !s.look(now) {
		t.Error("older files are not read")
	}
	f.want(s, "second")
}

func TestHalfARenewalChangesNothing(t *testing.T) {
	f := newFiles(t)
	f.renew("first")
	s := f.open()
	now := time.Now()
	cert, key := f.pair("second", now.Add(time.Hour))
	f.write(f.cert, cert)
	if s.look(now); s.Problem() == nil {
		t.Error("a certificate is taken with another's key")
	}
	f.want(s, "first")
	f.write(f.key, key)
	if !s.look(now) || s.Problem() != nil {
		t.Errorf("the second half is not read: %v", s.Problem())
	}
	f.want(s, "second")
	if ok, failed := testutil.ToFloat64(s.loaded), testutil.ToFloat64(s.failed); ok != 2 || failed != 1 {
		t.Errorf("%v loads, %v failed; want 2 and 1", ok, failed)
	}
}

func TestWithoutACertificateItIsTriedAgain(t *testing.T) {
	f := newFiles(t)
	s := f.open()
	f.want(s, "")
	if s.Usable() || s.Problem() == nil {
		t.Error("there is no certificate, and no problem either")
	}
	if err := Check(f.cert, f.key); err == nil {
		t.Error("Check finds nothing wrong")
	}
	f.renew("first")
	now := time.Now()
	s.tried = pair{stampOf(f.cert), stampOf(f.key)} // as if they had been there in vain
	if s.look(now) {
		t.Error("files that look the same are read at once")
	}
	if !s.look(now.Add(retryEvery)) {
		t.Error("files that look the same are not tried again")
	}
	f.want(s, "first")
}

func TestExpiryIsAMetric(t *testing.T) {
	f := newFiles(t)
	end := time.Now().Add(48 * time.Hour).Truncate(time.Second)
	cert, key := f.pair("first", end)
	f.write(f.cert, cert)
	f.write(f.key, key)
	if got := testutil.ToFloat64(f.open().notAfter); got != float64(end.Unix()) {
		t.Errorf("expires at %v, want %v", got, end.Unix())
	}
}
