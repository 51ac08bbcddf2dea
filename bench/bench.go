// Package bench measures a running Homing, or one that it starts itself:
// memory and CPU per connection, CPU and latency per delivered message, and
// beside them what a bare program needs for the same bytes.
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// Options say what to measure and on what; every scenario reads the ones that
// mean something to it.
type Options struct {
	JSON bool `help:"Print one flat JSON object instead of a table."`

	Conns    int           `default:"10000" help:"Client connections to hold, each of its own user."`
	Targets  int           `default:"300" help:"Users that one notification names."`
	Online   int           `default:"150" help:"Of those, users that are connected."`
	Rate     float64       `default:"100" help:"Notifications per second (notify) or connects per second (connect); 0 connects as fast as it goes."`
	Duration time.Duration `default:"15s" help:"How long the measured part runs."`
	Payload  int           `default:"120" help:"Bytes of the notification's data; 120 make a frame of about 200."`
	Workers  int           `default:"2" help:"Front worker processes to start."`
	APIs     int           `name:"apis" default:"1" help:"API processes to start."`
	Shards   int           `default:"1" help:"Pub/sub shards to start, each a master with a replica."`
	Bees     int           `default:"0" help:"Client processes; 0 means one for every 9,000 connections, and at least 2."`
	Limit    bool          `default:"true" negatable:"" help:"After notify, also measure the bare limit with the same sockets and bytes."`

	API        string   `help:"Base URL of a running API server; with --front nothing is started." placeholder:"URL"`
	Front      []string `help:"WebSocket URL of a running front, for example ws://127.0.0.1:8081/ws; may repeat." placeholder:"URL"`
	APIKeyFile string   `name:"api-key-file" help:"File with the API key for --api." placeholder:"FILE"`
	SecretFile string   `help:"File with the HS256 secret that signs player tokens for --front." placeholder:"FILE"`

	Binary string `help:"The homing binary to start; empty means this program." placeholder:"FILE"`
	LogDir string `help:"Directory for the logs of what is started; empty means a temporary one, removed when all went well." placeholder:"DIR"`
}

// Scenarios are the names that Run knows.
func Scenarios() []string { return []string{"idle", "connect", "notify", "limit"} }

// ErrUnknownScenario is returned for a name that Scenarios does not list.
var ErrUnknownScenario = errors.New("unknown scenario")

// Validate reports the first option out of range, by its flag.
func (o *Options) Validate() error {
	return nil
}

// Run measures one scenario and prints its result to stdout; progress goes to
// stderr while it runs.
func Run(ctx context.Context, scenario string, opts Options, stdout, stderr io.Writer) error {
	return fmt.Errorf("%w: %q", ErrUnknownScenario, scenario)
}
