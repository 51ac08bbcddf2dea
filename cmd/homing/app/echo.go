package app

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/alecthomas/kong"

	"github.com/homing/homing/front"
)

// benchEcho is the target of WebSocket conformance suites.
type benchEcho struct {
	Listen     string `help:"Address to serve on, any path." default:"127.0.0.1:9001"`
	MaxMessage int    `help:"Bytes of the longest message echoed." default:"16777216"`
}

func (c *benchEcho) Run(ctx context.Context, s streams, log *slog.Logger) error {
	var cfg front.Config
	if err := kong.ApplyDefaults(&cfg); err != nil {
		return fmt.Errorf("defaults: %w", err)
	}
	cfg.Listen, cfg.MaxMessage, cfg.DrainWindow = c.Listen, c.MaxMessage, 0
	w, err := front.NewEcho(cfg, log, newRegistry(nil))
	if err != nil {
		return err
	}
	fmt.Fprintf(s.err, "Echo on ws://%s/\n", c.Listen)
	return w.Run(ctx)
}
