// Package stack starts a whole Homing as real processes: Redis with its
// replicas and Sentinels, API servers, and a front with its workers. Drills,
// benchmarks and end-to-end tests share it.
package stack

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/homing/homing/bench/proc"
	"github.com/homing/homing/hub"
	"github.com/homing/homing/redisx/redisproc"
)

// Options say what to start.
type Options struct {
	Binary    string   // the homing binary; empty: this program
	APIs      int      // API processes, each on a port of its own; 0: 1
	Workers   int      // front worker processes on one port; 0: 1
	Shards    int      // pub/sub masters; 0: 1
	Data      int      // data masters; 0: 1
	SpareData int      // further data masters, which nobody is told of; see Configure
	Replicas  int      // of every Redis master, with three Sentinels; 0: masters alone
	APIArgs   []string // further flags of every API process
	FrontArgs []string // further flags of the front
	TLS       bool     // the front listens for TLS, too, with a certificate that nobody signed; see TLSAddr
	Keys      []string // names of further API keys; see KeyOf

	AtMostOnce bool   // run with the relay's acknowledgements off
	LogDir     string // for the logs of all processes; empty: a temporary one
	Pipes      bool   // servers log into pipes, whose readers may go away; see StopReadingLogs

	// Where Redis runs, with replicas; see redisproc.TopologyOptions.
	BasePort int
	Place    func(*redisproc.ServerOptions)
	// FailoverTimeout: see redisproc.SentinelOptions.
	FailoverTimeout time.Duration
	// Where the front runs: the address that it listens on, and a command to
	// start it under; see redisproc.ServerOptions. Empty: beside us.
	FrontHost  string
	FrontUnder []string
}

// Stack is a running Homing. Stop it.
type Stack struct {
	opts    Options
	tempDir bool

	topology *redisproc.Topology // with replicas
	alone    []*redisproc.Server // without
	apis     []*api
	front    *proc.Process

	frontPort, frontAdmin int
	tlsPort               int
	starts                atomic.Int64      // of servers so far; numbers their logs
	dataUsed              int               // data shards that servers are told of
	keys                  map[string]string // API keys by name
	secret                []byte            // signs players' tokens
}

const (
	startTimeout = 30 * time.Second
	stopGrace    = 20 * time.Second
	prefix       = "homing"
)

// Start starts everything and returns when it can serve. When it fails
// nothing is left running.
func Start(ctx context.Context, opts Options) (*Stack, error) {
	opts.APIs, opts.Workers, opts.Shards, opts.Data = max(opts.APIs, 1), max(opts.Workers, 1), max(opts.Shards, 1), max(opts.Data, 1)
	s := &Stack{opts: opts}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for _, step := range []func(context.Context) error{s.prepare, s.startRedis, s.configure, s.startAPIs, s.startFront, s.waitReady} {
		if err := step(ctx); err != nil {
			return nil, errors.Join(err, s.Stop(false))
		}
	}
	return s, nil
}

// prepare finds the binary and writes what the servers read: keys, secret.
func (s *Stack) prepare(context.Context) (err error) {
	if s.opts.Binary == "" {
		if s.opts.Binary, err = os.Executable(); err != nil {
			return fmt.Errorf("find the homing binary: %w", err)
		}
	}
	if s.opts.LogDir == "" {
		s.tempDir = true
		if s.opts.LogDir, err = os.MkdirTemp("", "homing-stack-"); err != nil {
			return fmt.Errorf("make a directory for logs: %w", err)
		}
	}
	if err := os.MkdirAll(s.opts.LogDir, 0o700); err != nil {
		return fmt.Errorf("make a directory for logs: %w", err)
	}
	s.secret = []byte(rand.Text() + rand.Text())
	if err := os.WriteFile(s.SecretFile(), s.secret, 0o600); err != nil {
		return fmt.Errorf("write the players' secret: %w", err)
	}
	return s.writeKeys()
}

// ownKey is the name of the key that Key returns.
const ownKey = "bench"

// ownLimits let the load of a measurement through. Other keys have the limits
// that are the default.
const ownLimits = "    rate: 1000000000\n    in_flight: 1024\n    open: 4096\n"

// writeKeys makes API keys that may do everything.
func (s *Stack) writeKeys() error {
	s.keys = make(map[string]string)
	var list strings.Builder
	list.WriteString("keys:\n")
	for _, name := range append([]string{ownKey}, s.opts.Keys...) {
		var raw [32]byte
		_, _ = rand.Read(raw[:]) // never fails
		key := "hk_" + base64.RawURLEncoding.EncodeToString(raw[:])
		s.keys[name] = key
		fmt.Fprintf(&list, "  - name: %s\n    hash: sha256:%x\n    scopes: [notify, broadcast, presence, disconnect]\n", name, sha256.Sum256([]byte(key)))
		if name == ownKey {
			list.WriteString(ownLimits)
		}
	}
	if err := os.WriteFile(s.file("keys.yaml"), []byte(list.String()), 0o600); err != nil {
		return fmt.Errorf("write the API keys: %w", err)
	}
	if err := os.WriteFile(s.KeyFile(), []byte(s.Key()+"\n"), 0o600); err != nil {
		return fmt.Errorf("write the API key: %w", err)
	}
	return nil
}

func (s *Stack) file(name string) string { return filepath.Join(s.opts.LogDir, name) }

// Stop ends everything, in order, and removes the logs unless keep is set or
// their directory was given. The error tells of processes that had to be
// killed.
func (s *Stack) Stop(keep bool) error {
	var errs []error
	if s.front != nil {
		if s.opts.Pipes {
			s.CloseLogs() // whoever waits to write a line goes on
		}
		s.wake()
		errs = append(errs, s.front.Stop(stopGrace))
	}
	for _, a := range s.apis {
		errs = append(errs, a.Stop(stopGrace))
	}
	s.stopRedis()
	if s.tempDir && !keep {
		errs = append(errs, os.RemoveAll(s.opts.LogDir))
	}
	return errors.Join(errs...)
}

// LogDir is where the logs are.
func (s *Stack) LogDir() string { return s.opts.LogDir }

// SecretFile holds the secret that signs players' tokens.
func (s *Stack) SecretFile() string { return s.file("player.secret") }

// KeyFile holds the API key.
func (s *Stack) KeyFile() string { return s.file("api.key") }

// Secret signs players' tokens (HS256).
func (s *Stack) Secret() []byte { return s.secret }

// Key is an API key that may do everything.
func (s *Stack) Key() string { return s.keys[ownKey] }

// KeyOf returns the API key of that name, one of Options.Keys.
func (s *Stack) KeyOf(name string) string { return s.keys[name] }

// Keys names what the system keeps in Redis.
func (s *Stack) Keys() hub.Keys { return hub.NewKeys(prefix) }
