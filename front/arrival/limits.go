package arrival

import (
	"github.com/homing/homing/front/forwarded"
)

// Limits are what a Table allows. Addresses that are trusted share only the
// bound on Pending.
type Limits struct {
	Pending        int // connections that have shown no valid token, of all addresses; at least 1
	AddressPending int // of one address; 0: no limit
	Rate           int // connections per second that one address may open in the long run; 0: no limit
	Burst          int // and at once; at least 1 with a Rate
	Connections    int // connections in service of one address; 0: no limit, and they are not counted
	// PrefixBits is how many bits of an IPv6 address tell one client from
	// another, 1 to 128: a household has 64 bits or more to choose from.
	PrefixBits int
	Trusted    forwarded.Trusted
}
