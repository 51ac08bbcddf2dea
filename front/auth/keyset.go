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
	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
)

// maxKeySet bounds the answer of a JWKS server, in bytes.
const maxKeySet = 1 << 20

// keySet is the keys of a JWKS URL (RFC 7517 §5). One goroutine, run, fetches
// them; look-ups read memory and never wait for it.
type keySet struct {
	url         string
	refresh     time.Duration
	minInterval time.Duration
	client      *http.Client
	storage     jwkset.Storage
	keyfunc     jwt.Keyfunc
	log         *slog.Logger
	metrics     *metrics
	ask         chan struct{} // an unknown key asks for a fetch; holds one

	mu       sync.Mutex
	fetching bool                             // guarded by mu
	ended    time.Time                        // guarded by mu: when the last fetch ended; zero before
	byAlg    map[string][]jwt.VerificationKey // guarded by mu: the keys by algorithm; nil before the first success
	next     chan struct{}                    // guarded by mu: closed when the next fetch ends
	stopped  bool                             // guarded by mu: run has returned
}

func newKeySet(cfg *Config, log *slog.Logger, m *metrics) (*keySet, error) {
	storage := jwkset.NewMemoryStorage()
	kf, err := keyfunc.New(keyfunc.Options{Storage: storage})
	if err != nil {
		return nil, fmt.Errorf("key set: %w", err)
	}
	return &keySet{
		url: cfg.JWKSURL, refresh: cfg.JWKSRefresh, minInterval: cfg.JWKSMinInterval,
		// A connection kept open for minutes between fetches is of no use.
		client:  &http.Client{Timeout: cfg.JWKSTimeout, Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true}},
		storage: storage, keyfunc: kf.Keyfunc, log: log, metrics: m,
		ask: make(chan struct{}, 1), next: make(chan struct{}),
	}, nil
}

// find returns the key that token names, or all of its algorithm's when it
// names none. Errors wrap ErrUnknownKey or ErrKeysUnavailable.
func (s *keySet) find(token *jwt.Token) (any, error) {
	ready, all := s.known(token.Method.Alg())
	if !ready {
		return nil, ErrKeysUnavailable
	}
	if _, named := token.Header["kid"]; !named {
		if len(all) == 0 {
			return nil, fmt.Errorf("%w: no %s key in the set", ErrUnknownKey, token.Method.Alg())
		}
		return jwt.VerificationKeySet{Keys: all}, nil
	}
	key, err := s.keyfunc(token)
	if errors.Is(err, jwkset.ErrKeyNotFound) {
		return nil, fmt.Errorf("%w: %w", ErrUnknownKey, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadSignature, err)
	}
	return key, nil
}

func (s *keySet) known(alg string) (ready bool, keys []jwt.VerificationKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byAlg != nil, s.byAlg[alg]
}

// refetched reports whether a fetch has ended since the time given, for which
// it asks and waits. It reports false at once when the last one ended before
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
			s.log.WarnContext(ctx, "could not fetch the key set; the last one stays in use", "url", s.url, "error", err)
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
	if err == nil {
		err = s.storage.KeyReplaceAll(ctx, keys)
	}
	s.metrics.fetched(len(keys), err)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.byAlg = groupByAlg(keys)
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

func groupByAlg(keys []jwkset.JWK) map[string][]jwt.VerificationKey {
	out := make(map[string][]jwt.VerificationKey)
	for _, jwk := range keys {
		if alg, err := algOf(jwk.Key()); err == nil {
			out[alg] = append(out[alg], jwk.Key())
		}
	}
	return out
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
			s.log.DebugContext(ctx, "passed over a key of the set", "kid", m.KID, "error", err)
			continue
		}
		keys = append(keys, jwk)
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
