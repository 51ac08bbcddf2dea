package main

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/homing/homing/redisx/redisproc"
)

const (
	host      = "127.0.0.1"
	replicas  = 2
	sentinels = 3
)

// groups are the masters' names, as Sentinel knows them.
var groups = []string{"data", "pubsub-1", "pubsub-2"}

// layout says which process listens where and keeps its files in which
// directory. Ports follow the order of nodes.
type layout struct {
	dir      string
	basePort int
}

// node is one process of the layout.
type node struct {
	name  string // of its files
	addr  string
	port  int
	group string // the master's name; empty for a Sentinel
}

func (l layout) options() redisproc.TopologyOptions {
	o := redisproc.TopologyOptions{Sentinels: sentinels, Host: host, Dir: l.dir, BasePort: l.basePort, Detach: true}
	for _, g := range groups {
		o.Masters = append(o.Masters, redisproc.MasterSpec{Name: g, Replicas: replicas})
	}
	return o
}

func (l layout) size() int { return len(groups)*(1+replicas) + sentinels }

// nodes lists every process: each group's servers, then the Sentinels.
func (l layout) nodes() []node {
	var all []node
	add := func(name, group string) {
		port := l.basePort + len(all)
		all = append(all, node{name: name, addr: net.JoinHostPort(host, strconv.Itoa(port)), port: port, group: group})
	}
	for _, g := range groups {
		for i := range 1 + replicas {
			add(fmt.Sprintf("%s-%d", g, i), g)
		}
	}
	for i := range sentinels {
		add(fmt.Sprintf("sentinel-%d", i), "")
	}
	return all
}

// of returns the servers of a group, or the Sentinels for the empty name.
func (l layout) of(group string) []node {
	return slices.DeleteFunc(l.nodes(), func(n node) bool { return n.group != group })
}

// running returns the names of the processes that run.
func (l layout) running() (map[string]bool, error) {
	names, err := redisproc.Detached(l.dir)
	if err != nil {
		return nil, fmt.Errorf("look for running processes: %w", err)
	}
	set := make(map[string]bool, len(names))
	for _, n := range names {
		set[n] = true
	}
	return set, nil
}

// url is a group's address for Homing's --redis flags.
func (l layout) url(group string) string {
	var addrs []string
	for _, s := range l.of("") {
		addrs = append(addrs, s.addr)
	}
	return "sentinel://" + strings.Join(addrs, ",") + "/" + group
}
