package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/fleet"
	"github.com/homing/homing/hub/fleet/control"
	"github.com/homing/homing/hub/fleet/roster"
	"github.com/homing/homing/hub/fleet/scale"
	"github.com/homing/homing/redisx"
)

// fleetNodesCmd prints the nodes as they are.
type fleetNodesCmd struct {
	JSON bool `help:"Print the snapshot as one JSON object."`
	fleetView
}

func (c *fleetNodesCmd) Run(ctx context.Context, s streams, log *slog.Logger) error {
	return c.look(ctx, log, func(ctx context.Context, r *redisx.Redis, keys hub.Keys) error {
		snap, err := roster.New(roster.Config{}, r, keys, prometheus.NewRegistry()).Snapshot(ctx)
		switch {
		case err != nil:
			return err
		case c.JSON:
			return json.NewEncoder(s.out).Encode(snap)
		}
		return writeNodes(s.out, snap.Nodes)
	})
}

func writeNodes(out io.Writer, nodes []fleet.Node) error {
	if len(nodes) == 0 {
		_, err := fmt.Fprintln(out, "no node reports: a front takes part with --node-endpoint")
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NODE\tSTATE\tCLUSTER\tREGION\tVERSION\tPLAYERS\tROOMS\tCPU\tLAG\tWHY")
	for i := range nodes {
		n := &nodes[i]
		players := strconv.Itoa(n.Load.Connections)
		if n.Capacity > 0 {
			players += fmt.Sprintf(" of %d", n.Capacity)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%.0f%%\t%.1f ms\t%s\n",
			n.ID, n.State, n.Cluster, n.Region, n.Version, players, n.Load.Rooms, n.Load.CPU*100, n.Load.LagMillis, whyOf(n))
	}
	return w.Flush()
}

// whyOf is what there is to say of a node's state.
func whyOf(n *fleet.Node) string {
	switch {
	case n.Conflict != "":
		return "another front has this name: " + n.Conflict
	case n.Drain != nil && n.Progress != nil:
		return fmt.Sprintf("%d told, %d left, %d rooms, until %s: %s", n.Progress.Told, n.Progress.Left, n.Progress.Rooms, n.Drain.Deadline.Format(time.TimeOnly), n.Drain.Why)
	}
	return n.Why
}

// fleetDecisionsCmd prints the journal.
type fleetDecisionsCmd struct {
	Last   int  `help:"How many of the newest entries." default:"50"`
	Follow bool `short:"f" help:"Go on with what comes, until interrupted."`
	JSON   bool `help:"Print entries as JSON, one a line."`
	fleetView
}

// Validate reports the first option that cannot work.
func (c *fleetDecisionsCmd) Validate() error {
	if c.Last < 1 || c.Last > 10_000 {
		return fmt.Errorf("--last: %d: want 1 to 10000", c.Last)
	}
	return nil
}

func (c *fleetDecisionsCmd) Run(ctx context.Context, s streams, log *slog.Logger) error {
	return c.look(ctx, log, func(ctx context.Context, r *redisx.Redis, keys hub.Keys) error {
		store, place, limit := control.NewStore(r, keys), "", c.Last
		next := func() error {
			all, err := store.Journal(ctx, place, limit)
			if err != nil {
				return err
			}
			for i := range all {
				place, limit = all[i].Place, 1000
				if err := c.write(s.out, &all[i].Entry); err != nil {
					return err
				}
			}
			if place == "" { // nothing is there yet: what comes is all new
				place = "0"
			}
			return nil
		}
		if !c.Follow {
			return next()
		}
		return each(ctx, time.Second, s.err, next)
	})
}

func (c *fleetDecisionsCmd) write(out io.Writer, e *control.Entry) error {
	if c.JSON {
		return json.NewEncoder(out).Encode(e)
	}
	_, err := fmt.Fprintf(out, "%s  %s\n", e.At.Local().Format(time.DateTime), e.String())
	return err
}

// fleetRecordCmd writes what the nodes do.
type fleetRecordCmd struct {
	Every time.Duration `help:"Between two looks at the nodes." default:"10s"`
	For   time.Duration `help:"How long. 0: until interrupted." default:"0s"`
	fleetView
}

// Help is shown below the flags.
func (*fleetRecordCmd) Help() string {
	return `Snapshots of the fleet go to standard output, one JSON object a line: a trace that
homing fleet simulate plays other rules against. It needs no controller. To have
what a controller decided played again exactly, record it there: homing fleet run
--record FILE, and homing fleet replay.

  homing fleet record --redis-data redis://127.0.0.1:6379 > day.ndjson
  homing fleet simulate day.ndjson deploy/fleet/steady.yaml --cluster game`
}

// Validate reports the first option that cannot work.
func (c *fleetRecordCmd) Validate() error {
	if c.Every < time.Second || c.For < 0 {
		return fmt.Errorf("--every, --for: %v, %v: want 1s or more, and 0 or more", c.Every, c.For)
	}
	return nil
}

func (c *fleetRecordCmd) Run(ctx context.Context, s streams, log *slog.Logger) error {
	if c.For > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.For)
		defer cancel()
	}
	return c.look(ctx, log, func(ctx context.Context, r *redisx.Redis, keys hub.Keys) error {
		nodes, out := roster.New(roster.Config{}, r, keys, prometheus.NewRegistry()), json.NewEncoder(s.out)
		return each(ctx, c.Every, s.err, func() error {
			snap, err := nodes.Snapshot(ctx)
			if err != nil {
				return err
			}
			return out.Encode(snap)
		})
	})
}

// fleetReplayCmd has rules decide of a record anew.
type fleetReplayCmd struct {
	Rules  string `arg:"" help:"File of the rules that ran." type:"existingfile"`
	Record string `arg:"" help:"What homing fleet run --record wrote." type:"existingfile"`
	Most   int    `help:"How many differences are printed." default:"20"`
}

// Help is shown below the flags.
func (*fleetReplayCmd) Help() string {
	return `The same rules decide the same of the same record: then it exits with 0. Other
rules, or another version of Homing, show where they would have decided
otherwise, step by step; each step begins with what its rules remember by then.`
}

func (c *fleetReplayCmd) Run(s streams) error {
	rules, err := scale.Load(c.Rules)
	if err != nil {
		return err
	}
	f, err := os.Open(c.Record)
	if err != nil {
		return err
	}
	defer f.Close()
	result, err := control.Replay(f, rules)
	if err != nil {
		return fmt.Errorf("%s: %w", c.Record, err)
	}
	for i, d := range result.Differences {
		if i == c.Most {
			fmt.Fprintf(s.out, "and %d more\n", len(result.Differences)-i)
			break
		}
		fmt.Fprintf(s.out, "line %d, %s\n", d.Line, d.At.Format(time.RFC3339))
		writeDecisions(s.out, "live", d.Live)
		writeDecisions(s.out, "now", d.Now)
	}
	fmt.Fprintf(s.out, "%d steps, %d decisions, %d steps differ\n", result.Steps, result.Decisions, len(result.Differences))
	switch {
	case result.Steps == 0:
		return errors.New("the record is empty")
	case len(result.Differences) > 0:
		return exitError(1)
	}
	return nil
}

func writeDecisions(out io.Writer, when string, all []scale.Decision) {
	if len(all) == 0 {
		fmt.Fprintf(out, "  %s: nothing\n", when)
	}
	for i := range all {
		e := control.Entry{Kind: control.KindDecision, Decision: &all[i]}
		fmt.Fprintf(out, "  %s: %s\n", when, e.String())
	}
}

// fleetView is what commands share that look at a fleet in Redis.
type fleetView struct {
	Redis redisx.Config `embed:"" prefix:"redis-" group:"Redis"`
}

// warnings leaves out what goes as it should: a command that looks shows what it finds.
type warnings struct{ slog.Handler }

// Enabled implements slog.Handler.
func (w warnings) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelWarn && w.Handler.Enabled(ctx, l)
}

// WithAttrs implements slog.Handler.
func (w warnings) WithAttrs(attrs []slog.Attr) slog.Handler {
	return warnings{w.Handler.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (w warnings) WithGroup(name string) slog.Handler { return warnings{w.Handler.WithGroup(name)} }

// look opens Redis and has do look at it.
func (v *fleetView) look(ctx context.Context, log *slog.Logger, do func(ctx context.Context, r *redisx.Redis, keys hub.Keys) error) (err error) {
	back, ctx := newBackground(ctx)
	defer func() { err = back.end(err) }()
	r, err := openRedis(back, v.Redis, slog.New(warnings{log.Handler()}), prometheus.NewRegistry())
	if err != nil {
		return err
	}
	ready, cancel := context.WithTimeout(ctx, viewPatience)
	defer cancel()
	if err := r.WaitReady(ready); err != nil {
		return err
	}
	return do(ctx, r, hub.NewKeys(v.Redis.Prefix))
}

// viewPatience is how long commands wait for Redis.
const viewPatience = 10 * time.Second

// each calls do at once and then every so often, until ctx ends or it fails. Redis that
// is away is told and waited for.
func each(ctx context.Context, every time.Duration, errs io.Writer, do func() error) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		err := do()
		if errors.Is(err, hub.ErrUnavailable) {
			fmt.Fprintln(errs, "homing:", err)
		} else if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
