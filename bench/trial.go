package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/homing/homing/bench/agent"
	"github.com/homing/homing/bench/clients"
	"github.com/homing/homing/bench/rig"
)

// setup is what a trial is made on.
type setup struct {
	Options

	name       string     // in the report's charts, where a run has several trials
	system     rig.System // nil: a Homing as the options say
	toAll      bool       // call for everyone instead of the plan's users
	slowBuffer int        // bytes that the kernel keeps for an apart client; 0: its own choice
	homes      int        // loopback addresses that the clients come from; 0: as few as have ports enough
}

// trial is a system on the bench, with its clients. A run has one or several.
type trial struct {
	*run

	rig  *rig.Rig
	opts Options // of this trial: a scenario may have changed the run's
}

// try puts a system on the bench, lets f measure it, and stops it.
func (r *run) try(ctx context.Context, s setup, f func(*trial) error) error {
	if s.system == nil {
		sys, err := r.start(ctx, s.Options)
		if err != nil {
			return err
		}
		s.system = sys
	}
	hive, err := s.hive(ctx, r)
	if err != nil {
		return errors.Join(err, s.system.Stop(false))
	}
	g, err := rig.Open(rig.Options{
		System: s.system, Hive: hive, Say: r.say,
		Plan: s.plan(), Broadcast: s.toAll, Payload: s.Payload,
		Apart: s.Apart, SlowBuffer: s.slowBuffer,
	})
	if err != nil {
		return err
	}
	err = f(&trial{run: r, rig: g, opts: s.Options})
	r.Charts = append(r.Charts, g.Charts(s.name)...)
	return errors.Join(err, g.Close())
}

// start starts a Homing, or finds the one that runs already.
func (r *run) start(ctx context.Context, o Options) (rig.System, error) {
	if o.API != "" {
		return findRunning(o)
	}
	r.say("starting Redis, %d API and %d front worker processes", o.APIs, o.workers())
	return startHoming(ctx, o)
}

// hive starts the client processes, here or on the agents' machines.
func (s setup) hive(ctx context.Context, r *run) (*clients.Hive, error) {
	n := max(s.Bees, clients.Processes(s.Conns, s.Apart))
	if len(s.Agents) == 0 {
		argv, env, err := helperCommand(helperBee)
		if err != nil {
			return nil, err
		}
		return clients.Start(argv, append(env, s.sources()...), n, s.Conns, r.stderr)
	}
	secret, err := os.ReadFile(s.AgentSecretFile)
	if err != nil {
		return nil, fmt.Errorf("--agent-secret-file: %w", err)
	}
	r.say("starting %d client processes on %s", n, strings.Join(s.Agents, ", "))
	processes, err := agent.DialAll(ctx, s.Agents, []byte(strings.TrimSpace(string(secret))), helperBee, n)
	if err != nil {
		return nil, err
	}
	return clients.Over(processes), nil
}

// sources is the variable that tells client processes where to come from.
func (s setup) sources() []string {
	var all []string
	for i := range s.homes {
		all = append(all, fmt.Sprintf("127.64.%d.%d", i/250, i%250+1))
	}
	if len(all) == 0 {
		return nil
	}
	return []string{clients.SourceVar + "=" + strings.Join(all, ",")}
}
