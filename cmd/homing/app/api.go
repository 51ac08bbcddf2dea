package app

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/homing/homing/api"
	"github.com/homing/homing/cmd/homing/internal/logsink"
	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/call"
	"github.com/homing/homing/hub/fleet/roster"
	"github.com/homing/homing/hub/hook"
	"github.com/homing/homing/hub/inbox"
	"github.com/homing/homing/hub/layout"
	"github.com/homing/homing/hub/match"
	"github.com/homing/homing/hub/notify"
	"github.com/homing/homing/hub/presence"
	"github.com/homing/homing/hub/relay"
	"github.com/homing/homing/hub/room/directory"
	"github.com/homing/homing/hub/room/remote"
	"github.com/homing/homing/hub/topic"
	"github.com/homing/homing/hub/unreached"
	"github.com/homing/homing/redisx"
)

// apiConfig is the configuration of an API server.
type apiConfig struct {
	API   api.Config    `embed:"" prefix:"api-" group:"API"`
	Redis redisx.Config `embed:"" prefix:"redis-" group:"Redis"`
	Relay relay.Config  `embed:"" prefix:"relay-" group:"Relay"`
	Inbox inbox.Config  `embed:"" prefix:"inbox-" group:"Inbox"`

	Once  notify.OnceConfig `embed:"" prefix:"idempotency-" group:"Idempotency"`
	Hook  hookConfig        `embed:"" group:"Hooks"`
	Match match.Config      `embed:"" prefix:"match-" group:"Matchmaking"`
	Topic topic.Config      `embed:"" group:"Topics"`

	Assign roster.Config `embed:"" prefix:"assign-" group:"Nodes"`

	Presence presence.Config `embed:"" group:"Presence"`

	queues []*match.Queue // beside those of the file
}

// Validate checks every part before anything is started.
func (c *apiConfig) Validate() error {
	return errors.Join(c.API.Validate(), c.Redis.Validate(), c.Relay.Validate(), c.Inbox.Validate(), c.Once.Validate(), c.Hook.Validate(), c.Topic.Validate(c.Inbox.MaxAge), c.Presence.Validate(), c.Assign.Validate())
}

type apiCmd struct {
	apiConfig `embed:""`
	Admin     adminConfig `embed:"" prefix:"admin-" group:"Admin"`
}

// Help is shown below the flags.
func (*apiCmd) Help() string {
	return `An API server takes POST /notify from game backends, looks the users up in data
Redis, and publishes one message per front worker process that holds some of
them. Run as many as you like; they share nothing but Redis.

Example, on one Redis:

  homing token key --name backend --file keys.yaml
  homing api --api-keys keys.yaml --redis-data redis://127.0.0.1:6379`
}

func (c *apiCmd) Run(ctx context.Context, log *slog.Logger, sink *logsink.Sink) (err error) {
	reg := newRegistry(sink)
	back, serving := newBackground(ctx)
	defer func() { err = back.end(err) }()

	r, err := openRedis(back, c.Redis, log, reg)
	if err != nil {
		return err
	}
	srv, err := newAPI(back, c.apiConfig, r, nil, log, reg)
	if err != nil {
		return err
	}
	c.Admin.share = true
	back.run("admin", func(ctx context.Context) error {
		return serveAdmin(ctx, c.Admin, adminHandler(reg), log)
	})
	return srv.run(serving)
}

// openRedis starts following the Redis that c names. It does not wait for it:
// a server that starts while Redis is away says so at /readyz and goes on.
func openRedis(back *background, c redisx.Config, log *slog.Logger, reg prometheus.Registerer) (*redisx.Redis, error) {
	r, err := redisx.New(c, log, reg)
	if err != nil {
		return nil, err
	}
	back.run("redis", r.Run)
	return r, nil
}

// flushTimeout is how long a process that stops waits for others to confirm
// what it sent them.
const flushTimeout = 3 * time.Second

// apiServer is an API server with what ties it to the hub.
type apiServer struct {
	*api.Server
	address string // that it listens at
	relay   *relay.Relay
	once    *notify.Once
	hooks   *hooks
	matcher *match.Matcher // nil: it makes no matches
	log     *slog.Logger
}

// run serves until ctx ends, then waits until what was accepted is confirmed
// and remembered, and the matches that were begun are made.
func (s *apiServer) run(ctx context.Context) error {
	matching, stop := context.WithCancel(ctx)
	var matcher sync.WaitGroup
	if s.matcher != nil {
		matcher.Go(func() { _ = s.matcher.Run(matching) }) // it does not fail
	}
	err := withHolder(s.Run(ctx), s.address)
	stop()
	matcher.Wait()
	flush(s.relay, s.log)
	s.flushClaims()
	s.hooks.flush(s.log)
	return err
}

// flushClaims waits until the idempotency keys are settled, for a moment.
func (s *apiServer) flushClaims() {
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	if err := s.once.Flush(ctx); err != nil {
		s.log.Warn("stopping before every idempotency key was settled", "err", err)
	}
}

// flush waits for confirmations, for a moment.
func flush(rl *relay.Relay, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	if err := rl.Flush(ctx); err != nil {
		log.Warn("stopping before everything was confirmed", "err", err)
	}
}

// newAPI puts an API server together on top of r. dev is nil but in homing dev.
func newAPI(back *background, c apiConfig, r *redisx.Redis, dev *api.Dev, log *slog.Logger, reg prometheus.Registerer) (*apiServer, error) {
	g := newGround(groundConfig{hub.NewProcessID(), layout.API, c.Redis, c.Relay, c.Inbox, c.Topic}, r, log, reg)
	events, err := newHooks(back, c.Hook, r, g.keys, log, reg)
	if err != nil {
		return nil, err
	}
	dispatcher, handovers := notify.New(apiNotify(back, c.Hook.Unreached, g, events))
	once := notify.NewOnce(c.Once, r, g.keys, reg)
	peer := call.NewPeer(nil, nil, log, reg)
	nodes := roster.New(c.Assign, r, g.keys, reg)
	rooms := remote.New(directory.New(r, g.keys), peer, g.lives)
	rooms.Avoid(nodes.Unfit)
	parts := matchParts{redis: r, keys: g.keys, rooms: matchRooms{rooms}, notify: dispatcher, hooks: matchHooks{events.publisher}, own: c.queues}
	tickets, matcher, err := newMatch(c.Match, parts, log, reg)
	if err != nil {
		return nil, err
	}
	needs := api.Deps{
		Hub: dispatcher, Rooms: rooms, Nodes: nodes, Once: once, Log: log, Reg: reg, Dev: dev,
		Topics:    topic.NewRemote(g.index, peer, func() []hub.Process { return g.census.Processes(hub.RoleFront) }),
		Histories: g.histories,
	}
	if tickets != nil {
		needs.Match = tickets
	}
	if events.board != nil {
		needs.Hooks = events.board
	}
	if c.Presence.Friends {
		needs.Friends = presence.NewLists(presence.NewStore(r, g.keys, c.Presence.Keep), g.index, g.relay)
	}
	srv, err := api.New(c.API, needs)
	if err != nil {
		return nil, err
	}
	g.start(back, relay.Upper{
		Handle:  peer.Handle(handovers.Handle),
		GivenUp: mourn(back, c.Presence, g, events.publisher, handovers.GivenUp),
	})
	back.run("index", g.index.Run)
	back.run("hand-overs", handovers.Run)
	back.run("calls", func(ctx context.Context) error { return peer.Run(ctx, g.relay) })
	back.run("idempotency", once.Run)
	back.run("assignments", nodes.Run)
	back.run("inbox bounds", g.box.WatchBounds)
	return &apiServer{
		Server: srv, address: c.API.Listen, relay: g.relay, once: once, hooks: events, matcher: matcher, log: log,
	}, nil
}

// apiNotify is what the notifications of an API server need.
func apiNotify(back *background, c unreached.Config, g *ground, events *hooks) notify.Deps {
	d := notify.Deps{
		Census: g.census, Index: g.index, Relay: g.relay, Storage: g.box, Histories: g.histories,
		Agreed: g.agreed.Err, Troubles: g.redis.Troubles, Rights: g.allowed, Hooks: events.degraded,
		Log: g.log, Registry: g.reg,
	}
	if u := events.lookForUnreached(back, c, unreached.Deps{
		Inbox: g.box, Index: g.index, Role: g.redis.Inbox, Keys: g.keys, Log: g.log, Reg: g.reg,
	}); u != nil {
		d.Absent = u
	}
	return d
}

// mourn has the sweep's dead be told of, if anybody is told of users who come and go. It
// returns givenUp, which tells of messages that were not confirmed, with what that needs.
func mourn(back *background, c presence.Config, g *ground, events *hook.Publisher, givenUp func([]relay.Abandoned)) func([]relay.Abandoned) {
	if !c.Enabled() {
		return givenUp
	}
	m := presence.NewMourner(c, g.census, g.relay, events)
	g.index.Tell(m.Tell)
	back.run("presence", m.Run)
	return func(gone []relay.Abandoned) {
		givenUp(gone)
		m.GivenUp(gone)
	}
}
