package peers

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
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
	servers

	opts RoomOptions
	key  string
	urls []string
}

// StartRooms starts a system that Prepare has prepared, and returns when it can
// serve. When it fails nothing is left running.
func StartRooms(ctx context.Context, opts RoomOptions) (*Rooms, error) {
	p, err := find(roomCatalog, opts.Name)
	if err != nil {
		return nil, err
	}
	opts.Processes = max(opts.Processes, 1)
	s := &Rooms{servers: servers{peer: p}, opts: opts}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for _, step := range []func(context.Context) error{s.prepare, s.start, s.waitReady, s.readVersions} {
		if err := step(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("start %s: %w", p.name, err), s.Stop(false))
		}
	}
	return s, nil
}

// prepare finds the programs and writes the key.
func (s *Rooms) prepare(context.Context) error {
	if err := s.servers.prepare(s.opts.Dir, s.opts.LogDir); err != nil {
		return err
	}
	s.key = "pk_" + rand.Text()
	return s.write("rooms.key", []byte(s.key))
}

func (s *Rooms) start(ctx context.Context) error {
	for i := range s.opts.Processes {
		_, port, err := s.launch(ctx, "rooms", s.peer.name+"-rooms-"+strconv.Itoa(i), "--key-file", s.file("rooms.key"))
		if err != nil {
			return err
		}
		s.urls = append(s.urls, "http://"+local(port))
	}
	return nil
}

func (s *Rooms) waitReady(ctx context.Context) error {
	for i, p := range s.all {
		if err := p.WaitReady(ctx, s.urls[i]+"/readyz"); err != nil {
			return err
		}
	}
	return nil
}

// Stop ends everything and removes the logs unless keep is set or their
// directory was given. The error tells of processes that had to be killed.
func (s *Rooms) Stop(keep bool) error { return s.end(keep) }

// URLs returns the base URL of every process.
func (s *Rooms) URLs() []string { return s.urls }

// Key opens rooms, as a bearer token.
func (s *Rooms) Key() string { return s.key }

// PIDs returns the processes.
func (s *Rooms) PIDs() []int { return pids(s.all) }
