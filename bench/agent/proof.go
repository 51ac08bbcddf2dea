package agent

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// MinSecret is how many bytes the shared secret has at least: whoever records
// a handshake may try secrets against it for as long as he likes.
const MinSecret = 32

// ErrSecret marks a secret that is too short, or not the other end's.
var ErrSecret = errors.New("agent secret")

func checkSecret(secret []byte) error {
	if len(secret) < MinSecret {
		return fmt.Errorf("%w of %d bytes: want at least %d, as `homing token secret` makes them", ErrSecret, len(secret), MinSecret)
	}
	return nil
}

// The two ends prove themselves under different names, so that neither can
// be sent its own proof.
const (
	coordinator = "homing bench coordinator"
	agent       = "homing bench agent"
)

// proof is what the named end sends to show that it knows the secret.
func proof(c *tls.Conn, secret []byte, end string) ([]byte, error) {
	state := c.ConnectionState()
	unique, err := state.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, sha256.Size) // RFC 9266
	if err != nil {
		return nil, fmt.Errorf("bind to the connection: %w", err)
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(end))
	mac.Write(unique)
	return mac.Sum(nil), nil
}

// prove checks the other end's proof.
func prove(c *tls.Conn, secret []byte, end string, got []byte) error {
	want, err := proof(c, secret, end)
	if err != nil {
		return err
	}
	if !hmac.Equal(got, want) {
		return fmt.Errorf("%w: the other end's is another one", ErrSecret)
	}
	return nil
}

// serverTLS has a certificate that lives as long as the agent and is signed
// by nobody.
func serverTLS() (*tls.Config, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().AddDate(10, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make a certificate: %w", err)
	}
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Certificates:           []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		SessionTicketsDisabled: true,
	}, nil
}

// clientTLS accepts any certificate: the proofs decide whom we talk to.
func clientTLS() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true} //nolint:gosec // both ends prove the secret, bound to this very session
}
