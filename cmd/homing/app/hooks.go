package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/hook"
	"github.com/homing/homing/hub/hook/webhook"
	"github.com/homing/homing/hub/unreached"
	"github.com/homing/homing/redisx"
)

// hookConfig says what an API server does for hooks.
type hookConfig struct {
	Publisher hook.Config       `embed:""`
	File      string            `name:"hook-endpoints" help:"File of several endpoints, in YAML, each with a name, a url, a secret and the events that it wants; docs/hooks.md describes it. Changes are noticed." type:"path" placeholder:"FILE"`
	Events    []string          `name:"hook-events" help:"Types of events that --hook-url is told: room.ended, or the beginning of one and a star. None given: all." default:"*" placeholder:"PATTERN"`
	Sender    hook.SenderConfig `embed:"" prefix:"hook-"`
	Endpoint  webhook.Config    `embed:"" prefix:"hook-"`
	Unreached unreached.Config  `embed:""`
}

// Validate checks every part, and the file.
func (c *hookConfig) Validate() error {
	err := errors.Join(c.Publisher.Validate(), c.Sender.Validate(), c.Endpoint.Validate(), c.Unreached.Validate())
	if wrong := hook.CheckEvents(c.Events); wrong != nil {
		err = errors.Join(err, fmt.Errorf("--hook-events: %w", wrong))
	}
	if c.File != "" && c.Endpoint.URL != "" {
		return errors.Join(err, errors.New("--hook-url: --hook-endpoints is given too: write this one into the file, with the name default"))
	}
	if err != nil {
		return err
	}
	_, err = c.endpoints()
	return err
}

// endpoints are those that an API server sends to.
func (c *hookConfig) endpoints() ([]webhook.Spec, error) {
	if c.Endpoint.URL != "" {
		target := hook.Target{Name: hook.DefaultName, Events: c.Events, StreamBytes: c.Sender.StreamBytes}
		return []webhook.Spec{{Target: target, Sender: c.Sender, Endpoint: c.Endpoint}}, nil
	}
	if c.File == "" {
		return nil, nil
	}
	specs, err := webhook.LoadEndpoints(c.File, c.Sender, c.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("--hook-endpoints: %w", err)
	}
	return specs, nil
}

// publisher is the configuration of a server that sends to some endpoints, and of one
// that sends to none.
func (c *hookConfig) publisher() hook.Config {
	p := c.Publisher
	p.On = p.On || c.Endpoint.URL != "" || c.File != ""
	return p
}

// hooks is what of a server tells game backends what happens. Most is nil when it
// does not.
type hooks struct {
	publisher *hook.Publisher
	senders   *hookSenders // nil: it sends to nobody
	board     *hook.Board
}

// newPublisher starts publishing if c is on: else it returns nil.
func newPublisher(back *background, c hook.Config, r *redisx.Redis, keys hub.Keys, log *slog.Logger, reg prometheus.Registerer) (*hook.Publisher, *hook.Roster) {
	if !c.On {
		return nil, nil
	}
	roster := hook.NewRoster(r, keys, log)
	p := hook.NewPublisher(c, roster, r, keys, log, reg)
	back.run("hook endpoints", roster.Run)
	back.run("hook publisher", p.Run)
	return p, roster
}

// newHooks starts publishing if c is on, and sending to the endpoints that it names,
// which turn it on too.
func newHooks(back *background, c hookConfig, r *redisx.Redis, keys hub.Keys, log *slog.Logger, reg prometheus.Registerer) (*hooks, error) {
	publisher, roster := newPublisher(back, c.publisher(), r, keys, log, reg)
	if publisher == nil {
		return &hooks{}, nil
	}
	h := &hooks{publisher: publisher, board: hook.NewBoard(r, keys)}
	if c.Endpoint.URL == "" && c.File == "" {
		return h, nil
	}
	h.senders = newHookSenders(c, senderParts{roster: roster, redis: r, keys: keys, log: log, reg: reg})
	if err := h.senders.load(); err != nil {
		return nil, err
	}
	back.run("hook senders", h.senders.run)
	return h, nil
}

// degraded says which endpoints want no events any more, and what is wrong with their
// file.
func (h *hooks) degraded() []string {
	if h.senders == nil {
		return nil
	}
	return h.senders.degraded()
}

// lookForUnreached has users looked for whom stored notifications have missed, as long as
// an endpoint wants to hear of them, and returns what notes them; nil: nobody ever does.
func (h *hooks) lookForUnreached(back *background, c unreached.Config, d unreached.Deps) *unreached.Unreached {
	if h.publisher == nil || c.After == 0 {
		return nil
	}
	d.Events = h.publisher
	u := unreached.New(c, d)
	back.run("unreached", u.Run)
	return u
}

// flush waits, for a moment, until what was published is in Redis and what is
// being sent is sent.
func (h *hooks) flush(log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	if err := h.publisher.Flush(ctx); err != nil {
		log.Warn("stopping before every event is in Redis", "err", err)
	}
	if h.senders != nil {
		h.senders.close(ctx)
	}
}

type hookCmd struct {
	Secret hookSecretCmd `cmd:"" help:"Make a secret that signs events."`
	Listen hookListenCmd `cmd:"" help:"Take events for development: verify and print them."`
}

type hookSecretCmd struct{}

// Help is shown below the flags.
func (hookSecretCmd) Help() string {
	return `API servers read it from --hook-secret-file, the backend checks signatures with it.
To change it without a gap, add the new one as a second line, have the backend
change over, and take the first out.`
}

func (hookSecretCmd) Run(s streams) error {
	_, err := fmt.Fprintln(s.out, webhook.NewSecret())
	return err
}
