package front

import (
	"errors"
	"net/netip"

	"github.com/homing/homing/front/forwarded"
	"github.com/homing/homing/front/epoll"
)

// readProxyHeader reads the PROXY protocol header that c begins with, and not a
// byte more: TLS or the request begins afresh behind it.
func (w *Worker) readProxyHeader(c *conn) {
	missing, err := forwarded.Missing(c.side.head)
	if err == nil && missing > 0 {
		n, err := epoll.Read(int(c.fd), w.buf[:missing])
		switch {
		case err == nil:
			w.m.receivedBytes.Add(float64(n))
			c.side.head = append(c.side.head, w.buf[:n]...)
		case !errors.Is(err, epoll.ErrWouldBlock):
			w.hungUp(c, err)
		}
		if n < missing {
			return
		}
		w.readProxyHeader(c) // of its length it asks for the rest
		return
	}
	w.proxyHeader(c, err)
}

// proxyHeader goes on with c once its header is whole, or cannot be one.
func (w *Worker) proxyHeader(c *conn, err error) {
	var source netip.Addr
	if err == nil {
		source, err = forwarded.Source(c.side.head)
	}
	if err != nil {
		w.trace(c, "no PROXY header", "err", err)
		w.turnAway(w.guest(c).Addr, proxyHeader)
		w.drop(c, dropClosed)
		return
	}
	c.side.head = nil
	if source.IsValid() && !w.identify(c, source) {
		w.drop(c, dropClosed)
		return
	}
	w.beginProxied(c)
}

// beginProxied has what follows the PROXY header be read as the connection's own.
func (w *Worker) beginProxied(c *conn) {
	c.state = stateRequest
	if !c.side.secure {
		c.side = nil
		return
	}
	w.startTLS(c)
}
