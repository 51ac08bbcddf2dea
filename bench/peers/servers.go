package peers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/homing/homing/bench/proc"
	"github.com/homing/homing/redisx/redisproc"
)

// servers are the processes of a peer, with the folder of their logs and of what
// they read.
type servers struct {
	peer     peer
	versions versions
	dir      string // of the programs
	logDir   string
	tempDir  bool // logDir goes with them
	all      []*proc.Process
}

// prepare finds the programs in dir, which is bench/peers, or found when it is
// empty, and makes the directory for logs: logDir, or a temporary one when that is
// empty.
func (s *servers) prepare(dir, logDir string) (err error) {
	if dir, err = locate(dir); err != nil {
		return err
	}
	s.dir = filepath.Join(dir, s.peer.name)
	if logDir == "" {
		logDir, err = os.MkdirTemp("", "homing-peer-")
		s.tempDir = err == nil
	}
	if err == nil {
		err = os.MkdirAll(logDir, 0o700)
	}
	if err != nil {
		return fmt.Errorf("make a directory for logs: %w", err)
	}
	s.logDir = logDir
	return nil
}

// readVersions collects the versions of the programs.
func (s *servers) readVersions(context.Context) (err error) {
	if s.versions, err = s.peer.versions(s.dir); err != nil {
		return fmt.Errorf("read versions: %w", err)
	}
	return nil
}

func (s *servers) file(name string) string { return filepath.Join(s.logDir, name) }

// write writes what the servers read.
func (s *servers) write(name string, text []byte) error {
	if err := os.WriteFile(s.file(name), text, 0o600); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// launch starts one process of a role on a free port, under a name of its own.
func (s *servers) launch(ctx context.Context, role, name string, more ...string) (p *proc.Process, port int, err error) {
	if port, err = redisproc.FreePort(ctx, ""); err != nil {
		return nil, 0, fmt.Errorf("find a port for %s: %w", name, err)
	}
	args := append(s.peer.command(s.dir, role), "--port", strconv.Itoa(port))
	p, err = proc.Start(proc.Command{Name: name, LogDir: s.logDir, Args: append(args, more...), Env: s.peer.env})
	if err == nil {
		s.all = append(s.all, p)
	}
	return p, port, err
}

// end ends the processes, the last first, and removes the logs unless keep is set or
// their directory was given.
func (s *servers) end(keep bool, others ...func()) error {
	var errs []error
	for _, p := range slices.Backward(s.all) {
		errs = append(errs, p.Stop(stopGrace))
	}
	for _, other := range others { // that have files among the logs
		other()
	}
	if s.tempDir && !keep {
		errs = append(errs, os.RemoveAll(s.logDir))
	}
	return errors.Join(errs...)
}

// Alive reports the first process that has ended without being asked to.
func (s *servers) Alive() error {
	for _, p := range s.all {
		if err := p.Check(); err != nil {
			return err
		}
	}
	return nil
}

// Name is the one of the options.
func (s *servers) Name() string { return s.peer.name }

// Dialect names the protocol that is spoken: a clients.Dialect, or a crowd.Dialect of
// a system with game rooms.
func (s *servers) Dialect() string { return s.peer.dialect }

// LogDir is where the logs are.
func (s *servers) LogDir() string { return s.logDir }

// Versions tells what runs, by name.
func (s *servers) Versions() map[string]string { return s.versions }

// Settings tells what is configured and why, one line each.
func (s *servers) Settings() []string { return s.peer.settings }

func local(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }

func pids(all []*proc.Process) []int {
	var out []int
	for _, p := range all {
		out = append(out, p.PID())
	}
	return out
}
