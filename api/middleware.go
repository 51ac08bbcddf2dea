package api

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"github.com/homing/homing/api/apikey"
	"github.com/homing/homing/api/conns"
)

// statusGone is what the metrics call a reply that nobody waited for.
const statusGone = 499

// instrument counts and times every request and turns a panic into a 500.
func (s *Server) instrument(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		started := time.Now()
		s.metrics.inFlight.Inc()
		defer s.metrics.inFlight.Dec()
		ww := middleware.NewWrapResponseWriter(w, r.ProtoMajor)
		defer func() {
			abort := s.recovered(ww, r, recover())
			status := ww.Status()
			if status == 0 {
				status = statusGone
			}
			s.metrics.request(route(r), status, time.Since(started))
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
func (s *Server) recovered(w middleware.WrapResponseWriter, r *http.Request, v any) (abort bool) {
	switch v {
	case nil:
		return false
	case http.ErrAbortHandler:
		return true
	}
	s.failures.Do(func() {
		s.log.Error("panic while serving", "route", route(r), "panic", v, "stack", string(debug.Stack()))
	})
	if w.Status() != 0 {
		return true
	}
	s.refused(w, &Error{Code: CodeInternal})
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

// deadline bounds the time a request takes.
func (s *Server) deadline(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), s.cfg.RequestTimeout)
		defer cancel()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
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
func (s *Server) unpaid(most time.Duration) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.pace(r, most)
			next.ServeHTTP(w, r)
		})
	}
}

// pace has r wait, for up to most, if its caller asks for too much that no key
// pays for.
func (s *Server) pace(r *http.Request, most time.Duration) {
	if conns.Pace(r, most) {
		s.metrics.paced.Inc()
	}
}

// authorize lets a request in whose API key has scope. It comes first: whoever
// shows no key costs nothing but this look.
func (s *Server) authorize(scope apikey.Scope) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			key, err := s.identify(r)
			if err == nil && !conns.Known(r, key.Share()) {
				w.Header().Set("Connection", "close")
			}
			if err == nil && !key.Allows(scope) {
				err = refuse(CodeScopeMissing, "key %s has no scope %s", key.Name(), scope)
			}
			if err != nil {
				s.pace(r, unpaidDelay)
				forgo(w, r)
				s.refused(w, err)
				return
			}
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), visitKey{}, &visit{key: key})))
		})
	}
}

func (s *Server) identify(r *http.Request) (*apikey.Key, *Error) {
	header := r.Header.Get("Authorization")
	if header == "" {
		if s.loopback != nil && fromLoopback(r) {
			return s.loopback, nil
		}
		return nil, refuse(CodeKeyMissing, "no Authorization header")
	}
	scheme, token, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return nil, refuse(CodeKeyMissing, "the Authorization header is not of the scheme Bearer")
	}
	if s.keys != nil {
		if key, ok := s.keys.Lookup(strings.TrimSpace(token)); ok {
			return key, nil
		}
	}
	return nil, refuse(CodeKeyUnknown, "no such key")
}

// fromLoopback says whether the caller is on this machine and means to be:
// the Host must be a loopback name, or a page of another site that rebinds
// its name to 127.0.0.1 could make a browser act for it.
func fromLoopback(r *http.Request) bool {
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && remote.Addr().Unmap().IsLoopback() && loopbackHost(r.Host)
}

func loopbackHost(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && addr.IsLoopback()
}

// loopbackOnly guards what development alone may do.
func (s *Server) loopbackOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !fromLoopback(r) {
			s.refused(w, refuse(CodeLoopbackOnly, "%s is not a loopback address, or the Host is not", r.RemoteAddr))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// answer runs h and writes the problem document for the error it returns.
func (s *Server) answer(h handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		err := h(w, r)
		switch {
		case err == nil:
		case gone(r.Context(), err):
			panic(http.ErrAbortHandler) // to return would be to answer 200
		default:
			s.refused(w, s.explain(r.Context(), err))
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
func (s *Server) explain(ctx context.Context, err error) *Error {
	e := asError(err)
	switch e.Code {
	case CodeInternal:
		s.failures.Do(func() { s.log.ErrorContext(ctx, "request failed", "err", err) })
	case CodeUnavailable, CodeTimeout:
		// Once a second: in an outage every request fails alike.
		s.trouble.Do(func() { s.log.WarnContext(ctx, "hub unavailable", "err", err) })
	default: // the caller learns all there is to know
	}
	return e
}

func (s *Server) refused(w http.ResponseWriter, e *Error) {
	s.metrics.refused.WithLabelValues(string(e.Code)).Inc()
	e.write(w)
}

func isTimeout(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded)
}
