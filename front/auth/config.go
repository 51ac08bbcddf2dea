package auth

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"time"
)

// Config says whom to trust. At least one of HS256SecretFile, PublicKeyFiles,
// JWKSURL and Secret is needed: there is no default.
type Config struct {
	HS256SecretFile string        `name:"hs256-secret-file" help:"File with the secret of HS256 tokens, at least 32 bytes; used as it is, without line breaks at its end." type:"path" placeholder:"FILE"`
	PublicKeyFiles  []string      `name:"public-key-file" help:"PEM file with public keys of RS256 (2048 bits or more) and ES256 (P-256) tokens. Repeatable." type:"path" placeholder:"FILE"`
	JWKSURL         string        `name:"jwks-url" help:"URL of a JSON Web Key Set with keys of RS256 and ES256 tokens; https, or http on loopback; redirects likewise, at most 3. At most 64 usable keys. It is fetched at the start, then regularly, and when a token names an unknown key." placeholder:"URL"`
	JWKSRefresh     time.Duration `name:"jwks-refresh" help:"How often the key set is fetched." default:"10m"`
	JWKSMinInterval time.Duration `name:"jwks-min-interval" help:"Least time between two fetches, however many tokens name unknown keys; also the pause after a failed one." default:"5s"`
	JWKSTimeout     time.Duration `name:"jwks-timeout" help:"How long one fetch of the key set may take." default:"5s"`
	Issuer          string        `name:"issuer" help:"Required 'iss' claim. Empty: any."`
	Audience        string        `name:"audience" help:"Required 'aud' claim, one of the token's. Empty: any."`
	Leeway          time.Duration `name:"leeway" help:"Clock difference allowed for 'exp', 'nbf' and 'iat'. 0: none." default:"30s"`
	MaxAge          time.Duration `name:"max-age" help:"Oldest token accepted, by its 'iat' claim, which is then required. 0: any age." default:"0s"`
	AllowNoExpiry   bool          `name:"allow-no-expiry" help:"Accept tokens without an 'exp' claim, which are valid for ever."`

	// Secret is an HS256 secret from memory, for development and tests. It
	// goes before HS256SecretFile.
	Secret []byte `kong:"-" yaml:"-" json:"-"`
}

// minSecret is the size of the HMAC: RFC 7518 §3.2 allows no shorter key.
const minSecret = 32

// Validate reports the first setting that cannot work. It opens no file.
func (c *Config) Validate() error {
	if c.HS256SecretFile == "" && len(c.PublicKeyFiles) == 0 && c.JWKSURL == "" && len(c.Secret) == 0 {
		return errors.New("auth: no key to check players' tokens with: name a public key (auth.public-key-file), " +
			"a key set (auth.jwks-url), or a secret shared with whoever signs the tokens (auth.hs256-secret-file; " +
			"make one with `homing token secret > FILE` or `openssl rand -base64 48 > FILE`)")
	}
	if n := len(c.Secret); n > 0 && n < minSecret {
		return fmt.Errorf("auth.secret: %d bytes: want at least %d", n, minSecret)
	}
	if c.Leeway < 0 {
		return fmt.Errorf("auth.leeway: %v: want 0 or more", c.Leeway)
	}
	if c.MaxAge < 0 {
		return fmt.Errorf("auth.max-age: %v: want 0 or more", c.MaxAge)
	}
	if c.JWKSURL == "" {
		return nil
	}
	return c.validateJWKS()
}

func (c *Config) validateJWKS() error {
	if err := checkURL(c.JWKSURL); err != nil {
		return fmt.Errorf("auth.jwks-url: %s: %w", redacted(c.JWKSURL), err)
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"jwks-refresh", c.JWKSRefresh},
		{"jwks-min-interval", c.JWKSMinInterval},
		{"jwks-timeout", c.JWKSTimeout},
	} {
		if d.value <= 0 {
			return fmt.Errorf("auth.%s: %v: want more than 0", d.name, d.value)
		}
	}
	if c.JWKSRefresh < c.JWKSMinInterval {
		return fmt.Errorf("auth.jwks-refresh: %v: want at least auth.jwks-min-interval, %v", c.JWKSRefresh, c.JWKSMinInterval)
	}
	return nil
}

// redacted is a URL for people to read, without a password.
func redacted(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return "(not shown)"
	}
	return u.Redacted()
}

// checkURL refuses plain HTTP over a network: whoever answers in the server's
// place could sign tokens for any player.
func checkURL(s string) error {
	u, err := url.Parse(s)
	if err != nil {
		return errors.New("not a URL")
	}
	if u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return errors.New("want https://HOST/PATH")
	}
	if u.Scheme == "https" || u.Hostname() == "localhost" {
		return nil
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil && ip.IsLoopback() {
		return nil
	}
	return errors.New("want https: plain http is for loopback only")
}
