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
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/homing/homing/bench/proc"
	"github.com/homing/homing/bench/usage"
	"github.com/homing/homing/hub"
	"github.com/homing/homing/redisx/redisproc"
)

// Options say what to start.
type Options struct {
	Binary    string   // the homing binary; empty: this program
	APIs      int      // API processes, each on a port of its own; 0: 1
	Workers   int      // front worker processes on one port; 0: 1
	Shards    int      // pub/sub masters; 0: 1
	Replicas  int      // of every Redis master, with three Sentinels; 0: masters alone
	FrontArgs []string // further flags of the front

	AtMostOnce bool   // run with the relay's acknowledgements off
	LogDir     string // for the logs of all processes; empty: a temporary one

	// Where Redis runs, with replicas; see redisproc.TopologyOptions.
	BasePort int
	Place    func(*redisproc.ServerOptions)
}

// Stack is a running Homing. Stop it.
type Stack struct {
	opts    Options
	tempDir bool

	topology *redisproc.Topology // with replicas
	alone    []*redisproc.Server // without
	apis     []*proc.Process
	front    *proc.Process

	apiPorts  []int
	frontPort int
	key       string // the API key
	secret    []byte // signs players' tokens
}

const (
	startTimeout = 30 * time.Second
	stopGrace    = 20 * time.Second
	prefix       = "homing"
)

// Start starts everything and returns when it can serve. When it fails
// nothing is left running.
func Start(ctx context.Context, opts Options) (*Stack, error) {
	opts.APIs, opts.Workers, opts.Shards = max(opts.APIs, 1), max(opts.Workers, 1), max(opts.Shards, 1)
	s := &Stack{opts: opts}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for _, step := range []func(context.Context) error{s.prepare, s.startRedis, s.startAPIs, s.startFront, s.waitReady} {
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

// writeKeys makes an API key that may do everything, without a rate limit.
func (s *Stack) writeKeys() error {
	var raw [32]byte
	_, _ = rand.Read(raw[:]) // never fails
	s.key = "hk_" + base64.RawURLEncoding.EncodeToString(raw[:])
	list := fmt.Sprintf("keys:\n  - name: bench\n    hash: sha256:%x\n    scopes: [notify, broadcast, presence, disconnect]\n", sha256.Sum256([]byte(s.key)))
	if err := os.WriteFile(s.file("keys.yaml"), []byte(list), 0o600); err != nil {
		return fmt.Errorf("write the API keys: %w", err)
	}
	if err := os.WriteFile(s.KeyFile(), []byte(s.key+"\n"), 0o600); err != nil {
		return fmt.Errorf("write the API key: %w", err)
	}
	return nil
}

func (s *Stack) file(name string) string { return filepath.Join(s.opts.LogDir, name) }

func (s *Stack) startAPIs(ctx context.Context) error {
	for i := range s.opts.APIs {
		port, err := redisproc.FreePort(ctx, "")
		if err != nil {
			return fmt.Errorf("start api: %w", err)
		}
		args := append([]string{
			"api", "--api-listen", local(port), "--api-keys", s.file("keys.yaml"),
		}, s.redisArgs()...)
		p, err := s.launch("api-"+strconv.Itoa(i), args)
		if err != nil {
			return err
		}
		s.apis, s.apiPorts = append(s.apis, p), append(s.apiPorts, port)
	}
	return nil
}

func (s *Stack) startFront(ctx context.Context) error {
	port, err := redisproc.FreePort(ctx, "")
	if err != nil {
		return fmt.Errorf("start front: %w", err)
	}
	s.frontPort = port
	args := append([]string{
		"front", "--front-listen", local(port), "--workers", strconv.Itoa(s.opts.Workers),
		"--auth-hs256-secret-file", s.SecretFile(),
	}, s.redisArgs()...)
	s.front, err = s.launch("front", append(args, s.opts.FrontArgs...))
	return err
}

func (s *Stack) launch(name string, args []string) (*proc.Process, error) {
	return proc.Start(proc.Command{Name: name, LogDir: s.opts.LogDir, Args: append([]string{s.opts.Binary}, args...)})
}

func local(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }

// waitReady waits for every API and for every worker to listen.
func (s *Stack) waitReady(ctx context.Context) error {
	for i, p := range s.apis {
		if err := p.WaitReady(ctx, s.APIs()[i]+"/readyz"); err != nil {
			return err
		}
	}
	return s.waitWorkers(ctx)
}

// waitWorkers waits until as many workers as asked for listen on the port.
func (s *Stack) waitWorkers(ctx context.Context) error {
	return s.front.WaitFor(ctx, func() error {
		n, err := usage.Listeners(s.frontPort)
		if err == nil && n < s.opts.Workers {
			err = fmt.Errorf("%d of %d workers listen", n, s.opts.Workers)
		}
		return err
	})
}

// Stop ends everything, in order, and removes the logs unless keep is set or
// their directory was given. The error tells of processes that had to be
// killed.
func (s *Stack) Stop(keep bool) error {
	var errs []error
	if s.front != nil {
		errs = append(errs, s.front.Stop(stopGrace))
	}
	for _, p := range s.apis {
		errs = append(errs, p.Stop(stopGrace))
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
func (s *Stack) Key() string { return s.key }

// Keys names what the system keeps in Redis.
func (s *Stack) Keys() hub.Keys { return hub.NewKeys(prefix) }

// APIs returns the base URL of every API process.
func (s *Stack) APIs() []string {
	var urls []string
	for _, port := range s.apiPorts {
		urls = append(urls, "http://"+local(port))
	}
	return urls
}

// Front is the WebSocket URL of the front.
func (s *Stack) Front() string { return "ws://" + local(s.frontPort) + "/ws" }

// FrontPort is the port that all workers share.
func (s *Stack) FrontPort() int { return s.frontPort }

// APIPIDs returns the API processes.
func (s *Stack) APIPIDs() []int {
	var pids []int
	for _, p := range s.apis {
		pids = append(pids, p.PID())
	}
	return pids
}

// FrontPIDs returns the front's master and all its workers.
func (s *Stack) FrontPIDs() ([]int, error) {
	workers, err := s.Workers()
	return append([]int{s.front.PID()}, workers...), err
}

// Workers returns the front's worker processes as they are now.
func (s *Stack) Workers() ([]int, error) {
	pids, err := usage.Children(s.front.PID())
	if err != nil {
		return nil, fmt.Errorf("list the workers: %w", err)
	}
	return pids, nil
}

// KillAPI kills API process i and waits for its end.
func (s *Stack) KillAPI(i int) error { return s.apis[i].Kill() }

// ReplaceWorkers asks the front to replace its workers one by one. It does not
// wait.
func (s *Stack) ReplaceWorkers() error {
	if err := s.front.Signal(syscall.SIGHUP); err != nil {
		return fmt.Errorf("ask the front to replace its workers: %w", err)
	}
	return nil
}

// Alive reports the first process that has ended without being asked to.
func (s *Stack) Alive() error {
	for _, p := range append([]*proc.Process{s.front}, s.apis...) {
		if err := p.Check(); err != nil {
			return err
		}
	}
	return nil
}

// redisArgs are the flags that tell a server where its Redis is, and how to use it.
func (s *Stack) redisArgs() []string {
	data, pubsub := s.urls()
	args := []string{
		"--redis-data", strings.Join(data, " "), "--redis-pubsub", strings.Join(pubsub, " "),
		"--redis-prefix", prefix,
	}
	if s.opts.AtMostOnce {
		args = append(args, "--relay-at-most-once")
	}
	return args
}
