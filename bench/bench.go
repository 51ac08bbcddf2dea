// Package bench measures a running Homing, or one that it starts itself:
// memory and CPU per connection, CPU and latency per delivered message, players
// of game rooms per core, how long players wait for a match, and beside them what a bare program needs for the same bytes, and what other
// systems need for the same work.
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/homing/homing/bench/abuse"
	"github.com/homing/homing/bench/bare"
	"github.com/homing/homing/bench/clients"
	"github.com/homing/homing/bench/crowd"
)

// scenario is one way to measure.
type scenario struct {
	name     string
	measure  func(ctx context.Context, r *run) error
	own      own      // what its zero options mean
	headline []string // the figures that its page shows large; none: the first
}

// scenarios are all that there are. Each stands in a file of its own.
func scenarios() []scenario {
	return []scenario{
		idleScenario, connectScenario, clientsScenario, notifyScenario, broadcastScenario,
		stormScenario, slowScenario, abuseScenario, soakScenario,
		limitScenario, relayScenario, growthScenario, peersScenario, referenceScenario, roomScenario, matchScenario, topicScenario,
		friendsScenario, assignScenario,
	}
}

// Names lists the scenarios.
func Names() (names []string) {
	for _, s := range scenarios() {
		names = append(names, s.name)
	}
	return names
}

// ErrUnknownScenario is returned for a name that there is no scenario for.
var ErrUnknownScenario = errors.New("unknown scenario")

// Run measures one scenario and prints its figures to stdout; progress goes to
// stderr while it runs. The helper processes that it starts are this program
// with the same arguments and helperVar set: there Run serves as the helper.
func Run(ctx context.Context, name string, opts Options, stdout, stderr io.Writer) error {
	if role := os.Getenv(helperVar); role != "" {
		return serveHelper(ctx, role, stdout)
	}
	for _, s := range scenarios() {
		if s.name == name {
			return measure(ctx, s, opts.or(s.own), stdout, stderr)
		}
	}
	return fmt.Errorf("%w: %q", ErrUnknownScenario, name)
}

func measure(ctx context.Context, s scenario, opts Options, stdout, stderr io.Writer) error {
	r := newRun(s.name, opts, stderr)
	r.Headline = s.headline
	err := s.measure(ctx, r)
	if err != nil && len(r.Figures) == 0 {
		return fmt.Errorf("bench %s: %w", s.name, err)
	}
	if err = errors.Join(err, r.publish(stdout)); err != nil { // what was found before it failed is worth having
		return fmt.Errorf("bench %s: %w", s.name, err)
	}
	return nil
}

// helperVar names, in the environment of a helper process, what it is to do.
const helperVar = "_HOMING_BENCH_HELPER"

const (
	helperBee   = "bee"
	helperBare  = "bare"
	helperAbuse = "abuse"
	helperCrowd = "crowd"
)

func serveHelper(ctx context.Context, role string, stdout io.Writer) error {
	switch role {
	case helperBee:
		return clients.Serve(ctx, os.Stdin, stdout)
	case helperBare:
		return bare.Serve(ctx, os.Stdin, stdout)
	case helperAbuse:
		return abuse.Serve(ctx, os.Stdin, stdout)
	case helperCrowd:
		return crowd.Serve(ctx, os.Stdin, stdout)
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
