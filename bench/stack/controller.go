package stack

import (
	"context"
	"fmt"

	"github.com/homing/homing/bench/proc"
	"github.com/homing/homing/redisx/redisproc"
)

// Controller starts a controller of the fleet with a file of rules and further flags, and
// does not wait until it knows who leads. Its probes are those of players of the stack.
// admin is the base URL of its operators' address. The caller stops it.
func (s *Stack) Controller(ctx context.Context, name, rules string, flags ...string) (p *proc.Process, admin string, err error) {
	port, err := redisproc.FreePort(ctx, "")
	if err != nil {
		return nil, "", fmt.Errorf("start a controller: %w", err)
	}
	args := []string{"fleet", "run", rules, "--config", s.dir.configFile(), "--admin-listen", local(port), "--probe-secret-file", s.Access.SecretFile()}
	p, err = s.Front.launch(name, append(args, flags...))
	return p, "http://" + local(port), err
}

// File is a name for a file of the caller's beside the logs, which goes with them.
func (s *Stack) File(name string) string { return s.dir.file(name) }
