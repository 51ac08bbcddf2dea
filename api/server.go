package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/homing/homing/api/admit"
	"github.com/homing/homing/api/apikey"
	"github.com/homing/homing/api/conns"
)

// replyTimeout is how long a caller may take to read a reply.
const replyTimeout = 10 * time.Second

// Server is the REST server. New makes one, Run serves.
type Server struct {
	cfg     Config
	hub     Dispatcher
	claims  Once
	dev     *Dev          // nil outside development
	keys    *apikey.Store // nil when only loopback callers come in
	log     *slog.Logger
	metrics metrics
	handler http.Handler

	loopback *apikey.Key  // who a caller without a key is; nil when not allowed
	share    *admit.Share // what all callers together take up
	conns    *conns.Table
	lookout  *lookout
	trouble  rate.Sometimes // logs what fails for many alike
	failures rate.Sometimes // logs what should not fail

	draining atomic.Bool  // /readyz says no
	closing  atomic.Bool  // batches take no more lines
	listener net.Listener // set by Listen, closed by Run
}

// New checks cfg and reads the file of keys. Without keys it refuses, unless
// cfg.AllowLoopback says that callers on this machine need none. It opens no
// socket.
func New(cfg Config, deps Deps) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Server{
		cfg:      cfg,
		hub:      deps.Hub,
		claims:   deps.Once,
		dev:      deps.Dev,
		log:      deps.Log,
		share:    admit.NewShare(cfg.shareOfAll()),
		lookout:  newLookout(deps.Hub.Health),
		trouble:  rate.Sometimes{First: 1, Interval: time.Second},
		failures: rate.Sometimes{First: 10, Interval: time.Second},
	}
	s.metrics = newMetrics(deps.Reg, s.share)
	s.conns = conns.NewTable(conns.Config{Most: cfg.MaxConnections, Strangers: cfg.AddressConnections}, s.metrics.closed)
	s.metrics.watch(deps.Reg, s.conns)
	if cfg.AllowLoopback {
		s.loopback = apikey.Loopback(cfg.shareOfKey())
	}
	if err := s.openKeys(deps); err != nil {
		return nil, err
	}
	s.handler = s.routes()
	return s, nil
}

func (s *Server) openKeys(deps Deps) (err error) {
	if s.cfg.Keys == "" {
		if s.loopback == nil {
			return errNoKeys
		}
		return nil
	}
	s.keys, err = apikey.Open(apikey.Options{
		File:   s.cfg.Keys,
		Poll:   s.cfg.KeysPoll,
		Limits: apikey.Limits{Rate: s.cfg.KeyRate, Burst: s.cfg.KeyBurst, Share: s.cfg.shareOfKey()},
	}, deps.Log, deps.Reg)
	return err
}

// Handler serves every route. Run does not need to run for it.
func (s *Server) Handler() http.Handler { return s.handler }

// Listen binds the address, so that a caller learns of a taken port before it
// says that it is up. Run does it when Listen was not called.
func (s *Server) Listen(ctx context.Context) error {
	lc := net.ListenConfig{}
	if s.cfg.ReusePort {
		lc.Control = reusePort
	}
	ln, err := lc.Listen(ctx, "tcp", s.cfg.Listen)
	if err != nil {
		return fmt.Errorf("api.listen: %w", err)
	}
	s.listener = ln
	return nil
}

// Addr is the bound address, or nil before Listen.
func (s *Server) Addr() net.Addr {
	if s.listener == nil {
		return nil
	}
	return s.listener.Addr()
}

// Run serves until ctx ends, then lets the requests at hand finish for up to
// the drain timeout. It returns nil after such an end.
func (s *Server) Run(ctx context.Context) error {
	if s.listener == nil {
		if err := s.Listen(ctx); err != nil {
			return err
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	if s.keys != nil {
		g.Go(func() error { return s.keys.Run(ctx) })
	}
	server := s.httpServer()
	g.Go(func() error {
		if err := server.Serve(s.conns.Listener(s.listener)); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve the API on %s: %w", s.cfg.Listen, err)
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		return s.drain(context.WithoutCancel(ctx), server)
	})
	return g.Wait()
}

// httpServer sets the deadlines of connections behind those of requests, so
// that what takes too long is answered before the connection is cut.
func (s *Server) httpServer() *http.Server {
	read := s.cfg.ReadHeaderTimeout + s.cfg.RequestTimeout + time.Second
	return &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: s.cfg.ReadHeaderTimeout,
		ReadTimeout:       read,
		WriteTimeout:      read + settleTimeout + replyTimeout,
		IdleTimeout:       s.cfg.IdleTimeout,
		MaxHeaderBytes:    32 << 10,
		ConnContext:       conns.Context,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
}

// drain turns readiness off, keeps serving for the drain delay so that load
// balancers notice, and then closes the listener and waits for what is left.
func (s *Server) drain(ctx context.Context, server *http.Server) error {
	s.draining.Store(true)
	time.Sleep(s.cfg.DrainDelay)
	s.closing.Store(true)
	ctx, cancel := context.WithTimeout(ctx, s.cfg.DrainTimeout)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		s.log.Warn("requests cut off at shutdown", "waited", s.cfg.DrainTimeout)
		return server.Close()
	}
	return nil
}
