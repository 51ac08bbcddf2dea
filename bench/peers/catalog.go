package peers

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// peer is what the systems differ in.
type peer struct {
	name     string // also of its folder
	dialect  string // of package bees
	path     string // where a front listens for WebSockets
	env      []string
	settings []string

	needs    []string                           // programs
	product  string                             // what preparing makes, in its folder
	sources  []string                           // patterns of what that is made from
	make     []string                           // command, run in its folder
	command  func(dir, role string) []string    // that runs a role
	versions func(dir string) (versions, error) // of what has been prepared
}

type versions = map[string]string

// catalog has the systems that notify.
var catalog = []peer{
	onNode(peer{
		name: "socketio", dialect: "socketio", path: "/socket.io/",
		settings: []string{
			"transports: websocket only, so that no polling request comes before a connection",
			"perMessageDeflate: off, as the documentation advises: it costs CPU and memory for each connection",
			"the HTTP request of a connection is let go once it is open, which the documentation gives as a way to save memory",
			"bufferutil, the native part of ws, where a prebuilt one exists; eiows, another engine, needs a compiler and is not used",
			"ioredis, which the adapter's documentation prefers because it subscribes again after a reconnect",
			"the API holds no clients and publishes through @socket.io/redis-emitter: one PUBLISH per request, which every front receives",
			"topics: a Socket.IO room for each, joined at the connection, to which the emitter publishes in the same way",
			"pings: the defaults, every 25 s with 20 s to answer",
		},
	}),
	{
		name: "centrifuge", dialect: "centrifuge", path: "/connection/websocket",
		settings: []string{
			"JSON protocol; compression off, the default",
			"write buffers from a pool and 512-byte read buffers, which the documentation gives as ways to save memory",
			"server-side subscription to the personal channel; no presence, no join and leave messages, no history, no recovery",
			"Redis broker on one shard; the API holds no clients and publishes to each target's channel from 64 goroutines, which the Redis client joins into pipelines",
			"write delay: none, the default; it joins messages to the same connection, of which there are one or two a second here",
			"pings: the defaults, every 25 s with 10 s to answer",
		},
		needs:   []string{"go"},
		product: "bin/peer",
		sources: []string{"*.go", "go.mod", "go.sum"},
		make:    []string{"go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", "bin/peer", "."},
		command: func(dir, role string) []string {
			return []string{filepath.Join(dir, "bin", "peer"), role}
		},
		versions: goVersions,
	},
}

// roomCatalog has the systems with game rooms.
var roomCatalog = []peer{
	onNode(peer{
		name: "colyseus", dialect: "colyseus",
		settings: []string{
			"rooms: one state of a tick's number and a map of players with x and y (uint16), in @colyseus/schema; a patch a tick",
			"patchRate: null, and broadcastPatch on a schedule, because the timer behind patchRate drifts by a percent or two",
			"transport: @colyseus/ws-transport, without perMessageDeflate; bufferutil, the native part of ws, where a prebuilt one exists",
			"presence and driver: the defaults, in memory: each process has its own rooms",
			"pings: the defaults, every 3 s",
		},
	}),
	onNode(peer{
		name: "socketio", dialect: "socketio",
		settings: []string{
			"rooms: a loop on a schedule for each, which emits to the Socket.IO room once a tick: encoded once for all members",
			"a frame has the tick's number and, by user, where those are who have moved since the last; JSON",
			"transports: websocket only; perMessageDeflate: off; bufferutil, the native part of ws, where a prebuilt one exists",
			"no adapter: each process has its own rooms",
			"pings: the defaults, every 25 s with 20 s to answer",
		},
	}),
}

// onNode is p with all that runs on Node have in common.
func onNode(p peer) peer {
	p.env = []string{"NODE_ENV=production"}
	p.needs = []string{"node", "npm"}
	p.product = "node_modules/.package-lock.json"
	p.sources = []string{"package.json", "package-lock.json"}
	// What runs at install time only compiles what has no prebuilt binary.
	p.make = []string{"npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"}
	p.command = func(dir, role string) []string { return []string{"node", filepath.Join(dir, role+".js")} }
	p.versions = nodeVersions
	return p
}

// HasTopics reports whether a system that notifies has topics, too: its API takes
// "topics", and the tokens of its clients name theirs.
func HasTopics(name string) bool { return name == "socketio" }

// Names lists the systems that notify.
func Names() []string { return namesOf(catalog) }

// RoomNames lists the systems with game rooms.
func RoomNames() []string { return namesOf(roomCatalog) }

func namesOf(all []peer) []string {
	var names []string
	for _, p := range all {
		names = append(names, p.name)
	}
	return names
}

func find(all []peer, name string) (peer, error) {
	for _, p := range all {
		if p.name == name {
			return p, nil
		}
	}
	return peer{}, fmt.Errorf("peer %q: want one of %s", name, strings.Join(namesOf(all), ", "))
}

// locate returns bench/peers: dir, or the one found from the working directory
// upwards.
func locate(dir string) (string, error) {
	if dir != "" {
		return filepath.Abs(dir)
	}
	from, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find bench/peers: %w", err)
	}
	for at := from; ; at = filepath.Dir(at) {
		dir := filepath.Join(at, "bench", "peers")
		if _, err := os.Stat(filepath.Join(dir, "socketio", "package.json")); err == nil {
			return dir, nil
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("find bench/peers from %s upwards: it is part of Homing's source: run this in a checkout", from)
		}
	}
}
