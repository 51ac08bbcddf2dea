package loop

import (
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/homing/homing/front/epoll"
)

// acceptBudget is how many connections one turn accepts per listener: with
// eventBudget and postBudget about 3 ms of handshakes, which is how long a herd
// of them holds up a delivery.
const acceptBudget = 16

// listeners accept connections while descriptors last. The loop owns it.
type listeners[S any] struct {
	*core[S]

	arrivals *arrivals[S]
	backlog  int
	all      []*listener
	limit    descriptorLimit
	short    atomic.Bool // the limit is reached, and the listeners are closed
	muted    bool        // somebody else wants no arrivals here
	left     bool        // for good
}

// listener is a Listener as the loop sees it.
type listener struct {
	Listener
	token epoll.Token
	open  bool // listening and polled
	gone  bool // closed for good
}

func newListeners[S any](a *arrivals[S], cfg *Config, given []Listener, limit descriptorLimit) (*listeners[S], error) {
	ls := &listeners[S]{core: a.core, arrivals: a, backlog: cfg.Backlog, limit: limit}
	for i, ln := range given {
		ls.all = append(ls.all, &listener{Listener: ln, token: epoll.MakeToken(-2-i, 0)})
	}
	for _, ln := range ls.all {
		if err := ls.listen(ln); err != nil {
			return nil, err
		}
	}
	return ls, nil
}

// Addresses returns what the loop listens on, in the order of its listeners.
// Only before Run.
func (ls *listeners[S]) Addresses() (out []netip.AddrPort) {
	for _, ln := range ls.all {
		if addr, err := epoll.LocalAddr(ln.FD); err == nil {
			out = append(out, addr)
		}
	}
	return out
}

// listen has the kernel give connections to ln, also when whoever held the
// socket before had stopped that. One over TLS stays closed while there is no
// certificate.
func (ls *listeners[S]) listen(ln *listener) error {
	if ln.TLS && ls.mustStayClosed(ln) {
		return nil
	}
	if err := epoll.Relisten(ln.FD, ls.backlog); err != nil {
		return fmt.Errorf("listener on descriptor %d: %w", ln.FD, err)
	}
	if err := ls.poller.Add(ln.FD, ln.token, epoll.ForRead); err != nil {
		return fmt.Errorf("listener on descriptor %d: %w", ln.FD, err)
	}
	ln.open = true
	return nil
}

// mustStayClosed closes a TLS listener that has no certificate to serve with,
// and reports whether it is one. What waits in its queue is given up.
func (ls *listeners[S]) mustStayClosed(ln *listener) bool {
	why := ls.arrivals.handshakes.closed()
	if why == nil {
		return false
	}
	err := epoll.Unlisten(ln.FD, func(fd int, _ netip.AddrPort) { _ = epoll.Close(fd) })
	if err != nil && !errors.Is(err, unix.EINVAL) { // which says that it did not listen
		ls.log.Error("close the TLS listener", "err", err)
	}
	ls.log.Error("TLS listener closed until there is a certificate", "err", why)
	return true
}

// certificateRead opens the TLS listeners that were closed for want of a
// certificate.
func (ls *listeners[S]) certificateRead() {
	if ls.short.Load() || ls.muted || ls.left {
		return
	}
	for _, ln := range ls.all {
		if ln.TLS && !ln.open && !ln.gone {
			ls.reopen(ln)
		}
	}
}

// unlisten takes ln out of the poller and, unless somebody else serves it too
// and goes on, out of the port's group; the queue is accepted first.
func (ls *listeners[S]) unlisten(ln *listener) {
	if !ln.open {
		return
	}
	ls.ignore(ln)
	err := epoll.Unlisten(ln.FD, func(fd int, from netip.AddrPort) { ls.arrivals.welcome(fd, from.Addr(), ln.TLS) })
	if err != nil { // out of descriptors: what still waits is reset, the rest goes elsewhere
		ls.log.Error("close a listener", "err", errors.Join(err, unix.Shutdown(ln.FD, unix.SHUT_RD)))
	}
}

// ignore has ln not be polled any more.
func (ls *listeners[S]) ignore(ln *listener) {
	ln.open = false
	if err := ls.poller.Remove(ln.FD); err != nil { // closing it is not enough: others may hold the socket
		ls.log.Error("stop polling a listener", "err", err)
	}
}

// LeaveListeners stops accepting for good.
func (ls *listeners[S]) LeaveListeners() {
	ls.left = true
	for _, ln := range ls.all {
		ls.leave(ln)
	}
}

func (ls *listeners[S]) leave(ln *listener) {
	switch {
	case ln.gone:
		return
	case !ln.Shared:
		ls.unlisten(ln)
	case ln.open:
		ls.ignore(ln)
	}
	ln.gone = true
	if err := epoll.Close(ln.FD); err != nil {
		ls.log.Error("close a listener", "err", err)
	}
}

// accept takes a limited number of waiting connections; the rest makes the
// listener ready again.
func (ls *listeners[S]) accept(ln *listener, ev *epoll.Event) {
	if !ln.open {
		return
	}
	if ev.Hangup { // another holder of a shared socket has shut it down
		ls.reopen(ln)
		return
	}
	for range acceptBudget {
		fd, from, err := epoll.Accept(ln.FD)
		if err != nil {
			ls.acceptFailed(err)
			return
		}
		ls.arrivals.welcome(fd, from.Addr(), ln.TLS)
	}
}

func (ls *listeners[S]) acceptFailed(err error) {
	if errors.Is(err, epoll.ErrWouldBlock) {
		return
	}
	ls.m.acceptFailures.Inc()
	ls.log.Error("accept a connection", "err", err)
	if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) {
		ls.limit.lower(ls.table.count)
		ls.arrivals.bound(ls.limit.pending)
		ls.shut()
	}
}

// Mute has the loop stop accepting from its shared listeners, without shutting
// them down: whoever shares them does that, and sees to their queues. It never
// blocks and may be called from any goroutine.
func (ls *listeners[S]) Mute() {
	ls.command(func() {
		ls.muted = true
		for _, ln := range ls.all {
			if ln.open && ln.Shared {
				ls.ignore(ln)
			}
		}
	})
}

// Listen ends what Mute began, and has the listeners listen whatever state
// others have left them in. A loop that is short of descriptors, or has left
// them, keeps them closed. It never blocks and may be called from any goroutine.
func (ls *listeners[S]) Listen() {
	ls.command(func() {
		ls.muted = false
		if ls.short.Load() || ls.left {
			return
		}
		for _, ln := range ls.all {
			ls.reopen(ln)
		}
	})
}

func (ls *listeners[S]) reopen(ln *listener) {
	_ = ls.poller.Remove(ln.FD) // it may not be there
	ln.open = false
	if err := ls.listen(ln); err != nil {
		ls.log.Error("listen again", "err", err)
	}
}

// TakeIn ends that c is pending: it has shown a valid token, and nobody refuses
// it. deadline is its next one; 0: none.
func (ls *listeners[S]) TakeIn(c *Conn[S], deadline Tick) {
	ls.arrivals.serve(c, deadline)
	ls.Arm(c)
	ls.countIn()
}

// Attach takes a non-blocking stream socket among the connections that is not a
// client's: it comes from no address, and is in service at once, without a
// deadline. It returns nil, and has closed the socket, when that cannot be polled.
func (ls *listeners[S]) Attach(fd int, state S) *Conn[S] {
	c := ls.newConn(fd)
	c.State = state
	if !ls.add(c) {
		return nil
	}
	ls.countIn()
	return c
}

// countIn closes the listeners when one more is in service than there may be.
func (ls *listeners[S]) countIn() {
	if !ls.short.Load() && ls.limit.full(ls.arrivals.inService()) {
		ls.shut()
	}
}

// Short reports whether descriptors run short, so that the listeners are closed.
// It may be called from any goroutine.
func (ls *listeners[S]) Short() bool { return ls.short.Load() }

// shut closes the listeners: the kernel spreads arrivals over the other
// processes on the port. Pausing accept instead would strand them.
func (ls *listeners[S]) shut() {
	ls.short.Store(true)
	ls.m.unlistens.Inc()
	ls.log.Warn("descriptors run short: listeners closed", "connections", ls.arrivals.inService(), "reopen_at", ls.limit.low)
	for _, ln := range ls.all {
		ls.unlisten(ln)
	}
}

// tick opens the listeners again at the low-water mark.
func (ls *listeners[S]) tick() {
	if ls.left || ls.muted || !ls.short.Load() || ls.arrivals.inService() > ls.limit.low {
		return
	}
	ls.short.Store(false)
	ls.m.relistens.Inc()
	ls.log.Info("listeners open again", "connections", ls.arrivals.inService())
	for _, ln := range ls.all {
		if err := ls.listen(ln); err != nil {
			ls.log.Error("listen again", "err", err)
		}
	}
}

// close closes what LeaveListeners did not.
func (ls *listeners[S]) close() {
	for _, ln := range ls.all {
		if !ln.gone {
			ln.open, ln.gone = false, true
			_ = epoll.Close(ln.FD) // nobody is left to tell
		}
	}
}
