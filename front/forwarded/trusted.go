package forwarded

import (
	"fmt"
	"net/netip"
)

// Trusted are the addresses of proxies that are believed. The zero value
// trusts nobody.
type Trusted []netip.Prefix

// ParseTrusted reads prefixes such as 10.0.0.0/8 and single addresses. The
// error names the one that is neither.
func ParseTrusted(list []string) (Trusted, error) {
	var out Trusted
	for _, text := range list {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			addr, err := netip.ParseAddr(text)
			if err != nil || addr.Zone() != "" {
				return nil, fmt.Errorf("%q: want an address or a prefix such as 10.0.0.0/8", text)
			}
			prefix = netip.PrefixFrom(addr, addr.BitLen())
		}
		if prefix.Addr().Is4In6() {
			return nil, fmt.Errorf("%q: write an IPv4 address as such", text)
		}
		out = append(out, prefix.Masked())
	}
	return out, nil
}

// Contains reports whether addr is one of t.
func (t Trusted) Contains(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	for _, p := range t {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}
