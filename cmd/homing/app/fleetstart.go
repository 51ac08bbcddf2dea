package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/alecthomas/kong"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"gopkg.in/yaml.v3"

	"github.com/homing/homing/api"
	"github.com/homing/homing/cmd/homing/internal/logsink"
	"github.com/homing/homing/front/auth"
	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/fleet/control"
	"github.com/homing/homing/hub/fleet/driver"
	"github.com/homing/homing/hub/fleet/probe"
	"github.com/homing/homing/hub/fleet/scale"
	"github.com/homing/homing/hub/hook"
	"github.com/homing/homing/redisx"
	"github.com/homing/homing/redisx/embedded"
)

// fleetStartCmd is a fleet on one machine: a controller, the fronts that it starts, and
// an API server.
type fleetStartCmd struct {
	Nodes     int           `help:"Fronts that are ready at any time: one that dies is replaced." default:"2"`
	Rules     string        `help:"File of rules for the cluster game, instead of --nodes." type:"existingfile" placeholder:"FILE"`
	Workers   int           `help:"Workers of each front." default:"1"`
	Host      string        `help:"Address that fronts listen on." default:"127.0.0.1"`
	FirstPort int           `help:"The first front's port; each other has the next one." default:"9101"`
	Ports     int           `help:"How many ports there are, and fronts at most. 0: twice as many as --nodes, and four more." default:"0"`
	APIListen string        `name:"api-listen" help:"Address of the API, which takes callers of this machine without a key. Empty: no API server." default:"127.0.0.1:8080" placeholder:"HOST:PORT"`
	OwnRedis  bool          `name:"own-redis" help:"Start a private Redis instead of using --redis-data." default:"true" negatable:""`
	Dir       string        `help:"Directory for the fronts' logs, their configuration and the secret of players' tokens." type:"path" default:".run/fleet" placeholder:"DIR"`
	Grace     time.Duration `help:"How long a front that is stopped may take to send its players away." default:"20s"`

	Redis   redisx.Config  `embed:"" prefix:"redis-" group:"Redis"`
	Control control.Config `embed:"" group:"Controller"`
	Probe   probe.Config   `embed:"" prefix:"probe-" group:"Probes"`
	Hook    devHooks       `embed:"" group:"Hooks"`
	Admin   adminConfig    `embed:"" prefix:"admin-" group:"Admin"`
}

// Help is shown below the flags.
func (*fleetStartCmd) Help() string {
	return `Everything ends with the command: fronts by SIGTERM, so that their players are sent
away first. A front that dies, or that hangs, is missed by the controller, which starts
another. Players' tokens are signed with the secret in DIR/player.secret:

  homing fleet start --nodes 8
  homing token player alice --secret-file .run/fleet/player.secret`
}

// Validate reports the first option that cannot work.
func (c *fleetStartCmd) Validate() error {
	if c.Ports == 0 {
		c.Ports = 2*c.Nodes + 4
	}
	switch {
	case c.Nodes < 1 || c.Nodes > 1000:
		return fmt.Errorf("--nodes: %d: want 1 to 1000", c.Nodes)
	case c.Workers < 1:
		return fmt.Errorf("--workers: %d: want 1 or more", c.Workers)
	case c.Ports < c.Nodes:
		return fmt.Errorf("--ports: %d: want as many as --nodes, %d, or more", c.Ports, c.Nodes)
	case c.FirstPort < 1 || c.FirstPort+c.Ports-1 > 65535:
		return fmt.Errorf("--first-port: %d, and %d after it: want ports up to 65535", c.FirstPort, c.Ports-1)
	case net.ParseIP(c.Host) == nil:
		return fmt.Errorf("--host: %q: want an IP address of this machine", c.Host)
	case c.Grace < time.Second:
		return fmt.Errorf("--grace: %v: want 1s or more", c.Grace)
	}
	return errors.Join(c.Redis.Validate(), c.Control.Validate(), c.Probe.Validate(), c.Hook.Validate())
}

func (*fleetStartCmd) server() {}

// rules are those of the file, or as many nodes as were asked for.
func (c *fleetStartCmd) rules() ([]*scale.Rules, error) {
	if c.Rules != "" {
		return scale.Load(c.Rules)
	}
	name := filepath.Join(c.Dir, "rules.yaml")
	text := fmt.Sprintf("# Written by homing fleet start.\nclusters:\n- {cluster: game, min_ready: %d, max: %d, node: {players: 10000}, start_up: 15s}\n", c.Nodes, c.Ports)
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		return nil, err
	}
	return scale.Load(name)
}

func (c *fleetStartCmd) Run(ctx context.Context, s streams, log *slog.Logger, sink *logsink.Sink) (err error) {
	if c.Dir, err = filepath.Abs(c.Dir); err != nil {
		return err
	}
	if err := os.MkdirAll(c.Dir, 0o750); err != nil {
		return err
	}
	rules, err := c.rules()
	if err != nil {
		return err
	}
	if c.OwnRedis {
		url, stop, err := embedded.Start(ctx, log)
		if err != nil {
			return fmt.Errorf("start a private Redis: %w", err)
		}
		defer stop()
		c.Redis.Data, c.Redis.PubSub, c.Redis.Inbox = []string{url}, nil, nil
	}
	secret, err := c.secret()
	if err != nil {
		return err
	}
	nodes, err := c.driver(log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, nodes.Close()) }()
	return c.serve(ctx, s, parts{rules, secret, nodes, log, newRegistry(sink)})
}

// parts is what serve puts together.
type parts struct {
	rules  []*scale.Rules
	secret []byte
	nodes  *driver.Local
	log    *slog.Logger
	reg    *prometheus.Registry
}

// secret is that of players' tokens; it stays the same from one start to the next.
func (c *fleetStartCmd) secret() ([]byte, error) {
	name := filepath.Join(c.Dir, "player.secret")
	text, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		text = []byte(newSecret())
		err = os.WriteFile(name, text, 0o600)
	}
	return text, err
}

// driver starts fronts as this program, with a configuration of theirs.
func (c *fleetStartCmd) driver(log *slog.Logger) (*driver.Local, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text, err := yaml.Marshal(map[string]any{
		"redis-data": c.Redis.Data, "redis-pubsub": c.Redis.PubSub, "redis-inbox": c.Redis.Inbox, "redis-prefix": c.Redis.Prefix,
		"auth-hs256-secret-file": filepath.Join(c.Dir, "player.secret"), "workers": c.Workers,
	})
	if err != nil {
		return nil, err
	}
	file := filepath.Join(c.Dir, "front.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return nil, err
	}
	return driver.NewLocal(driver.LocalConfig{
		Command: func(n driver.LocalNode) []string {
			return []string{self, "--config", file, "front", "--front-listen", n.Endpoint, "--node-endpoint", n.Endpoint, "--node-name", n.Name}
		},
		Host: c.Host, First: c.FirstPort, Ports: c.Ports, LogDir: c.Dir, Grace: c.Grace,
	}, log), nil
}

// serve runs the controller and the API server until ctx ends.
func (c *fleetStartCmd) serve(ctx context.Context, s streams, p parts) (err error) {
	back, serving := newBackground(ctx)
	defer func() { err = back.end(err) }()
	r, err := openRedis(back, c.Redis, p.log, p.reg)
	if err != nil {
		return err
	}
	if err := r.WaitReady(serving); err != nil {
		return err
	}
	back.run("admin", func(ctx context.Context) error { return serveAdmin(ctx, c.Admin, adminHandler(p.reg), p.log) })
	g, serving := errgroup.WithContext(serving)
	var events *hook.Publisher
	if c.APIListen != "" {
		srv, err := c.api(serving, back, r, p)
		if err != nil {
			return err
		}
		events = srv.hooks.publisher
		g.Go(func() error { return srv.run(serving) })
	}
	prober, err := openProber(back, c.Probe, startToken(p.secret), p.log, p.reg)
	if err != nil {
		return err
	}
	f := newFleet(c.Control, fleetParts{
		redis: r, prefix: c.Redis.Prefix, rules: p.rules, driver: p.nodes, prober: prober, tell: tellDecisions(events), log: p.log, reg: part("controller", p.reg),
	})
	g.Go(func() error { return f.run(serving) })
	c.greet(s)
	return g.Wait()
}

func (c *fleetStartCmd) api(ctx context.Context, back *background, r *redisx.Redis, p parts) (*apiServer, error) {
	var a apiConfig
	if err := kong.ApplyDefaults(&a); err != nil {
		return nil, fmt.Errorf("defaults: %w", err)
	}
	a.Redis, a.Hook.Endpoint, a.Hook.File, a.Hook.Unreached = c.Redis, c.Hook.Endpoint, c.Hook.File, c.Hook.Unreached
	a.API.Listen, a.API.ReusePort, a.API.AllowLoopback = c.APIListen, false, true
	dev := &api.Dev{
		FrontURL: "ws://" + c.endpoint(0) + "/ws",
		Token: func(user hub.UserID, service hub.Service) (string, error) {
			return auth.Mint(p.secret, auth.Identity{User: user, Service: service}, devTokenTTL)
		},
	}
	srv, err := newAPI(back, a, r, dev, p.log, part("api", p.reg))
	if err != nil {
		return nil, err
	}
	return srv, withHolder(srv.Listen(ctx), c.APIListen)
}

func (c *fleetStartCmd) endpoint(i int) string {
	return net.JoinHostPort(c.Host, strconv.Itoa(c.FirstPort+i))
}

func (c *fleetStartCmd) greet(s streams) {
	fmt.Fprintf(s.err, "\nA fleet starts.\n\n")
	for i := range c.Nodes {
		fmt.Fprintf(s.err, "  Players        ws://%s/ws\n", c.endpoint(i))
	}
	if c.APIListen != "" {
		fmt.Fprintf(s.err, "  API            http://%s  (POST /notify)\n", reachable(c.APIListen))
	}
	fmt.Fprintf(s.err, "  Logs           %s\n\nCtrl-C stops everything.\n\n", c.Dir)
}

// startTokenTTL is how long a token of the prober's is valid. Half as long it is used.
const startTokenTTL = 10 * time.Minute

// startToken returns what signs tokens for the prober with the secret of players.
func startToken(secret []byte) func() (string, error) {
	var mu sync.Mutex
	var token string
	var until time.Time
	return func() (string, error) {
		mu.Lock()
		defer mu.Unlock()
		if now := time.Now(); now.After(until) {
			fresh, err := auth.Mint(secret, auth.Identity{User: probe.User}, startTokenTTL)
			if err != nil {
				return "", err
			}
			token, until = fresh, now.Add(startTokenTTL/2)
		}
		return token, nil
	}
}
