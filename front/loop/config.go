package loop

import "time"

// Config is what a Loop is told. Counts, sizes and durations are more than 0
// unless it says otherwise; the caller has checked them.
type Config struct {
	HandshakeTimeout time.Duration // from accept until SetDeadline says otherwise
	WriteTimeout     time.Duration // without progress while something waits
	CloseTimeout     time.Duration // from the last byte of End until the socket is closed without the peer's end

	// TLSHandshakeLimit is how many bytes a client may send more than its TLS
	// handshake has taken of them.
	TLSHandshakeLimit int
	MaxDescriptors    int // that the process may have open; 0: its limit (ulimit -n)
	Backlog           int // connections that the kernel queues before they are accepted
	QueueBytes        int // of messages that wait for one connection, Control aside
	QueueMessages     int

	Arrivals Arrivals
	TLS      TLS
	Limiter  Handshakes // nil: TLS handshakes begin at any rate
}

// Arrivals bounds the connections that have not been taken in, and those of one
// address. Rates are per second; a zero Rate, Pending or Connections of an
// address is no limit.
type Arrivals struct {
	Pending            int // connections not taken in; a quarter of the descriptors at most
	AddressPrefix      int // leading bits of an IPv6 address that count as one address
	AddressRate        int
	AddressBurst       int
	AddressPending     int
	AddressConnections int

	TrustedProxies   []string // addresses and prefixes whose word on others is believed
	ProxyProtocol    bool     // plain connections begin with a PROXY protocol header
	TLSProxyProtocol bool     // those over TLS do
}

// TLS is what listeners with TLS need.
type TLS struct {
	Cert, Key  string // PEM files
	Handshakes int    // under way at the same time
	// RecordRate and RecordBurst bound the records of one client, per second and
	// at once; RecordRate 0: no limit.
	RecordRate, RecordBurst int
	// NeedCertificate has New fail without a certificate that can be used. Else
	// the loop serves without its TLS listeners until there is one.
	NeedCertificate bool
}

// Handshakes is asked before each TLS handshake whether it may begin now.
type Handshakes interface{ Handshake() bool }

// Listener is a listening socket.
type Listener struct {
	FD  int  // non-blocking
	TLS bool // connections start with a TLS handshake
	// Shared says that somebody else, a master or another worker, holds the
	// same socket: when the loop leaves, the queue is left to them.
	Shared bool
}
