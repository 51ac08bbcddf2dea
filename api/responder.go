package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"golang.org/x/time/rate"

	"github.com/homing/homing/api/conns"
)

// handler answers a request or returns why not.
type handler func(w http.ResponseWriter, r *http.Request) error

// responder answers requests that are not served, and counts, times and logs all.
type responder struct {
	log      *slog.Logger
	metrics  *metrics
	trouble  rate.Sometimes // logs what fails for many alike
	failures rate.Sometimes // logs what should not fail
}

func newResponder(log *slog.Logger, m *metrics) *responder {
	return &responder{
		log:      log,
		metrics:  m,
		trouble:  rate.Sometimes{First: 1, Interval: time.Second},
		failures: rate.Sometimes{First: 10, Interval: time.Second},
	}
}

// statusGone is what the metrics call a reply that nobody waited for.
const statusGone = 499

// instrument counts and times every request and turns a panic into a 500.
func (p *responder) instrument(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		started := time.Now()
		p.metrics.inFlight.Inc()
		defer p.metrics.inFlight.Dec()
		ww := middleware.NewWrapResponseWriter(w, r.ProtoMajor)
		defer func() {
			abort := p.recovered(ww, r, recover())
			status := ww.Status()
			if status == 0 {
				status = statusGone
			}
			p.metrics.request(route(r), status, time.Since(started))
			if abort {
				panic(http.ErrAbortHandler)
			}
		}()
		next.ServeHTTP(ww, r)
	})
}

// recovered deals with what a handler panicked with, if it did, and says
// whether to cut the connection off, so that nobody takes a reply for whole
// that is not.
func (p *responder) recovered(w middleware.WrapResponseWriter, r *http.Request, v any) (abort bool) {
	switch v {
	case nil:
		return false
	case http.ErrAbortHandler:
		return true
	}
	p.failures.Do(func() {
		p.log.Error("panic while serving", "route", route(r), "panic", v, "stack", string(debug.Stack()))
	})
	if w.Status() != 0 {
		return true
	}
	p.refused(w, &Error{Code: CodeInternal})
	return false
}

// route is the pattern that r matched, the same with and without /v1, or
// "none": a label must not take what callers make up.
func route(r *http.Request) string {
	pattern := chi.RouteContext(r.Context()).RoutePattern()
	if pattern == "" || strings.HasSuffix(pattern, "/*") {
		return "none"
	}
	return strings.TrimPrefix(pattern, "/v1")
}

const (
	// unpaidDelay is how long an answer that no key pays for waits at most when
	// its caller has had many.
	unpaidDelay = time.Second
	// healthDelay is the same of a look at the server's health: load balancers
	// give up after a second.
	healthDelay = 250 * time.Millisecond
)

// unpaid paces requests that need no key.
func (p *responder) unpaid(most time.Duration) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			p.pace(r, most)
			next.ServeHTTP(w, r)
		})
	}
}

// pace has r wait, for up to most, if its caller asks for too much that no key
// pays for.
func (p *responder) pace(r *http.Request, most time.Duration) {
	if conns.Pace(r, most) {
		p.metrics.paced.Inc()
	}
}

// answer runs h and writes the problem document for the error it returns.
func (p *responder) answer(h handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		err := h(w, r)
		switch {
		case err == nil:
		case gone(r.Context(), err):
			panic(http.ErrAbortHandler) // to return would be to answer 200
		default:
			p.refused(w, p.explain(r.Context(), err))
		}
	}
}

// gone says whether err comes of the caller's leaving. A refusal of ours never
// does, though net/http ends the context also when a body arrives too slowly.
func gone(ctx context.Context, err error) bool {
	var e *Error
	return errors.Is(ctx.Err(), context.Canceled) && !errors.As(err, &e)
}

// explain maps err to what the caller sees, and logs a cause that the caller
// does not.
func (p *responder) explain(ctx context.Context, err error) *Error {
	e := asError(err)
	switch e.Code {
	case CodeInternal:
		p.failures.Do(func() { p.log.ErrorContext(ctx, "request failed", "err", err) })
	case CodeUnavailable, CodeTimeout:
		// Once a second: in an outage every request fails alike.
		p.trouble.Do(func() { p.log.WarnContext(ctx, "hub unavailable", "err", err) })
	default: // the caller learns all there is to know
	}
	return e
}

func (p *responder) refused(w http.ResponseWriter, e *Error) {
	p.metrics.refused.WithLabelValues(string(e.Code)).Inc()
	e.write(w)
}

func isTimeout(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded)
}
