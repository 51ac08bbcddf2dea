package front

import "strings"

// origins decides which web pages may connect (RFC 6454, RFC 6455 §10.2). A
// request without an Origin header comes from no browser and always may.
type origins struct {
	any      bool
	exact    map[string]bool
	suffixes []wildcard
}

// wildcard is scheme://*.domain: any name below domain.
type wildcard struct{ scheme, domain string }

// newOrigins reads patterns that Config.Validate has accepted.
func newOrigins(patterns []string) origins {
	o := origins{exact: make(map[string]bool)}
	for _, p := range patterns {
		p = strings.ToLower(p)
		scheme, host, _ := strings.Cut(p, "://")
		switch {
		case p == "*":
			o.any = true
		case strings.HasPrefix(host, "*."):
			o.suffixes = append(o.suffixes, wildcard{scheme, host[1:]})
		default:
			o.exact[p] = true
		}
	}
	return o
}

// allow reports whether a page of origin may connect to host, which is the
// request's Host header.
func (o *origins) allow(origin, host string) bool {
	if origin == "" || o.any {
		return true
	}
	origin = strings.ToLower(origin)
	scheme, from, ok := strings.Cut(origin, "://")
	if !ok {
		return false // "null": a sandboxed page or a file
	}
	if len(o.exact) == 0 && len(o.suffixes) == 0 {
		return from == strings.ToLower(host)
	}
	if o.exact[origin] {
		return true
	}
	for _, w := range o.suffixes {
		if scheme == w.scheme && len(from) > len(w.domain) && strings.HasSuffix(from, w.domain) {
			return true
		}
	}
	return false
}
