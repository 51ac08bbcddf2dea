package webhook

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// The bounds of what a file of secrets may have.
const (
	maxSecrets     = 8
	maxSecretsFile = 16 << 10
	minSecret      = 24 // bytes, as the convention recommends
	maxSecret      = 64
)

// secretPrefix begins a secret.
const secretPrefix = "whsec_"

// NewSecret draws a secret of 32 bytes.
func NewSecret() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand.Read crashes the program instead
	return secretPrefix + base64.StdEncoding.EncodeToString(b[:])
}

// signers sign with every secret of a file.
type signers []*standardwebhooks.Webhook

// parse reads a file of secrets: one a line; empty lines and those that begin
// with # are passed over. No error quotes a secret.
func parse(file []byte) (signers, error) {
	var all signers
	for i, line := range strings.Split(string(file), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		s, err := parseSecret(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		all = append(all, s)
	}
	if len(all) == 0 || len(all) > maxSecrets {
		return nil, fmt.Errorf("%d secrets, want 1 to %d, one a line", len(all), maxSecrets)
	}
	return all, nil
}

func parseSecret(text string) (*standardwebhooks.Webhook, error) {
	encoded, ok := strings.CutPrefix(text, secretPrefix)
	if !ok {
		return nil, errors.New("want whsec_ and base64: homing hook secret makes one")
	}
	raw, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, errors.New("what follows whsec_ is not base64")
	}
	if len(raw) < minSecret || len(raw) > maxSecret {
		return nil, fmt.Errorf("a secret of %d bytes, want %d to %d", len(raw), minSecret, maxSecret)
	}
	return standardwebhooks.NewWebhookRaw(raw)
}

// sign returns the value of the header webhook-signature.
func (all signers) sign(id string, at time.Time, body []byte) (string, error) {
	signatures := make([]string, 0, len(all))
	for _, s := range all {
		text, err := s.Sign(id, at, body)
		if err != nil {
			return "", fmt.Errorf("sign event %s: %w", id, err)
		}
		signatures = append(signatures, text)
	}
	return strings.Join(signatures, " "), nil
}

// readSecrets reads a file of secrets, and returns its bytes too.
func readSecrets(name string) (signers, []byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, nil, err
	}
	if info.Size() > maxSecretsFile {
		return nil, nil, fmt.Errorf("%s: %d bytes, want at most %d", name, info.Size(), maxSecretsFile)
	}
	b, err := os.ReadFile(name) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, nil, err
	}
	all, err := parse(b)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", name, err)
	}
	return all, b, nil
}
