package forwarded

import (
	"net/netip"
	"slices"
	"strings"
)

// Client returns whose request it is that reached us from peer. Each of lists
// is the value of one X-Forwarded-For header, in the order of the request:
// every proxy adds at the end the address that it was reached from. So it is
// the last address that is not trusted; of a request that passed trusted ones
// only, the first. What stands before something that is no address is not
// believed.
func (t Trusted) Client(peer netip.Addr, lists []string) netip.Addr {
	client := peer
	for _, list := range slices.Backward(lists) {
		for list != "" && t.Contains(client) {
			i := strings.LastIndexByte(list, ',')
			element := strings.Trim(list[i+1:], " \t")
			list = list[:max(i, 0)]
			if element == "" {
				continue
			}
			addr, ok := parseElement(element)
			if !ok {
				return client
			}
			client = addr
		}
	}
	return client
}

// parseElement reads an address with or without a port.
func parseElement(s string) (netip.Addr, bool) {
	addr, err := netip.ParseAddr(s)
	if err != nil {
		with, err := netip.ParseAddrPort(s)
		if err != nil {
			inner, ok := strings.CutPrefix(s, "[")
			if !ok || !strings.HasSuffix(inner, "]") {
				return netip.Addr{}, false
			}
			addr, err = netip.ParseAddr(strings.TrimSuffix(inner, "]"))
			return addr.WithZone(""), err == nil && addr.Is6()
		}
		addr = with.Addr()
	}
	return addr.Unmap().WithZone(""), true
}
