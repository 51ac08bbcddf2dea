package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/golang-jwt/jwt/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	testSecret = []byte("0123456789abcdef0123456789abcdef")
	rsaKey     = must(rsa.GenerateKey(rand.Reader, 2048))
	ecKey      = must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// defaults is the configuration of somebody who sets nothing.
func defaults(tb testing.TB) Config {
	tb.Helper()
	var cfg Config
	if err := kong.ApplyDefaults(&cfg); err != nil && !strings.Contains(err.Error(), "no key") {
		tb.Fatal(err)
	}
	return cfg
}

// discard is a log for nobody.
var discard = slog.New(slog.DiscardHandler)

func newVerifier(tb testing.TB, cfg Config) *Verifier {
	tb.Helper()
	v, err := New(cfg, discard, prometheus.NewRegistry())
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

// claimsWith are those of a good token, changed.
func claimsWith(changes jwt.MapClaims) jwt.MapClaims {
	now := time.Now().Unix()
	c := jwt.MapClaims{"sub": "alice", "svc": "chess", "iat": now - 10, "exp": now + 60, "aud": "homing", "iss": "accounts"}
	for k, v := range changes {
		if v == nil {
			delete(c, k)
		} else {
			c[k] = v
		}
	}
	return c
}

func sign(tb testing.TB, method jwt.SigningMethod, key any, c jwt.MapClaims, header ...string) string {
	tb.Helper()
	token := jwt.NewWithClaims(method, c)
	for i := 0; i < len(header); i += 2 {
		token.Header[header[i]] = header[i+1]
	}
	signed, err := token.SignedString(key)
	if err != nil {
		tb.Fatal(err)
	}
	return signed
}

func hs256(tb testing.TB, changes jwt.MapClaims) string {
	return sign(tb, jwt.SigningMethodHS256, testSecret, claimsWith(changes))
}

func TestVerifyHS256(t *testing.T) {
	now := time.Now().Unix()
	good := hs256(t, nil)
	parts := strings.Split(good, ".")
	for _, c := range []struct {
		name   string
		token  string
		change func(*Config)
		want   error
	}{
		{name: "good", token: good},
		{name: "without a service", token: hs256(t, jwt.MapClaims{"svc": nil})},
		{name: "expired within the leeway", token: hs256(t, jwt.MapClaims{"exp": now - 20})},
		{name: "audience among several", token: hs256(t, jwt.MapClaims{"aud": []string{"x", "homing"}}), change: func(c *Config) { c.Audience = "homing" }},
		{name: "issuer", token: good, change: func(c *Config) { c.Issuer = "accounts" }},
		{name: "no expiry, allowed", token: hs256(t, jwt.MapClaims{"exp": nil}), change: func(c *Config) { c.AllowNoExpiry = true }},
		{name: "young enough", token: good, change: func(c *Config) { c.MaxAge = time.Minute }},

		{name: "nothing", token: "", want: ErrMissing},
		{name: "no JWT", token: "hello", want: ErrMalformed},
		{name: "two parts", token: parts[0] + "." + parts[1], want: ErrMalformed},
		{name: "four parts", token: good + ".x", want: ErrMalformed},
		{name: "not base64", token: "!" + good, want: ErrMalformed},
		{name: "not JSON", token: base64.RawURLEncoding.EncodeToString([]byte("{")) + "." + parts[1] + "." + parts[2], want: ErrMalformed},
		{name: "very long", token: good + strings.Repeat("a", maxToken), want: ErrMalformed},
		{name: "critical header", token: sign(t, jwt.SigningMethodHS256, testSecret, claimsWith(nil), "crit", "b64"), want: ErrMalformed},
		{name: "sub not a string", token: hs256(t, jwt.MapClaims{"sub": true}), want: ErrBadClaims},
		{name: "changed claims", token: parts[0] + "." + strings.Split(hs256(t, jwt.MapClaims{"sub": "bob"}), ".")[1] + "." + parts[2], want: ErrBadSignature},
		{name: "no signature", token: parts[0] + "." + parts[1] + ".", want: ErrBadSignature},
		{name: "another secret", token: sign(t, jwt.SigningMethodHS256, []byte(strings.Repeat("x", 32)), claimsWith(nil)), want: ErrBadSignature},
		{name: "alg none", token: sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, claimsWith(nil)), want: ErrBadSignature},
		{name: "HS512", token: sign(t, jwt.SigningMethodHS512, testSecret, claimsWith(nil)), want: ErrBadSignature},
		{name: "RS256", token: sign(t, jwt.SigningMethodRS256, rsaKey, claimsWith(nil)), want: ErrBadSignature},
		{name: "unknown alg", token: base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"XS1"}`)) + "." + parts[1] + "." + parts[2], want: ErrBadSignature},
		{name: "expired", token: hs256(t, jwt.MapClaims{"exp": now - 40}), want: ErrExpired},
		{name: "expired, without leeway", token: hs256(t, jwt.MapClaims{"exp": now - 2}), change: func(c *Config) { c.Leeway = 0 }, want: ErrExpired},
		{name: "too old", token: hs256(t, jwt.MapClaims{"iat": now - 200}), change: func(c *Config) { c.MaxAge = time.Minute }, want: ErrExpired},
		{name: "age unknown", token: hs256(t, jwt.MapClaims{"iat": nil}), change: func(c *Config) { c.MaxAge = time.Minute }, want: ErrBadClaims},
		{name: "not yet", token: hs256(t, jwt.MapClaims{"nbf": now + 40}), want: ErrNotYetValid},
		{name: "issued tomorrow", token: hs256(t, jwt.MapClaims{"iat": now + 86400}), want: ErrNotYetValid},
		{name: "no expiry", token: hs256(t, jwt.MapClaims{"exp": nil}), want: ErrBadClaims},
		{name: "no user", token: hs256(t, jwt.MapClaims{"sub": nil}), want: ErrBadClaims},
		{name: "bad user", token: hs256(t, jwt.MapClaims{"sub": "a b"}), want: ErrBadClaims},
		{name: "bad service", token: hs256(t, jwt.MapClaims{"svc": "Chess!"}), want: ErrBadClaims},
		{name: "another audience, and expired", token: hs256(t, jwt.MapClaims{"aud": "x", "exp": now - 99}), change: func(c *Config) { c.Audience = "homing" }, want: ErrBadClaims},
		{name: "no audience", token: hs256(t, jwt.MapClaims{"aud": nil}), change: func(c *Config) { c.Audience = "homing" }, want: ErrBadClaims},
		{name: "another issuer", token: good, change: func(c *Config) { c.Issuer = "x" }, want: ErrBadClaims},
	} {
		cfg := defaults(t)
		cfg.Secret = testSecret
		if c.change != nil {
			c.change(&cfg)
		}
		v := newVerifier(t, cfg)
		id, err := v.Verify(t.Context(), c.token)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		if (err == nil) != (id.User == "alice") || err != nil && !reflect.DeepEqual(id, Identity{}) {
			t.Errorf("%s: identity %+v, %v", c.name, id, err)
		}
		if n := testutil.ToFloat64(v.metrics.tokens.WithLabelValues(Code(c.want))); n != 1 {
			t.Errorf("%s: counted %v times as %s", c.name, n, Code(c.want))
		}
	}
}

func TestIdentityIsWhatTheTokenSays(t *testing.T) {
	cfg := defaults(t)
	cfg.Secret = testSecret
	v := newVerifier(t, cfg)
	want := Identity{User: "alice", Service: "chess", Expires: time.Unix(time.Now().Unix()+60, 0)}
	if id, err := v.VerifyNow(hs256(t, jwt.MapClaims{"exp": want.Expires.Unix()})); err != nil || !reflect.DeepEqual(id, want) {
		t.Errorf("%+v, %v; want %+v", id, err, want)
	}
	if v.MayWait() {
		t.Error("a secret needs no waiting")
	}
}

func TestMintedTokensVerify(t *testing.T) {
	cfg := defaults(t)
	cfg.Secret, cfg.MaxAge = testSecret, time.Minute
	v := newVerifier(t, cfg)
	token, err := Mint(testSecret, Identity{User: "bob", Service: "go"}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	id, err := v.VerifyNow(token)
	if left := time.Until(id.Expires); err != nil || id.User != "bob" || id.Service != "go" || left < 50*time.Second || left > time.Minute {
		t.Errorf("%+v, %v", id, err)
	}
	for name, mint := range map[string]func() (string, error){
		"short secret": func() (string, error) { return Mint([]byte("short"), Identity{User: "bob"}, time.Minute) },
		"no time":      func() (string, error) { return Mint(testSecret, Identity{User: "bob"}, 0) },
		"no user":      func() (string, error) { return Mint(testSecret, Identity{}, time.Minute) },
		"bad service":  func() (string, error) { return Mint(testSecret, Identity{User: "bob", Service: "A"}, time.Minute) },
	} {
		if token, err := mint(); err == nil || token != "" {
			t.Errorf("%s: %q, want an error", name, token)
		}
	}
}

func writeFile(tb testing.TB, name string, data []byte) string {
	tb.Helper()
	name = filepath.Join(tb.TempDir(), name)
	if err := os.WriteFile(name, data, 0o600); err != nil {
		tb.Fatal(err)
	}
	return name
}

func publicPEM(tb testing.TB, keys ...crypto.Signer) []byte {
	tb.Helper()
	var out []byte
	for _, key := range keys {
		der, err := x509.MarshalPKIXPublicKey(key.Public())
		if err != nil {
			tb.Fatal(err)
		}
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})...)
	}
	return out
}

func TestKeysFromFiles(t *testing.T) {
	otherRSA := must(rsa.GenerateKey(rand.Reader, 2048))
	pkcs1 := pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&otherRSA.PublicKey)})
	cfg := defaults(t)
	cfg.HS256SecretFile = writeFile(t, "secret", append(testSecret, "\r\n"...))
	cfg.PublicKeyFiles = []string{writeFile(t, "two.pem", publicPEM(t, rsaKey, ecKey)), writeFile(t, "one.pem", pkcs1)}
	v := newVerifier(t, cfg)
	strangerRSA, strangerEC := must(rsa.GenerateKey(rand.Reader, 2048)), must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	for name, c := range map[string]struct {
		method jwt.SigningMethod
		key    any
		want   error
	}{
		"HS256":        {jwt.SigningMethodHS256, testSecret, nil},
		"RS256":        {jwt.SigningMethodRS256, rsaKey, nil},
		"second RS256": {jwt.SigningMethodRS256, otherRSA, nil},
		"ES256":        {jwt.SigningMethodES256, ecKey, nil},

		"stranger's RS256": {jwt.SigningMethodRS256, strangerRSA, ErrBadSignature},
		"stranger's ES256": {jwt.SigningMethodES256, strangerEC, ErrBadSignature},
		"RS512":            {jwt.SigningMethodRS512, rsaKey, ErrBadSignature},
		"PS256":            {jwt.SigningMethodPS256, rsaKey, ErrBadSignature},
		"public key taken for a secret": {
			jwt.SigningMethodHS256, publicPEM(t, rsaKey), ErrBadSignature,
		},
	} {
		if _, err := v.VerifyNow(sign(t, c.method, c.key, claimsWith(nil), "kid", "any")); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestFilesThatCannotServe(t *testing.T) {
	private := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: must(x509.MarshalECPrivateKey(ecKey))})
	small := must(rsa.GenerateKey(rand.Reader, 1024))
	p384 := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	for name, c := range map[string]struct {
		secret, public []byte
		want           string
	}{
		"short secret": {secret: []byte("short\n"), want: "auth.hs256-secret-file: "},
		"not PEM":      {public: []byte("hello"), want: "no PEM block"},
		"not a key":    {public: pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("x")}), want: "auth.public-key-file: "},
		"private key":  {public: private, want: "-pubout"},
		"certificate":  {public: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE"}), want: "want PUBLIC KEY"},
		"small RSA":    {public: publicPEM(t, small), want: "1024 bits: want 2048 to 8192"},
		"P-384":        {public: publicPEM(t, rsaKey, p384), want: "P-384: want P-256"},
	} {
		cfg := defaults(t)
		if c.secret != nil {
			cfg.HS256SecretFile = writeFile(t, "secret", c.secret)
		} else {
			cfg.PublicKeyFiles = []string{writeFile(t, "key.pem", c.public)}
		}
		if _, err := New(cfg, discard, prometheus.NewRegistry()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q in it", name, err, c.want)
		}
	}
	for name, cfg := range map[string]Config{
		"secret": {HS256SecretFile: "/does/not/exist"}, "key": {PublicKeyFiles: []string{"/does/not/exist"}},
	} {
		if _, err := New(cfg, discard, prometheus.NewRegistry()); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("missing %s file: %v", name, err)
		} else if name == "secret" && !strings.Contains(err.Error(), "homing token secret") {
			t.Errorf("missing secret: %v: how is one made?", err)
		}
	}
}

func TestConfigNamesWhatIsWrong(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"":                     func(*Config) {},
		"auth: no key":         func(c *Config) { c.Secret = nil },
		"auth.secret: 5 bytes": func(c *Config) { c.Secret = []byte("short") },
		"auth.leeway: -1s":     func(c *Config) { c.Leeway = -time.Second },
		"auth.max-age: -1s":    func(c *Config) { c.MaxAge = -time.Second },
		`auth.jwks-url: http://accounts/jwks: want https`:      func(c *Config) { c.JWKSURL = "http://accounts/jwks" },
		`auth.jwks-url: /jwks: want https://`:                  func(c *Config) { c.JWKSURL = "/jwks" },
		`auth.jwks-url: (not shown): not a URL`:                func(c *Config) { c.JWKSURL = "http://%zz" },
		`auth.jwks-url: http://us:xxxxx@accounts/: want https`: func(c *Config) { c.JWKSURL = "http://us:secret@accounts/" },
		"auth.jwks-timeout: 0s":                                func(c *Config) { c.JWKSURL, c.JWKSTimeout = "https://x/", 0 },
		"auth.jwks-refresh: 1s: want at least":                 func(c *Config) { c.JWKSURL, c.JWKSRefresh = "https://x/", time.Second },
	} {
		cfg := defaults(t)
		cfg.Secret = testSecret
		change(&cfg)
		err := cfg.Validate()
		if got := fmt.Sprint(err); want == "" && err != nil || want != "" && !strings.HasPrefix(got, want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	cfg := defaults(t)
	if err := cfg.Validate(); !strings.Contains(err.Error(), "openssl rand") || !strings.Contains(err.Error(), "homing token") {
		t.Errorf("nothing configured: %v: does not say how to make a secret", err)
	}
	for _, u := range []string{"http://127.0.0.1:8080/jwks", "http://[::1]/jwks", "http://localhost/jwks", "https://accounts/jwks"} {
		if err := checkURL(u); err != nil {
			t.Errorf("%s: %v", u, err)
		}
	}
}

// TestFlags reads the configuration as the program does.
func TestFlags(t *testing.T) {
	var cli struct {
		Auth Config `embed:"" prefix:"auth-"`
	}
	p, err := kong.New(&cli)
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Parse([]string{"--auth-hs256-secret-file=/s", "--auth-public-key-file=/a.pem", "--auth-public-key-file=/b.pem", "--auth-max-age=1h", "--auth-allow-no-expiry"})
	if a := cli.Auth; err != nil || a.HS256SecretFile != "/s" || strings.Join(a.PublicKeyFiles, " ") != "/a.pem /b.pem" ||
		a.MaxAge != time.Hour || !a.AllowNoExpiry || a.Leeway != 30*time.Second {
		t.Errorf("%+v, %v", a, err)
	}
	if _, err := p.Parse(nil); err == nil || !strings.Contains(err.Error(), "auth: no key") {
		t.Errorf("no flags: %v", err)
	}
}

func TestCodesAreStable(t *testing.T) {
	for err, want := range map[error]string{
		nil:                                     "ok",
		ErrMissing:                              "token_missing",
		ErrMalformed:                            "token_malformed",
		ErrExpired:                              "token_expired",
		ErrNotYetValid:                          "token_not_yet_valid",
		ErrBadSignature:                         "token_bad_signature",
		ErrUnknownKey:                           "token_unknown_key",
		fmt.Errorf("token: %w", ErrBadClaims):   "token_bad_claims",
		fmt.Errorf("x: %w", ErrKeysUnavailable): "keys_unavailable",
		errors.New("other"):                     "internal",
	} {
		if got := Code(err); got != want {
			t.Errorf("%v: %s, want %s", err, got, want)
		}
	}
}

func FuzzVerify(f *testing.F) {
	cfg := defaults(f)
	cfg.Secret, cfg.PublicKeyFiles = testSecret, []string{writeFile(f, "key.pem", publicPEM(f, rsaKey, ecKey))}
	v := newVerifier(f, cfg)
	f.Add(hs256(f, nil))
	f.Add(sign(f, jwt.SigningMethodES256, ecKey, claimsWith(nil), "kid", "a"))
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, token string) {
		id, err := v.VerifyNow(token)
		if (err == nil) != (id.User != "") || Code(err) == "internal" {
			t.Fatalf("%+v, %v", id, err)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	cfg := defaults(b)
	cfg.Secret, cfg.PublicKeyFiles = testSecret, []string{writeFile(b, "key.pem", publicPEM(b, rsaKey, ecKey))}
	v := newVerifier(b, cfg)
	for name, token := range map[string]string{
		"HS256": hs256(b, nil),
		"RS256": sign(b, jwt.SigningMethodRS256, rsaKey, claimsWith(nil)),
		"ES256": sign(b, jwt.SigningMethodES256, ecKey, claimsWith(nil)),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.VerifyNow(token); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
