// Package app is the program homing: its commands, their options, and how the parts
// are put together. A game with room logic of its own is a program that calls Main
// with its classes of rooms: it is homing, with every command, whose fronts open
// those rooms too (deploy/examples/own-game).
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"reflect"
	"slices"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/homing/homing/cmd/homing/internal/config"
	"github.com/homing/homing/front/master"
	"github.com/homing/homing/hub/room"
)

// Main runs the command that the program's arguments name until it has ended, or
// the program is told to stop, and returns the program's exit status. Fronts open
// rooms of the classes given beside those that every front has.
func Main(classes ...*room.Class) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return run(ctx, os.Args[1:], os.Stdout, os.Stderr, classes...)
}

// ownClasses are the classes of rooms that the program has brought along.
type ownClasses []*room.Class

// cli is the whole command line. A flag's value comes from the command line,
// else from the environment (see takesVariable), else from the --config file,
// else from its default.
type cli struct {
	Config  string           `help:"YAML file of flags, without the dashes; see docs/operations.md." placeholder:"FILE"`
	Log     logConfig        `embed:"" prefix:"log-" group:"Logging"`
	Version kong.VersionFlag `help:"Print the version and exit."`

	Dev    devCmd    `cmd:"" help:"Run everything in one process, to try Homing and to develop against it."`
	API    apiCmd    `cmd:"" name:"api" help:"Run an API server: takes notifications from game backends."`
	Front  frontCmd  `cmd:"" help:"Run a front server: worker processes that hold the players' connections."`
	Notify notifyCmd `cmd:"" help:"Send one notification through an API server."`
	Token  tokenCmd  `cmd:"" help:"Make player tokens and API keys."`
	Hook   hookCmd   `cmd:"" help:"Make secrets that sign events for game backends."`
	Bench  benchCmd  `cmd:"" help:"Measure Homing on this machine."`
	Drill  drillCmd  `cmd:"" help:"Break Homing on purpose and account for every message."`
	Plan   planCmd   `cmd:"" help:"Calculate what a deployment needs for a number of users."`
	Fleet  fleetCmd  `cmd:"" help:"Scale a fleet of fronts by rules, and rehearse it."`

	file *config.Document // what --config names; nil without it
}

// BeforeResolve adds the values of the --config file. A file that cannot be
// right is refused before the options are judged: what looks like a missing
// option may be a misspelled one.
func (c *cli) BeforeResolve(k *kong.Kong, ctx *kong.Context) error {
	i := slices.IndexFunc(k.Model.Flags, func(f *kong.Flag) bool { return f.Name == "config" })
	name, _ := ctx.FlagValue(k.Model.Flags[i]).(string)
	if name == "" {
		return nil
	}
	file, err := config.Read(kong.ExpandPath(name))
	if err == nil {
		err = file.Validate(k.Model)
	}
	if err != nil {
		return fmt.Errorf("--config: %w", err)
	}
	c.file = file
	ctx.AddResolver(file)
	return nil
}

// streams are the standard streams, so that a test can run a command.
type streams struct {
	out, err io.Writer
}

// exitError ends the program with a status of its own and no further message.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// run is the program: it parses args, runs the command until it ends or ctx
// does, and returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer, classes ...*room.Class) (code int) {
	defer func() { // --help and --version leave the parser this way
		switch exit := recover().(type) {
		case nil:
		case exitError:
			code = int(exit)
		default:
			panic(exit)
		}
	}()
	var c cli
	parser, err := kong.New(&c, append(options(ctx, stdout, stderr), kong.Bind(ownClasses(classes)))...)
	if err != nil {
		fmt.Fprintln(stderr, "homing:", err)
		return 2
	}
	kctx, err := parser.Parse(args)
	if err != nil {
		c.refuse(stderr, parser.Model, err)
		return 2
	}
	sink := c.Log.shield(kctx, stderr)
	if sink != nil {
		stderr = sink
		defer sink.Close(flushLog)
	}
	log := c.Log.logger(stderr)
	if sink != nil {
		slog.SetDefault(log) // for what libraries say through the standard logger
	}
	warnUnread(parser.Model, log)
	err = kctx.Run(log, streams{out: stdout, err: stderr}, sink)
	var exit exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return int(exit)
	}
	fmt.Fprintln(stderr, "homing:", config.Explain(err, kctx, c.file))
	return 1
}

// refuse says what is wrong with the options, and what may help.
func (c *cli) refuse(stderr io.Writer, app *kong.Application, err error) {
	var at *kong.Context
	help := "`homing --help`, or `homing COMMAND --help`"
	if parse, ok := errors.AsType[*kong.ParseError](err); ok {
		at = parse.Context
		if at != nil && at.Selected() != nil {
			help = fmt.Sprintf("`homing %s --help`", at.Selected().Path())
		}
	}
	fmt.Fprintln(stderr, "homing:", config.Explain(err, at, c.file))
	warnUnread(app, slog.New(slog.NewTextHandler(stderr, nil)))
	fmt.Fprintf(stderr, "Run %s.\n", help)
}

// warnUnread names variables that look like options and are none. A front's
// workers have their master's environment, and leave it to say so.
func warnUnread(app *kong.Application, log *slog.Logger) {
	if _, ok := master.WorkerSlot(); ok {
		return
	}
	for _, u := range config.FindUnread(app, os.Environ()) {
		nearest := u.Nearest
		if nearest == "" {
			nearest = "none"
		}
		log.Warn("no option reads this variable of the environment", "variable", u.Name, "nearest", nearest)
	}
}

// takesVariable reports whether a flag may be set in the environment: those
// that servers are deployed with, and where notify sends to. Flags of commands
// that are typed stay out of it: HOMING_JSON or HOMING_VERSION may be anything.
func takesVariable(command *kong.Node, flag *kong.Flag) bool {
	switch {
	case flag.Name == "help" || flag.Name == "version":
		return false
	case command.Type == kong.ApplicationNode:
		return true
	case command.Name == "notify" && command.Parent.Type == kong.ApplicationNode:
		return strings.HasPrefix(flag.Name, "api")
	}
	_, ok := reflect.TypeAssert[server](command.Target.Addr())
	return ok
}

func options(ctx context.Context, stdout, stderr io.Writer) []kong.Option {
	return []kong.Option{
		kong.Name("homing"),
		kong.Description("The notification hub for online games. " +
			"Every flag can also be set in the --config file, and those of servers in the environment (HOMING_API_LISTEN for --api-listen)."),
		config.Environment(takesVariable),
		config.Values(),
		kong.ShortUsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
		kong.Vars{"version": readBuild().String()},
		kong.Writers(stdout, stderr),
		kong.Exit(func(code int) { panic(exitError(code)) }),
		kong.BindTo(ctx, (*context.Context)(nil)),
	}
}
