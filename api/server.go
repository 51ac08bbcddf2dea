package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/homing/homing/api/admit"
	"github.com/homing/homing/api/conns"
)

// replyTimeout is how long a caller may take to read a reply.
const replyTimeout = 10 * time.Second

// Server is the REST server. New makes one, Run serves.
type Server struct {
	cfg           Config
	log           *slog.Logger
	conns         *conns.Table
	responder     *responder
	gate          *gate
	notifications *notifications
	users         *users
	rooms         *rooms
	topics        *topics
	matches       *matches
	hooks         *hooks
	friends       *friends
	nodes         *nodes
	probes        *probes
	dev           *development // nil outside development
	handler       http.Handler
	listener      net.Listener // set by Listen, closed by Run
}

// New checks cfg and reads the file of keys. Without keys it refuses, unless
// cfg.AllowLoopback says that callers on this machine need none. It opens no
// socket.
func New(cfg Config, deps Deps) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	share := admit.NewShare(cfg.shareOfAll())
	m := newMetrics(deps.Reg, share)
	s := &Server{cfg: cfg, log: deps.Log}
	s.conns = conns.NewTable(conns.Config{Most: cfg.MaxConnections, Strangers: cfg.AddressConnections}, m.closed)
	m.watch(deps.Reg, s.conns)
	s.responder = newResponder(deps.Log, &m)
	s.gate = &gate{responder: s.responder, share: share, bodyLimit: cfg.BodyLimit}
	if err := s.gate.open(&cfg, deps); err != nil {
		return nil, err
	}
	send := &sender{hub: deps.Hub, claims: deps.Once, responder: s.responder}
	s.notifications = &notifications{cfg: &s.cfg, gate: s.gate, sender: send}
	s.users = &users{gate: s.gate, hub: deps.Hub}
	s.topics = &topics{gate: s.gate, topics: deps.Topics, histories: deps.Histories}
	s.rooms = &rooms{gate: s.gate, rooms: deps.Rooms}
	s.matches = &matches{gate: s.gate, maker: deps.Match}
	s.hooks = &hooks{board: deps.Hooks}
	s.friends = &friends{gate: s.gate, store: deps.Friends}
	s.nodes = &nodes{gate: s.gate, roster: deps.Nodes}
	s.probes = &probes{lookout: newLookout(deps.Hub.Health)}
	if deps.Dev != nil {
		s.dev = &development{dev: deps.Dev, hub: deps.Hub}
	}
	s.handler = s.routes()
	return s, nil
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
	if s.gate.keys != nil {
		g.Go(func() error { return s.gate.keys.Run(ctx) })
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
	s.probes.draining.Store(true)
	time.Sleep(s.cfg.DrainDelay)
	s.notifications.closing.Store(true)
	ctx, cancel := context.WithTimeout(ctx, s.cfg.DrainTimeout)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		s.log.Warn("requests cut off at shutdown", "waited", s.cfg.DrainTimeout)
		return server.Close()
	}
	return nil
}
