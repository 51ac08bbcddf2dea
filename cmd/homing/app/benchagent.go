package app

import (
	"context"
	"log/slog"

	"github.com/homing/homing/bench"
)

// benchAgent lends a machine to `homing bench` on another one.
type benchAgent struct {
	bench.AgentOptions `embed:""`
}

// Help is shown below the flags.
func (*benchAgent) Help() string {
	return `On every further load machine:

	homing bench agent --listen 10.0.0.5:7800 --secret-file FILE

On the machine that measures, for example:

	homing bench notify --agents 10.0.0.5:7800,10.0.0.6:7800 --agent-secret-file FILE ...

Both ends prove to each other that they know the secret, and the connection is encrypted. Keep the port within a private network all the same: whoever knows the secret can make this machine open connections to anywhere.`
}

func (c *benchAgent) Run(ctx context.Context, s streams, log *slog.Logger) error {
	return bench.RunAgent(ctx, c.AgentOptions, s.out, s.err, log)
}
