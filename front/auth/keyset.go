package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"
)

// What a JWKS server may answer.
const (
	maxKeySet   = 1 << 20  // bytes of the set
	maxHeader   = 64 << 10 // bytes of the answer's head
	maxSetKeys  = 64       // usable keys of the set
	maxTried    = 8        // keys that are tried for one token: each costs a signature
	maxRedirect = 3        // redirects that are followed
)

// keySet is the keys of a JWKS URL (RFC 7517 §5). One goroutine, run, fetches
// them; look-ups read memory and never wait for it.
type keySet struct {
	url         string
	refresh     time.Duration
	minInterval time.Duration
	client      *http.Client
	log         *slog.Logger
	metrics     *metrics
	ask         chan struct{} // an unknown key asks for a fetch; holds one

	mu       sync.Mutex
	fetching bool          // guarded by mu
	ended    time.Time     // guarded by mu: when the last fetch ended; zero before
	ring     *ring         // guarded by mu: the keys, never changed; nil before the first success
	next     chan struct{} // guarded by mu: closed when the next fetch ends
	stopped  bool          // guarded by mu: run has returned
}

func newKeySet(cfg *Config, log *slog.Logger, m *metrics) *keySet {
	return &keySet{
		url: cfg.JWKSURL, refresh: cfg.JWKSRefresh, minInterval: cfg.JWKSMinInterval,
		client: &http.Client{
			Timeout:       cfg.JWKSTimeout,
			CheckRedirect: mayFollow,
			Transport: &http.Transport{
				Proxy:                  http.ProxyFromEnvironment,
				DisableKeepAlives:      true, // between fetches that are minutes apart
				MaxResponseHeaderBytes: maxHeader,
			},
		},
		log: log, metrics: m,
		ask: make(chan struct{}, 1), next: make(chan struct{}),
	}
}

// mayFollow holds a redirect to the rule for the address itself: whoever could
// send us elsewhere in the clear could sign tokens for any player.
func mayFollow(next *http.Request, via []*http.Request) error {
	if len(via) > maxRedirect {
		return fmt.Errorf("more than %d redirects", maxRedirect)
	}
	if err := checkURL(next.URL.String()); err != nil {
		return fmt.Errorf("redirect: %w", err)
	}
	if via[len(via)-1].URL.Scheme == "https" && next.URL.Scheme != "https" {
		return errors.New("redirect from https to http")
	}
	return nil
}

// find returns the keys that may have signed token. Errors wrap an *Error or
// ErrKeysUnavailable.
func (s *keySet) find(token *jwt.Token) (jwt.VerificationKeySet, error) {
	s.mu.Lock()
	ring := s.ring
	s.mu.Unlock()
	if ring == nil {
		return jwt.VerificationKeySet{}, ErrKeysUnavailable
	}
	keys, err := ring.find(token)
	return jwt.VerificationKeySet{Keys: keys}, err
}

// refetched asks for a fetch, waits, and reports whether one has ended since the
// time given. It reports false at once when the last one ended before
// that and less than minInterval ago, and when ctx or run ends.
func (s *keySet) refetched(ctx context.Context, since time.Time) bool {
	s.mu.Lock()
	if s.ended.After(since) {
		s.mu.Unlock()
		return true
	}
	next, stopped := s.next, s.stopped
	soon := !s.fetching && !s.ended.IsZero() && time.Since(s.ended) < s.minInterval
	if !stopped && !s.fetching {
		select {
		case s.ask <- struct{}{}:
		default: // asked already
		}
	}
	s.mu.Unlock()
	if stopped || soon {
		return false
	}
	select {
	case <-next:
		return true
	case <-ctx.Done():
		return false
	}
}

// run fetches the set at once, every refresh, after a failure, and when asked,
// but never sooner than minInterval after the last time.
func (s *keySet) run(ctx context.Context) {
	defer s.stop()
	for {
		pause := s.refresh
		if err := s.fetch(ctx); err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "could not fetch the key set; the last one stays in use", "url", redacted(s.url), "err", err)
			pause = s.minInterval
		}
		if !sleep(ctx, s.minInterval, nil) || !sleep(ctx, pause-s.minInterval, s.ask) {
			return
		}
	}
}

// sleep waits for d or early, and reports whether ctx still goes on.
func sleep(ctx context.Context, d time.Duration, early <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-early:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

func (s *keySet) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	close(s.next)
}

// fetch replaces the keys by what the URL answers, and releases those who wait.
func (s *keySet) fetch(ctx context.Context) error {
	s.begin()
	keys, err := s.get(ctx)
	s.metrics.fetched(len(keys), err)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.ring = newRing(keys)
	}
	s.fetching, s.ended = false, time.Now()
	close(s.next)
	s.next = make(chan struct{})
	return err
}

// begin answers those who have asked so far: their fetch is this one.
func (s *keySet) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fetching = true
	select {
	case <-s.ask:
	default:
	}
}

func (s *keySet) get(ctx context.Context) ([]jwkset.JWK, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %s", resp.Status)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxKeySet+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxKeySet {
		return nil, fmt.Errorf("more than %d bytes", maxKeySet)
	}
	return s.parse(ctx, body)
}

// parse takes the keys that we can use and passes over the others: sets hold
// keys for other purposes. A set without any is an error, so that a mistake at
// the server does not lock everybody out.
func (s *keySet) parse(ctx context.Context, body []byte) ([]jwkset.JWK, error) {
	var set jwkset.JWKSMarshal
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, fmt.Errorf("not a key set: %w", err)
	}
	var keys []jwkset.JWK
	for _, m := range set.Keys {
		jwk, err := usable(m)
		if err != nil {
			s.log.DebugContext(ctx, "passed over a key of the set", "kid", m.KID, "err", err)
			continue
		}
		keys = append(keys, jwk)
	}
	if len(keys) > maxSetKeys {
		return nil, fmt.Errorf("%d usable keys, want at most %d", len(keys), maxSetKeys)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("none of %d keys is for RS256 or ES256 signatures", len(set.Keys))
	}
	return keys, nil
}

func usable(m jwkset.JWKMarshal) (jwkset.JWK, error) {
	if m.USE != "" && m.USE != jwkset.UseSig {
		return jwkset.JWK{}, fmt.Errorf("use %q", m.USE)
	}
	jwk, err := jwkset.NewJWKFromMarshal(m, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
	if err != nil {
		return jwkset.JWK{}, err
	}
	alg, err := algOf(jwk.Key())
	if err == nil && m.ALG != "" && m.ALG.String() != alg {
		err = fmt.Errorf("alg %q", m.ALG)
	}
	return jwk, err
}
