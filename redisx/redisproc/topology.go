package redisproc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// TopologyOptions describe masters with their replicas, watched by Sentinels.
type TopologyOptions struct {
	Masters   []MasterSpec
	Sentinels int // 0: 3
	// DownAfter and FailoverTimeout: see SentinelOptions.
	DownAfter, FailoverTimeout time.Duration
	// Host to listen on; empty: 127.0.0.1.
	Host string
	// User and Password of the servers and of the Sentinels; see ServerOptions.
	User, Password string
	TLS            *TLS // of the servers and of the Sentinels; nil: plain TCP
	// Dir receives all files; empty: temporary directories.
	Dir string
	// BasePort is the first port; the servers follow in the order of Masters,
	// each master before its replicas, then the Sentinels. 0: free ports.
	BasePort int
	// Detach leaves the processes running; see ServerOptions. It needs Dir.
	Detach bool
	// Proxied puts a proxy before each server; see ServerOptions.
	Proxied bool
	// Place, if not nil, may change where a process runs, its Host and Under,
	// by its name: MASTER-0 is the one that starts as the master, MASTER-1 and
	// on its replicas, sentinel-0 and on the Sentinels.
	Place func(*ServerOptions)
}

// MasterSpec is one master.
type MasterSpec struct {
	Name     string // what the Sentinels call it
	Replicas int
	Config   []string // further lines of the configuration files
}

// Topology is a running set of processes.
type Topology struct {
	Groups    []*Group // in the order of TopologyOptions.Masters
	Sentinels []*Server

	opts TopologyOptions
	next int // port, when BasePort is given
}

// Group is the servers of one master.
type Group struct {
	Name     string
	Master   *Server // the one that started as the master
	Replicas []*Server
}

// Servers returns the group's servers, first the one that started as the master.
func (g *Group) Servers() []*Server { return append([]*Server{g.Master}, g.Replicas...) }

// StartTopology starts everything and returns when all replicas follow their
// masters and all Sentinels know all servers and each other, which takes about
// a second; ctx bounds the wait. The caller closes it.
func StartTopology(ctx context.Context, o TopologyOptions) (*Topology, error) {
	o.Sentinels = cmp.Or(o.Sentinels, 3)
	o.Host = cmp.Or(o.Host, "127.0.0.1")
	t := &Topology{opts: o, next: o.BasePort}
	if err := t.start(ctx); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

func (t *Topology) start(ctx context.Context) error {
	for _, spec := range t.opts.Masters {
		if err := t.startGroup(ctx, spec); err != nil {
			return err
		}
	}
	if err := t.WaitReplicas(ctx); err != nil {
		return err
	}
	if err := t.startSentinels(ctx); err != nil {
		return err
	}
	return t.waitSentinels(ctx)
}

func (t *Topology) startGroup(ctx context.Context, spec MasterSpec) error {
	g := &Group{Name: spec.Name}
	o := t.server(spec.Name+"-0", spec)
	var err error
	if g.Master, err = StartServer(ctx, o); err != nil {
		return err
	}
	t.Groups = append(t.Groups, g)
	for i := range spec.Replicas {
		o := t.server(fmt.Sprintf("%s-%d", spec.Name, i+1), spec)
		o.ReplicaOf = g.Master.Addr()
		s, err := StartServer(ctx, o)
		if err != nil {
			return err
		}
		g.Replicas = append(g.Replicas, s)
	}
	return nil
}

func (t *Topology) server(name string, spec MasterSpec) ServerOptions {
	o := ServerOptions{
		Name: name, Host: t.opts.Host, User: t.opts.User, Password: t.opts.Password,
		TLS: t.opts.TLS, Detach: t.opts.Detach, Config: spec.Config, Proxied: t.opts.Proxied,
	}
	if spec.Replicas > 0 {
		// A master that lost all replicas refuses writes that would be lost
		// with it.
		o.Config = append([]string{"min-replicas-to-write 1", "min-replicas-max-lag 2"}, o.Config...)
	}
	if t.opts.Dir != "" {
		o.Dir = t.opts.Dir
	}
	if t.opts.BasePort != 0 {
		o.Port = t.next
		t.next++
	}
	if t.opts.Place != nil {
		t.opts.Place(&o)
	}
	return o
}

// startSentinels tells each Sentinel of all servers and of its peers, so that
// nothing waits for their periodic discovery.
func (t *Topology) startSentinels(ctx context.Context) error {
	options, err := t.sentinelOptions(ctx)
	if err != nil {
		return err
	}
	for _, o := range options {
		for _, peer := range options {
			if peer.ID != o.ID {
				o.Peers = append(o.Peers, Peer{Addr: net.JoinHostPort(peer.Host, strconv.Itoa(peer.Port)), ID: peer.ID})
			}
		}
		s, err := StartSentinel(ctx, o)
		if err != nil {
			return err
		}
		t.Sentinels = append(t.Sentinels, s)
	}
	return nil
}

func (t *Topology) sentinelOptions(ctx context.Context) ([]SentinelOptions, error) {
	var all []SentinelOptions
	for i := range t.opts.Sentinels {
		o := SentinelOptions{
			ServerOptions: t.server(fmt.Sprintf("sentinel-%d", i), MasterSpec{}),
			Masters:       t.monitored(),
			Quorum:        t.opts.Sentinels/2 + 1,
			DownAfter:     t.opts.DownAfter,
			ID:            newID(),

			FailoverTimeout: t.opts.FailoverTimeout,
		}
		if o.Port == 0 { // the peers must know it before it starts
			var err error
			if o.Port, err = FreePort(ctx, o.Host); err != nil {
				return nil, err
			}
		}
		all = append(all, o)
	}
	return all, nil
}

func (t *Topology) monitored() []Monitored {
	var all []Monitored
	for _, g := range t.Groups {
		m := Monitored{Name: g.Name, Addr: g.Master.Addr(), User: t.opts.User, Password: t.opts.Password}
		for _, r := range g.Replicas {
			m.Replicas = append(m.Replicas, r.Addr())
		}
		all = append(all, m)
	}
	return all
}

// WaitReplicas waits until every master has the replicas that it was started
// with, or as many when another server is the master now.
func (t *Topology) WaitReplicas(ctx context.Context) error {
	for _, g := range t.Groups {
		for _, s := range g.Servers() {
			if err := s.until(ctx, func(ctx context.Context, c *redis.Client) error {
				return replicating(ctx, c, len(g.Replicas))
			}); err != nil {
				return err
			}
		}
	}
	return nil
}

// replicating reports why a server does not take part yet, as a replica in
// touch with its master or as a master with want replicas.
func replicating(ctx context.Context, c *redis.Client, want int) error {
	info, err := c.Info(ctx, "replication").Result()
	switch {
	case err != nil:
		return err
	case strings.Contains(info, "role:slave") && !strings.Contains(info, "master_link_status:up"):
		return errors.New("its link to the master is down")
	case strings.Contains(info, "role:master") && strings.Count(info, "state=online") < want:
		return fmt.Errorf("it has %d of %d replicas", strings.Count(info, "state=online"), want)
	}
	return nil
}

// waitSentinels waits until every Sentinel holds every server to be up and
// knows its peers.
func (t *Topology) waitSentinels(ctx context.Context) error {
	for _, s := range t.Sentinels {
		for _, g := range t.Groups {
			if err := s.until(ctx, func(ctx context.Context, c *redis.Client) error {
				return t.complete(ctx, c, g)
			}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *Topology) complete(ctx context.Context, c *redis.Client, g *Group) error {
	cmd := redis.NewMapStringStringCmd(ctx, "SENTINEL", "MASTER", g.Name)
	if err := c.Process(ctx, cmd); err != nil {
		return err
	}
	m := cmd.Val()
	peers := strconv.Itoa(len(t.Sentinels) - 1)
	if m["flags"] != "master" || m["num-slaves"] != strconv.Itoa(len(g.Replicas)) || m["num-other-sentinels"] != peers {
		return fmt.Errorf("%s is %s with %s replicas and %s other Sentinels", g.Name, m["flags"], m["num-slaves"], m["num-other-sentinels"])
	}
	return t.allUp(ctx, c, g)
}

func (t *Topology) allUp(ctx context.Context, c *redis.Client, g *Group) error {
	reply, err := c.Do(ctx, "SENTINEL", "REPLICAS", g.Name).Slice()
	if err != nil {
		return err
	}
	for _, r := range reply {
		if s := fmt.Sprint(r); strings.Contains(s, "s_down") || strings.Contains(s, "disconnected") || !strings.Contains(s, "master-link-status ok") {
			return fmt.Errorf("a replica of %s is not up", g.Name)
		}
	}
	return nil
}

// until asks the server again and again until ask is content or ctx ends.
func (s *Server) until(ctx context.Context, ask func(context.Context, *redis.Client) error) error {
	c := s.Client()
	defer c.Close()
	for {
		err := ask(ctx, c)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s at %s: %w; last answer: %w", s.opts.Name, s.Addr(), ctx.Err(), err)
		case <-time.After(pollInterval):
		}
	}
}

// Current returns the server that most Sentinels hold to be the master of the
// named group now. Sentinels that do not answer are passed over.
func (t *Topology) Current(ctx context.Context, name string) (*Server, error) {
	votes := map[string]int{}
	for _, s := range t.Sentinels {
		if addr, err := s.masterOf(ctx, name); err == nil {
			votes[addr]++
		}
	}
	var best *Server
	for _, g := range t.Groups {
		for _, s := range g.Servers() {
			if votes[s.Addr()] > 0 && (best == nil || votes[s.Addr()] > votes[best.Addr()]) {
				best = s
			}
		}
	}
	if best == nil {
		return nil, fmt.Errorf("find the master of %s: no Sentinel knows it", name)
	}
	return best, nil
}

func (s *Server) masterOf(ctx context.Context, name string) (string, error) {
	c := s.Client()
	defer c.Close()
	reply, err := c.Do(ctx, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", name).StringSlice()
	if err != nil || len(reply) != 2 {
		return "", fmt.Errorf("ask %s for %s: %w", s.opts.Name, name, err)
	}
	return net.JoinHostPort(reply[0], reply[1]), nil
}

// URL returns the sentinel:// URL of the named group, as redisx reads it.
func (t *Topology) URL(name string) string {
	var addrs []string
	for _, s := range t.Sentinels {
		addrs = append(addrs, s.Addr())
	}
	u := "sentinel://"
	query := url.Values{}
	if t.opts.Password != "" {
		u += url.UserPassword(t.opts.User, t.opts.Password).String() + "@"
		query.Set("sentinel_password", t.opts.Password)
		if t.opts.User != "" {
			query.Set("sentinel_username", t.opts.User)
		}
	}
	if t.opts.TLS != nil {
		ca, err := filepath.Abs(t.opts.TLS.CA)
		if err != nil {
			ca = t.opts.TLS.CA
		}
		query.Set("tls", "true")
		query.Set("sentinel_tls", "true")
		query.Set("ca", ca)
	}
	u += strings.Join(addrs, ",") + "/" + name
	if len(query) > 0 {
		u += "?" + query.Encode()
	}
	return u
}

// URLs returns the URL of every group, in order.
func (t *Topology) URLs() []string {
	var urls []string
	for _, g := range t.Groups {
		urls = append(urls, t.URL(g.Name))
	}
	return urls
}

// Close kills every process, waits for their ends and removes temporary
// directories. It may be called twice.
func (t *Topology) Close() {
	all := append([]*Server(nil), t.Sentinels...)
	for _, g := range t.Groups {
		all = append(all, g.Servers()...)
	}
	var wait sync.WaitGroup
	for _, s := range all {
		wait.Go(s.Kill)
	}
	wait.Wait()
}
