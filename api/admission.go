package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/homing/homing/api/admit"
	"github.com/homing/homing/api/apikey"
)

// maxRetryAfter bounds what callers over their rate are told: the debt of one
// large request at a small rate may be hours.
const maxRetryAfter = 30 * time.Second

// visit is a request that shows a key.
type visit struct {
	key  *apikey.Key
	pass *admit.Pass
}

type visitKey struct{}

// caller is the key that authorize let in.
func caller(ctx context.Context) *apikey.Key { return ctx.Value(visitKey{}).(*visit).key }

// passOf is what the request has of the server; see enter.
func passOf(ctx context.Context) *admit.Pass { return ctx.Value(visitKey{}).(*visit).pass }

// enter counts a request among those of its key, until it was answered.
func (s *Server) enter(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := r.Context().Value(visitKey{}).(*visit)
		pass, err := admit.Enter(v.key.Share(), s.share)
		if err != nil {
			s.pace(r, unpaidDelay)
			skip(w, r)
			s.refused(w, asError(s.limited(v.key, err)))
			return
		}
		defer pass.Leave()
		v.pass = pass
		next.ServeHTTP(w, r)
	})
}

// work is for requests that can be worked on as soon as their header is there.
func (s *Server) work(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := passOf(r.Context()).Work(); err != nil {
			s.refused(w, asError(s.limited(caller(r.Context()), err)))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// limited counts err if it is the refusal of a limit of key, and returns it.
func (s *Server) limited(key *apikey.Key, err error) error {
	var full *admit.LimitError
	if errors.As(err, &full) && full.Own {
		s.metrics.limited.WithLabelValues(key.Name(), string(full.Limit)).Inc()
	}
	return err
}

// overRate is the refusal of a request that key makes too early by wait.
func (s *Server) overRate(key *apikey.Key, wait time.Duration) *Error {
	s.metrics.limited.WithLabelValues(key.Name(), limitRate).Inc()
	return &Error{Code: CodeRateLimited, Detail: "key " + key.Name() + " is over its rate", RetryAfter: min(wait, maxRetryAfter)}
}

// limitRate is a value of the label "limit", beside those of admit.Limit.
const limitRate = "rate"

// pay spends the unit that every request costs, or refuses it.
func (s *Server) pay(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := caller(r.Context())
		if wait := key.Take(time.Now(), 1); wait > 0 {
			passOf(r.Context()).Leave() // it may wait for its answer
			s.pace(r, unpaidDelay)
			skip(w, r)
			s.refused(w, s.overRate(key, wait))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// payMore spends what a request costs beyond that, or refuses it. It is called
// once with a cost above 0: what was let in by it may have brought its key into
// debt.
func (s *Server) payMore(key *apikey.Key, cost int) error {
	if cost == 0 {
		return nil
	}
	if wait := key.TakeMore(time.Now(), cost); wait > 0 {
		return s.overRate(key, wait)
	}
	return nil
}

// payRest spends what is known to be the cost once the body was decoded, of which
// takeBody has had so many bytes paid for, or refuses the request.
func (s *Server) payRest(key *apikey.Key, body, cost int) error {
	if costOfBody(body) == 0 {
		return s.payMore(key, cost)
	}
	key.Owe(time.Now(), cost)
	return nil
}
