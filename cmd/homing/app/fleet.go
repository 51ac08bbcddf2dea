package app

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/homing/homing/bench/rehearsal"
	"github.com/homing/homing/bench/report"
	"github.com/homing/homing/hub/fleet/scale"
)

type fleetCmd struct {
	Start     fleetStartCmd     `cmd:"" help:"Start a fleet on this machine: a controller, its fronts and an API server."`
	Run       fleetRunCmd       `cmd:"" help:"Control a fleet by its rules: run two or more."`
	Nodes     fleetNodesCmd     `cmd:"" help:"Print the nodes as they are."`
	Decisions fleetDecisionsCmd `cmd:"" help:"Print what was decided, and what came of it."`
	Record    fleetRecordCmd    `cmd:"" help:"Write what the nodes do, as a trace to simulate."`
	Replay    fleetReplayCmd    `cmd:"" help:"Have rules decide of a controller's record anew."`

	Rules    fleetRulesCmd    `cmd:"" help:"Check a file of rules, and print the effective ones at a time."`
	Simulate fleetSimulateCmd `cmd:"" help:"Play a day of players against rules, in virtual time."`
	Trace    fleetTraceCmd    `cmd:"" help:"Make a day of players to simulate."`
}

// fleetRulesCmd prints what holds at a time, and where it is from.
type fleetRulesCmd struct {
	File string    `arg:"" help:"File of rules, as deploy/fleet/steady.yaml." type:"existingfile"`
	At   time.Time `help:"The time, as 2026-06-05T21:30:00+02:00. Default: now." placeholder:"TIME"`
}

func (c *fleetRulesCmd) Run(s streams) error {
	all, err := scale.Load(c.File)
	if err != nil {
		return err
	}
	if c.At.IsZero() {
		c.At = time.Now()
	}
	for _, r := range all {
		w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
		fmt.Fprintf(w, "%s\tat %s\n", strings.TrimSpace(r.Cluster+" "+r.Region), c.At.Format(time.RFC3339))
		least, slot := r.Effective(c.At)
		from := "min_ready"
		if slot != nil {
			from = "schedule, " + slot.String()
		}
		fmt.Fprintf(w, "  nodes ready\t%d to %d\t%s\n", least, r.Max, from)
		fmt.Fprintf(w, "  one node carries\t%s\n", amount(r.Node))
		fmt.Fprintf(w, "  average load\t%.0f%% at most\n", r.AverageLoad*100)
		if r.NodeLoad > 0 {
			fmt.Fprintf(w, "  fullest node\t%.0f%% at most\n", r.NodeLoad*100)
		}
		if r.Headroom != (scale.Capacity{}) {
			fmt.Fprintf(w, "  kept free\t%s\n", amount(r.Headroom))
		}
		if r.Trend > 0 {
			fmt.Fprintf(w, "  looks ahead\t%v, by the trend of the last %v\n", r.StartUp, r.Trend)
		}
		fmt.Fprintf(w, "  grows\tby %d at most, every %v\tat once below the minimum\n", r.Out.Step, r.Out.Every)
		fmt.Fprintf(w, "  shrinks\tby %d at most, every %v\tempty nodes only\n", r.In.Step, r.In.Every)
		for _, cond := range r.When {
			fmt.Fprintf(w, "  when\t%s\t%s\n", cond.If, cond.Effect())
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// amount is what a node carries, in words.
func amount(c scale.Capacity) string {
	var parts []string
	if c.Players > 0 {
		parts = append(parts, fmt.Sprintf("%d players", c.Players))
	}
	if c.Rooms > 0 {
		parts = append(parts, fmt.Sprintf("%d rooms", c.Rooms))
	}
	return strings.Join(parts, ", ")
}

// fleetSimulateCmd plays a trace against one set of rules or several.
type fleetSimulateCmd struct {
	Trace   string        `arg:"" help:"The day: what homing fleet trace or homing fleet record wrote." type:"existingfile"`
	Rules   []string      `arg:"" help:"Files of rules. Several are compared." type:"existingfile"`
	Cluster string        `help:"The cluster whose rules are played, where a file has several." placeholder:"NAME"`
	Pack    bool          `help:"Send players to the fullest node that has room, not to the emptiest."`
	Boot    time.Duration `help:"From the order of a node until it is ready, a quarter more or less. 0: four fifths of the rules' start_up." placeholder:"DURATION"`
	Session time.Duration `help:"How long players stay, about. Until then as many have left a node as it had." default:"25m"`
	Drain   time.Duration `help:"In which a node that drains sends its players away." default:"10m"`
	Seed    uint64        `help:"Of what is left to chance." default:"1"`
	HTML    string        `help:"Write a page with charts." name:"html" type:"path" placeholder:"FILE"`
	Reasons bool          `help:"Print each decision and why it was made; the page always has them."`
	JSON    bool          `help:"Print the figures of the first rules as one JSON object."`
}

// Help is shown below the flags.
func (*fleetSimulateCmd) Help() string {
	return `The rules are the code that runs live (homing fleet run). Nodes and players are a
model: see the notes of the page. Example, with what is shipped:

  homing fleet simulate deploy/fleet/day.ndjson deploy/fleet/steady.yaml deploy/fleet/evening.yaml deploy/fleet/lean.yaml --html day.html`
}

func (c *fleetSimulateCmd) Run(s streams) error {
	var runs []*rehearsal.Run
	var trace rehearsal.Trace
	var static, perfect float64
	started := time.Now()
	for i, file := range c.Rules {
		rules, err := c.rules(file)
		if err != nil {
			return err
		}
		if trace, err = c.trace(rules.Cluster); err != nil {
			return err
		}
		if i == 0 {
			static, perfect = rehearsal.Bounds(rules, trace)
		}
		name := strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
		run, err := rehearsal.Play(name, rules, trace, rehearsal.Options{
			Pack: c.Pack, Boot: c.Boot, Session: c.Session, Drain: c.Drain, Seed: c.Seed,
		})
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		runs = append(runs, run)
	}
	r := rehearsal.Report(runs, trace, static, perfect)
	r.Command, r.Started, r.Took = os.Args, started, time.Since(started)
	return c.show(r, runs, s.out)
}

// show writes the page, if one is asked for, and prints the figures.
func (c *fleetSimulateCmd) show(r *report.Report, runs []*rehearsal.Run, out io.Writer) error {
	page := *r
	for _, run := range runs {
		page.Tables = append(page.Tables, rehearsal.Decisions(run))
	}
	if c.HTML != "" {
		if err := writeFile(c.HTML, page.WriteHTML); err != nil {
			return err
		}
	}
	switch {
	case c.JSON:
		return r.WriteJSON(out)
	case c.Reasons:
		return page.WriteTable(out)
	}
	return r.WriteTable(out)
}

func writeFile(name string, write func(io.Writer) error) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}

// rules are those of the cluster that is asked for, or of the only one.
func (c *fleetSimulateCmd) rules(file string) (*scale.Rules, error) {
	all, err := scale.Load(file)
	if err != nil {
		return nil, err
	}
	for _, r := range all {
		if r.Cluster == c.Cluster || c.Cluster == "" && len(all) == 1 {
			return r, nil
		}
	}
	return nil, fmt.Errorf("%s: --cluster: %q: the file has none of that name, or several", file, c.Cluster)
}

func (c *fleetSimulateCmd) trace(cluster string) (rehearsal.Trace, error) {
	f, err := os.Open(c.Trace)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	t, err := rehearsal.ReadTrace(f, cluster)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Trace, err)
	}
	return t, nil
}

// fleetTraceCmd makes a day.
type fleetTraceCmd struct {
	Start        time.Time     `help:"Its first minute, as 2026-06-05T00:00:00Z." default:"2026-06-05T00:00:00Z"`
	Players      int           `help:"Players at the peak of the evening." default:"24000"`
	Night        float64       `help:"Of those, the share who are there at five in the morning." default:"0.15"`
	Peak         float64       `help:"Hour of the peak." default:"20"`
	Noise        float64       `help:"Share by which minutes differ from each other." default:"0.03"`
	Release      float64       `help:"Hour of a release; 0: none." default:"14"`
	ReleaseTimes float64       `help:"How many times the usual number of players it draws." default:"2"`
	ReleaseFade  time.Duration `help:"Until half of those have gone." default:"40m"`
	Fails        float64       `help:"Hour at which one of three zones fails; 0: never." default:"19.5"`
	FailsFor     time.Duration `help:"Until it is back." default:"40m"`
	RoomOf       int           `help:"Players of one room; 0: there are no rooms."`
	Seed         uint64        `help:"Of the noise: the same seed, the same day." default:"1"`
}

// Validate reports the first option that cannot work.
func (c *fleetTraceCmd) Validate() error {
	for flag, hour := range map[string]float64{"peak": c.Peak, "release": c.Release, "fails": c.Fails} {
		if hour < 0 || hour >= 24 {
			return fmt.Errorf("--%s: %v: want an hour of a day", flag, hour)
		}
	}
	switch {
	case c.Players < 1:
		return fmt.Errorf("--players: %d: want 1 or more", c.Players)
	case c.RoomOf < 0:
		return fmt.Errorf("--room-of: %d: want 0 or more", c.RoomOf)
	case c.Night < 0 || c.Night > 1 || c.Noise < 0 || c.Noise > 1:
		return fmt.Errorf("--night, --noise: %v, %v: want 0 to 1", c.Night, c.Noise)
	case c.ReleaseTimes < 1 || c.ReleaseTimes > 100 || c.ReleaseFade <= 0:
		return fmt.Errorf("--release-times, --release-fade: %v, %v: want 1 to 100, and a time", c.ReleaseTimes, c.ReleaseFade)
	}
	return nil
}

func (c *fleetTraceCmd) Run(s streams) error {
	d := rehearsal.Day{
		Start: c.Start, Seed: c.Seed, Players: c.Players, Night: c.Night, Peak: c.Peak, Noise: c.Noise,
		Release: c.Release, ReleaseTimes: c.ReleaseTimes, ReleaseFade: c.ReleaseFade,
		Fails: c.Fails, FailsFor: c.FailsFor, RoomOf: c.RoomOf,
	}
	return d.Trace().Write(s.out)
}
