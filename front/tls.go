package front

import (
	"container/list"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/homing/homing/front/certificate"
	"github.com/homing/homing/front/fair"
	"github.com/homing/homing/front/epoll"
	"github.com/homing/homing/front/tickets"
	"github.com/homing/homing/front/tlsconn"
)

// The results of TLS handshakes, as they are counted.
const (
	tlsFull      = "full"
	tlsResumed   = "resumed"
	tlsNotTLS    = "not_tls"   // the first bytes were no ClientHello
	tlsTooLarge  = "too_large" // the client sent more than a handshake needs
	tlsCrowded   = "crowded"   // it waited longest for its client when too many did
	tlsTimeout   = "timeout"   // not over within the handshake timeout
	tlsAbandoned = "abandoned" // the client went away, or the connection was closed for another
	tlsAlert     = "alert"     // the client refused, as when it does not trust the certificate
	tlsFailed    = "failed"    // crypto/tls refused: versions, ciphers, protocols, broken messages
)

const (
	// handshakesAtOnce is how many TLS handshakes compute at the same time. One
	// leaves the other CPUs to the loop and to the other workers.
	handshakesAtOnce = 1
	// handshakesReady is how many handshakes may compute or be about to. The
	// rest waits before it begins, where it takes little.
	handshakesReady = 32
)

// secure is what a connection over TLS has on top of others.
type secure struct {
	*tlsconn.Conn
	turn     *fair.Place[any] // its place in handshakes.queue; nil: it is not in it
	place    *list.Element    // its place in handshakes.running; nil: it is not in it
	begun    bool             // its handshake runs or has run
	hungUp   bool             // its client has ended its side during the handshake
	deaf     bool             // what the client sends is not decrypted any more
	result   string           // of the handshake; empty: it is not over
	credit   uint32           // records that the client may send now
	refilled uint32           // tick up to which credit is given
}

// handshakes are the worker's TLS handshakes: connections wait with a complete
// ClientHello for theirs to begin, and most of those that run wait for their
// clients. Owned by the loop, but for the first two.
type handshakes struct {
	config  *tls.Config            // shared by all connections; nil without TLS
	certs   *certificate.Store     // safe for concurrent use; nil without TLS
	places  *tlsconn.Places        // held by those who compute
	queue   fair.Queue[any, *conn] // to begin, by arrival.Guest.Owner: an address that opens many keeps no other one out
	running list.List              // of *conn: begun, the oldest first
	buffers tlsconn.Buffers
}

// openTLS prepares for TLS. Without a certificate that can be used it fails if
// one is needed; else the TLS listeners stay closed until there is one.
func (w *Worker) openTLS() error {
	h := &w.handshakes
	if w.deps.NeedCertificate {
		if err := certificate.Check(w.cfg.TLSCert, w.cfg.TLSKey); err != nil {
			return err
		}
	}
	h.certs = certificate.New(w.cfg.TLSCert, w.cfg.TLSKey, w.log, w.deps.Registry)
	h.places = tlsconn.NewPlaces(handshakesAtOnce)
	h.config = &tls.Config{
		MinVersion:                  tls.VersionTLS12,
		GetCertificate:              h.certs.Get,
		NextProtos:                  []string{"http/1.1"},
		DynamicRecordSizingDisabled: true, // a message is written whole
	}
	return nil
}

// SetTicketKeys has TLS sessions sealed and resumed with k from now on. Before
// that they can be resumed at this worker only. It may be called from any
// goroutine and does not block.
func (w *Worker) SetTicketKeys(k tickets.Keys) {
	if w.handshakes.config != nil && len(k) > 0 {
		w.handshakes.config.SetSessionTicketKeys(k)
	}
}

// TLSClosed says why the TLS listeners are closed for want of a certificate;
// nil when they are not. It may be called from any goroutine.
func (w *Worker) TLSClosed() error {
	certs := w.handshakes.certs
	if certs == nil || certs.Usable() {
		return nil
	}
	return fmt.Errorf("the TLS listener is closed: %w", certs.Problem())
}

// mustStayClosed closes a listener that has no certificate to serve with, and
// reports whether it is one. What waits in its queue is given up.
func (w *Worker) mustStayClosed(ln *listener) bool {
	if !ln.TLS || w.handshakes.certs.Usable() {
		return false
	}
	err := epoll.Unlisten(ln.FD, func(fd int, _ netip.AddrPort) { _ = epoll.Close(fd) })
	if err != nil && !errors.Is(err, unix.EINVAL) { // which says that it did not listen
		w.log.Error("close the TLS listener", "err", err)
	}
	w.log.Error("TLS listener closed until there is a certificate", "err", w.handshakes.certs.Problem())
	return true
}

// certificateRead opens the TLS listeners that were closed for want of a
// certificate.
func (w *Worker) certificateRead() {
	if w.gate.shut || w.muted || w.draining.Load() {
		return
	}
	for _, ln := range w.listeners {
		if ln.TLS && !ln.open && !ln.gone {
			w.reopen(ln)
		}
	}
}

// startTLS has c begin with a TLS handshake, within the handshake timeout.
func (w *Worker) startTLS(c *conn) {
	h := &w.handshakes
	c.side = &side{tls: &secure{
		Conn:   tlsconn.New(int(c.fd), h.config, &h.buffers, 2*w.cfg.HandshakeLimit),
		credit: w.recordBurst(), refilled: w.now,
	}}
}

// shake takes ciphertext of a client whose handshake is not over.
func (w *Worker) shake(c *conn, t *secure, data []byte) {
	if t.begun {
		if err := t.Feed(data); err != nil {
			w.failTLS(c, tlsTooLarge, err)
		}
		return
	}
	whole, err := t.Hello(data)
	switch {
	case errors.Is(err, tlsconn.ErrNotTLS):
		w.failTLS(c, tlsNotTLS, err)
	case err != nil:
		w.failTLS(c, tlsTooLarge, err)
	case whole && t.turn == nil: // for its turn, within the handshake timeout
		t.turn = w.handshakes.queue.Push(w.guest(c).Owner(), c)
		w.beginHandshakes()
	}
}

// beginHandshakes begins as many of the handshakes that wait as there is room
// for now.
func (w *Worker) beginHandshakes() {
	h := &w.handshakes
	for h.queue.Len() > 0 && h.places.Wanted() < handshakesReady && w.pace.handshake() {
		c := h.queue.Pop()
		c.tls().turn = nil
		w.beginHandshake(c, c.tls())
	}
}

// beginHandshake runs c's handshake on a goroutine of its own. When too many
// run, the one that began first is given up: it has had more time than most
// clients need, and otherwise clients that go no further would keep all others
// out.
func (w *Worker) beginHandshake(c *conn, t *secure) {
	h := &w.handshakes
	if h.running.Len() >= w.cfg.TLSHandshakes {
		oldest := h.running.Front().Value.(*conn)
		w.failTLS(oldest, tlsCrowded, errTLSCrowded)
	}
	t.place = h.running.PushBack(c)
	t.begun = true
	t.Begin(h.places, func() { w.Post(func() { w.flushTLS(c, t); w.beginHandshakes() }) })
	w.helpers.Go(func() {
		err := t.Handshake()
		w.Post(func() { w.handshaken(c, t, err) })
	})
}

var errTLSCrowded = errors.New("too many TLS handshakes are under way")

// endPlace takes a connection out of the list that it is in.
func (w *Worker) endPlace(t *secure) {
	if t.turn != nil {
		w.handshakes.queue.Remove(t.turn)
		t.turn = nil
	}
	if t.place != nil {
		w.handshakes.running.Remove(t.place)
		t.place = nil
	}
}

// flushTLS writes what a handshake has to say.
func (w *Worker) flushTLS(c *conn, t *secure) {
	if c.state == stateGone {
		return
	}
	if _, err := t.Flush(); err != nil {
		w.drop(c, dropLost)
		return
	}
	w.pend(c)
}

// handshaken goes on after a handshake, with what came behind it already.
func (w *Worker) handshaken(c *conn, t *secure, err error) {
	w.endPlace(t)
	w.flushTLS(c, t)
	switch {
	case c.state == stateGone:
	case err != nil:
		w.failTLS(c, resultOf(err), err)
	default:
		t.result = tlsFull
		if t.Opened() {
			t.result = tlsResumed
		}
		w.m.tls.handshakes.WithLabelValues(t.result).Inc()
		w.decrypt(c, t)
		if t.hungUp && c.state != stateGone {
			w.hungUp(c, io.EOF)
		}
	}
	w.beginHandshakes()
}

// endsInHandshake reports whether c's client has ended its side while the
// handshake runs, which then finds out from its last bytes why.
func (w *Worker) endsInHandshake(c *conn) bool {
	t := c.tls()
	if t == nil || !t.begun || t.Open() {
		return false
	}
	if t.hungUp {
		return true
	}
	if err := w.poller.Remove(int(c.fd)); err != nil {
		w.log.Error("stop polling a connection", "err", err)
	}
	t.hungUp = true
	t.FeedEnd()
	return true
}

func resultOf(err error) string {
	switch {
	case tlsconn.IsAlert(err):
		return tlsAlert
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return tlsAbandoned
	}
	return tlsFailed
}

// failTLS ends a connection whose handshake comes to nothing.
func (w *Worker) failTLS(c *conn, result string, err error) {
	c.tls().result = result
	w.m.handshakes.WithLabelValues("tls").Inc()
	w.m.tls.handshakes.WithLabelValues(result).Inc()
	w.trace(c, "TLS handshake failed", "result", result, "err", err)
	w.drop(c, dropLost)
}

// endTLS gives back what a connection that is dropped holds.
func (w *Worker) endTLS(t *secure) {
	w.endPlace(t)
	if t.result == "" {
		w.m.tls.handshakes.WithLabelValues(tlsAbandoned).Inc()
	}
	t.End()
}
