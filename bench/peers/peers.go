// Package peers runs the systems that Homing is compared with. Those that notify
// (System) are Socket.IO with its Redis adapter, and a server on the centrifuge
// library, each with a Redis of its own and one API process that answers
// POST /notify as Homing does. Those with game rooms (Rooms) are Colyseus and
// Socket.IO.
package peers

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/homing/homing/bench/proc"
	"github.com/homing/homing/redisx/redisproc"
)

// Options say which system to start, and how large.
type Options struct {
	Name     string // one of Names
	Fronts   int    // front processes, each on a port of its own; 0: 1
	Replicas int    // of the Redis master, with three Sentinels; 0: the master alone
	LogDir   string // for the logs of all processes; empty: a temporary one
	Dir      string // bench/peers; empty: found from the working directory upwards
}

// System is a running system. Stop it.
type System struct {
	opts    Options
	peer    peer
	tempDir bool

	topology *redisproc.Topology // with replicas
	alone    *redisproc.Server   // without
	fronts   []*proc.Process
	api      *proc.Process

	frontPorts []int
	apiPort    int
	key        string
	secret     []byte
	versions   map[string]string
}

const (
	startTimeout = 60 * time.Second
	stopGrace    = 20 * time.Second
)

// Start starts a system that Prepare has prepared, and returns when it can
// serve. When it fails nothing is left running.
func Start(ctx context.Context, opts Options) (*System, error) {
	p, err := find(catalog, opts.Name)
	if err != nil {
		return nil, err
	}
	opts.Fronts = max(opts.Fronts, 1)
	s := &System{opts: opts, peer: p}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for _, step := range []func(context.Context) error{
		s.prepare, s.startRedis, s.startFronts, s.startAPI, s.waitReady, s.readVersions,
	} {
		if err := step(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("start %s: %w", p.name, err), s.Stop(false))
		}
	}
	return s, nil
}

// prepare finds the programs and writes what the servers read: key, secret.
func (s *System) prepare(context.Context) (err error) {
	if s.opts.Dir, err = locate(s.opts.Dir); err != nil {
		return err
	}
	if s.opts.LogDir, s.tempDir, err = logDir(s.opts.LogDir); err != nil {
		return err
	}
	s.key, s.secret = "pk_"+rand.Text(), []byte(rand.Text()+rand.Text())
	if err := os.WriteFile(s.file("player.secret"), s.secret, 0o600); err != nil {
		return fmt.Errorf("write the players' secret: %w", err)
	}
	if err := os.WriteFile(s.file("api.key"), []byte(s.key), 0o600); err != nil {
		return fmt.Errorf("write the API key: %w", err)
	}
	return nil
}

// logDir makes the directory for logs: dir, or a temporary one when that is empty.
func logDir(dir string) (made string, temporary bool, err error) {
	if dir == "" {
		dir, err = os.MkdirTemp("", "homing-peer-")
		temporary = true
	}
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return "", false, fmt.Errorf("make a directory for logs: %w", err)
	}
	return dir, temporary, nil
}

func (s *System) file(name string) string { return filepath.Join(s.opts.LogDir, name) }

func (s *System) startRedis(ctx context.Context) (err error) {
	dir := s.file("redis")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make a directory for Redis: %w", err)
	}
	if s.opts.Replicas == 0 {
		s.alone, err = redisproc.StartServer(ctx, redisproc.ServerOptions{Name: "redis", Dir: dir})
	} else {
		s.topology, err = redisproc.StartTopology(ctx, redisproc.TopologyOptions{
			Sentinels: 3, Dir: dir,
			Masters: []redisproc.MasterSpec{{Name: "redis", Replicas: s.opts.Replicas}},
		})
	}
	if err != nil {
		return fmt.Errorf("start Redis: %w", err)
	}
	return nil
}

// redis returns the servers, the master first.
func (s *System) redis() []*redisproc.Server {
	switch {
	case s.topology != nil:
		return s.topology.Groups[0].Servers()
	case s.alone != nil:
		return []*redisproc.Server{s.alone}
	default:
		return nil
	}
}

func (s *System) startFronts(ctx context.Context) error {
	for i := range s.opts.Fronts {
		p, port, err := s.launch(ctx, "front", strconv.Itoa(i), "--secret-file", s.file("player.secret"))
		if err != nil {
			return err
		}
		s.fronts, s.frontPorts = append(s.fronts, p), append(s.frontPorts, port)
	}
	return nil
}

func (s *System) startAPI(ctx context.Context) (err error) {
	s.api, s.apiPort, err = s.launch(ctx, "api", "0", "--key-file", s.file("api.key"))
	return err
}

// launch starts one process of a role on a free port.
func (s *System) launch(ctx context.Context, role, number string, more ...string) (*proc.Process, int, error) {
	port, err := redisproc.FreePort(ctx, "")
	if err != nil {
		return nil, 0, fmt.Errorf("start %s: %w", role, err)
	}
	args := append(s.peer.command(filepath.Join(s.opts.Dir, s.peer.name), role),
		"--port", strconv.Itoa(port), "--redis", s.redis()[0].Addr())
	p, err := proc.Start(proc.Command{
		Name: role + "-" + number, LogDir: s.opts.LogDir, Args: append(args, more...), Env: s.peer.env,
	})
	return p, port, err
}

func (s *System) waitReady(ctx context.Context) error {
	for i, p := range s.fronts {
		if err := p.WaitReady(ctx, "http://"+local(s.frontPorts[i])+"/readyz"); err != nil {
			return err
		}
	}
	return s.api.WaitReady(ctx, s.APIs()[0]+"/readyz")
}

func local(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }

// Stop ends everything and removes the logs unless keep is set or their
// directory was given. The error tells of processes that had to be killed.
func (s *System) Stop(keep bool) error {
	var errs []error
	for _, p := range s.processes() {
		errs = append(errs, p.Stop(stopGrace))
	}
	if s.topology != nil {
		s.topology.Close()
	}
	if s.alone != nil {
		s.alone.Kill()
	}
	if s.tempDir && !keep {
		errs = append(errs, os.RemoveAll(s.opts.LogDir))
	}
	return errors.Join(errs...)
}

func (s *System) processes() []*proc.Process {
	if s.api == nil {
		return s.fronts
	}
	return append([]*proc.Process{s.api}, s.fronts...)
}

// Alive reports the first process that has ended without being asked to.
func (s *System) Alive() error {
	for _, p := range s.processes() {
		if err := p.Check(); err != nil {
			return err
		}
	}
	return nil
}
