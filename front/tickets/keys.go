package tickets

import (
	"bytes"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"os"
	"time"
)

const (
	// Period is how long new tickets are sealed with one key.
	Period = 12 * time.Hour
	// kept is how many keys before the present one open tickets still.
	kept = 2
	// MinSecret is the least length of a shared secret, in bytes.
	MinSecret = 32
	keySize   = 32
	// maxKeys is how many keys Parse takes.
	maxKeys = 8
)

// Keys are session ticket keys as tls.Config.SetSessionTicketKeys takes them:
// the first seals, all of them open.
type Keys [][keySize]byte

// Encode makes one printable word of k, which Parse reads.
func (k Keys) Encode() string {
	var b []byte
	for i := range k {
		b = append(b, k[i][:]...)
	}
	return base64.RawStdEncoding.EncodeToString(b)
}

// Parse reads what Encode has made: 1 to 8 keys.
func Parse(text string) (Keys, error) {
	b, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil || len(b) == 0 || len(b)%keySize != 0 || len(b) > maxKeys*keySize {
		return nil, fmt.Errorf("ticket keys: %d characters: want base64 of 1 to %d keys of %d bytes", len(text), maxKeys, keySize)
	}
	var k Keys
	for ; len(b) > 0; b = b[keySize:] {
		k = append(k, [keySize]byte(b))
	}
	return k, nil
}

func period(now time.Time) uint64 { return uint64(now.Unix()) / uint64(Period/time.Second) }

// Random makes keys that nobody else knows. The zero value is ready. One
// goroutine owns it.
type Random struct {
	made uint64 // the period of the first key
	keys Keys
}

// At returns the keys for the time now, which must not go back. A key that is
// not among them any more is forgotten.
func (r *Random) At(now time.Time) (Keys, error) {
	if p := period(now); p > r.made || r.keys == nil {
		r.made = p
		var fresh [keySize]byte
		_, _ = rand.Read(fresh[:]) // never fails: it ends the program instead
		r.keys = append(Keys{fresh}, r.keys[:min(len(r.keys), kept)]...)
	}
	return r.keys, nil
}

// Shared derives keys from a secret in a file, so that machines that hold the
// same secret and whose clocks agree to within half a day resume each other's
// sessions. One goroutine owns it.
type Shared struct{ File string }

// At reads the file and returns the keys for the time now. The key of the next
// period opens tickets already, for machines whose clock is ahead.
func (s Shared) At(now time.Time) (Keys, error) {
	secret, err := s.read()
	if err != nil {
		return nil, err
	}
	p := period(now)
	var out Keys
	for _, at := range []uint64{p, p + 1, p - 1, p - 2} {
		key, err := hkdf.Key(sha256.New, secret, nil, "homing session tickets "+string(binary.BigEndian.AppendUint64(nil, at)), keySize)
		if err != nil {
			return nil, fmt.Errorf("derive a ticket key: %w", err)
		}
		out = append(out, [keySize]byte(key))
	}
	return out, nil
}

func (s Shared) read() ([]byte, error) {
	secret, err := os.ReadFile(s.File)
	if err != nil {
		return nil, fmt.Errorf("front.tls-ticket-keys: %w", err)
	}
	secret = bytes.TrimRight(secret, "\r\n")
	if len(secret) < MinSecret {
		return nil, fmt.Errorf("front.tls-ticket-keys: %s: %d bytes: want at least %d; make them with `homing token secret`", s.File, len(secret), MinSecret)
	}
	return secret, nil
}
