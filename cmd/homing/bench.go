package main

import (
	"context"

	"github.com/alecthomas/kong"

	"github.com/homing/homing/bench"
)

type benchCmd struct {
	Idle       benchScenario `cmd:"" help:"Hold idle connections: memory for each, and CPU at rest."`
	Connect    benchScenario `cmd:"" help:"Connect clients: CPU for each."`
	Notify     benchScenario `cmd:"" help:"Send notifications at a fixed rate: CPU and latency of a delivered message."`
	Limit      benchScenario `cmd:"" help:"Write the same bytes to as many bare sockets: what no program can do better than."`
	Broadcast  benchScenario `cmd:"" help:"Send to everyone at a fixed rate: CPU and latency of a delivered message."`
	Storm      benchScenario `cmd:"" help:"Throw most clients off at once and have them come back at once: how soon, and what the others notice."`
	Slow       benchScenario `cmd:"" help:"Have some clients stop reading: memory, and what the others notice."`
	Abuse      benchScenario `cmd:"" help:"Set one hostile player, key or address at a time beside well-behaved ones: what the others notice."`
	Soak       benchScenario `cmd:"" help:"Load a system for long: whether memory, descriptors or latency grow, and whether all arrives."`
	Growth     benchScenario `cmd:"" help:"Measure systems of growing size: how cost grows, and what runs out first."`
	Peers      benchScenario `cmd:"" help:"Measure Homing, Socket.IO and centrifuge side by side under the same load."`
	Homing2014 benchScenario `cmd:"" name:"homing-2014" help:"Do what the system of 2014 did that Homing follows: 200,000 users, 1,200 requests a second for 300 users each."`
	Relay      benchScenario `cmd:"" help:"Compare confirmed delivery between processes with at most once: CPU, Redis commands, latency."`
	Agent      benchAgent    `cmd:"" help:"Lend this machine to a bench on another one: run client processes for it."`
	Echo       benchEcho     `cmd:"" help:"Serve a WebSocket echo on a front worker's read and write path."`
}

// benchScenario is any scenario: its name is the command's.
type benchScenario struct {
	bench.Options `embed:""`
}

func (c *benchScenario) Run(ctx context.Context, k *kong.Context, s streams) error {
	return bench.Run(ctx, k.Selected().Name, c.Options, s.out, s.err)
}
