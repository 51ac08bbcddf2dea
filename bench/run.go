package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/homing/homing/bench/agent"
	"github.com/homing/homing/bench/child"
	"github.com/homing/homing/bench/clients"
	"github.com/homing/homing/bench/report"
	"github.com/homing/homing/bench/rig"
)

// run is one scenario under way, and what it has found.
type run struct {
	report.Report

	opts   Options
	stderr io.Writer

	toAll      bool // call for everyone instead of the plan's users
	small      bool // it was noted that the load is small
	slowBuffer int  // bytes that the kernel keeps for an apart client; 0: its own choice
	homes      int  // loopback addresses that the clients come from; 0: as few as have ports enough
}

func newRun(name string, opts Options, stderr io.Writer) *run {
	return &run{opts: opts, stderr: child.Shared(stderr), Report: report.Report{
		Scenario: name, Command: append([]string{"homing"}, os.Args[1:]...),
		Started: time.Now(), Machine: report.Machine(),
	}}
}

// say prints a line of progress.
func (r *run) say(format string, args ...any) {
	fmt.Fprintf(r.stderr, "%6.1fs  %s\n", time.Since(r.Started).Seconds(), fmt.Sprintf(format, args...))
}

// publish prints the result in the form that the options ask for.
func (r *run) publish(stdout io.Writer) error {
	r.Took = time.Since(r.Started)
	if r.opts.HTML != "" {
		if err := r.writePage(); err != nil {
			return fmt.Errorf("--html: %w", err)
		}
		r.say("report: %s", r.opts.HTML)
	}
	if r.opts.JSON {
		return r.WriteJSON(stdout)
	}
	return r.WriteTable(stdout)
}

func (r *run) writePage() (err error) {
	f, err := os.Create(r.opts.HTML)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return r.WriteHTML(f)
}

// with puts a Homing on the bench, lets f measure it, and takes it off; name
// says in the report's charts which one it is, if there are several.
func (r *run) with(ctx context.Context, name string, o Options, f func(*rig.Rig) error) error {
	sys, err := r.system(ctx, o)
	if err != nil {
		return err
	}
	return r.on(ctx, name, o, sys, f)
}

func (r *run) system(ctx context.Context, o Options) (rig.System, error) {
	if o.API != "" {
		return findRunning(o)
	}
	r.say("starting Redis, %d API and %d front worker processes", o.APIs, o.workers())
	return startHoming(ctx, o)
}

// on puts a system on the bench, which it stops at the end.
func (r *run) on(ctx context.Context, name string, o Options, sys rig.System, f func(*rig.Rig) error) error {
	hive, err := r.hive(ctx, o)
	if err != nil {
		return errors.Join(err, sys.Stop(false))
	}
	g, err := rig.Open(rig.Options{
		System: sys, Hive: hive, Say: r.say,
		Plan: o.plan(), Broadcast: r.toAll, Payload: o.Payload,
		Apart: o.Apart, SlowBuffer: r.slowBuffer,
	})
	if err != nil {
		return err
	}
	err = f(g)
	r.Charts = append(r.Charts, g.Charts(name)...)
	return errors.Join(err, g.Close())
}

// hive starts the client processes, here or on the agents' machines.
func (r *run) hive(ctx context.Context, o Options) (*clients.Hive, error) {
	n := max(o.Bees, clients.Processes(o.Conns, o.Apart))
	if len(o.Agents) == 0 {
		argv, env, err := helperCommand(helperBee)
		if err != nil {
			return nil, err
		}
		return clients.Start(argv, append(env, r.sources()...), n, o.Conns, r.stderr)
	}
	secret, err := os.ReadFile(o.AgentSecretFile)
	if err != nil {
		return nil, fmt.Errorf("--agent-secret-file: %w", err)
	}
	r.say("starting %d client processes on %s", n, strings.Join(o.Agents, ", "))
	processes, err := agent.DialAll(ctx, o.Agents, []byte(strings.TrimSpace(string(secret))), helperBee, n)
	if err != nil {
		return nil, err
	}
	return clients.Over(processes), nil
}

// sources is the variable that tells client processes where to come from.
func (r *run) sources() []string {
	var all []string
	for i := range r.homes {
		all = append(all, fmt.Sprintf("127.64.%d.%d", i/250, i%250+1))
	}
	if len(all) == 0 {
		return nil
	}
	return []string{clients.SourceVar + "=" + strings.Join(all, ",")}
}
