package auth

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

const (
	algHS256 = "HS256"
	algRS256 = "RS256"
	algES256 = "ES256"
)

// minRSA is the least modulus in bits that RFC 7518 §3.3 allows.
const minRSA = 2048

// maxRSA bounds the work for one signature: what a modulus costs grows with
// the square of its size.
const maxRSA = 8192

// keys are all keys that tokens may be signed with. Each serves one algorithm,
// so that a public key is never taken for an HMAC secret.
type keys struct {
	secret []byte
	files  map[string][]jwt.VerificationKey // from PEM files, by algorithm
	set    *keySet                          // nil without a JWKS URL
}

func loadKeys(cfg *Config, log *slog.Logger, m *metrics) (keys, error) {
	k := keys{secret: cfg.Secret, files: make(map[string][]jwt.VerificationKey)}
	if len(k.secret) == 0 && cfg.HS256SecretFile != "" {
		secret, err := readSecret(cfg.HS256SecretFile)
		if err != nil {
			return keys{}, fmt.Errorf("auth.hs256-secret-file: %w", err)
		}
		k.secret = secret
	}
	for _, name := range cfg.PublicKeyFiles {
		if err := k.addFile(name); err != nil {
			return keys{}, fmt.Errorf("auth.public-key-file: %s: %w", name, err)
		}
	}
	if cfg.JWKSURL != "" {
		k.set = newKeySet(cfg, log, m)
	}
	return k, nil
}

func readSecret(name string) ([]byte, error) {
	secret, err := os.ReadFile(name) //nolint:gosec // the operator names the file
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w; make one with `homing token secret`", err)
	}
	if err != nil {
		return nil, err
	}
	secret = bytes.TrimRight(secret, "\r\n")
	if len(secret) < minSecret {
		return nil, fmt.Errorf("%s: %d bytes: want at least %d; make one with `homing token secret`", name, len(secret), minSecret)
	}
	return secret, nil
}

func (k *keys) addFile(name string) error {
	rest, err := os.ReadFile(name) //nolint:gosec // the operator names the file
	if err != nil {
		return err
	}
	for found := false; ; found = true {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			if !found {
				return errors.New("no PEM block")
			}
			return nil
		}
		key, err := parseBlock(block)
		if err != nil {
			return err
		}
		alg, err := algOf(key)
		if err != nil {
			return err
		}
		k.files[alg] = append(k.files[alg], key)
	}
}

func parseBlock(block *pem.Block) (any, error) {
	switch {
	case block.Type == "PUBLIC KEY":
		return x509.ParsePKIXPublicKey(block.Bytes)
	case block.Type == "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	case strings.HasSuffix(block.Type, "PRIVATE KEY"):
		return nil, errors.New("a private key has no place here: give its public half, as from `openssl pkey -in KEY -pubout`")
	default:
		return nil, fmt.Errorf("PEM block %q: want PUBLIC KEY", block.Type)
	}
}

// algOf returns the one algorithm that we use key for.
func algOf(key any) (string, error) {
	switch key := key.(type) {
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < minRSA || bits > maxRSA {
			return "", fmt.Errorf("RSA key of %d bits: want %d to %d", bits, minRSA, maxRSA)
		}
		return algRS256, nil
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() {
			return "", fmt.Errorf("key on curve %s: want P-256", key.Curve.Params().Name)
		}
		return algES256, nil
	default:
		return "", fmt.Errorf("%T: want an RSA or ECDSA public key", key)
	}
}

// methods are the algorithms that there can be keys for. "none" never is.
func (k *keys) methods() []string {
	var out []string
	if len(k.secret) > 0 {
		out = append(out, algHS256)
	}
	for _, alg := range []string{algRS256, algES256} {
		if len(k.files[alg]) > 0 || k.set != nil {
			out = append(out, alg)
		}
	}
	return out
}

// query is the look-up of one token's key.
type query struct {
	keys *keys
	// missing says that the key set does not have the key that the token
	// names, why so: ErrUnknownKey or ErrKeysUnavailable.
	missing error
}

// find returns the key or keys that may have signed a token (a jwt.Keyfunc).
// Only algorithms of keys.methods get here.
func (q *query) find(token *jwt.Token) (any, error) {
	if _, ok := token.Header["crit"]; ok { // RFC 7515 §4.1.11: we understand none
		return nil, ErrMalformed.because("the header names extensions (crit), and none is understood")
	}
	alg := token.Method.Alg()
	if alg == algHS256 {
		return q.keys.secret, nil
	}
	candidates := q.keys.files[alg]
	if q.keys.set != nil {
		key, err := q.keys.set.find(token)
		if err == nil {
			return key, nil
		}
		q.missing = err
		if len(candidates) == 0 {
			return nil, err
		}
	}
	return jwt.VerificationKeySet{Keys: candidates}, nil
}

// explain wraps the parser's error with its reason. A token whose key is not
// in the set, and that no key from a file fits either, has an unknown key.
func (q *query) explain(err error) error {
	reason := reasonOf(err)
	if q.missing != nil && (errors.Is(reason, ErrBadSignature) || errors.Is(err, q.missing)) {
		reason = q.missing
	}
	if errors.Is(err, reason) {
		return err
	}
	return fmt.Errorf("%w: %w", reason, err)
}
