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
	servers

	opts Options

	topology *redisproc.Topology // with replicas
	alone    *redisproc.Server   // without
	fronts   []*proc.Process
	api      *proc.Process

	frontPorts []int
	apiPort    int
	key        string
	secret     []byte
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
	s := &System{servers: servers{peer: p}, opts: opts}
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
func (s *System) prepare(context.Context) error {
	if err := s.servers.prepare(s.opts.Dir, s.opts.LogDir); err != nil {
		return err
	}
	s.key, s.secret = "pk_"+rand.Text(), []byte(rand.Text()+rand.Text())
	return errors.Join(s.write("player.secret", s.secret), s.write("api.key", []byte(s.key)))
}

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
		p, port, err := s.launch(ctx, "front", "front-"+strconv.Itoa(i), "--secret-file", s.file("player.secret"), "--redis", s.redis()[0].Addr())
		if err != nil {
			return err
		}
		s.fronts, s.frontPorts = append(s.fronts, p), append(s.frontPorts, port)
	}
	return nil
}

func (s *System) startAPI(ctx context.Context) (err error) {
	s.api, s.apiPort, err = s.launch(ctx, "api", "api-0", "--key-file", s.file("api.key"), "--redis", s.redis()[0].Addr())
	return err
}

func (s *System) waitReady(ctx context.Context) error {
	for i, p := range s.fronts {
		if err := p.WaitReady(ctx, "http://"+local(s.frontPorts[i])+"/readyz"); err != nil {
			return err
		}
	}
	return s.api.WaitReady(ctx, s.APIs()[0]+"/readyz")
}

// Stop ends everything and removes the logs unless keep is set or their
// directory was given. The error tells of processes that had to be killed.
func (s *System) Stop(keep bool) error { return s.end(keep, s.stopRedis) }

func (s *System) stopRedis() {
	if s.topology != nil {
		s.topology.Close()
	}
	if s.alone != nil {
		s.alone.Kill()
	}
}
