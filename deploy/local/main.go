// Command local runs a real Redis topology on this machine, to try Homing as
// it is deployed: a data master and two pub/sub shards with two replicas each,
// watched by three Sentinels, memory only, on 127.0.0.1.
//
//	local up       start it, or what is missing of it, and say how to use it
//	local up 8     and, with bin/homing, a fleet of 8 fronts with an API server
//	local status   show who is master and who is down
//	local down     stop it
//
// The processes go on running when up ends. Their files are in .run/redis;
// .run/homing.yaml is a configuration for `homing api` and `homing front`.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/homing/homing/redisx/redisproc"
)

const (
	upTimeout   = time.Minute
	downTimeout = time.Minute
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], ".run", os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "local:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("usage: local up [NODES]|status|down")

// run carries out one command on the topology whose files are under dir.
func run(ctx context.Context, args []string, dir string, out io.Writer) error {
	if len(args) != 1 && (len(args) != 2 || args[0] != "up") {
		return errUsage
	}
	full, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("find %s: %w", dir, err)
	}
	l := layout{dir: filepath.Join(full, "redis"), basePort: 21000}
	switch args[0] {
	case "up":
		if len(args) == 2 {
			if err := checkNodes(args[1]); err != nil {
				return err
			}
		}
		ctx, cancel := context.WithTimeout(ctx, upTimeout)
		defer cancel()
		if err := up(ctx, l, out); err != nil {
			return err
		}
		if err := writeConfig(l, dir); err != nil {
			return err
		}
		tellRedis(l, out)
		if len(args) == 1 {
			tellNextSteps(dir, out)
			return nil
		}
		return fleet{full, l}.start(ctx, args[1], out)
	case "status":
		if err := status(ctx, l, out); err != nil {
			return err
		}
		fleet{full, l}.status(out)
		return nil
	case "down":
		ctx, cancel := context.WithTimeout(ctx, downTimeout)
		defer cancel()
		if err := (fleet{full, l}).stop(ctx, out); err != nil {
			return err
		}
		return down(ctx, l, out)
	default:
		return errUsage
	}
}

// up starts what of the topology does not run. When all runs it does nothing.
func up(ctx context.Context, l layout, out io.Writer) error {
	if err := os.MkdirAll(l.dir, 0o750); err != nil {
		return fmt.Errorf("make %s: %w", l.dir, err)
	}
	running, err := l.running()
	if err != nil {
		return err
	}
	switch len(running) {
	case 0:
		fmt.Fprintf(out, "Starting 9 Redis servers and 3 Sentinels on ports %d to %d of %s\n", l.basePort, l.basePort+l.size()-1, host)
		if _, err := redisproc.StartTopology(ctx, l.options()); err != nil {
			return fmt.Errorf("start the topology: %w", err)
		}
	case l.size():
		fmt.Fprintln(out, "All 12 processes are already running")
	default:
		if err := l.repair(ctx, running, out); err != nil {
			return fmt.Errorf("repair the topology: %w", err)
		}
	}
	return status(ctx, l, out)
}

// down stops the processes that up left running.
func down(ctx context.Context, l layout, out io.Writer) error {
	n, err := redisproc.StopDetached(ctx, l.dir)
	if err != nil {
		return fmt.Errorf("stop the topology: %w", err)
	}
	fmt.Fprintf(out, "Stopped %d processes\n", n)
	return nil
}
