package redisx_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/homing/homing/redisx"
	"github.com/homing/homing/redisx/redisproc"
	"github.com/homing/homing/redisx/redistest"
)

// An odd password: everything in it means something to a URL, to Redis'
// configuration or to Sentinel's.
const oddPassword = `p@ss:w/ "ä?#%\`

func TestPassword(t *testing.T) {
	t.Parallel()
	for _, user := range []string{"", "homing"} {
		t.Run("user "+user, func(t *testing.T) {
			t.Parallel()
			p := redistest.Process(t, redisproc.ServerOptions{User: user, Password: oddPassword})
			u := url.URL{Scheme: "redis", User: url.UserPassword(user, oddPassword), Host: p.Addr()}
			r := redistest.Open(t, redistest.Config(t, u.String()))
			if err := r.Data.Shards()[0].Write(t.Context(), set("k", "v")); err != nil {
				t.Error(err)
			}
			wrong := url.URL{Scheme: "redis", User: url.UserPassword(user, "secret-but-wrong"), Host: p.Addr()}
			refused(t, redistest.Config(t, wrong.String()), "secret-but-wrong")
		})
	}
}

// refused expects that cfg never gets ready, that the error says that the
// password is to blame, and that it does not tell the password.
func refused(t *testing.T, cfg redisx.Config, secret string) {
	t.Helper()
	r, err := redisx.New(cfg, logger(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	run(t, r)
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	err = r.WaitReady(ctx)
	if err == nil {
		t.Fatal("ready with a wrong password")
	}
	if !strings.Contains(err.Error(), "WRONGPASS") || strings.Contains(err.Error(), secret) {
		t.Errorf("error %q, want WRONGPASS without the password", err)
	}
}

func TestSentinelTopologyWithACLAndTLS(t *testing.T) {
	t.Parallel()
	top := redistest.Topology(t, redisproc.TopologyOptions{
		Masters: []redisproc.MasterSpec{{Name: "m", Replicas: 1}},
		User:    "homing", Password: "a password",
		TLS: certificates(t),
	})
	r := redistest.Open(t, redistest.TopologyConfig(t, top))
	s := r.PubSub.Shards()[0]
	within(t, 3*time.Second, "the replica is healthy", func() bool { return healthy(s) == 2 })
	e := listen(t, r, "c")
	e.reaches(t, s, "c", 2*time.Second)
	old := masterAddr(s)
	server(top, old).Crash()
	within(t, 8*time.Second, "another master", func() bool { a := masterAddr(s); return a != "" && a != old })
	e.reaches(t, s, "c", 5*time.Second)
}

func TestTLS(t *testing.T) {
	t.Parallel()
	files := certificates(t)
	p := redistest.Process(t, redisproc.ServerOptions{TLS: files})
	r := redistest.Open(t, redistest.Config(t, "rediss://"+p.Addr()+"?ca="+url.QueryEscape(files.CA)))
	if err := r.Data.Shards()[0].Write(t.Context(), set("k", "v")); err != nil {
		t.Error(err)
	}
	// A server whose certificate no authority of ours signed is not trusted.
	other, err := redisx.New(redistest.Config(t, "rediss://"+p.Addr()+"?ca="+url.QueryEscape(certificates(t).CA)), logger(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	run(t, other)
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if err := other.WaitReady(ctx); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("ready with a foreign authority: %v", err)
	}
}

// A client's certificate is read again for each connection: one that is renewed
// on disk needs no restart.
func TestClientCertificateRenewed(t *testing.T) {
	t.Parallel()
	files, foreign := certificates(t), certificates(t)
	p := redistest.Process(t, redisproc.ServerOptions{TLS: files})
	admin := p.Client()
	defer admin.Close()
	if err := admin.ConfigSet(t.Context(), "tls-auth-clients", "yes").Err(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	install := func(from *redisproc.TLS) {
		t.Helper()
		for name, file := range map[string]string{"cert.pem": from.Cert, "key.pem": from.Key} {
			pem, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), pem, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	install(foreign)
	query := url.Values{"ca": {files.CA}, "cert": {filepath.Join(dir, "cert.pem")}, "key": {filepath.Join(dir, "key.pem")}}
	r, err := redisx.New(redistest.Config(t, "rediss://"+p.Addr()+"?"+query.Encode()), logger(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	run(t, r)
	within(t, 5*time.Second, "the server refuses the certificate", func() bool {
		err := r.Err()
		return err != nil && strings.Contains(err.Error(), "tls: ")
	})
	install(files)
	within(t, 10*time.Second, "it takes the new one", func() bool { return r.Err() == nil })
}

// certificates makes an authority and a certificate of 127.0.0.1 signed by it.
func certificates(t *testing.T) *redisproc.TLS {
	t.Helper()
	dir := t.TempDir()
	files := &redisproc.TLS{CA: filepath.Join(dir, "ca.pem"), Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caKey := newKey(t)
	sign(t, files.CA, ca, ca, caKey, caKey)
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "redis"},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	key := newKey(t)
	sign(t, files.Cert, cert, ca, key, caKey)
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, files.Key, "EC PRIVATE KEY", der)
	return files
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func sign(t *testing.T, file string, cert, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, cert, parent, &key.PublicKey, parentKey)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, file, "CERTIFICATE", der)
}

func writePEM(t *testing.T, file, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}
