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
