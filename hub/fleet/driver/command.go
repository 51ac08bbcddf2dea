package driver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/homing/homing/hub/fleet"
)

// CommandConfig says what is run.
type CommandConfig struct {
	Line    string        `name:"command" help:"Command that starts nodes and takes them away, run by /bin/sh -c. It has the order as JSON on its standard input, and in the environment: HOMING_ACTION (grow or remove), HOMING_ORDER, HOMING_CLUSTER, HOMING_REGION, HOMING_NODES, HOMING_WHY, HOMING_NODE, HOMING_ENDPOINT. Exit status 0: carried out." placeholder:"COMMAND"`
	Timeout time.Duration `name:"command-timeout" help:"How long the command may run. Then it is stopped with all that it has started and that is still in its process group." default:"10m"`
}

// The bounds of CommandConfig.Timeout.
const (
	minCommandTimeout = time.Second
	maxCommandTimeout = time.Hour
)

// Validate reports the first option that cannot work. Without a command nothing is.
func (c *CommandConfig) Validate() error {
	if c.Line != "" && (c.Timeout < minCommandTimeout || c.Timeout > maxCommandTimeout) {
		return fmt.Errorf("--driver-command-timeout: %v: want %v to %v", c.Timeout, minCommandTimeout, maxCommandTimeout)
	}
	return nil
}

const (
	// termGrace is what a command has to end in good order, from SIGTERM to SIGKILL.
	termGrace = 5 * time.Second
	// groupGrain is how often is looked whether it has.
	groupGrain = 20 * time.Millisecond
	// outputGrace is how long its output is waited for once it has ended: what it left
	// running may hold it open for ever.
	outputGrace = time.Second
	// maxOutput bounds what of a command's output is logged, and maxOutputLine one line
	// of it, in bytes.
	//bound:fleet-command-output
	maxOutput     = 64 << 10
	maxOutputLine = 1 << 10
)

// Command is a driver that runs a command of the operator's.
type Command struct {
	cfg CommandConfig
	log *slog.Logger
}

// NewCommand returns the driver. c must be valid and have a command.
func NewCommand(c CommandConfig, log *slog.Logger) *Command { return &Command{c, log} }

// Name is "command".
func (*Command) Name() string { return "command" }

// Grow runs the command with HOMING_ACTION=grow.
func (d *Command) Grow(ctx context.Context, o Order) error {
	return d.run(ctx, message{Action: actionGrow, Order: o})
}

// Remove runs the command with HOMING_ACTION=remove.
func (d *Command) Remove(ctx context.Context, o Order, node fleet.Node) error {
	return d.run(ctx, message{Action: actionRemove, Order: o, Node: &node})
}

// Actions as operators' commands and services read them.
const (
	actionGrow   = "grow"
	actionRemove = "remove"
)

// message is what an operator's command or service is told.
type message struct {
	Action string `json:"action"` // grow or remove
	Order
	Node *fleet.Node `json:"node,omitempty"` // of remove
}

// environment is what m has in it that scripts need.
func (m *message) environment() []string {
	env := []string{
		"HOMING_ACTION=" + m.Action, "HOMING_ORDER=" + m.ID, "HOMING_CLUSTER=" + m.Cluster, "HOMING_REGION=" + m.Region,
		"HOMING_NODES=" + strconv.Itoa(m.Nodes), "HOMING_WHY=" + m.Why,
	}
	if m.Node != nil {
		env = append(env, "HOMING_NODE="+m.Node.ID, "HOMING_ENDPOINT="+m.Node.Endpoint)
	}
	return env
}

// run runs the command until it has ended. It does not end with this process: an order
// that is half carried out helps nobody.
func (d *Command) run(ctx context.Context, m message) error {
	text, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("command: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, d.cfg.Timeout, fmt.Errorf("it was stopped after %v", d.cfg.Timeout))
	defer cancel()
	log := d.log.With("order", m.ID, "action", m.Action)
	out := &output{log: log}
	defer out.end()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", d.cfg.Line) //nolint:gosec // the operator's own
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(text), out, out
	cmd.Env = append(os.Environ(), m.environment()...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return stopGroup(cmd.Process.Pid) }
	cmd.WaitDelay = outputGrace
	err = cmd.Start()
	if err != nil {
		return fmt.Errorf("command: %w", err)
	}
	log.Info("driver: the command runs", "pid", cmd.Process.Pid)
	return d.judge(ctx, cmd.Wait(), out)
}

// judge says what the end of a command means.
func (d *Command) judge(ctx context.Context, err error, out *output) error {
	switch {
	case errors.Is(err, exec.ErrWaitDelay) && ctx.Err() == nil:
		return nil // it has ended well, and what it left running holds its output
	case ctx.Err() != nil && err != nil:
		err = context.Cause(ctx)
	case err == nil:
		return nil
	}
	if last := out.lastLine(); last != "" {
		return fmt.Errorf("command: %w; it last said %q", err, last)
	}
	return fmt.Errorf("command: %w", err)
}

// stopGroup asks a process group to end, waits until nobody is left of it, and kills it
// after termGrace.
func stopGroup(leader int) error {
	err := syscall.Kill(-leader, syscall.SIGTERM)
	for end := time.Now().Add(termGrace); time.Now().Before(end); time.Sleep(groupGrain) {
		if errors.Is(syscall.Kill(-leader, 0), syscall.ESRCH) {
			return err
		}
	}
	_ = syscall.Kill(-leader, syscall.SIGKILL) // an error says that nobody is left
	return err
}

// output logs what a command writes, line by line, up to its bounds.
type output struct {
	log *slog.Logger

	mu   sync.Mutex
	line []byte // that has not ended
	last []byte // the last that was not empty
	took int    // bytes logged
	left int    // bytes that were not
}

// Write takes some output. It never fails, or the command would.
func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := len(b)
	for len(b) > 0 {
		part, rest, ended := bytes.Cut(b, []byte("\n"))
		room := max(0, maxOutputLine-len(o.line))
		o.line = append(o.line, part[:min(room, len(part))]...)
		o.left += max(0, len(part)-room)
		if ended {
			o.flushLocked()
		}
		b = rest
	}
	return n, nil
}

// flushLocked logs the line.
func (o *output) flushLocked() {
	line := bytes.TrimSpace(o.line)
	if len(line) > 0 {
		o.last = append(o.last[:0], line...)
		if o.took+len(line) <= maxOutput {
			o.took += len(line)
			o.log.Info("driver: the command says", "line", string(line))
		} else {
			o.left += len(line)
		}
	}
	o.line = o.line[:0]
}

// end logs what is left to say.
func (o *output) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.flushLocked()
	if o.left > 0 {
		o.log.Warn("driver: the command said more than is logged", "bytes_left_out", o.left)
	}
}

// lastLine is the last line so far that was not empty.
func (o *output) lastLine() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if line := bytes.TrimSpace(o.line); len(line) > 0 {
		return string(line)
	}
	return string(o.last)
}
