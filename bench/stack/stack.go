// Package stack starts a whole Homing as real processes: Redis with its
// replicas and Sentinels, API servers, and fronts with their workers. Drills,
// benchmarks and end-to-end tests share it.
package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/homing/homing/bench/proc"
	"github.com/homing/homing/hub"
	"github.com/homing/homing/redisx/redisproc"
)

// Options say what to start.
type Options struct {
	Binary    string   // the homing binary; empty: this program
	APIs      int      // API processes, each on a port of its own; 0: 1
	Fronts    int      // each a master with its workers on a port of its own; 0: 1
	Workers   int      // worker processes of each front, on one port; 0: 1
	Shards    int      // pub/sub masters; 0: 1
	Data      int      // data masters; 0: 1
	SpareData int      // further data masters, which nobody is told of; see Config
	OwnInbox  bool     // inboxes have a master of their own, the last data master: see InboxMaster
	Replicas  int      // of every Redis master, with three Sentinels; 0: masters alone
	APIArgs   []string // further flags of every API process
	FrontArgs []string // further flags of each front
	TLS       bool     // fronts listen for TLS, too, with a certificate that nobody signed; see Front.TLSAddr
	Keys      []string // names of further API keys; see Access.KeyOf

	Rooms bool // fronts have game rooms

	AtMostOnce bool   // run with the relay's acknowledgements off
	LogDir     string // for the logs of all processes; empty: a temporary one
	Pipes      bool   // servers log into pipes, whose readers may go away; see StopReadingLogs

	// Where Redis runs, with replicas; see redisproc.TopologyOptions.
	BasePort int
	Place    func(*redisproc.ServerOptions)
	// FailoverTimeout: see redisproc.SentinelOptions.
	FailoverTimeout time.Duration
	// Where fronts run: the address that they listen on, and a command to
	// start them under; see redisproc.ServerOptions. Empty: beside us.
	FrontHost  string
	FrontUnder []string
}

// Stack is a running Homing, by its parts. Stop it.
type Stack struct {
	Redis  *Redis
	Config *Config
	Access *Access
	API    *APIs
	Front  *Front   // the first one
	Fronts []*Front // all

	dir     workDir
	tempDir bool
	pipes   bool
}

const (
	startTimeout = 30 * time.Second
	stopGrace    = 20 * time.Second
	prefix       = "homing"
)

// Start starts everything and returns when it can serve. When it fails
// nothing is left running.
func Start(ctx context.Context, opts Options) (*Stack, error) {
	for _, n := range []*int{&opts.APIs, &opts.Fronts, &opts.Workers, &opts.Shards, &opts.Data} {
		*n = max(*n, 1)
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	s, err := prepare(opts)
	if err != nil {
		return nil, err
	}
	for _, step := range []func(context.Context) error{
		s.Access.write, s.Redis.start, s.Config.start, s.API.start, s.startFronts, s.API.waitReady, s.waitFronts,
	} {
		if err := step(ctx); err != nil {
			return nil, errors.Join(err, s.Stop(false))
		}
	}
	return s, nil
}

// prepare finds the binary and makes the directory, and says who owns what. It
// starts nothing.
func prepare(opts Options) (s *Stack, err error) {
	s = &Stack{pipes: opts.Pipes, tempDir: opts.LogDir == ""}
	if opts.Binary == "" {
		if opts.Binary, err = os.Executable(); err != nil {
			return nil, fmt.Errorf("find the homing binary: %w", err)
		}
	}
	if s.tempDir {
		if opts.LogDir, err = os.MkdirTemp("", "homing-stack-"); err != nil {
			return nil, fmt.Errorf("make a directory for logs: %w", err)
		}
	}
	if err := os.MkdirAll(opts.LogDir, 0o700); err != nil {
		return nil, fmt.Errorf("make a directory for logs: %w", err)
	}
	s.dir = workDir(opts.LogDir)
	if opts.OwnInbox {
		opts.SpareData++
	}
	launch := &launcher{binary: opts.Binary, dir: s.dir, pipes: opts.Pipes, first: opts.APIs + opts.Fronts}
	s.Redis = &Redis{opts: opts, dir: s.dir}
	s.Config = &Config{redis: s.Redis, file: s.dir.configFile(), first: opts.Data, atMostOnce: opts.AtMostOnce, ownInbox: opts.OwnInbox}
	s.Access = &Access{dir: s.dir, further: opts.Keys}
	s.API = &APIs{launcher: launch, count: opts.APIs, args: opts.APIArgs}
	for i := range opts.Fronts {
		s.Fronts = append(s.Fronts, &Front{launcher: launch, opts: opts, name: frontName(i)})
	}
	s.Front = s.Fronts[0]
	return s, nil
}

// frontName names the logs of front i.
func frontName(i int) string {
	if i == 0 {
		return "front"
	}
	return "front-" + strconv.Itoa(i)
}

func (s *Stack) startFronts(ctx context.Context) error { return s.eachFront(ctx, (*Front).start) }

func (s *Stack) waitFronts(ctx context.Context) error { return s.eachFront(ctx, (*Front).waitWorkers) }

func (s *Stack) eachFront(ctx context.Context, do func(*Front, context.Context) error) error {
	for _, f := range s.Fronts {
		if err := do(f, ctx); err != nil {
			return err
		}
	}
	return nil
}

// workDir is the directory for the logs, and for what the servers read.
type workDir string

func (d workDir) file(name string) string { return filepath.Join(string(d), name) }

func (d workDir) configFile() string { return d.file("servers.yaml") }

func (d workDir) keysFile() string { return d.file("keys.yaml") }

func (d workDir) secretFile() string { return d.file("player.secret") }

// Stop ends everything, in order, and removes the logs unless keep is set or
// their directory was given. The error tells of processes that had to be
// killed.
func (s *Stack) Stop(keep bool) error {
	var errs []error
	if s.pipes {
		s.CloseLogs() // whoever waits to write a line goes on
	}
	for _, f := range s.Fronts {
		errs = append(errs, f.stop())
	}
	errs = append(errs, s.API.stop())
	s.Redis.stop()
	if s.tempDir && !keep {
		errs = append(errs, os.RemoveAll(s.LogDir()))
	}
	return errors.Join(errs...)
}

// LogDir is where the logs are.
func (s *Stack) LogDir() string { return string(s.dir) }

// Keys names what the system keeps in Redis.
func (s *Stack) Keys() hub.Keys { return hub.NewKeys(prefix) }

// servers are all processes of fronts and the API that were started.
func (s *Stack) servers() (all []*proc.Process) {
	for _, f := range s.Fronts {
		if f.process != nil {
			all = append(all, f.process)
		}
	}
	for _, a := range s.API.servers {
		all = append(all, a.Process)
	}
	return all
}

// StopReadingLogs has the pipes that the servers log into run full.
func (s *Stack) StopReadingLogs() (err error) {
	for _, p := range s.servers() {
		err = errors.Join(err, p.StopReading())
	}
	return err
}

// CloseLogs closes the pipes that the servers log into at our end, so that
// whatever they write fails.
func (s *Stack) CloseLogs() {
	for _, p := range s.servers() {
		p.CloseReader()
	}
}

// Alive reports the first process that has ended without being asked to.
func (s *Stack) Alive() error {
	for _, p := range s.servers() {
		if err := p.Check(); err != nil {
			return err
		}
	}
	return nil
}
