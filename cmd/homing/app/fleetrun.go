package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/homing/homing/cmd/homing/internal/logsink"
	"github.com/homing/homing/front/auth"
	"github.com/homing/homing/front/master"
	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/fleet/control"
	"github.com/homing/homing/hub/fleet/driver"
	"github.com/homing/homing/hub/fleet/leader"
	"github.com/homing/homing/hub/fleet/probe"
	"github.com/homing/homing/hub/fleet/roster"
	"github.com/homing/homing/hub/fleet/scale"
	"github.com/homing/homing/hub/hook"
	"github.com/homing/homing/hub/hook/webhook"
	"github.com/homing/homing/redisx"
)

// fleetRunCmd is a controller of a fleet.
type fleetRunCmd struct {
	Rules     string         `arg:"" help:"File of rules, as deploy/fleet/steady.yaml." type:"existingfile"`
	Shadow    []string       `help:"File of other rules that are asked too and decide nothing: the journal and the metrics tell where they differ. Repeatable." type:"existingfile" placeholder:"FILE"`
	Control   control.Config `embed:"" group:"Controller"`
	Driver    fleetDriver    `embed:"" prefix:"driver-" group:"Driver"`
	Probe     fleetProbe     `embed:"" prefix:"probe-" group:"Probes"`
	Record    string         `help:"File that every look at the nodes is written to, with what came of it, one JSON object a line: for homing fleet replay and homing fleet simulate. A file that is there is added to." type:"path" placeholder:"FILE"`
	RecordMax int64          `help:"Bytes that are written to it at most." default:"1073741824" placeholder:"BYTES"`
	Hook      hook.Config    `embed:"" group:"Hooks"`
	Redis     redisx.Config  `embed:"" prefix:"redis-" group:"Redis"`
	Admin     adminConfig    `embed:"" prefix:"admin-" group:"Admin"`
}

// fleetDriver says what starts nodes and takes them away.
type fleetDriver struct {
	driver.CommandConfig    `embed:""`
	driver.KubernetesConfig `embed:""`
	Webhook                 webhook.Config `embed:"" prefix:"webhook-"`
}

// fleetProbe says how nodes are probed, and as whom.
type fleetProbe struct {
	probe.Config `embed:""`
	SecretFile   string `help:"File with the secret that the fronts check players' tokens against (HS256): probes sign tokens of the user homing:probe with it." type:"existingfile" placeholder:"FILE"`
	TokenFile    string `help:"Instead: file with a token that probes show, read for each." type:"path" placeholder:"FILE"`
}

// Help is shown below the flags.
func (*fleetRunCmd) Help() string {
	return `A controller looks at all nodes once a second, decides by the rules how many each
cluster needs, and has a driver start nodes, or drains some and has it take them
away once they are empty. Run two or more: one leads, and another takes over
within 5 seconds of its end.

Without a driver (--driver-command, --driver-webhook-url or
--driver-kubernetes-workload) nothing is started or removed, and no node is
drained: the decisions are told, and metrics say how many nodes are wanted
(homing_fleet_desired_nodes), for those with an autoscaler of their own.

Nodes are fronts with --node-endpoint. Without --probe-secret-file or
--probe-token-file their reports alone say whether they are well.

With --hooks game backends and chats are told what is decided and what comes of it
(fleet.decision), by API servers that have --hook-url or --hook-endpoints.

Example, on one Redis:

  homing front --node-endpoint 127.0.0.1:8081 --redis-data redis://127.0.0.1:6379 …
  homing fleet run deploy/fleet/steady.yaml --redis-data redis://127.0.0.1:6379 \
    --driver-command ./nodes.sh --probe-secret-file player.secret`
}

// Validate checks every part before anything is started.
func (c *fleetRunCmd) Validate() error {
	err := errors.Join(c.Control.Validate(), c.Redis.Validate(), c.Probe.Config.Validate(), c.Driver.validate())
	if c.Probe.SecretFile != "" && c.Probe.TokenFile != "" {
		err = errors.Join(err, errors.New("--probe-token-file: --probe-secret-file is given too"))
	}
	if c.Record != "" && !c.Driver.given() {
		err = errors.Join(err, errors.New("--record: without a driver nothing is decided that could be replayed; homing fleet record writes what the nodes do"))
	}
	if c.RecordMax < 0 {
		err = errors.Join(err, fmt.Errorf("--record-max: %d: want 0 or more", c.RecordMax))
	}
	return err
}

func (d *fleetDriver) validate() error {
	given := 0
	for _, is := range []bool{d.Line != "", d.Webhook.URL != "", len(d.Workloads) > 0} {
		if is {
			given++
		}
	}
	if given > 1 {
		return errors.New("--driver-command, --driver-webhook-url, --driver-kubernetes-workload: want one of them")
	}
	return errors.Join(d.CommandConfig.Validate(), d.KubernetesConfig.Validate(), d.Webhook.Validate())
}

// given reports whether a driver was chosen.
func (d *fleetDriver) given() bool {
	return d.Line != "" || d.Webhook.URL != "" || len(d.Workloads) > 0
}

// open returns the driver that was chosen; nil: none was. close is never nil.
func (d *fleetDriver) open(log *slog.Logger) (hands driver.Driver, closeIt func(), err error) {
	switch {
	case d.Line != "":
		return driver.NewCommand(d.CommandConfig, log), func() {}, nil
	case d.Webhook.URL != "":
		w, err := driver.NewWebhook(d.Webhook, log)
		if err != nil {
			return nil, func() {}, fmt.Errorf("--driver-webhook-url: %w", err)
		}
		return w, w.Close, nil
	case len(d.Workloads) > 0:
		k, err := driver.NewKubernetes(d.KubernetesConfig, log)
		if err != nil {
			return nil, func() {}, fmt.Errorf("--driver-kubernetes-workload: %w", err)
		}
		return k, k.Close, nil
	}
	return nil, func() {}, nil
}

// probeTokenTTL is how long a token of a probe is valid.
const probeTokenTTL = time.Minute

// open returns what probes nodes; nil: nothing does.
func (p *fleetProbe) open(back *background, log *slog.Logger, reg prometheus.Registerer) (*probe.Prober, error) {
	var token func() (string, error)
	switch {
	case p.Every == 0 || p.SecretFile == "" && p.TokenFile == "":
		return nil, nil //nolint:nilnil // there is none
	case p.TokenFile != "":
		token = probe.TokenFile(p.TokenFile)
	default:
		token = func() (string, error) {
			secret, err := os.ReadFile(p.SecretFile)
			if err != nil {
				return "", fmt.Errorf("--probe-secret-file: %w", err)
			}
			return auth.Mint(bytes.TrimRight(secret, "\r\n"), auth.Identity{User: probe.User}, probeTokenTTL)
		}
	}
	return openProber(back, p.Config, token, log, reg)
}

// openProber returns what probes nodes with tokens of that function; nil: nothing does.
func openProber(back *background, c probe.Config, token func() (string, error), log *slog.Logger, reg prometheus.Registerer) (*probe.Prober, error) {
	if c.Every == 0 {
		return nil, nil //nolint:nilnil // there is none
	}
	prober, err := probe.New(c, token, log, reg)
	if err != nil {
		return nil, err
	}
	back.run("probes", prober.Run)
	return prober, nil
}

// Run controls the fleet until it is told to stop.
func (c *fleetRunCmd) Run(ctx context.Context, log *slog.Logger, sink *logsink.Sink) (err error) {
	reg := newRegistry(sink)
	back, serving := newBackground(ctx)
	defer func() { err = back.end(err) }()
	rules, shadows, err := c.load()
	if err != nil {
		return err
	}
	hands, closeHands, err := c.Driver.open(log)
	if err != nil {
		return err
	}
	defer closeHands()
	record, closeRecord, err := c.record(log, reg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeRecord()) }()
	r, err := openRedis(back, c.Redis, log, reg)
	if err != nil {
		return err
	}
	prober, err := c.Probe.open(back, log, reg)
	if err != nil {
		return err
	}
	events, _ := newPublisher(back, c.Hook, r, hub.NewKeys(c.Redis.Prefix), log, reg)
	f := newFleet(c.Control, fleetParts{
		redis: r, prefix: c.Redis.Prefix, rules: rules, shadows: shadows, driver: hands, prober: prober, record: record, tell: tellDecisions(events), log: log, reg: reg,
	})
	back.run("admin", func(ctx context.Context) error { return serveAdmin(ctx, c.Admin, f.handler(adminHandler(reg)), log) })
	err = f.run(serving)
	if events != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
		defer cancel()
		if ferr := events.Flush(ctx); ferr != nil {
			log.Warn("stopping before every event is in Redis", "err", ferr)
		}
	}
	return err
}

// load reads the files of rules.
func (c *fleetRunCmd) load() (rules []*scale.Rules, shadows []control.Shadow, err error) {
	if rules, err = scale.Load(c.Rules); err != nil {
		return nil, nil, err
	}
	for _, file := range c.Shadow {
		all, err := scale.Load(file)
		if err != nil {
			return nil, nil, fmt.Errorf("--shadow: %w", err)
		}
		shadows = append(shadows, control.Shadow{Name: filepath.Base(file), Rules: all})
	}
	return rules, shadows, nil
}

// record opens the file that is recorded to. Its functions do nothing when there is none.
func (c *fleetRunCmd) record(log *slog.Logger, reg prometheus.Registerer) (add func(*control.Step), closeFile func() error, err error) {
	if c.Record == "" {
		return nil, func() error { return nil }, nil
	}
	ended := promauto.With(reg).NewGauge(prometheus.GaugeOpts{Name: "homing_fleet_record_ended", Help: "1: nothing more is recorded, because --record-max is reached or the file cannot be written."})
	f, err := os.OpenFile(c.Record, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("--record: %w", err)
	}
	r := control.NewRecorder(f, c.RecordMax, func(written int64) {
		ended.Set(1)
		log.Error("nothing more is recorded: --record-max is reached, or the file cannot be written", "file", c.Record, "written", written)
	})
	return r.Add, f.Close, nil
}

// fleetParts is what a controller stands on.
type fleetParts struct {
	redis   *redisx.Redis
	prefix  string
	rules   []*scale.Rules
	shadows []control.Shadow
	driver  driver.Driver // nil: nothing is carried out
	prober  *probe.Prober // nil: reports alone are looked at
	record  func(*control.Step)
	tell    func(control.Entry) // nil: nobody is told
	log     *slog.Logger
	reg     prometheus.Registerer
}

// fleetControl is a controller with what ties it to Redis.
type fleetControl struct {
	lease      *leader.Lease
	controller *control.Controller
	redis      *redisx.Redis
}

func newFleet(c control.Config, p fleetParts) *fleetControl {
	keys := hub.NewKeys(p.prefix)
	id := fmt.Sprintf("%s/%d/%s", machineName(), os.Getpid(), hub.NewProcessID())
	f := &fleetControl{redis: p.redis, lease: leader.New(p.redis, keys, id, leader.DefaultTiming(), p.log, p.reg)}
	d := control.Deps{
		ID: id, Rules: p.rules, Shadow: p.shadows, Roster: roster.New(roster.Config{}, p.redis, keys, p.reg), Lease: f.lease,
		Store: control.NewStore(p.redis, keys), Driver: p.driver, Epoch: p.redis.Data.Lead().Epoch,
		Record: p.record, Tell: p.tell, Log: p.log, Reg: p.reg,
	}
	if p.prober != nil {
		d.Prober = p.prober
	}
	f.controller = control.New(c, d)
	return f
}

// run controls the fleet, while it leads, until ctx ends. The lease is given back when
// nothing is under way any more that it stands for.
func (f *fleetControl) run(ctx context.Context) error {
	if err := f.redis.WaitReady(ctx); err != nil {
		return err
	}
	leading, resign := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() { done <- f.lease.Run(leading) }()
	err := f.controller.Run(ctx)
	resign()
	return errors.Join(err, <-done)
}

// handler adds /healthz and /readyz to mux. A controller that watches another one lead is
// ready; one that does not know who leads is not.
func (f *fleetControl) handler(mux *http.ServeMux) http.Handler {
	master.Health(mux, func() error {
		_, err := f.lease.Holder()
		return err
	}, nil)
	return mux
}
