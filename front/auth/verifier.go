package auth

import (
	"context"
	"log/slog"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/homing/homing/hub"
)

// Identity is what a valid token says.
type Identity struct {
	User    hub.UserID
	Service hub.Service  // empty when the token names none
	Expires time.Time    // zero: never
	Topics  *Topics      // nil when the token says nothing of topics
	Friends []hub.UserID // as the token names them; nil when it names none, or they are not read
}

// Topics is what a token says of topics.
type Topics struct {
	Member     []hub.Topic       // the client is a member from the beginning
	MayJoin    hub.TopicPatterns // it may become one
	MayPublish hub.TopicPatterns // it may publish there
}

func (t *Topics) none() bool {
	return len(t.Member) == 0 && len(t.MayJoin) == 0 && len(t.MayPublish) == 0
}

// maxToken bounds the work for one token, in bytes.
const maxToken = 8 << 10

// Verifier checks tokens. It is safe for concurrent use.
type Verifier struct {
	cfg       Config
	parser    *jwt.Parser // checks signatures
	validator *jwt.Validator
	keys      keys
	metrics   *metrics
	friends   bool
}

// ReadFriends has the claim friends read, of at most hub.MaxFriends users. Before
// the first token is checked.
func (v *Verifier) ReadFriends() { v.friends = true }

// New checks cfg and reads the key files. It makes no request: Run fetches the
// key set.
func New(cfg Config, log *slog.Logger, reg prometheus.Registerer) (*Verifier, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	m := newMetrics(reg)
	k, err := loadKeys(&cfg, log, m)
	if err != nil {
		return nil, err
	}
	return &Verifier{
		cfg:       cfg,
		parser:    jwt.NewParser(jwt.WithValidMethods(k.methods()), jwt.WithoutClaimsValidation()),
		validator: jwt.NewValidator(claimOptions(&cfg)...),
		keys:      k, metrics: m,
	}, nil
}

func claimOptions(cfg *Config) []jwt.ParserOption {
	options := []jwt.ParserOption{
		jwt.WithLeeway(cfg.Leeway),
		jwt.WithIssuedAt(), // refuses an 'iat' in the future
	}
	if !cfg.AllowNoExpiry {
		options = append(options, jwt.WithExpirationRequired())
	}
	if cfg.Issuer != "" {
		options = append(options, jwt.WithIssuer(cfg.Issuer))
	}
	if cfg.Audience != "" {
		options = append(options, jwt.WithAudience(cfg.Audience))
	}
	return options
}

// Run keeps the key set of the JWKS URL fresh until ctx ends; it returns nil
// then. Without a URL it only waits. The set that was fetched last stays in
// use while its server is down.
func (v *Verifier) Run(ctx context.Context) error {
	if v.keys.set == nil {
		<-ctx.Done()
		return nil
	}
	v.keys.set.run(ctx)
	return nil
}

// MayWait reports whether Verify may wait: a JWKS URL is configured.
func (v *Verifier) MayWait() bool { return v.keys.set != nil }

// VerifyNow checks a token against the keys known at the moment. It never
// blocks. Its errors wrap an *Error, or ErrKeysUnavailable. An ErrUnknownKey
// may be cured by Verify, when MayWait, and is not counted then.
func (v *Verifier) VerifyNow(token string) (Identity, error) {
	id, err := v.verify(token)
	if !v.MayWait() || !Curable(err) {
		v.metrics.verified(err)
	}
	return id, err
}

// Verify is VerifyNow, except that a token that names an unknown key waits for
// one fetch of the key set, until ctx ends at the latest. Fetches are shared,
// and at least jwks-min-interval apart: within it, such a token is refused at
// once, and the fetch follows. Run must be running.
func (v *Verifier) Verify(ctx context.Context, token string) (Identity, error) {
	started := time.Now()
	id, err := v.verify(token)
	if v.MayWait() && Curable(err) && v.keys.set.refetched(ctx, started) {
		id, err = v.verify(token)
	}
	v.metrics.verified(err)
	return id, err
}

func (v *Verifier) verify(token string) (Identity, error) {
	if token == "" {
		return Identity{}, ErrMissing
	}
	if len(token) > maxToken {
		return Identity{}, ErrMalformed.because("%d bytes, want at most %d", len(token), maxToken)
	}
	c := claims{wantsFriends: v.friends}
	q := query{keys: &v.keys}
	if _, err := v.parser.ParseWithClaims(token, &c, q.find); err != nil {
		return Identity{}, q.explain(err)
	}
	return v.identity(&c)
}

// identity checks the claims of a token whose signature is right.
func (v *Verifier) identity(c *claims) (Identity, error) {
	if err := c.decode(); err != nil {
		return Identity{}, err
	}
	if err := v.validator.Validate(c); err != nil {
		return Identity{}, c.reasonOf(err, &v.cfg)
	}
	if err := v.checkAge(c.issued); err != nil {
		return Identity{}, err
	}
	id := Identity{User: c.user, Service: c.service, Friends: c.friends}
	if !c.topics.none() {
		id.Topics = &c.topics
	}
	if c.expires != nil {
		id.Expires = c.expires.Time
	}
	return id, nil
}

func (v *Verifier) checkAge(issued *jwt.NumericDate) error {
	if v.cfg.MaxAge == 0 {
		return nil
	}
	if issued == nil {
		return ErrBadClaims.because("iat: missing")
	}
	if age := since(issued); age > v.cfg.MaxAge+v.cfg.Leeway {
		return ErrExpired.because("iat was %v ago, want at most %v", age, v.cfg.MaxAge)
	}
	return nil
}
