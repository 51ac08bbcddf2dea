package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/redisx/redisproc"
)

// repair starts the processes that do not run beside those that do. A server
// comes back as a replica of whoever is master now: one that came back as an
// empty master would empty its replicas.
func (l layout) repair(ctx context.Context, running map[string]bool, out io.Writer) error {
	masters := map[string]string{}
	for _, g := range groups {
		var err error
		if masters[g], err = l.master(ctx, g, running); err != nil {
			return err
		}
	}
	for _, n := range l.nodes() {
		if running[n.name] {
			continue
		}
		fmt.Fprintf(out, "Starting %s at %s\n", n.name, n.addr)
		if err := l.start(ctx, n, masters); err != nil {
			return err
		}
	}
	return nil
}

func (l layout) start(ctx context.Context, n node, masters map[string]string) error {
	o := redisproc.ServerOptions{Name: n.name, Host: host, Port: n.port, Dir: l.dir, Detach: true}
	if n.group == "" {
		s := redisproc.SentinelOptions{ServerOptions: o, Quorum: sentinels/2 + 1}
		for _, g := range groups {
			s.Masters = append(s.Masters, redisproc.Monitored{Name: g, Addr: masters[g]})
		}
		_, err := redisproc.StartSentinel(ctx, s)
		return err
	}
	o.Config = []string{"min-replicas-to-write 1", "min-replicas-max-lag 2"}
	if n.addr != masters[n.group] {
		o.ReplicaOf = masters[n.group]
	}
	_, err := redisproc.StartServer(ctx, o)
	return err
}

const pollInterval = 200 * time.Millisecond

// master returns the address of a group's master: the one that runs, waiting
// for Sentinel to name one while servers run and none is master, or, when no
// server of the group runs, the one that should start as the master.
func (l layout) master(ctx context.Context, group string, running map[string]bool) (string, error) {
	servers := l.of(group)
	alive := slices.DeleteFunc(slices.Clone(servers), func(n node) bool { return !running[n.name] })
	if len(alive) == 0 {
		if addr, ok := l.ask(ctx, group); ok {
			return addr, nil
		}
		return servers[0].addr, nil
	}
	for {
		addr, known := l.ask(ctx, group)
		for _, n := range alive {
			if (!known || addr == n.addr) && isMaster(ctx, n.addr) {
				return n.addr, nil
			}
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("find the master of %s: none of its running servers is one; start over with `make down` and `make up`: %w", group, ctx.Err())
		case <-time.After(pollInterval):
		}
	}
}

// ask returns what the first Sentinel that answers holds to be the master.
func (l layout) ask(ctx context.Context, group string) (addr string, ok bool) {
	for _, s := range l.of("") {
		c := client(s.addr)
		reply, err := c.Do(ctx, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", group).StringSlice()
		_ = c.Close() // nothing was written
		if err == nil && len(reply) == 2 {
			return reply[0] + ":" + reply[1], true
		}
	}
	return "", false
}

func isMaster(ctx context.Context, addr string) bool {
	c := client(addr)
	defer c.Close()
	reply, err := c.Do(ctx, "ROLE").Slice()
	return err == nil && len(reply) > 0 && reply[0] == "master"
}

func client(addr string) *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr: addr, Protocol: 2, MaxRetries: -1, DialerRetries: 1, DisableIdentity: true,
		DialTimeout: time.Second, ReadTimeout: time.Second,
	})
}
