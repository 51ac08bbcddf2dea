package app

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/alecthomas/kong"

	"github.com/homing/homing/front"
)

// benchSocketIO is the target of the published test suites.
type benchSocketIO struct {
	Listen         string        `help:"Address to serve on." default:"127.0.0.1:3000"`
	PingInterval   time.Duration `help:"Time between two pings. The defaults of the times are those that the suites expect." default:"300ms"`
	PingTimeout    time.Duration `help:"A client that does not answer a ping within this time is closed." default:"200ms"`
	ConnectTimeout time.Duration `help:"From the handshake of Engine.IO to the CONNECT of Socket.IO." default:"1s"`
	EngineIO3      bool          `name:"engineio3" help:"Speak Engine.IO 3, too."`
}

// Run serves until ctx ends.
func (c *benchSocketIO) Run(ctx context.Context, s streams, log *slog.Logger) error {
	var cfg front.Config
	if err := kong.ApplyDefaults(&cfg); err != nil {
		return fmt.Errorf("defaults: %w", err)
	}
	cfg.Listen, cfg.DrainWindow = c.Listen, 0
	cfg.MaxMessage, cfg.ConnectTimeout = 1_000_000, c.ConnectTimeout
	cfg.PingInterval, cfg.PongTimeout = c.PingInterval, c.PingTimeout
	cfg.EngineIO3 = c.EngineIO3
	if err := cfg.Validate(); err != nil {
		return err
	}
	w, err := front.NewEngineSuite(cfg, log, newRegistry(nil))
	if err != nil {
		return err
	}
	fmt.Fprintf(s.err, "http://%s/engine.io/ and /socket.io/\n", c.Listen)
	return w.Run(ctx)
}
