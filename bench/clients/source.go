package clients

import (
	"fmt"
	"net/netip"
	"strings"
)

// SourceVar names, in the environment of a bee process, the addresses of its
// machine that clients come from, as ParseSources reads them.
const SourceVar = "_HOMING_BENCH_SOURCE"

// ParseSources reads a list of IPv4 addresses with commas between; it may be
// empty.
func ParseSources(list string) ([]netip.Addr, error) {
	if list == "" {
		return nil, nil
	}
	var all []netip.Addr
	for text := range strings.SplitSeq(list, ",") {
		a, err := netip.ParseAddr(strings.TrimSpace(text))
		if err != nil || !a.Is4() {
			return nil, fmt.Errorf("source %q: want an IPv4 address", text)
		}
		all = append(all, a)
	}
	return all, nil
}

// portsPerSource is how many connections share one loopback address. The
// kernel looks for a free port among the even ones first, 14,000 by default:
// once those are taken every connect searches them all, which costs it half a
// millisecond. Far fewer also leave gaps for clients that come back.
const portsPerSource = 4_000

// source is the address that connection i comes from: one of own in turn. When
// there are none, it is 127.0.0.2 and on to a loopback front, because one
// address runs out of ports; to others the kernel chooses.
func source(own []netip.Addr, to netip.AddrPort, i int) netip.Addr {
	switch {
	case len(own) > 0:
		return own[i%len(own)]
	case !to.Addr().IsLoopback():
		return netip.Addr{}
	}
	k := i/portsPerSource + 2
	return netip.AddrFrom4([4]byte{127, 0, byte(k >> 8), byte(k)})
}
