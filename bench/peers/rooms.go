package peers

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/homing/homing/bench/proc"
	"github.com/homing/homing/redisx/redisproc"
)

// RoomOptions say which system with game rooms to start, and how large.
type RoomOptions struct {
	Name      string // one of RoomNames
	Processes int    // each on a port of its own, with its own rooms; 0: 1
	LogDir    string // for the logs of all processes; empty: a temporary one
	Dir       string // bench/peers; empty: found from the working directory upwards
}

// Rooms is a running system with game rooms: POST /rooms at each of its URLs opens
// one. Stop it.
type Rooms struct {
	opts      RoomOptions
	peer      peer
	tempDir   bool
	key       string
	processes []*proc.Process
	urls      []string
	versions  map[string]string
}

// StartRooms starts a system that Prepare has prepared, and returns when it can
// serve. When it fails nothing is left running.
func StartRooms(ctx context.Context, opts RoomOptions) (*Rooms, error) {
	p, err := find(roomCatalog, opts.Name)
	if err != nil {
		return nil, err
	}
	opts.Processes = max(opts.Processes, 1)
	s := &Rooms{opts: opts, peer: p}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for _, step := range []func(context.Context) error{s.prepare, s.start, s.waitReady} {
		if err := step(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("start %s: %w", p.name, err), s.Stop(false))
		}
	}
	return s, nil
}

// prepare finds the programs and writes the key.
func (s *Rooms) prepare(context.Context) (err error) {
	if s.opts.Dir, err = locate(s.opts.Dir); err != nil {
		return err
	}
	if s.versions, err = s.peer.versions(s.dir()); err != nil {
		return fmt.Errorf("read versions: %w", err)
	}
	if s.opts.LogDir, s.tempDir, err = logDir(s.opts.LogDir); err != nil {
		return err
	}
	s.key = "pk_" + rand.Text()
	if err := os.WriteFile(s.keyFile(), []byte(s.key), 0o600); err != nil {
		return fmt.Errorf("write the key: %w", err)
	}
	return nil
}

func (s *Rooms) dir() string { return filepath.Join(s.opts.Dir, s.peer.name) }

func (s *Rooms) keyFile() string { return filepath.Join(s.opts.LogDir, "rooms.key") }

func (s *Rooms) start(ctx context.Context) error {
	for i := range s.opts.Processes {
		port, err := redisproc.FreePort(ctx, "")
		if err != nil {
			return fmt.Errorf("find a port: %w", err)
		}
		args := append(s.peer.command(s.dir(), "rooms"), "--port", strconv.Itoa(port), "--key-file", s.keyFile())
		p, err := proc.Start(proc.Command{
			Name: s.peer.name + "-rooms-" + strconv.Itoa(i), LogDir: s.opts.LogDir, Args: args, Env: s.peer.env,
		})
		if err != nil {
			return err
		}
		s.processes, s.urls = append(s.processes, p), append(s.urls, "http://"+local(port))
	}
	return nil
}

func (s *Rooms) waitReady(ctx context.Context) error {
	for i, p := range s.processes {
		if err := p.WaitReady(ctx, s.urls[i]+"/readyz"); err != nil {
			return err
		}
	}
	return nil
}

// Stop ends everything and removes the logs unless keep is set or their
// directory was given. The error tells of processes that had to be killed.
func (s *Rooms) Stop(keep bool) error {
	var errs []error
	for _, p := range s.processes {
		errs = append(errs, p.Stop(stopGrace))
	}
	if s.tempDir && !keep {
		errs = append(errs, os.RemoveAll(s.opts.LogDir))
	}
	return errors.Join(errs...)
}

// Alive reports the first process that has ended without being asked to.
func (s *Rooms) Alive() error {
	for _, p := range s.processes {
		if err := p.Check(); err != nil {
			return err
		}
	}
	return nil
}

// Name is the one of RoomOptions.
func (s *Rooms) Name() string { return s.peer.name }

// Dialect names the protocol that players speak: a crowd.Dialect.
func (s *Rooms) Dialect() string { return s.peer.dialect }

// URLs returns the base URL of every process.
func (s *Rooms) URLs() []string { return s.urls }

// Key opens rooms, as a bearer token.
func (s *Rooms) Key() string { return s.key }

// PIDs returns the processes.
func (s *Rooms) PIDs() []int { return pids(s.processes) }

// Versions tells what runs, by name.
func (s *Rooms) Versions() map[string]string { return s.versions }

// Settings tells what is configured and why, one line each.
func (s *Rooms) Settings() []string { return s.peer.settings }
