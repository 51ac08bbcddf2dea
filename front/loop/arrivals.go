package loop

import (
	"errors"
	"net/netip"

	"github.com/homing/homing/front/arrival"
	"github.com/homing/homing/front/epoll"
	"github.com/homing/homing/front/forwarded"
	"github.com/homing/homing/hub/drop"
)

// The reasons to turn a connection away that are not its address's.
const (
	notTrusted  arrival.Reason = "proxy_not_trusted" // a PROXY header is wanted, and its sender would not be believed
	proxyHeader arrival.Reason = "proxy_header"      // what should be a PROXY header is none
)

// turnedAwayReasons are all of them, for the metric.
var turnedAwayReasons = []arrival.Reason{
	arrival.AddressRate, arrival.AddressPending, arrival.Pending, arrival.AddressConnections, notTrusted, proxyHeader,
}

// complaints is how often the log says that connections are turned away.
const complaints = 60 * TicksPerSecond

// arrivals take connections in: they keep the account of their addresses, and
// read what proxies say of them. The loop owns it.
//
//bound:pending
type arrivals[S any] struct {
	*core[S]

	handshakes *handshakes[S]
	cfg        Arrivals
	trusted    forwarded.Trusted
	account    *arrival.Table[*Conn[S]]
	header     []byte // what a PROXY header is read into

	// What the log has not said yet.
	turnedAway int  // since the last line
	nextLine   Tick // from which there may be another one
}

func newArrivals[S any](k *core[S], h *handshakes[S], cfg *Arrivals, pending int) (*arrivals[S], error) {
	trusted, err := forwarded.ParseTrusted(cfg.TrustedProxies)
	if err != nil {
		return nil, err
	}
	return &arrivals[S]{
		core: k, handshakes: h, cfg: *cfg, trusted: trusted,
		account: arrival.New[*Conn[S]](arrival.Limits{
			Pending: pending, AddressPending: cfg.AddressPending,
			Rate: cfg.AddressRate, Burst: cfg.AddressBurst, Connections: cfg.AddressConnections,
			PrefixBits: cfg.AddressPrefix, Trusted: trusted,
		}),
		header: make([]byte, forwarded.MaxHeader),
	}, nil
}

// welcome starts the life of an accepted connection, or closes it at once. from
// is where it comes from; the zero Addr when that is not known.
func (a *arrivals[S]) welcome(fd int, from netip.Addr, overTLS bool) {
	a.m.accepted.Inc()
	proxied := a.proxied(overTLS)
	if proxied && !a.trusted.Contains(from) {
		a.turnAway(from, notTrusted)
		_ = epoll.Close(fd) // nobody is left to tell
		return
	}
	c := a.newConn(fd)
	if !a.arrive(c, from) {
		return
	}
	c.aux.overTLS = overTLS
	switch {
	case proxied:
		c.state = stateProxy
	case overTLS:
		a.handshakes.start(c)
	}
	a.Arm(c)
}

// arrive makes c pending, at the account of where it comes from. It reports
// false when that has too many, or c cannot be polled; then c is closed.
func (a *arrivals[S]) arrive(c *Conn[S], from netip.Addr) bool {
	guest := a.account.Arrive(from, c, uint32(a.now))
	if guest == nil {
		a.turnAway(from, arrival.AddressRate)
		c.state = stateGone
		_ = epoll.Close(int(c.fd))
		return false
	}
	c.aux = &aux[S]{deadline: a.now + a.limits.handshake, guest: guest}
	if !a.add(c) {
		return false
	}
	a.makeRoom(guest)
	return true
}

// proxied reports whether connections begin with a PROXY protocol header.
func (a *arrivals[S]) proxied(overTLS bool) bool {
	if overTLS {
		return a.cfg.TLSProxyProtocol
	}
	return a.cfg.ProxyProtocol
}

// readHeader reads the PROXY protocol header that c begins with, and not a byte
// more: TLS or the handler's bytes begin afresh behind it. It reports an error
// of the socket.
func (a *arrivals[S]) readHeader(c *Conn[S]) error {
	for {
		missing, err := forwarded.Missing(c.aux.header)
		if err != nil || missing == 0 {
			a.headerRead(c, err)
			return nil
		}
		n, err := epoll.Read(int(c.fd), a.header[:missing])
		if err != nil {
			if errors.Is(err, epoll.ErrWouldBlock) {
				return nil
			}
			return err
		}
		a.m.receivedBytes.Add(float64(n))
		c.aux.header = append(c.aux.header, a.header[:n]...)
		if n < missing {
			return nil
		}
	}
}

// headerRead goes on with c once its header is whole, or cannot be one.
func (a *arrivals[S]) headerRead(c *Conn[S], err error) {
	var source netip.Addr
	if err == nil {
		source, err = forwarded.Source(c.aux.header)
	}
	if err != nil {
		a.trace(c, "no PROXY header", "err", err)
		a.turnAway(c.Addr(), proxyHeader)
		a.Drop(c, drop.Closed)
		return
	}
	c.aux.header = nil
	if source.IsValid() && !a.Identify(c, source) {
		a.Drop(c, drop.Closed)
		return
	}
	c.state = stateOpen
	if c.aux.overTLS {
		a.handshakes.start(c)
	}
}

// Identify notes that c, which is not taken in yet, comes from addr, as a
// trusted proxy says, and reports whether that address may open one more
// connection now; if not, that is counted, and the caller ends c.
func (a *arrivals[S]) Identify(c *Conn[S], addr netip.Addr) bool {
	g := c.guest()
	within := a.account.Identify(g, addr, uint32(a.now))
	if !within {
		a.turnAway(addr, arrival.AddressRate)
	}
	a.makeRoom(g)
	return within
}

// Client returns whose connection c is that is not taken in yet, by the values
// of its X-Forwarded-For headers: c's own address when that is not a trusted
// proxy's.
func (a *arrivals[S]) Client(c *Conn[S], forwardedFor []string) netip.Addr {
	peer := c.Addr()
	if !a.trusted.Contains(peer) {
		return peer
	}
	return a.trusted.Client(peer, forwardedFor)
}

// AddressFull reports whether as many connections of the address of c, which is
// not taken in yet, are in service as may be. Then that is counted, and the
// caller ends c.
func (a *arrivals[S]) AddressFull(c *Conn[S]) bool {
	g := c.guest()
	if !a.account.Full(g) {
		return false
	}
	a.turnAway(g.Addr, arrival.AddressConnections)
	return true
}

// serve ends that c is pending, and sets its next deadline.
func (a *arrivals[S]) serve(c *Conn[S], deadline Tick) {
	a.account.Serve(c.guest())
	c.aux.deadline = deadline
	if a.cfg.AddressConnections == 0 {
		c.aux.guest = nil // it need not be counted any more
	}
	c.spare()
}

// leave gives back what a connection that is dropped holds.
func (a *arrivals[S]) leave(c *Conn[S]) {
	a.account.Leave(c.guest())
	if t := c.tls(); t != nil {
		a.handshakes.end(t)
	}
}

// makeRoom closes the connection that has to go because g came.
func (a *arrivals[S]) makeRoom(g *arrival.Guest[*Conn[S]]) {
	if oldest, why := a.account.Excess(g); oldest != nil {
		a.turnAway(oldest.Addr, why)
		a.Drop(oldest.Holder, drop.Closed)
	}
}

// bound has at most so many connections be pending, and closes those that are
// too many.
func (a *arrivals[S]) bound(pending int) {
	a.account.Bound(pending)
	for a.account.Pending() > pending {
		oldest := a.account.Oldest()
		a.turnAway(oldest.Addr, arrival.Pending)
		a.Drop(oldest.Holder, drop.Closed)
	}
}

// inService is the number of connections that were taken in, those that are
// ending included.
func (a *arrivals[S]) inService() int { return a.table.count - a.account.Pending() }

// tick forgets addresses that need not be remembered any more.
func (a *arrivals[S]) tick() {
	a.account.Forget(uint32(a.now), scanBudget)
	a.m.pending.Set(float64(a.account.Pending()))
	a.m.addresses.Set(float64(a.account.Addresses()))
}

// turnAway takes note of a connection that is not let in because of its
// address. An operator must hear of it: a balancer that nobody named as a proxy
// looks like one client with very many connections.
func (a *arrivals[S]) turnAway(from netip.Addr, why arrival.Reason) {
	a.m.turnedAway.WithLabelValues(string(why)).Inc()
	a.log.Debug("connection turned away", "address", from, "reason", why)
	if a.turnedAway++; a.now < a.nextLine {
		return
	}
	a.log.Warn("connections are turned away because of their address; if it is a proxy's, name it in front.trusted-proxies",
		"address", from, "reason", why, "connections", a.turnedAway)
	a.turnedAway, a.nextLine = 0, a.now+complaints
}
