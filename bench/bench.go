// Package bench measures a running Homing, or one that it starts itself:
// memory and CPU per connection, CPU and latency per delivered message, and
// beside them what a bare program needs for the same bytes.
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/homing/homing/bench/bare"
	"github.com/homing/homing/bench/bees"
	"github.com/homing/homing/bench/child"
)

// Options say what to measure and on what; every scenario reads the ones that
// mean something to it.
type Options struct {
	JSON bool `help:"Print one flat JSON object instead of a table."`

	Conns    int           `default:"10000" help:"Client connections to hold, each of its own user."`
	Targets  int           `default:"300" help:"Users that one notification names."`
	Online   int           `default:"150" help:"Of those, users that are connected."`
	Rate     float64       `default:"100" help:"Notifications per second (notify, limit), or connects per second (idle, connect; 0 connects as fast as it goes)."`
	Duration time.Duration `default:"15s" help:"How long the measured part runs."`
	Payload  int           `default:"120" help:"Bytes of the notification's data; 120 make a frame of about 200."`
	Limit    bool          `default:"true" negatable:"" help:"After notify, measure the bare limit with as many sockets and bytes, too."`

	Workers  int `default:"2" help:"Front worker processes to start."`
	APIs     int `name:"apis" default:"1" help:"API processes to start."`
	Shards   int `default:"1" help:"Pub/sub shards to start."`
	Replicas int `default:"1" help:"Replicas of every Redis to start; with 0 there are no Sentinels either."`
	Bees     int `default:"2" help:"Client processes; raised to one for every 18,000 connections."`

	API        string   `help:"Base URL of a running API server; with --front nothing is started, and only the clients' CPU is known." placeholder:"URL"`
	Front      []string `help:"WebSocket URL of a running front, for example ws://127.0.0.1:8081/ws; may repeat." placeholder:"URL"`
	APIKeyFile string   `name:"api-key-file" help:"File with the API key for --api." type:"existingfile" placeholder:"FILE"`
	SecretFile string   `help:"File with the HS256 secret that signs player tokens for --front." type:"existingfile" placeholder:"FILE"`

	Binary string `help:"The homing binary to start; empty means this program." type:"existingfile" placeholder:"FILE"`
	LogDir string `help:"Directory for the logs of what is started; empty means a temporary one, removed at the end." placeholder:"DIR"`
}

// scenario is one way to measure.
type scenario struct {
	name    string
	measure func(r *run, ctx context.Context) error
}

func scenarios() []scenario {
	return []scenario{
		{"idle", (*run).idle},
		{"connect", (*run).connect},
		{"notify", (*run).notify},
		{"limit", (*run).limitAlone},
		{"relay", (*run).relay},
	}
}

// ErrUnknownScenario is returned for a name that there is no scenario for.
var ErrUnknownScenario = errors.New("unknown scenario")

// Validate reports the first option out of range, by its flag and value.
func (o *Options) Validate() error {
	for _, c := range []struct {
		flag      string
		v         int
		low, high int
	}{
		{"conns", o.Conns, 1, 1_000_000},
		{"targets", o.Targets, 1, 10_000},
		{"online", o.Online, 1, o.Targets},
		{"payload", o.Payload, 64, 60_000},
		{"workers", o.Workers, 1, 256},
		{"apis", o.APIs, 1, 64},
		{"shards", o.Shards, 1, 16},
		{"replicas", o.Replicas, 0, 8},
		{"bees", o.Bees, 1, 256},
	} {
		if c.v < c.low || c.v > c.high {
			return fmt.Errorf("--%s: %d: want %d to %d", c.flag, c.v, c.low, c.high)
		}
	}
	switch {
	case o.Rate < 0:
		return fmt.Errorf("--rate: %v: want 0 or more", o.Rate)
	case o.Duration < 100*time.Millisecond:
		return fmt.Errorf("--duration: %v: want at least 100ms", o.Duration)
	case (o.API == "") != (len(o.Front) == 0):
		return fmt.Errorf("--api: %q and --front: %q: want both or neither", o.API, o.Front)
	}
	return nil
}

// Run measures one scenario and prints its figures to stdout; progress goes to
// stderr while it runs. The helper processes that it starts are this program
// with the same arguments and helperVar set: there Run serves as the helper.
func Run(ctx context.Context, name string, opts Options, stdout, stderr io.Writer) error {
	if role := os.Getenv(helperVar); role != "" {
		return serveHelper(ctx, role, stdout)
	}
	for _, s := range scenarios() {
		if s.name == name {
			return measure(ctx, s, opts, stdout, stderr)
		}
	}
	return fmt.Errorf("%w: %q", ErrUnknownScenario, name)
}

func measure(ctx context.Context, s scenario, opts Options, stdout, stderr io.Writer) error {
	r := &run{opts: opts, stderr: child.Shared(stderr), started: time.Now()}
	err := s.measure(r, ctx)
	if err = errors.Join(err, r.stop()); err != nil {
		return fmt.Errorf("bench %s: %w", s.name, err)
	}
	if opts.JSON {
		return r.report.WriteJSON(stdout)
	}
	return r.report.WriteTable(stdout)
}

// helperVar names, in the environment of a helper process, what it is to do.
const helperVar = "_HOMING_BENCH_HELPER"

const (
	helperBee  = "bee"
	helperBare = "bare"
)

func serveHelper(ctx context.Context, role string, stdout io.Writer) error {
	switch role {
	case helperBee:
		return bees.Serve(ctx, os.Stdin, stdout)
	case helperBare:
		return bare.Serve(ctx, os.Stdin, stdout)
	default:
		return fmt.Errorf("%s: %q: no such helper", helperVar, role)
	}
}

// helperCommand is how this program starts itself as a helper.
func helperCommand(role string) (argv, env []string, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, fmt.Errorf("find this program: %w", err)
	}
	return append([]string{self}, os.Args[1:]...), []string{helperVar + "=" + role}, nil
}
