package auth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// accounts is a JWKS server whose answer the test changes.
type accounts struct {
	*httptest.Server
	mu      sync.Mutex
	body    string        // guarded by mu
	status  int           // guarded by mu
	hold    chan struct{} // guarded by mu: answers wait until it is closed
	fetches int           // guarded by mu
}

func newAccounts(t *testing.T, keys map[string]crypto.Signer) *accounts {
	t.Helper()
	a := &accounts{body: setOf(t, keys), status: http.StatusOK}
	a.Server = httptest.NewServer(a)
	t.Cleanup(a.Close)
	return a
}

func (a *accounts) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	a.fetches++
	body, status, hold := a.body, a.status, a.hold
	a.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-r.Context().Done():
			return
		}
	}
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body))
}

func (a *accounts) answer(status int, body string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.status, a.body = status, body
}

// stall makes answers wait until the returned function is called.
func (a *accounts) stall() (release func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	hold := make(chan struct{})
	a.hold = hold
	return sync.OnceFunc(func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.hold = nil
		close(hold)
	})
}

func (a *accounts) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.fetches
}

func setOf(t *testing.T, keys map[string]crypto.Signer) string {
	t.Helper()
	var out struct {
		Keys []jwkset.JWKMarshal `json:"keys"`
	}
	for kid, key := range keys {
		jwk, err := jwkset.NewJWKFromKey(key.Public(), jwkset.JWKOptions{Metadata: jwkset.JWKMetadataOptions{KID: kid, USE: jwkset.UseSig}})
		if err != nil {
			t.Fatal(err)
		}
		out.Keys = append(out.Keys, jwk.Marshal())
	}
	return string(must(json.Marshal(out)))
}

// runVerifier runs a Verifier of a's keys until the test ends.
func runVerifier(t *testing.T, a *accounts, change func(*Config)) *Verifier {
	t.Helper()
	cfg := defaults(t)
	cfg.JWKSURL, cfg.JWKSMinInterval, cfg.JWKSTimeout = a.URL, 50*time.Millisecond, 5*time.Second
	if change != nil {
		change(&cfg)
	}
	v := newVerifier(t, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- v.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return v
}

func es256(t *testing.T, key *ecdsa.PrivateKey, kid string) string {
	return sign(t, jwt.SigningMethodES256, key, claimsWith(nil), "kid", kid)
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func newEC() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) }

func TestKeySetServesBothAlgorithms(t *testing.T) {
	a := newAccounts(t, map[string]crypto.Signer{"ec": ecKey, "rsa": rsaKey})
	v := runVerifier(t, a, func(c *Config) { c.Secret = testSecret })
	for name, c := range map[string]struct {
		token string
		want  error
	}{
		"ES256":               {es256(t, ecKey, "ec"), nil},
		"RS256":               {sign(t, jwt.SigningMethodRS256, rsaKey, claimsWith(nil), "kid", "rsa"), nil},
		"HS256 beside it":     {hs256(t, nil), nil},
		"no kid":              {sign(t, jwt.SigningMethodES256, ecKey, claimsWith(nil)), nil},
		"another's signature": {es256(t, newEC(), "ec"), ErrBadSignature},
		"no kid, unknown key": {sign(t, jwt.SigningMethodES256, newEC(), claimsWith(nil)), ErrBadSignature},
		"kid of another type": {es256(t, ecKey, "rsa"), ErrBadSignature},
		"expired":             {sign(t, jwt.SigningMethodES256, ecKey, claimsWith(jwt.MapClaims{"exp": 1}), "kid", "ec"), ErrExpired},
	} {
		if _, err := v.Verify(within(t, 5*time.Second), c.token); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if n := testutil.ToFloat64(v.metrics.keys); n != 2 || testutil.ToFloat64(v.metrics.updated) == 0 {
		t.Errorf("metrics: %v keys", n)
	}
	if !v.MayWait() {
		t.Error("with a key set Verify may wait")
	}
}

func TestRotation(t *testing.T) {
	newer := newEC()
	a := newAccounts(t, map[string]crypto.Signer{"old": ecKey})
	v := runVerifier(t, a, nil)
	if _, err := v.Verify(within(t, 5*time.Second), es256(t, ecKey, "old")); err != nil {
		t.Fatal(err)
	}
	a.answer(http.StatusOK, setOf(t, map[string]crypto.Signer{"old": ecKey, "new": newer}))
	time.Sleep(60 * time.Millisecond) // past the least interval
	if _, err := v.VerifyNow(es256(t, newer, "new")); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("before a fetch: %v", err)
	}
	if _, err := v.Verify(within(t, 5*time.Second), es256(t, newer, "new")); err != nil {
		t.Errorf("the new key: %v", err)
	}
	if _, err := v.VerifyNow(es256(t, ecKey, "old")); err != nil {
		t.Errorf("the old key beside it: %v", err)
	}
	a.answer(http.StatusOK, setOf(t, map[string]crypto.Signer{"new": newer}))
	time.Sleep(60 * time.Millisecond)
	_, _ = v.Verify(within(t, 5*time.Second), es256(t, newEC(), "unknown")) // makes it fetch
	if _, err := v.VerifyNow(es256(t, ecKey, "old")); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("the withdrawn key: %v", err)
	}
}

func TestKeysOutliveTheirServer(t *testing.T) {
	a := newAccounts(t, map[string]crypto.Signer{"k": ecKey})
	v := runVerifier(t, a, nil)
	token := es256(t, ecKey, "k")
	if _, err := v.Verify(within(t, 5*time.Second), token); err != nil {
		t.Fatal(err)
	}
	for name, body := range map[string]string{
		"not JSON": "<html>", "no keys": `{"keys":[]}`, "only unusable keys": `{"keys":[{"kty":"oct","k":"c2VjcmV0","kid":"k"}]}`,
		"too long": `{"keys":[]}` + strings.Repeat(" ", maxKeySet),
	} {
		a.answer(http.StatusOK, body)
		refetch(t, v)
		if _, err := v.VerifyNow(token); err != nil {
			t.Errorf("the server answers %s: %v", name, err)
		}
	}
	a.answer(http.StatusBadGateway, "")
	refetch(t, v)
	a.Close()
	refetch(t, v)
	if _, err := v.VerifyNow(token); err != nil {
		t.Errorf("the server is gone: %v", err)
	}
	if ok, failed := testutil.ToFloat64(v.metrics.fetches.WithLabelValues("ok")), testutil.ToFloat64(v.metrics.fetches.WithLabelValues("failed")); ok < 1 || failed < 6 {
		t.Errorf("metrics: %v ok, %v failed", ok, failed)
	}
}

// refetch has v fetch its set once more.
func refetch(t *testing.T, v *Verifier) {
	t.Helper()
	failed := func() float64 { return testutil.ToFloat64(v.metrics.fetches.WithLabelValues("failed")) }
	for before, end := failed(), time.Now().Add(5*time.Second); failed() == before; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no fetch within 5 s")
		}
		_, _ = v.Verify(within(t, 5*time.Second), es256(t, ecKey, "unknown"))
	}
}

func TestSlowServerHoldsUpNobodyElse(t *testing.T) {
	a := newAccounts(t, map[string]crypto.Signer{"k": ecKey})
	v := runVerifier(t, a, nil)
	token := es256(t, ecKey, "k")
	if _, err := v.Verify(within(t, 5*time.Second), token); err != nil {
		t.Fatal(err)
	}
	release := a.stall()
	defer release()
	time.Sleep(60 * time.Millisecond)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := v.Verify(within(t, 200*time.Millisecond), es256(t, newEC(), "unknown")); !errors.Is(err, ErrUnknownKey) {
				t.Errorf("unknown key: %v", err)
			}
		})
	}
	for start := time.Now(); time.Since(start) < 150*time.Millisecond; {
		asked := time.Now()
		if _, err := v.Verify(t.Context(), token); err != nil {
			t.Errorf("known key: %v", err)
		}
		if took := time.Since(asked); took > 100*time.Millisecond {
			t.Errorf("a known key took %v", took)
		}
	}
	wg.Wait()
	if n := a.count(); n > 3 {
		t.Errorf("%d fetches", n)
	}
}

func TestUnknownKeysShareFewFetches(t *testing.T) {
	a := newAccounts(t, map[string]crypto.Signer{"k": ecKey})
	const minInterval = 100 * time.Millisecond
	v := runVerifier(t, a, func(c *Config) { c.JWKSMinInterval = minInterval })
	start := time.Now()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := 0; time.Since(start) < 500*time.Millisecond; j++ {
				if _, err := v.Verify(within(t, 5*time.Second), es256(t, ecKey, fmt.Sprint("made up ", i, j))); !errors.Is(err, ErrUnknownKey) && !errors.Is(err, ErrKeysUnavailable) {
					t.Errorf("made-up key: %v", err)
				}
			}
		})
	}
	wg.Wait()
	if n, most := a.count(), 2+int(time.Since(start)/minInterval); n > most || n < 2 {
		t.Errorf("%d fetches, want 2 to %d", n, most)
	}
}

func TestKeysUnavailableAtTheStart(t *testing.T) {
	a := newAccounts(t, map[string]crypto.Signer{"k": ecKey})
	a.answer(http.StatusServiceUnavailable, "")
	v := runVerifier(t, a, nil)
	token := es256(t, ecKey, "k")
	if _, err := v.Verify(within(t, 5*time.Second), token); !errors.Is(err, ErrKeysUnavailable) || Code(err) != "keys_unavailable" {
		t.Errorf("before any fetch succeeded: %v", err)
	}
	a.answer(http.StatusOK, setOf(t, map[string]crypto.Signer{"k": ecKey}))
	var err error
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if _, err = v.Verify(within(t, 5*time.Second), token); err == nil {
			return
		}
	}
	t.Errorf("it does not try again: %v", err)
}

func TestVerifyWithoutRunEndsWithItsContext(t *testing.T) {
	cfg := defaults(t)
	cfg.JWKSURL = "http://127.0.0.1:1/"
	v := newVerifier(t, cfg)
	if _, err := v.Verify(within(t, 20*time.Millisecond), es256(t, ecKey, "k")); !errors.Is(err, ErrKeysUnavailable) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := v.Run(ctx); err != nil {
		t.Error(err)
	}
	if _, err := v.Verify(t.Context(), es256(t, ecKey, "k")); !errors.Is(err, ErrKeysUnavailable) {
		t.Errorf("after Run: %v", err)
	}
}

// TestFilesStandBesideTheKeySet checks keys of both sources for one algorithm.
func TestFilesStandBesideTheKeySet(t *testing.T) {
	fromFile := newEC()
	a := newAccounts(t, map[string]crypto.Signer{"k": ecKey})
	v := runVerifier(t, a, func(c *Config) { c.PublicKeyFiles = []string{writeFile(t, "key.pem", publicPEM(t, fromFile))} })
	for name, c := range map[string]struct {
		token string
		want  error
	}{
		"of the set":        {es256(t, ecKey, "k"), nil},
		"of the file":       {es256(t, fromFile, "file"), nil},
		"of neither":        {es256(t, newEC(), "other"), ErrUnknownKey},
		"forged for a file": {es256(t, newEC(), "file"), ErrUnknownKey},
	} {
		if _, err := v.Verify(within(t, 5*time.Second), c.token); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestUnusableKeysOfASetArePassedOver(t *testing.T) {
	a := newAccounts(t, map[string]crypto.Signer{"good": ecKey})
	set := []string{strings.TrimSuffix(a.body, "]}")}
	set = append(set,
		`{"kty":"oct","kid":"secret","k":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}`,
		`{"kty":"EC","crv":"P-256","use":"enc","kid":"enc"}`,
		`{"kty":"EC","crv":"P-256","kid":"torn","x":"AA","y":"AA"}`,
		`{"kty":"new","kid":"future"}`,
	)
	a.answer(http.StatusOK, strings.Join(set, ",")+"]}")
	v := runVerifier(t, a, nil)
	if _, err := v.Verify(within(t, 5*time.Second), es256(t, ecKey, "good")); err != nil {
		t.Errorf("the good key: %v", err)
	}
	if n := testutil.ToFloat64(v.metrics.keys); n != 1 {
		t.Errorf("%v usable keys", n)
	}
	if _, err := v.VerifyNow(sign(t, jwt.SigningMethodHS256, testSecret, claimsWith(nil), "kid", "secret")); !errors.Is(err, ErrBadSignature) {
		t.Errorf("a secret from a key set: %v", err)
	}
}
