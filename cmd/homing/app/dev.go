package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"time"

	"github.com/alecthomas/kong"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/homing/homing/api"
	"github.com/homing/homing/cmd/homing/internal/logsink"
	"github.com/homing/homing/deploy/examples/arena"
	"github.com/homing/homing/front"
	"github.com/homing/homing/front/auth"
	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/hook/webhook"
	"github.com/homing/homing/hub/match"
	"github.com/homing/homing/hub/unreached"
	"github.com/homing/homing/redisx/embedded"
)

// devCmd is an API server and a front worker in one process, on a Redis of
// their own: the same code as in production, wired to be tried.
type devCmd struct {
	APIListen   string      `help:"Address of the API and the page." default:"127.0.0.1:8080" placeholder:"HOST:PORT"`
	FrontListen string      `help:"Address that players connect to." default:"127.0.0.1:8081" placeholder:"HOST:PORT"`
	EngineIO3   bool        `name:"engineio3" help:"Speak Engine.IO 3, too, for clients of Socket.IO 2."`
	RedisURL    string      `help:"Use this Redis instead of a private one, as in --redis-data of the servers." placeholder:"URL"`
	Hook        devHooks    `embed:"" group:"Hooks"`
	Admin       adminConfig `embed:"" prefix:"admin-" group:"Admin"`
}

// devHooks says where homing dev sends events.
type devHooks struct {
	Endpoint  webhook.Config   `embed:"" prefix:"hook-"`
	File      string           `name:"hook-endpoints" help:"File of several endpoints, as of homing api." type:"path" placeholder:"FILE"`
	Unreached unreached.Config `embed:""`
}

// Validate checks every part.
func (c *devHooks) Validate() error {
	return errors.Join(c.Endpoint.Validate(), c.Unreached.Validate())
}

// apply has both servers tell of events.
func (c *devHooks) apply(d *devConfig) {
	h := &d.api.Hook
	h.Endpoint, h.File, h.Unreached = c.Endpoint, c.File, c.Unreached
	d.front.Hook.On = h.publisher().On
}

// devQueues are what players are matched in on the page of the game, and the classes
// of their rooms, with how many players make a match.
var devQueues = []struct {
	name    string
	players int
}{{"duel", 2}, {"brawl", 4}}

// devSeats are in each such room.
const devSeats = 4

// devDrain is how long clients are given to go when homing dev stops.
const devDrain = 300 * time.Millisecond

// devLinger is how long users of homing dev may be away without having gone: it waits
// for it when it stops.
const devLinger = time.Second

// Help is shown below the flags.
func (*devCmd) Help() string {
	return `Without --redis-url it starts a private Redis that keeps everything in memory:
redis-server where one is installed, a stand-in inside this process otherwise.

From this machine no API key is needed, and GET /dev/token?user=NAME answers a
player's token. The secret that signs them is drawn at each start.`
}

// devConfig is the configuration of every part, with the defaults of the
// servers where development needs nothing else.
type devConfig struct {
	api   apiConfig
	front frontConfig
}

func (c *devCmd) config(redisURL string) (devConfig, error) {
	d := devConfig{front: frontConfig{Auth: auth.Config{Secret: []byte(newSecret())}}}
	if err := errors.Join(kong.ApplyDefaults(&d.api), kong.ApplyDefaults(&d.front)); err != nil {
		return devConfig{}, fmt.Errorf("defaults: %w", err)
	}
	d.api.Redis.Data = []string{redisURL}
	d.front.Redis = d.api.Redis
	d.api.API.Listen, d.api.API.ReusePort, d.api.API.AllowLoopback = c.APIListen, false, true
	c.Hook.apply(&d)
	d.front.Presence.On, d.front.Presence.Friends, d.front.Presence.Linger = true, true, devLinger
	d.api.Presence = d.front.Presence
	f := &d.front.Front
	f.Listen, f.Origins = c.FrontListen, []string{"*"} // the page comes from the API's address
	f.EngineIO3 = c.EngineIO3
	d.front.Rooms.Secrets = [][]byte{[]byte(newSecret())}
	d.front.Rooms.URL = "ws://" + reachable(c.FrontListen) + "/ws"
	d.front.Rooms.DrainTimeout = devDrain
	for _, q := range devQueues {
		d.api.queues = append(d.api.queues, &match.Queue{
			Name: q.name, Class: q.name, Teams: q.players, TeamSize: 1, Steps: []match.Step{{}}, Expire: match.DefaultExpire, ByPlayers: true,
		})
		game := arena.Class(q.name, devSeats)
		d.front.own = append(d.front.own, &game)
	}
	d.front.queues = d.api.queues
	d.front.Lease.Isolation = 0 // the worker is the whole server
	f.DrainWindow, f.DrainTimeout, f.CloseTimeout = devDrain, devDrain, devDrain
	return d, nil
}

func (c *devCmd) Run(ctx context.Context, s streams, log *slog.Logger, sink *logsink.Sink, own ownClasses) (err error) {
	url, stopRedis, err := c.redis(ctx, log)
	if err != nil {
		return err
	}
	defer stopRedis()
	d, err := c.config(url)
	if err != nil {
		return err
	}
	reg := newRegistry(sink)
	back, serving := newBackground(ctx)
	defer func() { err = back.end(err) }()
	back.run("admin", func(ctx context.Context) error {
		return serveAdmin(ctx, c.Admin, adminHandler(reg), log)
	})
	d.front.own = append(d.front.own, own...)
	workers, srv, err := c.build(serving, back, d, log, reg)
	if err != nil {
		return err
	}
	g, serving := errgroup.WithContext(serving)
	for _, w := range workers {
		g.Go(func() error { return w.run(func() error { return w.front.Run(serving) }) })
	}
	g.Go(func() error { return srv.run(serving) })
	g.Go(func() error {
		if !slices.ContainsFunc(workers, func(w *worker) bool { return w.waitReady(serving) != nil }) {
			c.greet(s, srv)
		}
		return nil
	})
	return g.Wait()
}

// redis returns the URL of the Redis to use and what stops it.
func (c *devCmd) redis(ctx context.Context, log *slog.Logger) (url string, stop func(), err error) {
	if c.RedisURL != "" {
		return c.RedisURL, func() {}, nil
	}
	url, stop, err = embedded.Start(ctx, log)
	if err != nil {
		return "", nil, fmt.Errorf("start a private Redis: %w", err)
	}
	return url, stop, nil
}

// build puts the front workers and the API server together, all listening.
func (c *devCmd) build(ctx context.Context, back *background, d devConfig, log *slog.Logger, reg prometheus.Registerer) ([]*worker, *apiServer, error) {
	r, err := openRedis(back, d.api.Redis, log, reg)
	if err != nil {
		return nil, nil, err
	}
	if err := r.WaitReady(ctx); err != nil {
		return nil, nil, err
	}
	listeners, err := c.listen(&d.front.Front)
	if err != nil {
		return nil, nil, err
	}
	verifier, err := auth.New(d.front.Auth, log, reg)
	if err != nil {
		return nil, nil, err
	}
	var workers []*worker
	for i, some := range listeners {
		w, err := newWorker(back, d.front, door{hub.NewProcessID(), some, verifier, true, nil}, r, log, part(devParts[i], reg))
		if err != nil {
			return nil, nil, err
		}
		workers = append(workers, w)
	}
	srv, err := newAPI(back, d.api, r, c.tokens(d.front.Auth.Secret), log, part("api", reg))
	if err != nil {
		return nil, nil, err
	}
	return workers, srv, withHolder(srv.Listen(ctx), c.APIListen)
}

// devParts are the front workers as metrics name them. There are two, so that a
// room can move.
var devParts = [2]string{"front", "front-2"}

// listen opens the listeners of the front workers, which share a port.
func (c *devCmd) listen(cfg *front.Config) (all [len(devParts)][]front.Listener, err error) {
	first, err := front.Listen(cfg)
	if err != nil {
		return all, err
	}
	for _, ln := range first {
		ln.Shared = true
		all[0] = append(all[0], ln)
		for i := range all[1:] {
			if ln.FD, err = unix.FcntlInt(uintptr(all[0][0].FD), unix.F_DUPFD_CLOEXEC, 0); err != nil {
				return all, fmt.Errorf("share the front's port: %w", err)
			}
			all[1+i] = append(all[1+i], ln)
		}
	}
	return all, nil
}

// part labels the metrics of one part, since both have the hub's in one process.
func part(name string, reg prometheus.Registerer) prometheus.Registerer {
	return prometheus.WrapRegistererWith(prometheus.Labels{"part": name}, reg)
}

// devTokenTTL outlasts any sitting with the page.
const devTokenTTL = 24 * time.Hour

// tokens lets the API hand out player tokens.
func (c *devCmd) tokens(secret []byte) *api.Dev {
	return &api.Dev{
		FrontURL: "ws://" + reachable(c.FrontListen) + "/ws",
		Token: func(user hub.UserID, service hub.Service) (string, error) {
			anywhere := &auth.Topics{MayJoin: hub.TopicPatterns{"*"}, MayPublish: hub.TopicPatterns{"*"}}
			return auth.Mint(secret, auth.Identity{User: user, Service: service, Topics: anywhere}, devTokenTTL)
		},
	}
}

func (c *devCmd) greet(s streams, srv *apiServer) {
	base := "http://" + reachable(srv.Addr().String())
	fmt.Fprintf(s.err, `
Homing is up.

  Page           %s/
  Game           %s/demo  (for four: /demo?queue=brawl)
  API            %s  (POST /notify)
  Players        ws://%s/ws

Open the page, add the player "alice", and send her something:

  curl %s/notify -H 'Content-Type: application/json' \
    -d '{"users":["alice"],"type":"gift","data":{"gift":"sword"}}'

Ctrl-C stops everything.

`, base, base, base, reachable(c.FrontListen), base)
}

// reachable is addr as a client on this machine would dial it.
func reachable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}
