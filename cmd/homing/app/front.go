package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/homing/homing/cmd/homing/internal/logsink"
	"github.com/homing/homing/front/auth"
	"github.com/homing/homing/front/certificate"
	"github.com/homing/homing/front/master"
	"github.com/homing/homing/front/tickets"
	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/lease"
	"github.com/homing/homing/hub/rights"
	"github.com/homing/homing/redisx"
)

type frontCmd struct {
	Master      master.Config `embed:"" group:"Workers"`
	frontConfig `embed:""`
	Admin       adminConfig `embed:"" prefix:"admin-" group:"Admin"`
}

// Help is shown below the flags.
func (*frontCmd) Help() string {
	return `A front server is a master that starts worker processes sharing one port
(SO_REUSEPORT). Each worker holds tens of thousands of WebSockets at /ws. The
master restarts workers that die, and on SIGHUP replaces them one by one
without a failed connect: use it after changing the configuration or the
binary. SIGTERM drains: clients are told to reconnect, spread over
--front-drain-window.

Players show a JWT, as ?token= or as the subprotocol bearer.<jwt>. Claims: sub
(the user), svc (the game, optional), exp.

Example, on one Redis:

  homing token secret > player.secret
  homing front --workers 4 --auth-hs256-secret-file player.secret \
    --redis-data redis://127.0.0.1:6379
  homing token player alice --secret-file player.secret`
}

// Validate checks every part before anything is started.
func (c *frontCmd) Validate() error {
	return errors.Join(c.Master.Validate(), c.frontConfig.Validate())
}

// Run is the master, or one of its workers when a master started this process.
func (c *frontCmd) Run(ctx context.Context, log *slog.Logger, sink *logsink.Sink, own ownClasses) error {
	c.own = own
	if _, ok := master.WorkerSlot(); ok {
		return c.runWorker(ctx, log, sink)
	}
	return c.runMaster(ctx, log, sink)
}

func (c *frontCmd) runMaster(ctx context.Context, log *slog.Logger, sink *logsink.Sink) error {
	// What a worker would refuse is refused here, once, before any is started.
	if _, err := auth.New(c.Auth, log, prometheus.NewRegistry()); err != nil {
		return err
	}
	auth.WarnOfExposure(&c.Auth, log)
	if err := errors.Join(c.checkTLS(), c.checkFiles()); err != nil {
		return err
	}
	m, err := master.New(c.Master, c.addresses(), c.Front.SocketOptions(), log, newRegistry(sink))
	if err != nil {
		return err
	}
	if c.Front.TLSListen != "" {
		if err := m.ShareTickets(c.ticketKeys()); err != nil {
			return err
		}
	}
	for _, a := range m.Addresses() {
		log.Info("front listening", "address", a.Addr, "tls", a.TLS)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return m.Run(ctx) })
	g.Go(func() error { return serveAdmin(ctx, c.Admin, m.Handler(), log) })
	return g.Wait()
}

// checkTLS reports why there could be no TLS now. Later, workers that start
// again do without it while the files cannot be used.
func (c *frontCmd) checkTLS() error {
	if c.Front.TLSListen == "" {
		return nil
	}
	return certificate.Check(c.Front.TLSCert, c.Front.TLSKey)
}

// checkFiles reports what is wrong with the queues and the classes of rooms.
func (c *frontCmd) checkFiles() error {
	_, err := matchQueues(c.Match, c.queues)
	if c.Rooms.Enabled() {
		_, classErr := roomClasses(c.own, c.Rooms.Classes)
		err = errors.Join(err, classErr)
	}
	return err
}

// ticketKeys are those that other machines have too, or this one's own.
func (c *frontCmd) ticketKeys() master.TicketKeys {
	if c.Front.TLSTicketKeys != "" {
		return tickets.Shared{File: c.Front.TLSTicketKeys}
	}
	return &tickets.Random{}
}

func (c *frontCmd) addresses() (out []master.Address) {
	if c.Front.Listen != "" {
		out = append(out, master.Address{Addr: c.Front.Listen})
	}
	if c.Front.TLSListen != "" {
		out = append(out, master.Address{Addr: c.Front.TLSListen, TLS: true})
	}
	return out
}

// runWorker serves the slot that the master gave this process. It says it is
// ready once messages reach it, and then until the master stops it.
func (c *frontCmd) runWorker(ctx context.Context, log *slog.Logger, sink *logsink.Sink) (err error) {
	child, err := master.Inherit()
	if err != nil {
		return err
	}
	log = log.With("worker", child.Slot)
	reg := newRegistry(sink)
	back, serving := newBackground(ctx)
	defer func() { err = back.end(err) }()

	ln, err := child.AdminListener(serving)
	if err != nil {
		return err
	}
	var ready readiness
	back.run("admin", func(ctx context.Context) error { return serveHTTP(ctx, ln, workerHandler(reg, &ready)) })
	r, err := openRedis(back, c.Redis, log, reg)
	if err != nil {
		return err
	}
	verifier, err := auth.New(c.Auth, log, reg)
	if err != nil {
		return err
	}
	w, err := newWorker(back, c.frontConfig, door{child.Process, child.Listeners, verifier, child.Succeeds, child}, r, log, reg)
	if err != nil {
		return err
	}
	back.run("burial", func(ctx context.Context) error { return bury(ctx, r, c.Redis.Prefix, child.Ended, log) })
	ready.starting.Store(w)
	if err := w.waitReadyAloud(serving, child); err != nil {
		return err
	}
	if err := child.Ready(); err != nil {
		return err
	}
	ready.serving.Store(w)
	context.AfterFunc(serving, func() { ready.stopping.Store(true) })
	leave := w.node.start(w)
	defer leave()
	return w.run(func() error { return child.Run(serving, w.front) })
}

// waitReadyAloud is waitReady, and tells the master what it waits for.
func (w *worker) waitReadyAloud(ctx context.Context, child *master.Child) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	told := make(chan struct{})
	go func() {
		defer close(told)
		child.Waits(ctx, w.waitsFor)
	}()
	err := w.waitReady(ctx)
	cancel()
	<-told
	return err
}

// readiness says whether a worker serves.
type readiness struct {
	starting atomic.Pointer[worker] // nil: it is not there yet
	serving  atomic.Pointer[worker] // nil: it is not reached yet
	stopping atomic.Bool
}

func (r *readiness) check() error {
	w := r.serving.Load()
	switch {
	case r.stopping.Load():
		return errors.New("the worker stops")
	case w == nil:
		return r.checkStart()
	}
	if s := w.front.Standing(); s != hub.StandingGood {
		return fmt.Errorf("the worker's standing is %v", s)
	}
	if err := w.allowed.Err(); err != nil && !errors.Is(err, rights.ErrNotAsked) { // a Redis that is away is the standing's affair
		return err
	}
	return nil
}

// degraded says what the worker does not serve, though it serves.
func (r *readiness) degraded() []string {
	if w := r.serving.Load(); w != nil {
		if err := w.front.TLSClosed(); err != nil {
			return []string{err.Error()}
		}
	}
	return nil
}

func (r *readiness) checkStart() error {
	if w := r.starting.Load(); w != nil {
		return fmt.Errorf("the worker waits: %w", w.waitsFor())
	}
	return errors.New("the worker starts")
}

// workerHandler is what a worker serves to its master.
func workerHandler(reg prometheus.Gatherer, ready *readiness) http.Handler {
	mux := adminHandler(reg)
	master.Health(mux, ready.check, ready.degraded)
	return mux
}

// bury says of workers that the master saw end that they have, and a while later has
// them declared dead.
func bury(ctx context.Context, r *redisx.Redis, prefix string, ended []hub.ProcessID, log *slog.Logger) error {
	due := time.After(lease.BuryAfter)
	if err := lease.End(ctx, r, hub.NewKeys(prefix), ended); err != nil {
		log.Warn("a worker's end is not known to the others", "err", err)
	}
	select {
	case <-ctx.Done():
		return nil
	case <-due:
	}
	if err := lease.Bury(ctx, r, hub.NewKeys(prefix), ended, log); err != nil {
		log.Warn("a worker's end is not known to the others", "err", err)
	}
	return nil
}
