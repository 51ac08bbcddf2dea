package app

import (
	"context"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/inbox"
	"github.com/homing/homing/hub/index"
	"github.com/homing/homing/hub/layout"
	"github.com/homing/homing/hub/lease"
	"github.com/homing/homing/hub/relay"
	"github.com/homing/homing/hub/rights"
	"github.com/homing/homing/hub/topic"
	"github.com/homing/homing/redisx"
)

// ground is what a server process stands on in Redis, of whichever role: it knows who
// lives and who is where, sends and is sent messages, and reads what is kept.
type ground struct {
	redis     *redisx.Redis
	keys      hub.Keys
	relay     *relay.Relay
	census    *lease.Census
	index     *index.Index
	box       *inbox.Inbox
	histories *topic.Histories
	agreed    *layout.Check
	allowed   *rights.Check
	log       *slog.Logger
	reg       prometheus.Registerer
}

// groundConfig is what a ground is made with.
type groundConfig struct {
	process hub.ProcessID
	role    string // of hub/layout
	redis   redisx.Config
	relay   relay.Config
	inbox   inbox.Config
	topic   topic.Config
}

func newGround(c groundConfig, r *redisx.Redis, log *slog.Logger, reg prometheus.Registerer) *ground {
	keys := hub.NewKeys(c.redis.Prefix)
	g := &ground{
		redis: r, keys: keys, log: log, reg: reg,
		relay:   relay.New(c.relay, r, keys, c.process, log, reg),
		box:     inbox.New(c.inbox, r, keys, log, reg),
		agreed:  layout.New(r, keys, c.role, log, reg),
		allowed: rights.New(r, keys, log, reg),
	}
	g.census = lease.NewCensus(r, keys, g.relay.Witness(), lease.DefaultTiming(), log, reg)
	g.index = index.New(r, g.census, keys, log, reg)
	g.histories = topic.NewHistories(c.topic, g.box)
	return g
}

// start has all of it run. upper takes what the relay brings; its Judge is set here.
func (g *ground) start(back *background, upper relay.Upper) {
	upper.Judge = g.census
	back.run("layout", g.agreed.Run)
	back.run("rights", g.allowed.Run)
	back.run("census", g.census.Run)
	back.run("inbox", g.box.Run)
	back.run("relay", func(ctx context.Context) error { return g.relay.Run(ctx, upper) })
}

// ended reports whether a process is known to live no more.
func (g *ground) ended(p hub.ProcessID) bool {
	roll := g.census.Roll()
	return roll.Dead(p) || roll.Ended(p)
}

// lives reports whether a process is known to live.
func (g *ground) lives(p hub.ProcessID) bool {
	roll := g.census.Roll()
	return roll != nil && roll.Lives(p)
}
