package front

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/homing/homing/front/auth"
	"github.com/homing/homing/front/loop"
	"github.com/homing/homing/front/tickets"
	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/fleet"
	"github.com/homing/homing/hub/room/host"
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

// Deps is what a Worker works with. All fields but Inbox,
// Publisher, Histories, Lobby, Friends, Rooms, Exchange, Arrived and Standing are needed.
type Deps struct {
	Process  hub.ProcessID // named in hello, with the connection
	Auth     Authenticator
	Presence Presence
	Inbox    Inbox // nil: clients cannot resume

	Publisher Publisher // nil: clients cannot publish
	Histories Histories // of topics; nil: nothing is kept. Only with an Inbox.

	Lobby   Lobby   // nil: players ask for no matches
	Friends Friends // nil: nobody has any
	Rooms   Rooms   // nil: there are no game rooms, and clients are served where they come

	// Exchange carries requests of polled sessions to and from other processes. nil:
	// they are served where their sessions are only.
	Exchange *Exchange
	// Standing says what the others think of this process now. It is asked
	// before each envelope, from any goroutine, and must not block. nil: always
	// hub.StandingGood.
	Standing func() hub.Standing
	// Arrived is told the ticket by which a client was assigned to this node, when the
	// client is let in. The loop calls it: it must not block. nil: nobody is told.
	Arrived func(ticket string)
	// NeedCertificate has NewWorker fail without a certificate for TLS that can
	// be used. Else the worker serves without its TLS listeners until there is one.
	NeedCertificate bool
	Log             *slog.Logger
	Registry        prometheus.Registerer
}

// Worker holds connections and writes to them what it is told to deliver. It is
// one goroutine, that of Run, around an event loop.
type Worker struct {
	*parts

	cfg     Config
	helpers sync.WaitGroup // verifiers, readers of the inbox, passages
}

// NewWorker prepares a worker on listeners, which it owns from now on. It
// serves once Run is called.
func NewWorker(cfg Config, listeners []Listener, deps Deps) (*Worker, error) {
	p, err := assemble(&cfg, listeners, deps)
	if err != nil {
		return nil, err
	}
	p.speak("/ws", &websockets{framing: p.framing(&cfg), entry: p.entry, homing: p.homing()})
	if cfg.Events {
		p.speak("/events", &events{loop: p.loop, entry: p.entry, sessions: p.sessions, resumes: p.resumes, subscribes: p.subscribes})
	}
	if cfg.Polls && deps.Inbox != nil {
		p.resumes.pulls = &pulls{loop: p.loop, entry: p.entry, sessions: p.sessions, resumes: p.resumes}
		p.speak("/inbox", p.resumes.pulls)
	}
	if cfg.SocketIO {
		p.speakSocketIO(&cfg, &deps)
	}
	if deps.Rooms != nil || deps.Exchange != nil {
		if err := p.route(&cfg, &deps); err != nil {
			return nil, errors.Join(err, p.loop.Close())
		}
	}
	return &Worker{parts: p, cfg: cfg}, nil
}

// NewEcho opens cfg's listeners and prepares a worker that sends every text and
// binary message back, on any path and without tokens: the read and write path
// of a Worker, for conformance suites and measurements. Of cfg's bounds on what
// a client may send and receive only MaxMessage holds.
func NewEcho(cfg Config, log *slog.Logger, reg prometheus.Registerer) (*Worker, error) {
	return newBare(cfg, log, reg, func(p *parts, cfg *Config) {
		p.speak("/", &echo{framing: p.framing(cfg), entry: p.entry})
		p.door.anyPath = true
	})
}

// newBare opens cfg's listeners and prepares a worker without users and bounds, which
// speaks what it is taught.
func newBare(cfg Config, log *slog.Logger, reg prometheus.Registerer, teach func(*parts, *Config)) (*Worker, error) {
	cfg = cfg.unbounded()
	listeners, err := Listen(&cfg)
	if err != nil {
		return nil, err
	}
	p, err := assemble(&cfg, listeners, Deps{Log: log, Registry: reg, Presence: nobody{}})
	if err != nil {
		return nil, err
	}
	teach(p, &cfg)
	return &Worker{parts: p, cfg: cfg}, nil
}

// unbounded is c without bounds on what a client may send and receive, but for
// MaxMessage.
func (c Config) unbounded() Config {
	c.Origins = []string{"*"}
	c.Health = false
	c.MessageRate, c.ByteRate = 0, 0
	c.AdmitRate, c.AddressRate, c.AddressPending, c.AddressConnections = 0, 0, 0, 0
	c.SendBuffer = 0
	c.OutboxBytes = max(c.OutboxBytes, 4*c.MaxMessage)
	c.OutboxMessages = max(c.OutboxMessages, 1<<20)
	return c
}

// nobody is the Presence of a worker that nobody looks up.
type nobody struct{}

func (nobody) Set(_ hub.UserID, _ []hub.ServiceCount, done func(error)) {
	if done != nil {
		done(nil)
	}
}
func (nobody) SetConnections(int) {}

// Addresses returns what the worker listens on, in the order of its listeners.
// Only before Run.
func (w *Worker) Addresses() []netip.AddrPort { return w.loop.Addresses() }

// Deliver hands over one envelope, which belongs to the worker from now on,
// and reports whether there was room for it; one that was refused may come
// again. It never blocks and may be called from any goroutine; envelopes are
// delivered in the order of the calls. When one has been delivered, done, if
// not nil, is called by the loop, with a status for each user if report says
// so; it must not block. While the worker is in doubt of its standing,
// envelopes wait. One that still waits when the worker has stopped or is
// disowned is never done.
func (w *Worker) Deliver(body []byte, report bool, done func(hub.Outcome)) bool {
	return w.deliveries.deliver(parcel{body: body, report: report, done: done})
}

// Tell gives connections what a game room tells them; see host.Outbox.
func (w *Worker) Tell(b *host.Batch) { w.rooms.Tell(b) }

// Standing is what the worker may assume of what the others think of it now.
// Once it was hub.StandingLost it stays that. It may be called from any
// goroutine and does not block.
func (w *Worker) Standing() hub.Standing { return w.standing.now() }

// Drain begins the graceful stop that the end of Run's context begins as well.
func (w *Worker) Drain() {
	w.shutdown.beginLeaving()
	w.loop.Wake()
}

// Order has the worker obey what its node is told, until the next orders. A drain under
// another ID is a new one; without Drain the worker lets players in again and tells
// nobody to leave any more, but those who were told already go. It never blocks and may
// be called from any goroutine; the loop takes note within a tenth of a second.
func (w *Worker) Order(o fleet.Orders) { w.node.order(&o) }

// Load is how much the worker has to do, and how far its drain has come: an ordered one,
// or, under the ID Stopping, that of a stop. Without either the ID is empty. The CPU and
// the memory are the process's, and not filled in. It does not block and may be called
// from any goroutine.
func (w *Worker) Load() (fleet.Load, fleet.Progress) { return w.node.load(w.shutdown.draining.Load()) }

// Leaving is closed when the worker begins to stop accepting for good, whatever
// the reason: it was told to, it was disowned, or its loop failed.
func (w *Worker) Leaving() <-chan struct{} { return w.shutdown.leaving }

// Adopt hands over an accepted, non-blocking connection, as if it had arrived
// at a listener of this worker. It may be called from any goroutine; a worker
// that cannot take it closes the descriptor.
func (w *Worker) Adopt(fd int, overTLS bool) { w.loop.Adopt(fd, overTLS) }

// Post has f called by the loop, which must not be held up. It never blocks and
// may be called from any goroutine. It reports false when f will not be called:
// the loop has ended, or too many wait.
func (w *Worker) Post(f func()) bool { return w.loop.Post(f) }

// Mute has the worker stop accepting from its shared listeners, without shutting
// them down: whoever shares them does that, and sees to their queues. It never
// blocks and may be called from any goroutine.
func (w *Worker) Mute() { w.loop.Mute() }

// Listen ends what Mute began, and has the worker's listeners listen whatever
// state others have left them in. One that is short of descriptors, or stops,
// keeps them closed. It never blocks and may be called from any goroutine.
func (w *Worker) Listen() { w.loop.Listen() }

// SetTicketKeys has TLS sessions sealed and resumed with k from now on. Before
// that they can be resumed at this worker only. It may be called from any
// goroutine and does not block.
func (w *Worker) SetTicketKeys(k tickets.Keys) { w.loop.SetTicketKeys(k) }

// TLSClosed says why the TLS listeners are closed for want of a certificate;
// nil when they are not. It may be called from any goroutine.
func (w *Worker) TLSClosed() error { return w.loop.TLSClosed() }

// takesPassed reports whether there is room for a connection of another process.
// It may be called from any goroutine.
func (w *Worker) takesPassed() bool { return w.shutdown.ready() == nil && !w.loop.Short() }

// Run serves until ctx ends, then drains: it stops accepting, tells every
// client to come back, spread over the drain window, closes them and returns
// nil. It returns at the latest the window and the drain timeout after ctx
// ended, earlier with an error when the event loop itself fails. A worker that
// is disowned sends everybody away at once and returns nil within about the
// close timeout.
func (w *Worker) Run(ctx context.Context) error {
	helpers, cancel := context.WithCancel(context.WithoutCancel(ctx))
	for range w.cfg.AuthWorkers {
		w.helpers.Go(func() { w.entry.verifyPatiently(helpers) })
	}
	if w.resumes.inbox != nil {
		for range w.cfg.ResumeWorkers {
			w.helpers.Go(func() { w.resumes.work(helpers) })
		}
	}
	if p := w.passages; p != nil {
		w.helpers.Go(func() { p.crew.run(helpers) })
		w.helpers.Go(func() { p.receiver.Run(helpers, w.takesPassed, p.take) })
	}
	if d := w.turns.engines; d != nil && d.far != nil {
		w.helpers.Go(func() { d.far.crew.run(helpers) })
	}
	if w.lobbies.lobby != nil {
		for range lobbyWorkers {
			w.helpers.Go(func() { w.lobbies.run(helpers) })
		}
	}
	if w.friends != nil {
		for range friendWorkers {
			w.helpers.Go(func() { w.friends.run(helpers) })
		}
	}
	w.publishes.start = func(lane <-chan publishJob) {
		w.helpers.Go(func() { w.publishes.run(helpers, lane) })
	}
	stop := context.AfterFunc(ctx, w.Drain)
	err := w.loop.Run(&w.turns)
	stop()
	w.shutdown.beginLeaving() // when the loop has failed
	cancel()
	w.sessions.presence.SetConnections(0)
	w.resumes.close()
	w.helpers.Wait()
	if err != nil {
		return fmt.Errorf("front worker: %w", err)
	}
	return nil
}

var _ loop.Handler[client] = (*turns)(nil)
