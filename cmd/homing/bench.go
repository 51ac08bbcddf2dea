package main

import (
	"context"

	"github.com/alecthomas/kong"

	"github.com/homing/homing/bench"
)

type benchCmd struct {
	Idle    benchScenario `cmd:"" help:"Hold idle connections: memory for each, and CPU at rest."`
	Connect benchScenario `cmd:"" help:"Connect clients: CPU for each."`
	Notify  benchScenario `cmd:"" help:"Send notifications at a fixed rate: CPU and latency of a delivered message."`
	Limit   benchScenario `cmd:"" help:"Write the same bytes to as many bare sockets: what no program can do better than."`
	Relay   benchScenario `cmd:"" help:"Compare confirmed delivery between processes with at most once: CPU, Redis commands, latency."`
	Echo    benchEcho     `cmd:"" help:"Serve a WebSocket echo on a front worker's read and write path."`
}

// benchScenario is any scenario: its name is the command's.
type benchScenario struct {
	bench.Options `embed:""`
}

func (c *benchScenario) Run(ctx context.Context, k *kong.Context, s streams) error {
	return bench.Run(ctx, k.Selected().Name, c.Options, s.out, s.err)
}
