package arrival

// Reason says why a connection is turned away.
type Reason string

// The reasons that an address has given.
const (
	AddressRate        Reason = "address_rate"        // it opens too many in too short a time
	AddressPending     Reason = "address_pending"     // too many of it have shown no token: the oldest goes
	Pending            Reason = "pending"             // too many in all have shown no token: the oldest of the address with most goes
	AddressConnections Reason = "address_connections" // too many of it are in service
)
