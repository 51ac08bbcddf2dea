package api

import (
	"bytes"
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
func (g *gate) enter(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := r.Context().Value(visitKey{}).(*visit)
		pass, err := admit.Enter(v.key.Share(), g.share)
		if err != nil {
			g.pace(r, unpaidDelay)
			skip(w, r)
			g.refused(w, asError(g.limited(v.key, err)))
			return
		}
		defer pass.Leave()
		v.pass = pass
		next.ServeHTTP(w, r)
	})
}

// work is for requests that can be worked on as soon as their header is there.
func (g *gate) work(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := passOf(r.Context()).Work(); err != nil {
			g.refused(w, asError(g.limited(caller(r.Context()), err)))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// limited counts err if it is the refusal of a limit of key, and returns it.
func (g *gate) limited(key *apikey.Key, err error) error {
	var full *admit.LimitError
	if errors.As(err, &full) && full.Own {
		g.metrics.limited.WithLabelValues(key.Name(), string(full.Limit)).Inc()
	}
	return err
}

// overRate is the refusal of a request that key makes too early by wait.
func (g *gate) overRate(key *apikey.Key, wait time.Duration) *Error {
	g.metrics.limited.WithLabelValues(key.Name(), limitRate).Inc()
	return &Error{Code: CodeRateLimited, Detail: "key " + key.Name() + " is over its rate", RetryAfter: min(wait, maxRetryAfter)}
}

// limitRate is a value of the label "limit", beside those of admit.Limit.
const limitRate = "rate"

// pay spends the unit that every request costs, or refuses it.
func (g *gate) pay(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := caller(r.Context())
		if wait := key.Take(time.Now(), 1); wait > 0 {
			passOf(r.Context()).Leave() // it may wait for its answer
			g.pace(r, unpaidDelay)
			skip(w, r)
			g.refused(w, g.overRate(key, wait))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// payMore spends what a request costs beyond that, or refuses it. It is called
// once with a cost above 0: what was let in by it may have brought its key into
// debt.
func (g *gate) payMore(key *apikey.Key, cost int) error {
	if cost == 0 {
		return nil
	}
	if wait := key.TakeMore(time.Now(), cost); wait > 0 {
		return g.overRate(key, wait)
	}
	return nil
}

// payRest spends the cost of a request, which is known once its body was decoded,
// or refuses it. The bytes of a large body are paid already (takeBody): then the
// rest is owed, and nothing is refused.
func (g *gate) payRest(key *apikey.Key, body, cost int) error {
	if costOfBody(body) == 0 {
		return g.payMore(key, cost)
	}
	key.Owe(time.Now(), cost)
	return nil
}

// takeBody reads the body into a buffer that the caller releases, has its key pay
// for it, and begins to work on it.
func (g *gate) takeBody(w http.ResponseWriter, r *http.Request, into *bytes.Buffer) error {
	key, pass := caller(r.Context()), passOf(r.Context())
	if err := readBody(w, r, into, g.bodyLimit, pass); err != nil {
		return g.limited(key, err)
	}
	if err := g.payMore(key, costOfBody(into.Len())); err != nil {
		return err
	}
	if err := g.awaitLarge(r.Context(), key, pass, into.Len()); err != nil {
		return err
	}
	return g.limited(key, pass.Work())
}

// awaitLarge has a request with a body of so many bytes wait for its turn if it
// is a large one.
func (g *gate) awaitLarge(ctx context.Context, key *apikey.Key, pass *admit.Pass, body int) error {
	if body < largeBody {
		return nil
	}
	waited, err := pass.AwaitLarge(ctx, int64(min(body, largest)))
	if waited && err == nil {
		g.metrics.limited.WithLabelValues(key.Name(), string(admit.LimitLarge)).Inc()
	}
	return g.limited(key, err)
}
