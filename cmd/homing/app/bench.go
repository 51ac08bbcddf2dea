package app

import (
	"context"

	"github.com/alecthomas/kong"

	"github.com/homing/homing/bench"
)

type benchCmd struct {
	Idle       benchScenario[bench.IdleFlags]       `cmd:"" help:"Hold idle connections: memory for each, and CPU at rest."`
	Connect    benchScenario[bench.ConnectFlags]    `cmd:"" help:"Connect clients: CPU for each."`
	Clients    benchScenario[bench.ClientsFlags]    `cmd:"" help:"Hold and notify native clients, Socket.IO over WebSocket, SSE and long-polling, and npm's Socket.IO beside: memory and CPU for each."`
	Notify     benchScenario[bench.NotifyFlags]     `cmd:"" help:"Send notifications at a fixed rate: CPU and latency of a delivered message."`
	Limit      benchScenario[bench.LimitFlags]      `cmd:"" help:"Write the same bytes to as many bare sockets: what no program can do better than."`
	Broadcast  benchScenario[bench.BroadcastFlags]  `cmd:"" help:"Send to everyone at a fixed rate: CPU and latency of a delivered message."`
	Topic      benchScenario[bench.TopicFlags]      `cmd:"" help:"Send to a topic that everyone is a member of, and join topics: CPU and latency of a delivered message, beside broadcasts; joins per second, memory of a membership."`
	Storm      benchScenario[bench.StormFlags]      `cmd:"" help:"Throw most clients off at once and have them come back at once: how soon, and what the others notice."`
	Slow       benchScenario[bench.SlowFlags]       `cmd:"" help:"Have some clients stop reading: memory, and what the others notice."`
	Abuse      benchScenario[bench.AbuseFlags]      `cmd:"" help:"Set one hostile player, key or address at a time beside well-behaved ones: what the others notice."`
	Soak       benchScenario[bench.SoakFlags]       `cmd:"" help:"Load a system for long: whether memory, descriptors or latency grow, and whether all arrives."`
	Growth     benchScenario[bench.GrowthFlags]     `cmd:"" help:"Measure systems of growing size: how cost grows, and what runs out first."`
	Peers      benchScenario[bench.PeersFlags]      `cmd:"" help:"Measure Homing, Socket.IO and centrifuge side by side under the same load; with --rooms Homing, Colyseus and Socket.IO."`
	Room       benchScenario[bench.RoomFlags]       `cmd:"" help:"Play in game rooms: players per core, whether every tick is kept, and how late frames are."`
	Match      benchScenario[bench.MatchFlags]      `cmd:"" help:"Match players at a fixed rate of tickets while an API server is killed and data Redis fails over: waits, and whether anybody is lost or matched twice."`
	Assign     benchScenario[bench.AssignFlags]     `cmd:"" help:"Assign players to nodes over HTTP: how many a second, how evenly, and whether a repeated request takes a second place."`
	Friends    benchScenario[bench.FriendsFlags]    `cmd:"" help:"Have players with friends log in beside notifications: CPU and Redis commands for each."`
	Homing2014 benchScenario[bench.Homing2014Flags] `cmd:"" name:"homing-2014" help:"Do what the system of 2014 did that Homing follows: 200,000 users, 1,200 requests a second for 300 users each."`
	Relay      benchScenario[bench.RelayFlags]      `cmd:"" help:"Compare confirmed delivery between processes with at most once: CPU, Redis commands, latency."`
	Agent      benchAgent                           `cmd:"" help:"Lend this machine to a bench on another one: run client processes for it."`
	SocketIO   benchSocketIO                        `cmd:"" name:"socketio" help:"Serve what the published test suites of Engine.IO and Socket.IO talk to, on a front worker's read and write path."`
	Echo       benchEcho                            `cmd:"" help:"Serve a WebSocket echo on a front worker's read and write path."`
}

// benchScenario is any scenario: its name is the command's, and F its flags.
type benchScenario[F any] struct {
	Flags F `embed:""`
}

// Validate reports the first flag out of range.
func (c *benchScenario[F]) Validate() error {
	o := bench.OptionsOf(c.Flags)
	return o.Validate()
}

// Help is shown below the flags, of scenarios that have more to say.
func (c *benchScenario[F]) Help() string {
	if h, ok := any(c.Flags).(interface{ Help() string }); ok {
		return h.Help()
	}
	return ""
}

func (c *benchScenario[F]) Run(ctx context.Context, k *kong.Context, s streams) error {
	return bench.Run(ctx, k.Selected().Name, bench.OptionsOf(c.Flags), s.out, s.err)
}
