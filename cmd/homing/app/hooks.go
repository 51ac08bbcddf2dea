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
	"github.com/homing/homing/redisx"
)

// hookConfig says what an API server does for hooks.
type hookConfig struct {
	Publisher hook.Config       `embed:""`
	Sender    hook.SenderConfig `embed:"" prefix:"hook-"`
	Endpoint  webhook.Config    `embed:"" prefix:"hook-"`
}

// Validate checks every part.
func (c *hookConfig) Validate() error {
	return errors.Join(c.Publisher.Validate(), c.Sender.Validate(), c.Endpoint.Validate())
}

// hooks is what of a server tells game backends what happens. Both are nil when
// it does not.
type hooks struct {
	publisher *hook.Publisher
	sender    *hook.Sender
}

// newHooks starts publishing if c is on, and sending if it names a URL, which
// turns it on too.
func newHooks(back *background, c hookConfig, r *redisx.Redis, keys hub.Keys, log *slog.Logger, reg prometheus.Registerer) (*hooks, error) {
	c.Publisher.On = c.Publisher.On || c.Endpoint.URL != ""
	h := &hooks{publisher: hook.NewPublisher(c.Publisher, r, keys, log, reg)}
	if c.Endpoint.URL != "" {
		endpoint, err := webhook.New(c.Endpoint, log)
		if err != nil {
			return nil, err
		}
		h.sender = hook.NewSender(c.Publisher, c.Sender, endpoint, r, keys, log, reg)
		back.run("hook sender", h.sender.Run)
	}
	back.run("hook publisher", h.publisher.Run)
	return h, nil
}

// flush waits, for a moment, until what was published is in Redis and what is
// being sent is sent.
func (h *hooks) flush(log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	if err := h.publisher.Flush(ctx); err != nil {
		log.Warn("stopping before every event is in Redis", "err", err)
	}
	if err := h.sender.Close(ctx); err != nil {
		log.Warn("stopping before every event was answered", "err", err)
	}
}

type hookCmd struct {
	Secret hookSecretCmd `cmd:"" help:"Make a secret that signs events."`
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
