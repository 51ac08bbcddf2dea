package front

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/homing/homing/front/auth"
	"github.com/homing/homing/front/forwarded"
	"github.com/homing/homing/front/epoll"
	"github.com/homing/homing/hub"
)

// Presence is told what the worker holds, so that others can find it. Neither
// method may block; done, when not nil, is called once from any goroutine when
// the state that was set, or a later one of that user, can be found by others.
type Presence interface {
	Set(user hub.UserID, services []hub.ServiceCount, done func(error))
	SetConnections(n int)
}

// Authenticator checks tokens. It is called from several goroutines.
type Authenticator interface {
	// VerifyNow does not block.
	VerifyNow(token string) (auth.Identity, error)
	// Verify may block, until ctx ends, for what auth.Curable says may help.
	Verify(ctx context.Context, token string) (auth.Identity, error)
	// MayWait reports whether Verify ever does.
	MayWait() bool
}

// Deps is what a Worker works with. All fields but Inbox and Standing are
// needed.
type Deps struct {
	Process  hub.ProcessID // named in hello, with the connection
	Auth     Authenticator
	Presence Presence
	Inbox    Inbox // nil: clients cannot resume
	// Standing says what the others think of this process now. It is asked
	// before each envelope, from any goroutine, and must not block. nil: always
	// hub.StandingGood.
	Standing func() hub.Standing
	// NeedCertificate has NewWorker fail without a certificate for TLS that can
	// be used. Else the worker serves without its TLS listeners until there is one.
	NeedCertificate bool
	Log             *slog.Logger
	Registry        prometheus.Registerer
}

// Worker holds connections and writes to them what it is told to deliver.
type Worker struct {
	// Static.
	cfg              Config
	deps             Deps
	log              *slog.Logger
	tracing          bool // the log takes the level debug: see trace
	m                *metrics
	origins          origins
	trusted          forwarded.Trusted // proxies that say whose connection it is
	protocols        []protocol
	paths            map[string]uint8 // path to index of protocols
	anyPath          bool             // every other path leads to the first protocol; else: 404
	limits           limits
	bounds           bounds
	perConn, perUser allowance
	started          time.Time
	poller           *epoll.Poller // the loop's, but for Wake

	// Shared; each is safe for concurrent use.
	inbox      inbox
	posts      posts
	disowned   atomic.Bool   // the worker has lost its standing for good
	draining   atomic.Bool   // the worker stops
	leaving    chan struct{} // closed with draining
	leaveOnce  sync.Once
	waiting    chan verifyJob
	resumeJobs chan inboxJob
	ackJobs    chan inboxJob
	helpers    sync.WaitGroup // verifiers, readers of the inbox, TLS handshakes, the certificate's watcher

	// Owned by the loop.
	loop
}

// NewWorker prepares a worker on listeners, which it owns from now on. It
// serves once Run is called.
func NewWorker(cfg Config, listeners []Listener, deps Deps) (*Worker, error) {
	w, err := newWorker(cfg, listeners, deps)
	if err != nil {
		return nil, err
	}
	w.protocols = []protocol{homing{}}
	w.paths = map[string]uint8{"/ws": 0}
	return w, nil
}

// NewEcho opens cfg's listeners and prepares a worker that sends every text and
// binary message back, on any path and without tokens: the read and write path
// of a Worker, for conformance suites and measurements. Of cfg's bounds on what
// a client may send and receive only MaxMessage holds.
func NewEcho(cfg Config, log *slog.Logger, reg prometheus.Registerer) (*Worker, error) {
	cfg.Origins = []string{"*"}
	cfg.MessageRate, cfg.ByteRate = 0, 0
	cfg.AdmitRate, cfg.AddressRate, cfg.AddressPending, cfg.AddressConnections = 0, 0, 0, 0
	cfg.SendBuffer = 0
	cfg.OutboxBytes = max(cfg.OutboxBytes, 4*cfg.MaxMessage)
	cfg.OutboxMessages = max(cfg.OutboxMessages, 1<<20)
	listeners, err := Listen(&cfg)
	if err != nil {
		return nil, err
	}
	w, err := newWorker(cfg, listeners, Deps{Log: log, Registry: reg, Presence: absent{}})
	if err != nil {
		return nil, err
	}
	w.protocols = []protocol{echo{}}
	w.anyPath = true
	return w, nil
}

// Addresses returns what the worker listens on, in the order of its listeners.
// Only before Run.
func (w *Worker) Addresses() []netip.AddrPort {
	var out []netip.AddrPort
	for _, ln := range w.listeners {
		if addr, err := epoll.LocalAddr(ln.FD); err == nil {
			out = append(out, addr)
		}
	}
	return out
}

// absent is the Presence of a worker that nobody looks up.
type absent struct{}

func (absent) Set(_ hub.UserID, _ []hub.ServiceCount, done func(error)) {
	if done != nil {
		done(nil)
	}
}
func (absent) SetConnections(int) {}

func newWorker(cfg Config, listeners []Listener, deps Deps) (*Worker, error) {
	if deps.Standing == nil {
		deps.Standing = func() hub.Standing { return hub.StandingGood }
	}
	trusted, err := parseTrusted(cfg.TrustedProxies)
	if err != nil {
		return nil, err
	}
	w := &Worker{
		cfg: cfg, deps: deps, log: deps.Log,
		tracing:    deps.Log.Enabled(context.Background(), slog.LevelDebug),
		origins:    newOrigins(cfg.Origins),
		trusted:    trusted,
		limits:     newLimits(&cfg),
		bounds:     bounds{cfg.OutboxBytes, cfg.OutboxMessages},
		started:    time.Now(),
		inbox:      inbox{limit: cfg.InboxBytes},
		leaving:    make(chan struct{}),
		waiting:    make(chan verifyJob, cfg.AuthQueue),
		resumeJobs: make(chan inboxJob, cfg.ResumeWorkers),
		ackJobs:    make(chan inboxJob, cfg.ResumeQueue),
	}
	w.perConn, w.perUser = newAllowances(&cfg)
	if err := w.open(listeners); err != nil {
		return nil, err
	}
	w.m = newMetrics(deps.Registry, w.inbox.size)
	return w, nil
}

// Deliver hands over one envelope, which belongs to the worker from now on,
// and reports whether there was room for it; one that was refused may come
// again. It never blocks and may be called from any goroutine; envelopes are
// delivered in the order of the calls. When one has been delivered, done, if
// not nil, is called by the loop, with a status for each user if report says
// so; it must not block. While the worker is in doubt of its standing,
// envelopes wait. One that still waits when the worker has stopped or is
// disowned is never done.
func (w *Worker) Deliver(body []byte, report bool, done func(hub.Outcome)) bool {
	first, ok := w.inbox.put(parcel{body: body, report: report, done: done})
	if !ok {
		w.m.refusedEnvelopes.Inc()
		return false
	}
	if first {
		w.poller.Wake()
	}
	return true
}

// Drain begins the graceful stop that the end of Run's context begins as well.
func (w *Worker) Drain() {
	w.beginLeaving()
	w.poller.Wake()
}

// Leaving is closed when the worker begins to stop accepting for good, whatever
// the reason: it was told to, it was disowned, or its loop failed.
func (w *Worker) Leaving() <-chan struct{} { return w.leaving }

func (w *Worker) beginLeaving() {
	w.draining.Store(true)
	w.leaveOnce.Do(func() { close(w.leaving) })
}

// Adopt hands over an accepted, non-blocking connection, as if it had arrived
// at a listener of this worker. It may be called from any goroutine; a worker
// that has stopped closes the descriptor.
func (w *Worker) Adopt(fd int, overTLS bool) {
	from, _ := epoll.PeerAddr(fd) // of a peer that has gone: it shows when the connection is read
	if !w.Post(func() { w.welcome(fd, from.Addr(), overTLS) }) {
		_ = epoll.Close(fd) // nobody is left to serve it
	}
}

// Post has f called by the loop, which must not be held up. It never blocks and
// may be called from any goroutine. It reports false when the loop has ended
// and f will not be called.
func (w *Worker) Post(f func()) bool {
	first, ok := w.posts.put(f)
	if first {
		w.poller.Wake()
	}
	return ok
}

// Run serves until ctx ends, then drains: it stops accepting, tells every
// client to come back, spread over the drain window, closes them and returns
// nil. It returns at the latest the window and the drain timeout after ctx
// ended, earlier with an error when the event loop itself fails. A worker that
// is disowned sends everybody away at once and returns nil within about the
// close timeout.
func (w *Worker) Run(ctx context.Context) error {
	helpers, cancel := context.WithCancel(context.WithoutCancel(ctx))
	for range w.cfg.AuthWorkers {
		w.helpers.Go(func() { w.verifyPatiently(helpers) })
	}
	if w.deps.Inbox != nil {
		for range w.cfg.ResumeWorkers {
			w.helpers.Go(func() { w.tendInbox(helpers) })
		}
	}
	if certs := w.handshakes.certs; certs != nil {
		w.helpers.Go(func() { certs.Watch(helpers, func() { w.Post(w.certificateRead) }) })
	}
	stop := context.AfterFunc(ctx, w.Drain)
	err := w.serve() //nolint:contextcheck // the loop ends what it began, TLS handshakes too
	stop()
	w.beginLeaving() // when the loop has failed
	cancel()
	w.shut()
	close(w.resumeJobs)
	close(w.ackJobs)
	w.helpers.Wait()
	if err = errors.Join(err, w.poller.Close()); err != nil {
		return fmt.Errorf("front worker: %w", err)
	}
	return nil
}
