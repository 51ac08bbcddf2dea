// Command homing is the notification hub: one binary, many roles.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// cli is the whole command line. A flag's value comes from the command line,
// else from the environment (HOMING_ and the flag's name in upper case with
// underscores), else from the --config file, else from its default.
type cli struct {
	Config  configFlag       `help:"YAML file of flags, without the dashes; see docs/operations.md." placeholder:"FILE"`
	Log     logConfig        `embed:"" prefix:"log-" group:"Logging"`
	Version kong.VersionFlag `help:"Print the version and exit."`

	Dev    devCmd    `cmd:"" help:"Run everything in one process, to try Homing and to develop against it."`
	API    apiCmd    `cmd:"" name:"api" help:"Run an API server: takes notifications from game backends."`
	Front  frontCmd  `cmd:"" help:"Run a front server: worker processes that hold the players' connections."`
	Notify notifyCmd `cmd:"" help:"Send one notification through an API server."`
	Token  tokenCmd  `cmd:"" help:"Make player tokens and API keys."`
	Bench  benchCmd  `cmd:"" help:"Measure Homing on this machine."`
	Drill  drillCmd  `cmd:"" help:"Break Homing on purpose and account for every message."`
	Plan   planCmd   `cmd:"" help:"Calculate what a deployment needs for a number of users."`
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
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (code int) {
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
	parser, err := kong.New(&c, options(ctx, stdout, stderr)...)
	if err != nil {
		fmt.Fprintln(stderr, "homing:", err)
		return 2
	}
	kctx, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintln(stderr, "homing:", err)
		fmt.Fprintln(stderr, "Run `homing --help`, or `homing COMMAND --help`.")
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
	err = kctx.Run(log, streams{out: stdout, err: stderr}, sink)
	var exit exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return int(exit)
	}
	fmt.Fprintln(stderr, "homing:", err)
	return 1
}

func options(ctx context.Context, stdout, stderr io.Writer) []kong.Option {
	return []kong.Option{
		kong.Name("homing"),
		kong.Description("The notification hub for online games. " +
			"Every flag can also be set in the environment (HOMING_API_LISTEN for --api-listen) or in the --config file."),
		kong.Configuration(readConfig),
		kong.DefaultEnvars("HOMING"),
		kong.ShortUsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
		kong.Vars{"version": version()},
		kong.Writers(stdout, stderr),
		kong.Exit(func(code int) { panic(exitError(code)) }),
		kong.BindTo(ctx, (*context.Context)(nil)),
	}
}
