package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// fleet is the fronts that up may start beside Redis: homing fleet start, which goes on
// when up ends, and is stopped by down.
type fleet struct {
	dir string // .run, as a whole path
	l   layout
}

func (f fleet) path(name string) string { return filepath.Join(f.dir, "fleet", name) }

// program is what up starts: what make build has made.
const program = "bin/homing"

// checkNodes reports what of NODES cannot be.
func checkNodes(nodes string) error {
	if n, err := strconv.Atoi(nodes); err != nil || n < 1 {
		return fmt.Errorf("NODES: %q: want a number above 0", nodes)
	}
	return nil
}

// start starts the fleet of so many nodes, which are checked, unless it runs, and waits
// until it says so.
func (f fleet) start(ctx context.Context, nodes string, out io.Writer) error {
	if pid := f.pid(); pid != 0 {
		fmt.Fprintf(out, "A fleet is running already, pid %d; its log is %s\n", pid, f.path("start.log"))
		return nil
	}
	if err := os.MkdirAll(f.path(""), 0o750); err != nil {
		return fmt.Errorf("start a fleet: %w", err)
	}
	log, err := os.OpenFile(f.path("start.log"), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("start a fleet: %w", err)
	}
	defer log.Close()
	cmd := exec.Command(program, "fleet", "start", "--nodes", nodes, "--dir", f.path(""), "--no-own-redis", //nolint:gosec,noctx // it goes on when this ends
		"--redis-data", f.l.url("data"), "--redis-pubsub", f.l.url("pubsub-1")+" "+f.l.url("pubsub-2"))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start a fleet: %w", err)
	}
	if err := os.WriteFile(f.path("pid"), []byte(strconv.Itoa(cmd.Process.Pid)), 0o600); err != nil {
		return errors.Join(fmt.Errorf("start a fleet: %w", err), cmd.Process.Kill())
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	return f.greet(ctx, ended, out)
}

// greet shows what the fleet says when it is up.
func (f fleet) greet(ctx context.Context, ended <-chan error, out io.Writer) error {
	for {
		text, err := os.ReadFile(f.path("start.log"))
		if _, said, up := bytes.Cut(text, []byte("A fleet starts.")); up && err == nil {
			if greeting, _, whole := bytes.Cut(said, []byte("Ctrl-C")); whole {
				fmt.Fprintf(out, "\nA fleet starts; make down stops it.%s", greeting)
				fmt.Fprintf(out, fleetSteps, program, f.path("player.secret"), f.l.url("data"))
				return nil
			}
		}
		select {
		case err := <-ended:
			return fmt.Errorf("the fleet has ended: %w; its log is %s", err, f.path("start.log"))
		case <-ctx.Done():
			return fmt.Errorf("the fleet does not start: %w; its log is %s", ctx.Err(), f.path("start.log"))
		case <-time.After(pollInterval):
		}
	}
}

// fleetSteps takes the program, the file of the players' secret and the URL of data Redis.
const fleetSteps = `Its nodes, a player's token, and a notification:
  %[1]s fleet nodes --redis-data %[3]s
  %[1]s token player alice --secret-file %[2]s
  %[1]s notify alice
`

// status says whether the fleet runs.
func (f fleet) status(out io.Writer) {
	if pid := f.pid(); pid != 0 {
		fmt.Fprintf(out, "A fleet runs, pid %d; its log is %s\n", pid, f.path("start.log"))
	}
}

// stop stops the fleet, if one runs, and waits until it has ended.
func (f fleet) stop(ctx context.Context, out io.Writer) error {
	pid := f.pid()
	if pid == 0 {
		return nil
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop the fleet, pid %d: %w", pid, err)
	}
	for f.pid() != 0 {
		select {
		case <-ctx.Done():
			return fmt.Errorf("stop the fleet, pid %d: %w; its log is %s", pid, ctx.Err(), f.path("start.log"))
		case <-time.After(pollInterval):
		}
	}
	fmt.Fprintln(out, "Stopped the fleet")
	return os.Remove(f.path("pid"))
}

// pid is the process of the fleet that runs; 0: none. Another process may have the
// number by now: it is told by its command.
func (f fleet) pid() int {
	text, err := os.ReadFile(f.path("pid"))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0
	}
	command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || !bytes.Contains(command, []byte("\x00fleet\x00start\x00")) {
		return 0
	}
	return pid
}
