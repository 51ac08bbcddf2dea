package api

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/homing/homing/api/admit"
	"github.com/homing/homing/api/apikey"
	"github.com/homing/homing/api/conns"
)

// gate lets requests in: by their key, by what that may and can pay, and by what
// the server has room for.
type gate struct {
	*responder

	keys      *apikey.Store // nil when only loopback callers come in
	loopback  *apikey.Key   // who a caller without a key is; nil when not allowed
	share     *admit.Share  // what all callers together take up
	bodyLimit int
}

// open reads the file of keys, if there is one.
func (g *gate) open(cfg *Config, deps Deps) (err error) {
	if cfg.AllowLoopback {
		g.loopback = apikey.Loopback(cfg.shareOfKey())
	}
	if cfg.Keys == "" {
		if g.loopback == nil {
			return errNoKeys
		}
		return nil
	}
	g.keys, err = apikey.Open(apikey.Options{
		File:   cfg.Keys,
		Poll:   cfg.KeysPoll,
		Limits: apikey.Limits{Rate: cfg.KeyRate, Burst: cfg.KeyBurst, Share: cfg.shareOfKey()},
	}, deps.Log, deps.Reg)
	return err
}

// authorize lets a request in whose API key has scope. It comes first: a
// caller without a key costs nothing but this look.
func (g *gate) authorize(scope apikey.Scope) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			key, err := g.identify(r)
			if err == nil && !conns.Known(r, key.Share()) {
				w.Header().Set("Connection", "close")
			}
			if err == nil && !key.Allows(scope) {
				err = refuse(CodeScopeMissing, "key %s has no scope %s", key.Name(), scope)
			}
			if err != nil {
				g.pace(r, unpaidDelay)
				forgo(w, r)
				g.refused(w, err)
				return
			}
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), visitKey{}, &visit{key: key})))
		})
	}
}

func (g *gate) identify(r *http.Request) (*apikey.Key, *Error) {
	header := r.Header.Get("Authorization")
	if header == "" {
		if g.loopback != nil && fromLoopback(r) {
			return g.loopback, nil
		}
		return nil, refuse(CodeKeyMissing, "no Authorization header")
	}
	scheme, token, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return nil, refuse(CodeKeyMissing, "the Authorization header is not of the scheme Bearer")
	}
	if g.keys != nil {
		if key, ok := g.keys.Lookup(strings.TrimSpace(token)); ok {
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
func (g *gate) loopbackOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !fromLoopback(r) {
			g.refused(w, refuse(CodeLoopbackOnly, "%s is not a loopback address, or the Host is not", r.RemoteAddr))
			return
		}
		next.ServeHTTP(w, r)
	})
}
