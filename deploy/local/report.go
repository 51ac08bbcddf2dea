package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"
)

// status prints one line per process.
func status(ctx context.Context, l layout, out io.Writer) error {
	running, err := l.running()
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	for _, n := range l.nodes() {
		fmt.Fprintf(w, "  %s\t%s\t%s\n", n.name, n.addr, state(ctx, n, running[n.name]))
	}
	return w.Flush()
}

func state(ctx context.Context, n node, running bool) string {
	switch {
	case !running:
		return "not running"
	case n.group == "":
		return "Sentinel"
	case isMaster(ctx, n.addr):
		return "master"
	default:
		return "replica"
	}
}

// configFile is where the configuration of Homing's servers is.
func configFile(dir string) string { return filepath.Join(dir, "homing.yaml") }

// writeConfig writes the configuration that points Homing's servers at the topology.
func writeConfig(l layout, dir string) error {
	full := filepath.Dir(l.dir)
	redis := fmt.Sprintf(redisSettings, l.url("data"), l.url("pubsub-1"), l.url("pubsub-2"))
	text := fmt.Sprintf(settings, redis, filepath.Join(full, "keys.yaml"), filepath.Join(full, "player.secret"))
	if err := os.WriteFile(configFile(dir), []byte(text), 0o600); err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	return nil
}

// tellRedis prints where Redis is.
func tellRedis(l layout, out io.Writer) {
	fmt.Fprintf(out, redisIsUp, l.url("data"), l.url("pubsub-1"), l.url("pubsub-2"))
}

// tellNextSteps prints how to start servers beside it.
func tellNextSteps(dir string, out io.Writer) { fmt.Fprintf(out, nextSteps, configFile(dir), dir) }

// settings takes what redisSettings makes, and two files.
const settings = `# Written by make up: the local topology, for homing api and homing front.
# Each command reads the flags under its own name.
api:
  api-keys: %[2]s
%[1]sfront:
  auth-hs256-secret-file: %[3]s
%[1]s`

// redisSettings takes three URLs.
const redisSettings = `  redis-data: [%q]
  redis-pubsub: [%q, %q]
`

// redisIsUp takes three URLs.
const redisIsUp = `
Redis is up:
  data      %s
  pub/sub   %s
            %s
`

// nextSteps takes the configuration file and its directory.
const nextSteps = `
Once, make the secrets that %[1]s names:
  make build
  (umask 077; bin/homing token secret > %[2]s/player.secret)
  bin/homing token key --name backend --file %[2]s/keys.yaml    # shows the key once

Then, each in a terminal of its own:
  bin/homing api   --config %[1]s
  bin/homing api   --config %[1]s
  bin/homing front --config %[1]s --workers 4

A player's token, and a notification:
  bin/homing token player alice --secret-file %[2]s/player.secret
  bin/homing notify alice --api-key KEY

Stop Redis with: make down
`
