package front

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/netip"

	"github.com/homing/homing/front/arrival"
	"github.com/homing/homing/front/epoll"
	"github.com/homing/homing/front/ws"
)

// guest is a connection's place in the account of its address.
type guest = arrival.Guest[*conn]

// The reasons to turn a connection away that are not its address's.
const (
	notTrusted  arrival.Reason = "proxy_not_trusted" // a PROXY header is wanted, and its sender would not be believed
	proxyHeader arrival.Reason = "proxy_header"      // what should be a PROXY header is none
)

// turnedAwayReasons are all of them, for the metric.
var turnedAwayReasons = []arrival.Reason{
	arrival.AddressRate, arrival.AddressPending, arrival.Pending, arrival.AddressConnections, notTrusted, proxyHeader,
}

func (c *Config) arrivalLimits(pending int) arrival.Limits {
	trusted, _ := parseTrusted(c.TrustedProxies) // which Validate has done
	return arrival.Limits{
		Pending: pending, AddressPending: c.AddressPending,
		Rate: c.AddressRate, Burst: c.AddressBurst, Connections: c.AddressConnections,
		PrefixBits: c.AddressPrefix, Trusted: trusted,
	}
}

// welcome starts the life of an accepted connection, or closes it at once. from
// is where it comes from; the zero Addr when that is not known.
func (w *Worker) welcome(fd int, from netip.Addr, overTLS bool) {
	w.m.accepted.Inc()
	c := &conn{fd: int32(fd), state: stateRequest, heard: w.now, deadline: w.now + w.limits.handshake}
	proxied := w.proxied(overTLS)
	var g *guest
	why := arrival.AddressRate
	if proxied && !w.trusted.Contains(from) {
		why = notTrusted
	} else {
		g = w.arrivals.Arrive(from, c, w.now)
	}
	if g == nil {
		w.turnAway(from, why)
		_ = epoll.Close(fd) // nobody is left to tell
		return
	}
	w.table.add(c, g)
	w.makeRoom(g)
	if proxied {
		c.state = stateProxy
		c.side = &side{secure: overTLS}
	}
	if overTLS && !proxied {
		w.startTLS(c)
	}
	if err := w.poller.Add(fd, c.token(), epoll.ForRead); err != nil {
		w.log.Error("poll a connection", "err", err)
		w.drop(c, dropLost)
		return
	}
	w.arm(c)
}

// proxied reports whether connections begin with a PROXY protocol header.
func (w *Worker) proxied(overTLS bool) bool {
	if overTLS {
		return w.cfg.TLSProxyProtocol
	}
	return w.cfg.ProxyProtocol
}

// guest is c's place in the account of its address. There is one from accept
// until c is in service or gone.
func (w *Worker) guest(c *conn) *guest {
	if w.table.conns[c.id] != c {
		return nil
	}
	return w.table.guests[c.id]
}

// makeRoom closes the connection that has to go because g came.
func (w *Worker) makeRoom(g *guest) {
	if oldest, why := w.arrivals.Excess(g); oldest != nil {
		w.turnAway(oldest.Addr, why)
		w.drop(oldest.Holder, dropClosed)
	}
}

// identify notes that c comes from addr, as a proxy says, and reports whether
// that address may open one more connection now.
func (w *Worker) identify(c *conn, addr netip.Addr) bool {
	g := w.guest(c)
	within := w.arrivals.Identify(g, addr, w.now)
	if !within {
		w.turnAway(addr, arrival.AddressRate)
	}
	w.makeRoom(g)
	return within
}

// forwarded notes whose request it is that a trusted proxy passes on.
func (w *Worker) forwarded(c *conn, req *ws.Request) error {
	peer := w.guest(c).Addr
	if !w.trusted.Contains(peer) {
		return nil
	}
	client := w.trusted.Client(peer, req.Values("X-Forwarded-For"))
	if client != peer && !w.identify(c, client) {
		return tooMany()
	}
	return nil
}

// admitAddress refuses c when too many of its address are in service.
func (w *Worker) admitAddress(c *conn) error {
	if g := w.guest(c); w.arrivals.Full(g) {
		w.turnAway(g.Addr, arrival.AddressConnections)
		return tooMany()
	}
	return nil
}

// takeIn ends that c is pending: it has shown a valid token, and nobody refuses
// it.
func (w *Worker) takeIn(c *conn) {
	w.arrivals.Serve(w.guest(c))
	if w.cfg.AddressConnections == 0 {
		w.table.guests[c.id] = nil // it need not be counted any more
	}
	if w.gate.full(w.inService()) {
		w.shutGate()
	}
}

// inService is the number of connections that have shown a valid token, those
// that are being closed included.
func (w *Worker) inService() int { return w.table.count - w.arrivals.Pending() }

// tooMany refuses a client because of what others of its address do.
func tooMany() error {
	return &ws.RequestError{
		Status: http.StatusTooManyRequests, Code: "too_many_from_address",
		Detail: "Too many connections come from this address.",
		Header: fmt.Sprintf("Retry-After: %d", 5+rand.N(10)),
	}
}

// complaints is how often the log says that connections are turned away.
const complaints = 60 * arrival.TicksPerSecond

// turnedAway is what the log has not said yet.
type turnedAway struct {
	count int    // since the last line
	next  uint32 // tick from which there may be another one
}

// turnAway takes note of a connection that is not let in because of its
// address. An operator must hear of it: a balancer that nobody named as a proxy
// looks like one client with very many connections.
func (w *Worker) turnAway(from netip.Addr, why arrival.Reason) {
	w.m.turnedAway.WithLabelValues(string(why)).Inc()
	w.log.Debug("connection turned away", "address", from, "reason", why)
	t := &w.turnedAway
	if t.count++; w.now < t.next {
		return
	}
	w.log.Warn("connections are turned away because of their address; if it is a proxy's, name it in front.trusted-proxies",
		"address", from, "reason", why, "connections", t.count)
	t.count, t.next = 0, w.now+complaints
}
