package stack

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"time"
)

// TLSAddr is where the front listens for TLS, host:port.
func (f *Front) TLSAddr() string { return f.addr(f.tls) }

// tlsFlags writes a certificate and returns the front's flags for it; none
// without Options.TLS.
func (f *Front) tlsFlags() ([]string, error) {
	if !f.opts.TLS {
		return nil, nil
	}
	cert, key := f.dir.file("front.crt"), f.dir.file("front.key")
	if err := writeCertificate(cert, key); err != nil {
		return nil, fmt.Errorf("make a certificate for the front: %w", err)
	}
	return []string{"--front-tls-listen", f.TLSAddr(), "--front-tls-cert", cert, "--front-tls-key", key}, nil
}

func writeCertificate(certFile, keyFile string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err //nolint:wrapcheck // tlsFlags says what it is for
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 0, 7),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err //nolint:wrapcheck // likewise
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err //nolint:wrapcheck // likewise
	}
	if err := os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		return err //nolint:wrapcheck // likewise
	}
	return os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600) //nolint:wrapcheck // likewise
}
