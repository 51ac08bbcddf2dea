package bench

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/homing/homing/bench/clients"
	"github.com/homing/homing/bench/stack"
)

// homing is a Homing that we started, as a rig.System.
type homing struct {
	*stack.Stack

	clients string // how the clients connect: see ClientsFlag
}

func startHoming(ctx context.Context, o Options) (homing, error) {
	s, err := stack.Start(ctx, o.stack())
	return homing{s, o.Clients}, err
}

// stack is what to start.
func (o Options) stack() stack.Options {
	return stack.Options{
		Binary: o.Binary, APIs: o.APIs, Workers: o.workers(),
		Shards: o.Shards, Replicas: o.Replicas, LogDir: o.LogDir,
		FrontArgs: []string{"--front-admit-rate", strconv.Itoa(o.AdmitRate)},
	}
}

// Fronts implements rig.System. The path is the clients' to know.
func (h homing) Fronts() []string {
	var urls []string
	for _, f := range h.Stack.Fronts {
		urls = append(urls, strings.TrimSuffix(f.URL(), "/ws"))
	}
	return urls
}

// APIs implements rig.System.
func (h homing) APIs() []string { return h.API.URLs() }

// Key implements rig.System.
func (h homing) Key() string { return h.Access.Key() }

// Secret implements rig.System.
func (h homing) Secret() []byte { return h.Access.Secret() }

// Dialect implements rig.System.
func (h homing) Dialect() string { return h.clients }

// FrontPIDs implements rig.System.
func (h homing) FrontPIDs() (all []int, err error) {
	for _, f := range h.Stack.Fronts {
		pids, err := f.PIDs()
		if err != nil {
			return nil, err
		}
		all = append(all, pids...)
	}
	return all, nil
}

// APIPIDs implements rig.System.
func (h homing) APIPIDs() []int { return h.API.PIDs() }

// RedisPIDs implements rig.System.
func (h homing) RedisPIDs() []int { return h.Redis.PIDs() }

// running is a Homing that somebody else runs. Its processes are unknown.
type running struct {
	api     string
	fronts  []string
	key     string
	secret  []byte
	clients string // see ClientsFlag
}

func findRunning(o Options) (running, error) {
	s := running{api: o.API, clients: o.Clients}
	for _, url := range o.Front {
		if o.Clients != string(clients.Homing) { // which has a path of its own
			url = strings.TrimSuffix(url, "/ws")
		}
		s.fronts = append(s.fronts, url)
	}
	key, err := fileIfAny(o.APIKeyFile)
	if err != nil {
		return s, fmt.Errorf("--api-key-file: %w", err)
	}
	secret, err := fileIfAny(o.SecretFile)
	if err != nil {
		return s, fmt.Errorf("--secret-file: %w", err)
	}
	s.key = key
	if secret != "" {
		s.secret = []byte(secret)
	}
	return s, nil
}

// fileIfAny returns what a file holds, without the end of its line.
func fileIfAny(name string) (string, error) {
	if name == "" {
		return "", nil
	}
	raw, err := os.ReadFile(name)
	return strings.TrimRight(string(raw), "\r\n"), err
}

func (s running) Fronts() []string        { return s.fronts }
func (s running) APIs() []string          { return []string{s.api} }
func (s running) Key() string             { return s.key }
func (s running) Secret() []byte          { return s.secret }
func (s running) Dialect() string         { return s.clients }
func (running) FrontPIDs() ([]int, error) { return nil, nil }
func (running) APIPIDs() []int            { return nil }
func (running) RedisPIDs() []int          { return nil }
func (running) Alive() error              { return nil }
func (running) Stop(bool) error           { return nil }
