package http1

import (
	"net/url"
	"strings"
)

// Origins decides which web pages may connect (RFC 6454, RFC 6455 §10.2). A
// request without an Origin header comes from no browser and always may.
type Origins struct {
	any      bool
	exact    map[string]bool
	suffixes []wildcard
}

// wildcard is scheme://*.domain: any name below domain.
type wildcard struct{ scheme, domain string }

// defaultPorts are the ports that may be left out, by scheme.
var defaultPorts = map[string]string{"http": ":80", "https": ":443"}

// opaqueOrigins are what packaged games and sandboxed pages send: no host stands
// behind them, and any such page sends the same.
var opaqueOrigins = map[string]bool{"null": true, "file://": true}

// NewOrigins reads patterns that are all ValidOrigin.
func NewOrigins(patterns []string) Origins {
	o := Origins{exact: make(map[string]bool)}
	for _, p := range patterns {
		p = strings.ToLower(p)
		scheme, host, _ := splitOrigin(p)
		switch {
		case p == "*":
			o.any = true
		case opaqueOrigins[p]:
			o.exact[p] = true
		case strings.HasPrefix(host, "*."):
			o.suffixes = append(o.suffixes, wildcard{scheme, host[1:]})
		default:
			o.exact[scheme+"://"+host] = true
		}
	}
	return o
}

// Allow reports whether a page of origin may connect to host, which is the
// request's Host header.
func (o *Origins) Allow(origin, host string) bool {
	if origin == "" || o.any {
		return true
	}
	origin = strings.ToLower(origin)
	if opaqueOrigins[origin] {
		return o.exact[origin]
	}
	scheme, from, ok := splitOrigin(origin)
	if !ok || from == "" {
		return false
	}
	if len(o.exact) == 0 && len(o.suffixes) == 0 {
		return from == withoutDefaultPort(scheme, strings.ToLower(host))
	}
	if o.exact[scheme+"://"+from] {
		return true
	}
	for _, w := range o.suffixes {
		if scheme == w.scheme && len(from) > len(w.domain) && strings.HasSuffix(from, w.domain) {
			return true
		}
	}
	return false
}

// splitOrigin takes an origin in lower case apart, and makes equal what means
// the same: some clients send the address that they connect to, with ws or wss,
// and some write the port that the scheme stands for.
func splitOrigin(origin string) (scheme, host string, ok bool) {
	scheme, host, ok = strings.Cut(origin, "://")
	switch scheme {
	case "ws":
		scheme = "http"
	case "wss":
		scheme = "https"
	}
	return scheme, withoutDefaultPort(scheme, host), ok
}

func withoutDefaultPort(scheme, host string) string {
	return strings.TrimSuffix(host, defaultPorts[scheme])
}

// ValidOrigin reports whether an operator may write pattern: "*", null, file://,
// or an origin (RFC 6454 §7) whose host may begin with "*.".
func ValidOrigin(pattern string) bool {
	pattern = strings.ToLower(pattern)
	if pattern == "*" || opaqueOrigins[pattern] {
		return true
	}
	origin := strings.Replace(pattern, "://*.", "://", 1)
	u, err := url.Parse(origin)
	return err == nil && u.Hostname() != "" && u.Scheme+"://"+u.Host == origin && !strings.HasSuffix(u.Host, ":") && !strings.Contains(u.Host, "*")
}
