package front

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"github.com/homing/homing/front/arrival"
	"github.com/homing/homing/front/epoll"
)

// Listener is a listening socket that a worker serves.
type Listener struct {
	FD  int  // non-blocking
	TLS bool // connections start with a TLS handshake
	// Shared says that somebody else, a master or another worker, holds the
	// same socket: on stop the worker then leaves the queue to them.
	Shared bool
}

// ListenOption is the option that names the address of plain or TLS
// connections.
func ListenOption(overTLS bool) string {
	if overTLS {
		return "front.tls-listen"
	}
	return "front.listen"
}

// Listen opens the listeners that cfg names, for a worker without a master. It
// fails where another process listens already.
func Listen(cfg *Config) ([]Listener, error) {
	var out []Listener
	for _, at := range []struct {
		addr string
		tls  bool
	}{{cfg.Listen, false}, {cfg.TLSListen, true}} {
		if at.addr == "" {
			continue
		}
		fd, err := epoll.Listen(at.addr, cfg.SocketOptions())
		if err != nil {
			for _, ln := range out {
				_ = epoll.Close(ln.FD)
			}
			return nil, fmt.Errorf("%s: %w", ListenOption(at.tls), err)
		}
		out = append(out, Listener{FD: fd, TLS: at.tls})
	}
	return out, nil
}

// SocketOptions are the options of the listeners that cfg names.
func (c *Config) SocketOptions() epoll.Options {
	return epoll.Options{
		Backlog:     c.Backlog,
		SendBuffer:  c.SendBuffer,
		KeepAlive:   4 * c.PingInterval,             // the pings come first; this is for what they miss
		UserTimeout: c.PingInterval + c.PongTimeout, // likewise
	}
}

// listener is a Listener as the loop sees it.
type listener struct {
	Listener
	token epoll.Token
	open  bool // listening and polled
	gone  bool // closed for good
}

// listen has the kernel give connections to ln, also when whoever held the
// socket before had stopped that. One over TLS stays closed while there is no
// certificate.
func (w *Worker) listen(ln *listener) error {
	if w.mustStayClosed(ln) {
		return nil
	}
	if err := epoll.Relisten(ln.FD, w.cfg.Backlog); err != nil {
		return fmt.Errorf("listener on descriptor %d: %w", ln.FD, err)
	}
	if err := w.poller.Add(ln.FD, ln.token, epoll.ForRead); err != nil {
		return fmt.Errorf("listener on descriptor %d: %w", ln.FD, err)
	}
	ln.open = true
	return nil
}

// unlisten takes ln out of the poller and, unless somebody else serves it too
// and goes on, out of the port's group; the queue is accepted first.
func (w *Worker) unlisten(ln *listener) {
	if !ln.open {
		return
	}
	ln.open = false
	if err := w.poller.Remove(ln.FD); err != nil {
		w.log.Error("stop polling a listener", "err", err)
	}
	err := epoll.Unlisten(ln.FD, func(fd int, from netip.AddrPort) { w.welcome(fd, from.Addr(), ln.TLS) })
	if err != nil { // out of descriptors: what still waits is reset, the rest goes elsewhere
		w.log.Error("close a listener", "err", errors.Join(err, unix.Shutdown(ln.FD, unix.SHUT_RD)))
	}
}

// leave stops accepting from ln for good.
func (w *Worker) leave(ln *listener) {
	switch {
	case ln.gone:
		return
	case !ln.Shared:
		w.unlisten(ln)
	case ln.open:
		ln.open = false
		if err := w.poller.Remove(ln.FD); err != nil { // closing it is not enough: others hold the socket
			w.log.Error("stop polling a listener", "err", err)
		}
	}
	ln.gone = true
	if err := epoll.Close(ln.FD); err != nil {
		w.log.Error("close a listener", "err", err)
	}
}

// leaveListeners stops accepting for good.
func (w *Worker) leaveListeners() {
	for _, ln := range w.listeners {
		w.leave(ln)
	}
}

func (w *Worker) closeListeners() {
	for _, ln := range w.listeners {
		if !ln.gone {
			ln.open, ln.gone = false, true
			_ = epoll.Close(ln.FD) // nobody is left to tell
		}
	}
}

// accept takes a limited number of waiting connections; the rest makes the
// listener ready again.
func (w *Worker) accept(ln *listener, ev *epoll.Event) {
	if !ln.open {
		return
	}
	if ev.Hangup { // another holder of a shared socket has shut it down
		if !w.draining.Load() {
			w.reopen(ln)
		}
		return
	}
	for range acceptBudget {
		fd, from, err := epoll.Accept(ln.FD)
		if err != nil {
			w.acceptFailed(err)
			return
		}
		w.welcome(fd, from.Addr(), ln.TLS)
	}
}

func (w *Worker) acceptFailed(err error) {
	if errors.Is(err, epoll.ErrWouldBlock) {
		return
	}
	w.m.acceptFailures.Inc()
	w.log.Error("accept a connection", "err", err)
	if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) {
		w.gate.lower(w.table.count)
		w.shrinkPending()
		w.shutGate()
	}
}

// shrinkPending closes connections that have shown no token, as many as there are
// more than the gate keeps descriptors for.
func (w *Worker) shrinkPending() {
	w.arrivals.Bound(w.gate.pending)
	for w.arrivals.Pending() > w.gate.pending {
		oldest := w.arrivals.Oldest()
		w.turnAway(oldest.Addr, arrival.Pending)
		w.drop(oldest.Holder, dropClosed)
	}
}

// Mute has the worker stop accepting from its shared listeners, without shutting
// them down: whoever shares them does that, and sees to their queues. It never
// blocks and may be called from any goroutine.
func (w *Worker) Mute() {
	w.Post(func() {
		w.muted = true
		for _, ln := range w.listeners {
			if !ln.open || !ln.Shared {
				continue
			}
			ln.open = false
			if err := w.poller.Remove(ln.FD); err != nil {
				w.log.Error("stop polling a listener", "err", err)
			}
		}
	})
}

// Listen ends what Mute began, and has the worker's listeners listen whatever
// state others have left them in. One that is short of descriptors, or stops,
// keeps them closed. It never blocks and may be called from any goroutine.
func (w *Worker) Listen() {
	w.Post(func() {
		w.muted = false
		if w.gate.shut || w.draining.Load() {
			return
		}
		for _, ln := range w.listeners {
			w.reopen(ln)
		}
	})
}

func (w *Worker) reopen(ln *listener) {
	_ = w.poller.Remove(ln.FD)
	ln.open = false
	if err := w.listen(ln); err != nil {
		w.log.Error("listen again", "err", err)
	}
}

// shutGate closes the listeners: the kernel spreads arrivals over the other
// processes on the port. Pausing accept instead would strand them.
func (w *Worker) shutGate() {
	w.gate.shut = true
	w.m.unlistens.Inc()
	w.log.Warn("descriptors run short: listeners closed", "connections", w.inService(), "reopen_at", w.gate.low)
	for _, ln := range w.listeners {
		w.unlisten(ln)
	}
}

// tendListeners opens the listeners again at the low-water mark.
func (w *Worker) tendListeners() {
	if w.draining.Load() || w.muted || !w.gate.shut || w.inService() > w.gate.low {
		return
	}
	w.gate.shut = false
	w.m.relistens.Inc()
	w.log.Info("listeners open again", "connections", w.inService())
	for _, ln := range w.listeners {
		if err := w.listen(ln); err != nil {
			w.log.Error("listen again", "err", err)
		}
	}
}

// gate says when connections in service come near the descriptors that there
// are. Those that have shown no token have a part of their own, so that they
// cannot close the listeners.
type gate struct {
	high, low int // connections in service at which the listeners close and open again
	pending   int // descriptors kept for connections that have shown no token
	shut      bool
}

// newGate allows for the descriptors that the process has open already. limit
// 0 means the process's own. Of what there is, a quarter at most is kept for
// pending connections.
func newGate(limit, pending int) (gate, error) {
	if limit == 0 {
		var r unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
			return gate{}, fmt.Errorf("read the limit of descriptors: %w", err)
		}
		limit = int(min(r.Cur, 1<<30))
	}
	used, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return gate{}, fmt.Errorf("count open descriptors: %w", err)
	}
	g := gate{high: limit, pending: pending}
	g.share(limit - limit/20 - len(used))
	return g, nil
}

// share has at most all connections be open.
func (g *gate) share(all int) {
	g.pending = max(1, min(g.pending, all/4))
	g.high = max(1, min(g.high, all-g.pending))
	g.low = g.high - g.high/20 - 1
}

func (g *gate) full(connections int) bool { return !g.shut && connections >= g.high }

// lower learns from the kernel that there are fewer than was thought: not more
// than those of so many connections, pending ones included.
func (g *gate) lower(connections int) { g.share(connections - connections/20) }
