// Package bench measures a running Homing, or one that it starts itself:
// memory and CPU per connection, CPU and latency per delivered message, and
// beside them what a bare program needs for the same bytes, and what other
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
)

// scenario is one way to measure.
type scenario struct {
	name     string
	measure  func(r *run, ctx context.Context) error
	own      own      // what its zero options mean
	headline []string // the figures that its page shows large; none: the first
}

func scenarios() []scenario {
	return []scenario{
		{
			name: "idle", measure: (*run).idle,
			own: own{duration: idleTime},
		},
		{
			name: "connect", measure: (*run).connect,
		},
		{
			name: "notify", measure: (*run).notify,
			own:      own{rate: 100},
			headline: []string{"deliveries_per_s", "front_us_per_delivery", "front_to_limit", "p50_ms", "p99_ms", "peak_deliveries_per_s"},
		},
		{
			name: "broadcast", measure: (*run).broadcast,
			own:      own{rate: 2},
			headline: []string{"deliveries_per_s", "front_us_per_delivery", "front_to_limit", "p50_ms", "p99_ms", "lost"},
		},
		{
			name: "storm", measure: (*run).storm,
			own:      own{conns: 60_000, apart: 50_000, rate: 100, duration: stormTime, admitRate: stormAdmits},
			headline: []string{"thrown", "back_s", "told_to_wait", "failed_handshakes", "storm_p99_ms", "p99_ratio"},
		},
		{
			name: "slow", measure: (*run).slow,
			own:      own{rate: 100, payload: 2048, duration: slowTime},
			headline: []string{"slow_conns", "slow_closed", "p99_ms", "p99_ratio", "front_mib_before", "front_mib_most"},
		},
		{
			name: "abuse", measure: (*run).abuse,
			own:      own{conns: 5_000, rate: abuseRate, duration: abuseTime, admitRate: stormAdmits},
			headline: []string{"kinds", "harmed", "worst_p99_ratio", "refused_in_attacks", "newcomers_failed", "failovers"},
		},
		{
			name: "soak", measure: (*run).soak,
			own:      own{rate: 260, duration: soakTime},
			headline: []string{"deliveries", "lost", "p99_ms", "front_mib_per_hour", "first_p99_ms", "last_p99_ms"},
		},
		{
			name: "limit", measure: (*run).limitAlone,
			own: own{rate: 100},
		},
		{
			name: "relay", measure: (*run).relay,
			own:      own{rate: 100},
			headline: []string{"reliable_us_per_delivery", "cpu_ratio", "commands_ratio", "reliable_p50_ms", "reliable_p99_ms"},
		},
		{
			name: "growth", measure: (*run).growth,
			own: own{rate: 100},
		},
		{
			name: "peers", measure: (*run).peers,
			own:      own{rate: 100},
			headline: []string{"homing_us_per_delivery", "socketio_us_per_delivery", "centrifuge_us_per_delivery", "homing_peak_deliveries_per_s", "socketio_peak_deliveries_per_s", "centrifuge_peak_deliveries_per_s"},
		},
		{
			name: "homing-2014", measure: (*run).reference,
			own:      own{duration: idleTime},
			headline: []string{"conns", "connects_per_s", "kib_per_conn", "kernel_kib_per_conn", "idle_cores", "peak_deliveries_per_s"},
		},
	}
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
	err := s.measure(r, ctx)
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
)

func serveHelper(ctx context.Context, role string, stdout io.Writer) error {
	switch role {
	case helperBee:
		return clients.Serve(ctx, os.Stdin, stdout)
	case helperBare:
		return bare.Serve(ctx, os.Stdin, stdout)
	case helperAbuse:
		return abuse.Serve(ctx, os.Stdin, stdout)
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
