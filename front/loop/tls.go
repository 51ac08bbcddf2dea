package loop

import (
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/homing/homing/front/certificate"
	"github.com/homing/homing/front/fair"
	"github.com/homing/homing/front/tickets"
	"github.com/homing/homing/front/tlsconn"
	"github.com/homing/homing/hub/drop"
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

var (
	errNoInput    = tlsconn.ErrNoInput
	errBacklog    = tlsconn.ErrBacklog
	errTLSCrowded = errors.New("too many TLS handshakes are under way")
	errTLSTimeout = errors.New("the TLS handshake took too long")
)

// secure is what a connection over TLS has on top of others.
type secure[S any] struct {
	*tlsconn.Conn
	turn     *fair.Place[any] // its place in handshakes.waiting; nil: it is not in it
	running  *list.Element    // its place in handshakes.running; nil: it is not in it
	begun    bool             // its handshake runs or has run
	hungUp   bool             // its client has ended its side during the handshake
	deaf     bool             // what the client sends is not decrypted any more
	result   string           // of the handshake; empty: it is not over
	credit   uint32           // records that the client may send now
	refilled Tick             // up to which credit is given
}

// handshakes are the loop's TLS handshakes: connections wait with a complete
// ClientHello for theirs to begin, and most of those that run wait for their
// clients.
//
//bound:tls-handshakes
type handshakes[S any] struct {
	*writer[S]

	// Static. config, certs and helpers are safe for concurrent use.
	cfg     TLS
	limit   int // see Config.TLSHandshakeLimit
	limiter Handshakes
	opened  func(*Conn[S], *secure[S])
	config  *tls.Config        // shared by all connections; nil without TLS
	certs   *certificate.Store // nil without TLS
	places  *tlsconn.Places    // held by those who compute
	helpers sync.WaitGroup

	// Owned by the loop.
	waiting fair.Queue[any, *Conn[S]] // to begin, by arrival.Guest.Owner: an address that opens many keeps no other one out
	running list.List                 // of *Conn: begun, the oldest first
	buffers tlsconn.Buffers
}

// newHandshakes prepares for TLS when there are listeners that need it. Without
// a certificate that can be used it fails if one is needed; else the TLS
// listeners stay closed until there is one.
func newHandshakes[S any](w *writer[S], cfg *Config, listeners []Listener, reg prometheus.Registerer) (*handshakes[S], error) {
	h := &handshakes[S]{writer: w, cfg: cfg.TLS, limit: cfg.TLSHandshakeLimit, limiter: cfg.Limiter}
	needed := false
	for _, ln := range listeners {
		needed = needed || ln.TLS
	}
	if !needed {
		return h, nil
	}
	if cfg.TLS.NeedCertificate {
		if err := certificate.Check(cfg.TLS.Cert, cfg.TLS.Key); err != nil {
			return nil, err
		}
	}
	h.certs = certificate.New(cfg.TLS.Cert, cfg.TLS.Key, w.log, reg)
	h.places = tlsconn.NewPlaces(handshakesAtOnce)
	h.config = &tls.Config{
		MinVersion:                  tls.VersionTLS12,
		GetCertificate:              h.certs.Get,
		NextProtos:                  []string{"http/1.1"},
		DynamicRecordSizingDisabled: true, // a message is written whole
	}
	return h, nil
}

// SetTicketKeys has TLS sessions sealed and resumed with k from now on. Before
// that they can be resumed at this loop only. It may be called from any
// goroutine and does not block.
func (h *handshakes[S]) SetTicketKeys(k tickets.Keys) {
	if h.config != nil && len(k) > 0 {
		h.config.SetSessionTicketKeys(k)
	}
}

// TLSClosed says why the TLS listeners are closed for want of a certificate;
// nil when they are not. It may be called from any goroutine.
func (h *handshakes[S]) TLSClosed() error {
	if h.certs == nil || h.certs.Usable() {
		return nil
	}
	return fmt.Errorf("the TLS listener is closed: %w", h.certs.Problem())
}

// watch calls changed, on the loop, when the certificate was read anew.
func (h *handshakes[S]) watch(ctx context.Context, changed func()) {
	if h.certs != nil {
		h.helpers.Go(func() { h.certs.Watch(ctx, func() { h.command(changed) }) })
	}
}

// start has c begin with a TLS handshake, within the handshake timeout.
func (h *handshakes[S]) start(c *Conn[S]) {
	c.aux.tls = &secure[S]{
		Conn:   tlsconn.New(int(c.fd), h.config, &h.buffers, h.limit),
		credit: h.recordBurst(), refilled: h.now,
	}
}

// shake takes ciphertext of a client whose handshake is not over.
func (h *handshakes[S]) shake(c *Conn[S], t *secure[S], data []byte) {
	if t.begun {
		if err := t.Feed(data); err != nil {
			h.fail(c, tlsTooLarge, err)
		}
		return
	}
	whole, err := t.Hello(data)
	switch {
	case errors.Is(err, tlsconn.ErrNotTLS):
		h.fail(c, tlsNotTLS, err)
	case err != nil:
		h.fail(c, tlsTooLarge, err)
	case whole && t.turn == nil: // for its turn, within the handshake timeout
		t.turn = h.waiting.Push(c.guest().Owner(), c)
		h.begin()
	}
}

// begin begins as many of the handshakes that wait as there is room for now.
func (h *handshakes[S]) begin() {
	for h.waiting.Len() > 0 && h.places.Wanted() < handshakesReady && (h.limiter == nil || h.limiter.Handshake()) {
		c := h.waiting.Pop()
		c.tls().turn = nil
		h.run(c, c.tls())
	}
}

// run has c's handshake run on a goroutine of its own. When too many run, the
// one that began first is given up: it has had more time than most clients
// need, and otherwise clients that go no further would keep all others out.
//
// A post that is refused ends with the connection's handshake timeout.
func (h *handshakes[S]) run(c *Conn[S], t *secure[S]) {
	if h.running.Len() >= h.cfg.Handshakes {
		oldest := h.running.Front().Value.(*Conn[S])
		h.fail(oldest, tlsCrowded, errTLSCrowded)
	}
	t.running = h.running.PushBack(c)
	t.begun = true
	t.Begin(h.places, func() { h.Post(func() { h.flushHandshake(c, t); h.begin() }) })
	h.helpers.Go(func() {
		err := t.Handshake()
		h.Post(func() { h.done(c, t, err) })
	})
}

// flushHandshake writes what a handshake has to say.
func (h *handshakes[S]) flushHandshake(c *Conn[S], t *secure[S]) {
	if c.state == stateGone {
		return
	}
	if _, err := t.Flush(); err != nil {
		h.Drop(c, drop.Lost)
		return
	}
	h.awaitCipher(c)
}

// done goes on after a handshake.
func (h *handshakes[S]) done(c *Conn[S], t *secure[S], err error) {
	h.leave(t)
	h.flushHandshake(c, t)
	switch {
	case c.state == stateGone:
	case err != nil:
		h.fail(c, resultOf(err), err)
	default:
		t.result = tlsFull
		if t.Opened() {
			t.result = tlsResumed
		}
		h.m.tlsHandshakes.WithLabelValues(t.result).Inc()
		h.opened(c, t)
	}
	h.begin()
}

// hangsUp reports whether c's client has ended its side while the handshake
// runs, which then finds out from its last bytes why.
func (h *handshakes[S]) hangsUp(c *Conn[S]) bool {
	t := c.tls()
	if t == nil || !t.begun || t.Open() {
		return false
	}
	if t.hungUp {
		return true
	}
	if err := h.poller.Remove(int(c.fd)); err != nil {
		h.log.Error("stop polling a connection", "err", err)
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

// fail ends a connection whose handshake comes to nothing.
func (h *handshakes[S]) fail(c *Conn[S], result string, err error) {
	c.tls().result = result
	h.m.tlsHandshakes.WithLabelValues(result).Inc()
	h.m.handshakes.WithLabelValues("tls").Inc()
	h.trace(c, "TLS handshake failed", "result", result, "err", err)
	h.Drop(c, drop.Lost)
}

// end gives back what a connection that is dropped holds.
func (h *handshakes[S]) end(t *secure[S]) {
	h.leave(t)
	if t.result == "" {
		h.m.tlsHandshakes.WithLabelValues(tlsAbandoned).Inc()
	}
	t.End()
}

// leave takes a connection out of the list that it is in.
func (h *handshakes[S]) leave(t *secure[S]) {
	if t.turn != nil {
		h.waiting.Remove(t.turn)
		t.turn = nil
	}
	if t.running != nil {
		h.running.Remove(t.running)
		t.running = nil
	}
}

// tick begins handshakes at the limiter's rate.
func (h *handshakes[S]) tick() {
	h.begin()
	h.m.tlsRunning.Set(float64(h.running.Len()))
	h.m.tlsWaiting.Set(float64(h.waiting.Len()))
}

// creditRecords takes n of the records that a client may send now, and reports
// whether there were as many.
func (h *handshakes[S]) creditRecords(t *secure[S], n int) bool {
	rate := uint64(h.cfg.RecordRate)
	if rate == 0 {
		return true
	}
	if gained := uint64(h.now-t.refilled) * rate / uint64(TicksPerSecond); gained > 0 {
		t.credit = uint32(min(uint64(t.credit)+gained, uint64(h.recordBurst())))
		t.refilled = h.now
	}
	if uint32(n) > t.credit {
		return false
	}
	t.credit -= uint32(n)
	return true
}

func (h *handshakes[S]) recordBurst() uint32 { return uint32(h.cfg.RecordBurst) }

// closed is why a TLS listener must not be opened; nil: it may.
func (h *handshakes[S]) closed() error {
	if h.certs.Usable() {
		return nil
	}
	return h.certs.Problem()
}
