// Package drill breaks a real Homing on purpose and accounts for every
// message: it starts Redis, Sentinels, API servers and front workers as
// processes and clients of its own, loads them, makes a fault, and compares
// what callers were promised with what clients read.
package drill

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/homing/homing/bench/child"
)

// Options choose the scenarios and how they run.
type Options struct {
	Scenarios []string `arg:"" optional:"" help:"Scenarios to run: steady, kill-worker, pubsub-failover, data-failover, pubsub-hang, replica-kill, sentinel-and-master-kill, network-cut, stale-master, slow-subscriber, kill-api, rolling-restart, worker-stall, worker-hang, front-cut-off, front-data-cut, index-lost, replica-lag, planned-failover, pubsub-away, broadcast-roll, redis-full, redis-refuses, log-gone, shard-down, shards-grow, double-fault, room-move, room-owner-stop, room-worker-kill, room-roll, room-churn, match-node-kill, topic, topic-kill-worker, topic-roll, topic-pubsub-failover, topic-replica-kill, topic-data-replica-kill, topic-data-failover, topic-network-cut, topic-inbox-failover, hooks, presence, presence-kill-worker, presence-roll, presence-stop-worker, presence-data-failover, presence-pubsub-failover, presence-front-cut, polling-owner-kill, drain, drain-deadline, fleet-replace, fleet-leader-kill, node-hang, fleet-scale; none means all of them."`

	JSON       bool `help:"Print one JSON object instead of a table."`
	AtMostOnce bool `help:"Run without the relay's acknowledgements: losses are reported and do not fail the command."`

	Clients string `default:"mixed" enum:"mixed,native" help:"How clients connect: mixed has a third of them speak Socket.IO, over WebSocket, over long-polling, and from one to the other; native has all speak homing.v1."`

	Conns int           `default:"2100" help:"Client connections."`
	Rate  float64       `default:"170" help:"Notifications per second, each to 12 users who hold about 1.5 connections each."`
	After time.Duration `default:"12s" help:"How long the load goes on after the fault, at least."`

	Binary string `help:"The homing binary to start; empty means this program." type:"existingfile" placeholder:"FILE"`
	LogDir string `help:"Directory for the logs of what is started; empty means a temporary one, kept when the promise was broken." placeholder:"DIR"`
}

// Validate reports the first option out of range, by its flag and value.
func (o *Options) Validate() error {
	for _, name := range o.Scenarios {
		if _, err := find(name); err != nil {
			return err
		}
	}
	switch {
	case o.Conns < 20 || o.Conns > 15_000:
		return fmt.Errorf("--conns: %d: want 20 to 15000", o.Conns)
	case o.Rate <= 0 || o.Rate > 10_000:
		return fmt.Errorf("--rate: %v: want more than 0 and at most 10000", o.Rate)
	case o.After < time.Second:
		return fmt.Errorf("--after: %v: want at least 1s", o.After)
	}
	return nil
}

// ErrBroken is returned by Run when a scenario broke the promise.
var ErrBroken = errors.New("promise broken")

// ErrUnknownScenario is returned for a name that there is no scenario for.
var ErrUnknownScenario = errors.New("unknown scenario")

// Run runs the scenarios one after another and prints their ledgers to stdout
// as one JSON object or a table; progress goes to stderr. It returns ErrBroken
// when a promise was broken, unless AtMostOnce, and another error when a
// scenario could not be run.
func Run(ctx context.Context, opts Options, stdout, stderr io.Writer) error {
	chosen, err := choose(opts.Scenarios)
	if err != nil {
		return err
	}
	stderr = child.Shared(stderr)
	var results []*Result
	for _, s := range chosen {
		res, err := play(ctx, s, opts, stderr)
		if err != nil {
			err = fmt.Errorf("drill %s: %w", s.name, err)
			return errors.Join(err, report(results, opts.JSON, stdout)) // what is known is told
		}
		results = append(results, res)
	}
	if err := report(results, opts.JSON, stdout); err != nil {
		return err
	}
	broken := slices.ContainsFunc(results, func(r *Result) bool { return r.Promise == Broken })
	if broken && !opts.AtMostOnce {
		return ErrBroken
	}
	return nil
}

// choose finds scenarios by name; no names mean all.
func choose(names []string) ([]scenario, error) {
	if len(names) == 0 {
		return scenarios(), nil
	}
	var chosen []scenario
	for _, name := range names {
		s, err := find(name)
		if err != nil {
			return nil, err
		}
		chosen = append(chosen, s)
	}
	return chosen, nil
}

func find(name string) (scenario, error) {
	for _, s := range scenarios() {
		if s.name == name {
			return s, nil
		}
	}
	return scenario{}, fmt.Errorf("%w: %q, want one of %s", ErrUnknownScenario, name, strings.Join(Names(), ", "))
}

// Names lists the scenarios in the order they run.
func Names() []string {
	var names []string
	for _, s := range scenarios() {
		names = append(names, s.name)
	}
	return names
}

func report(results []*Result, asJSON bool, w io.Writer) error {
	if !asJSON {
		return writeTable(results, w)
	}
	if err := json.NewEncoder(w).Encode(map[string]any{"results": results}); err != nil {
		return fmt.Errorf("print results: %w", err)
	}
	return nil
}
