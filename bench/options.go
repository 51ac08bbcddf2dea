package bench

import (
	"cmp"
	"fmt"
	"time"

	"github.com/homing/homing/bench/bees"
)

// Options say what to measure and on what; every scenario reads the ones that
// mean something to it. Zero means the scenario's own choice where the help
// says so.
type Options struct {
	JSON bool   `help:"Print one flat JSON object instead of tables." group:"Result"`
	HTML string `name:"html" help:"Write a report with plots to this file." type:"path" placeholder:"FILE" group:"Result"`

	Conns    int           `default:"0" help:"Client connections to hold, each of its own user. 0: 10,000; storm 60,000; homing-2014 200,000 times the scale." group:"Load"`
	Targets  int           `default:"300" help:"Users that one notification names." group:"Load"`
	Online   int           `default:"150" help:"Of those, users that are connected." group:"Load"`
	Rate     float64       `default:"0" help:"Notifications a second, or broadcasts; of idle and connect, connects a second. 0: 100; soak 260; broadcast 2; connects as fast as they go." group:"Load"`
	Duration time.Duration `default:"0s" help:"How long each measured part runs. 0: 15s; idle and homing-2014 50s, which is two rounds of pings; storm 60s, slow 30s, soak 20m." group:"Load"`
	Payload  int           `default:"0" help:"Bytes of the notification's data. 0: 120, which make a frame of about 200; slow 2,048." group:"Load"`
	Apart    int           `default:"0" help:"Of the connections, those that the fault of storm or slow falls on. 0: storm 50,000, slow 5%." group:"Load"`
	Peak     bool          `help:"After notify, search for the largest rate that is sustained, and measure latency at half of it." group:"Load"`
	MaxRate  float64       `default:"0" help:"Where that search ends, and those of growth, peers and homing-2014. 0: where the system does." group:"Load"`
	Limit    bool          `default:"true" negatable:"" help:"After notify and broadcast, measure the bare limit with as many sockets and bytes, too." group:"Load"`
	By       string        `default:"conns" enum:"conns,shards,workers" help:"What growth makes larger: ${enum}." group:"Load"`
	Steps    []int         `help:"The sizes that growth goes through. None: 1,000, 10,000, 50,000 and 200,000 connections; 1, 2 and 4 shards; 1, 2, 4, 8 and 16 workers." group:"Load"`
	Kinds    []string      `help:"Of abuse: which attacks, by name. None: all." placeholder:"KIND" group:"Load"`
	Scale    float64       `default:"1" help:"Of homing-2014: the share of 200,000 users and 1,200 requests a second." group:"Load"`
	Phase    string        `default:"all" enum:"all,connect,notify" help:"Of homing-2014: ${enum}." group:"Load"`

	Workers   int `default:"2" help:"Front worker processes to start; raised to one for every 17,000 connections." group:"System"`
	APIs      int `name:"apis" default:"1" help:"API processes to start." group:"System"`
	Shards    int `default:"1" help:"Pub/sub shards to start." group:"System"`
	AdmitRate int `default:"0" help:"Clients that each worker lets in per second. 0: no limit, to see what it can; storm 500, the front's own default." group:"System"`
	Replicas  int `default:"1" help:"Replicas of every Redis to start; with 0 there are no Sentinels either." group:"System"`
	Bees      int `default:"2" help:"Client processes; raised to one for every 18,000 connections." group:"System"`

	API        string   `help:"Base URL of a running API server; with --front nothing is started, and only the clients' CPU is known." placeholder:"URL" group:"System"`
	Front      []string `help:"WebSocket URL of a running front, for example ws://127.0.0.1:8081/ws; may repeat." placeholder:"URL" group:"System"`
	APIKeyFile string   `name:"api-key-file" help:"File with the API key for --api." type:"existingfile" placeholder:"FILE" group:"System"`
	SecretFile string   `help:"File with the HS256 secret that signs player tokens for --front." type:"existingfile" placeholder:"FILE" group:"System"`

	Agents          []string `help:"Machines that run the clients: the addresses of 'homing bench agent' there, with --api and --front. None: this machine." placeholder:"HOST:PORT" group:"System"`
	AgentSecretFile string   `help:"File with the secret that the agents share." type:"existingfile" placeholder:"FILE" group:"System"`

	Peers  []string `default:"socketio,centrifuge" enum:"socketio,centrifuge" help:"Systems that Homing is compared with by peers: ${enum}." group:"System"`
	Binary string   `help:"The homing binary to start; empty means this program." type:"existingfile" placeholder:"FILE" group:"System"`
	LogDir string   `help:"Directory for the logs of what is started; empty means a temporary one, removed at the end." placeholder:"DIR" group:"System"`
}

const (
	defaultConns    = 10_000
	defaultDuration = 15 * time.Second
	defaultPayload  = 120
	// workerConns is how many connections a worker is planned to hold: some
	// get a few percent more than the mean, and at 19,000 of 20,000
	// descriptors a worker takes no more.
	workerConns = 17_000
)

// or fills in what is zero: a scenario's own choice, or else the common one.
func (o Options) or(own Options) Options {
	o.Conns = cmp.Or(o.Conns, own.Conns, defaultConns)
	o.Rate = cmp.Or(o.Rate, own.Rate)
	o.Duration = cmp.Or(o.Duration, own.Duration, defaultDuration)
	o.Payload = cmp.Or(o.Payload, own.Payload, defaultPayload)
	o.Apart = cmp.Or(o.Apart, own.Apart)
	o.AdmitRate = cmp.Or(o.AdmitRate, own.AdmitRate)
	return o
}

// plan is whom the notifications name.
func (o Options) plan() bees.Plan {
	return bees.Plan{Seed: 1, Conns: o.Conns, Targets: o.Targets, Online: min(o.Online, o.Conns)}
}

// workers is how many worker processes hold the connections.
func (o Options) workers() int { return max(o.Workers, (o.Conns+workerConns-1)/workerConns) }

// Validate reports the first option out of range, by its flag and value.
func (o *Options) Validate() error {
	for _, c := range []struct {
		flag      string
		v         int
		low, high int
	}{
		{"conns", o.Conns, 0, 10_000_000},
		{"targets", o.Targets, 1, 10_000},
		{"online", o.Online, 1, o.Targets},
		{"payload", o.Payload, 0, 60_000},
		{"apart", o.Apart, 0, 10_000_000},
		{"workers", o.Workers, 1, 256},
		{"apis", o.APIs, 1, 64},
		{"shards", o.Shards, 1, 16},
		{"replicas", o.Replicas, 0, 8},
		{"admit-rate", o.AdmitRate, 0, 1 << 20},
		{"bees", o.Bees, 1, 256},
	} {
		if c.v < c.low || c.v > c.high {
			return fmt.Errorf("--%s: %d: want %d to %d", c.flag, c.v, c.low, c.high)
		}
	}
	switch {
	case o.Rate < 0:
		return fmt.Errorf("--rate: %v: want 0 or more", o.Rate)
	case o.MaxRate < 0:
		return fmt.Errorf("--max-rate: %v: want 0 or more", o.MaxRate)
	case o.Scale <= 0 || o.Scale > 10:
		return fmt.Errorf("--scale: %v: want more than 0 and at most 10", o.Scale)
	case o.Duration != 0 && o.Duration < 100*time.Millisecond:
		return fmt.Errorf("--duration: %v: want at least 100ms", o.Duration)
	case (o.API == "") != (len(o.Front) == 0):
		return fmt.Errorf("--api: %q and --front: %q: want both or neither", o.API, o.Front)
	case len(o.Agents) > 0 && o.API == "":
		return fmt.Errorf("--agents: %q: want --api and --front too: what this machine starts listens on loopback", o.Agents)
	case (len(o.Agents) == 0) != (o.AgentSecretFile == ""):
		return fmt.Errorf("--agents: %q and --agent-secret-file: %q: want both or neither", o.Agents, o.AgentSecretFile)
	}
	return nil
}
