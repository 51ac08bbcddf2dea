package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"

	"github.com/homing/homing/bench/agent"
	"github.com/homing/homing/bench/child"
	"github.com/homing/homing/bench/clients"
)

// AgentOptions are those of an agent, which runs clients on a machine of its
// own for scenarios with Options.Agents.
type AgentOptions struct {
	Listen       string   `required:"" help:"Address to take coordinators at." placeholder:"HOST:PORT"`
	SecretFile   string   `help:"File with the secret, of at least 32 bytes, that coordinators prove to know; 'homing token secret' makes one." type:"existingfile" placeholder:"FILE"`
	Source       []string `help:"IPv4 addresses of this machine that clients come from, in turn; each is good for some 28,000 connections to one front port. Empty: the kernel chooses." placeholder:"ADDRESS"`
	MaxProcesses int      `default:"64" help:"Client processes at a time, of 18,000 connections at most each."`
}

var errNoSecret = errors.New("an agent runs programs for whoever knows its secret, and there is none by default")

// Validate reports the first option out of range, by its flag and value.
func (o *AgentOptions) Validate() error {
	if o.MaxProcesses < 1 || o.MaxProcesses > 1024 {
		return fmt.Errorf("--max-processes: %d: want 1 to 1024", o.MaxProcesses)
	}
	if _, err := clients.ParseSources(strings.Join(o.Source, ",")); err != nil {
		return fmt.Errorf("--source: %w", err)
	}
	return nil
}

// RunAgent serves coordinators until ctx ends. Like Run, it is the helper's
// program, too.
func RunAgent(ctx context.Context, o AgentOptions, stdout, stderr io.Writer, log *slog.Logger) error {
	if role := os.Getenv(helperVar); role != "" {
		return serveHelper(ctx, role, stdout)
	}
	opts, err := o.serving(stderr)
	if err != nil {
		return err
	}
	if err := checkSources(ctx, o.Source); err != nil {
		return fmt.Errorf("--source: %w", err)
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.Listen)
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	defer ln.Close()
	return agent.Serve(ctx, ln, opts, log)
}

// serving is what the agent is told: the only helper it may start is a bee.
func (o *AgentOptions) serving(stderr io.Writer) (agent.Options, error) {
	if o.SecretFile == "" {
		return agent.Options{}, fmt.Errorf("--secret-file: %w: make one with `homing token secret`", errNoSecret)
	}
	secret, err := os.ReadFile(o.SecretFile)
	if err != nil {
		return agent.Options{}, fmt.Errorf("--secret-file: %w", err)
	}
	argv, env, err := helperCommand(helperBee)
	if err != nil {
		return agent.Options{}, err
	}
	env = append(env, clients.SourceVar+"="+strings.Join(o.Source, ","))
	return agent.Options{
		Secret: bytes.TrimSpace(secret), MaxProcesses: o.MaxProcesses, Stderr: child.Shared(stderr),
		Helpers: map[string]agent.Helper{helperBee: {Argv: argv, Env: env}},
	}, nil
}

// checkSources reports the first address that is none of this machine.
func checkSources(ctx context.Context, addrs []string) error {
	for _, a := range addrs {
		ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", net.JoinHostPort(a, "0"))
		if err != nil {
			return err
		}
		ln.Close()
	}
	return nil
}
