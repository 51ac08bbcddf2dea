package drill

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"
)

// A scenario that cuts the network runs in a process of its own in a network
// namespace of its own, which has a bridge with two more namespaces behind it,
// the two sides that are cut off from each other. What is at home, clients and
// API servers for example, reaches both all the time. The namespaces have no
// names and vanish with their last process, however that ends; the machine's own
// network is never touched.

// apartEnv marks the process that runs apart.
const apartEnv = "_HOMING_DRILL_APART"

func insideApart() bool { return os.Getenv(apartEnv) != "" }

// stopApart is how long the process may take to stop what it started.
const stopApart = 45 * time.Second

// apart runs a scenario in a process of its own.
type apart struct {
	*journal

	name string
	opts Options
}

// play runs the scenario in another process, in a new network namespace.
func (a *apart) play(ctx context.Context) (*Result, error) {
	binary := a.opts.Binary
	if binary == "" {
		var err error
		if binary, err = os.Executable(); err != nil {
			return nil, fmt.Errorf("find the homing binary: %w", err)
		}
	}
	cmd := exec.CommandContext(ctx, binary, a.args()...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, a.stderr
	cmd.Env = append(os.Environ(), apartEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopApart
	if err := cmd.Start(); err != nil {
		return a.skip(fmt.Errorf("make a network namespace: %w", err)), nil
	}
	err := cmd.Wait()
	var reply struct{ Results []*Result }
	if json.Unmarshal(out.Bytes(), &reply) == nil && len(reply.Results) == 1 {
		return reply.Results[0], nil // its exit status says no more than the promise does
	}
	return nil, fmt.Errorf("run apart: %w", errors.Join(err, ctx.Err()))
}

func (a *apart) args() []string {
	args := []string{
		"drill", a.name, "--json", "--conns", strconv.Itoa(a.opts.Conns),
		"--rate", strconv.FormatFloat(a.opts.Rate, 'f', -1, 64), "--after", a.opts.After.String(),
	}
	if a.opts.AtMostOnce {
		args = append(args, "--at-most-once")
	}
	if a.opts.Binary != "" {
		args = append(args, "--binary", a.opts.Binary)
	}
	if a.opts.LogDir != "" {
		args = append(args, "--log-dir", a.opts.LogDir)
	}
	return args
}
