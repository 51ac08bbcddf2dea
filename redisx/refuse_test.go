package redisx_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/redisx"
	"github.com/homing/homing/redisx/redisproc"
	"github.com/homing/homing/redisx/redistest"
)

func get(ctx context.Context, c *redis.Client) error {
	if err := c.Get(ctx, "k").Err(); !errors.Is(err, redis.Nil) {
		return err
	}
	return nil
}

// open runs redisx on cfg, with what it logs and its metrics in hand.
func open(t *testing.T, cfg redisx.Config) (*redisx.Redis, *journal, *prometheus.Registry) {
	t.Helper()
	log, reg := &journal{}, prometheus.NewRegistry()
	r, err := redisx.New(cfg, slog.New(slog.NewTextHandler(log, nil)), reg)
	if err != nil {
		t.Fatal(err)
	}
	run(t, r)
	within(t, 5*time.Second, "a master", func() bool { return masterAddr(r.Data.Shards()[0]) != "" })
	return r, log, reg
}

// journal is what was logged.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

// lines counts those that hold all the words.
func (j *journal) lines(words ...string) (n int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for line := range strings.Lines(j.text.String()) {
		all := true
		for _, w := range words {
			all = all && strings.Contains(line, w)
		}
		if all {
			n++
		}
	}
	return n
}

// busy makes the server run a script for two seconds, and returns when it
// answers BUSY.
func busy(t *testing.T, s *redisproc.Server) {
	t.Helper()
	c := s.Client()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		// Its answer comes after the client has given up waiting.
		_ = c.Eval(context.Background(), `
			local function now() local t = redis.call('TIME'); return t[1] * 1000 + t[2] / 1000 end
			local till = now() + 2000
			while now() < till do end`, nil).Err()
	}()
	t.Cleanup(func() { <-ended; c.Close() })
	within(t, 2*time.Second, "BUSY", func() bool { return redis.HasErrorPrefix(c.Ping(context.Background()).Err(), "BUSY") })
}

// A replica that is busy is passed over; a shard that is busy is unavailable.
func TestBusy(t *testing.T) {
	t.Parallel()
	top := redistest.Topology(t, redisproc.TopologyOptions{
		Masters: []redisproc.MasterSpec{{Name: "m", Replicas: 2, Config: []string{"busy-reply-threshold 1"}}},
	})
	r, log, reg := open(t, redistest.TopologyConfig(t, top))
	s := r.Data.Shards()[0]
	within(t, 3*time.Second, "two replicas", func() bool { return healthy(s) == 3 })
	time.Sleep(2500 * time.Millisecond) // so long a replica that was found is not read from
	replica := top.Groups[0].Replicas[0]
	read := func() {
		t.Helper()
		for range 100 {
			if err := s.Read(t.Context(), get); err != nil {
				t.Fatalf("read: %v", err)
			}
		}
	}
	read() // it opens connections, and what a server refuses to open is not refused to GET
	busy(t, replica)
	read()
	if n := gather(t, reg)["homing_redis_refusals_total{elsewhere,"+replica.Addr()+",m}"]; n == 0 {
		t.Error("no read met the busy replica")
	}
	if n := log.lines("redis refuses", "node="+replica.Addr(), "command=get", "BUSY"); n != 1 {
		t.Errorf("%d lines say that it refuses GET, want 1", n)
	}
	if all := r.Troubles(); len(all) > 0 {
		t.Errorf("troubles %+v, though another server served", all)
	}
	master := top.Groups[0].Master
	busy(t, master)
	if err := s.Write(t.Context(), set("k", "v")); !errors.Is(err, redisx.ErrUnavailable) || !strings.Contains(err.Error(), "BUSY") {
		t.Errorf("write: %v, want BUSY as unavailable", err)
	}
}

// A full server is told from one that is away, and says which command on which
// server it refused; reads go on.
func TestFull(t *testing.T) {
	t.Parallel()
	p := redistest.Process(t, redisproc.ServerOptions{})
	r, log, reg := open(t, redistest.Config(t, "redis://"+p.Addr()))
	s := r.Data.Shards()[0]
	c := p.Client()
	defer c.Close()
	if err := c.ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if err := s.Write(t.Context(), set("k", "v")); !errors.Is(err, redisx.ErrFull) || !errors.Is(err, redisx.ErrUnavailable) {
			t.Fatalf("write: %v, want ErrFull", err)
		}
	}
	_, err := s.WriteCopied(t.Context(), time.Second, func(p redis.Pipeliner) { p.Set(t.Context(), "k", "v", 0) })
	if !errors.Is(err, redisx.ErrFull) {
		t.Errorf("write with copies: %v, want ErrFull", err)
	}
	if err := s.Read(t.Context(), get); err != nil {
		t.Errorf("read: %v", err)
	}
	all := r.Troubles()
	if len(all) != 1 || all[0].Command != "set" || all[0].Node != p.Addr() || all[0].Shard != s.Name() || all[0].Class != "full" || !strings.HasPrefix(all[0].Reply, "OOM ") {
		t.Errorf("troubles %+v", all)
	}
	if n := gather(t, reg)[fmt.Sprintf("homing_redis_refusals_total{full,%s,%s}", p.Addr(), s.Name())]; n != 6 {
		t.Errorf("%v refusals counted, want 6", n)
	}
	if n := log.lines("level=WARN", "redis refuses", "command=set", "err="); n != 1 {
		t.Errorf("%d lines, want 1", n)
	}
}

// A user that may not do what it must is named as the cause, with the command.
func TestNoPermission(t *testing.T) {
	t.Parallel()
	p := redistest.Process(t, redisproc.ServerOptions{})
	c := p.Client()
	defer c.Close()
	allow := func(rules ...any) {
		t.Helper()
		if err := c.Do(t.Context(), append([]any{"ACL", "SETUSER", "u", "on", ">pw", "~*", "&*", "+@all"}, rules...)...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	allow("-set")
	r, _, _ := open(t, redistest.Config(t, "redis://u:pw@"+p.Addr()))
	s := r.Data.Shards()[0]
	if err := s.Write(t.Context(), set("k", "v")); !errors.Is(err, redisx.ErrMisconfigured) || !errors.Is(err, redisx.ErrUnavailable) {
		t.Errorf("write: %v, want ErrMisconfigured", err)
	}
	if all := r.Troubles(); len(all) != 1 || all[0].Command != "set" || all[0].Class != "misconfigured" {
		t.Errorf("troubles %+v", all)
	}
	allow("-info")
	within(t, 4*time.Second, "the node's reason names INFO", func() bool {
		n := s.Nodes()[0]
		return !n.Healthy && strings.Contains(n.Reason, "INFO: NOPERM")
	})
	if err := s.Write(t.Context(), set("k", "v")); err == nil || !strings.Contains(err.Error(), "INFO: NOPERM") {
		t.Errorf("write: %v, want it to say why there is no master", err)
	}
	allow("-role", "+info", "+set")
	within(t, 4*time.Second, "a master without ROLE", func() bool { return s.Nodes()[0].Healthy })
	if err := s.Write(t.Context(), set("k", "v")); err != nil {
		t.Errorf("write without ROLE: %v", err)
	}
}

// A replica that refuses to be asked is not healthy and says why.
func TestReplicaNoPermission(t *testing.T) {
	t.Parallel()
	top := redistest.Topology(t, redisproc.TopologyOptions{
		Masters: []redisproc.MasterSpec{{Name: "m", Replicas: 1}}, User: "homing", Password: "pw",
	})
	r, _, _ := open(t, redistest.TopologyConfig(t, top))
	s := r.Data.Shards()[0]
	within(t, 3*time.Second, "a replica", func() bool { return healthy(s) == 2 })
	replica := top.Groups[0].Replicas[0]
	c := replica.Client()
	defer c.Close()
	if err := c.Do(t.Context(), "ACL", "SETUSER", "homing", "-info").Err(); err != nil {
		t.Fatal(err)
	}
	within(t, 4*time.Second, "the replica's reason names INFO", func() bool {
		for _, n := range s.Nodes() {
			if n.Addr == replica.Addr() {
				return !n.Healthy && strings.Contains(n.Reason, "INFO: NOPERM")
			}
		}
		return false
	})
	for range 20 {
		if err := s.Read(t.Context(), get); err != nil {
			t.Fatalf("read: %v", err)
		}
	}
}

// An evicting policy is said once for each server of data, and not for those
// that only carry messages.
func TestEvicts(t *testing.T) {
	t.Parallel()
	evicting := []string{"maxmemory 100mb", "maxmemory-policy allkeys-lru"}
	data := redistest.Process(t, redisproc.ServerOptions{Config: evicting})
	pubsub := redistest.Process(t, redisproc.ServerOptions{Config: evicting})
	inbox := redistest.Process(t, redisproc.ServerOptions{Config: []string{"maxmemory 100mb"}})
	cfg := redistest.Config(t, "redis://"+data.Addr())
	cfg.PubSub, cfg.Inbox = []string{"redis://" + pubsub.Addr()}, []string{"redis://" + inbox.Addr()}
	r, log, reg := open(t, cfg)
	if err := r.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	key := func(p *redisproc.Server) string { return fmt.Sprintf("{%s,%s}", p.Addr(), p.Addr()) }
	metrics := gather(t, reg)
	if metrics["homing_redis_evicts"+key(data)] != 1 {
		t.Error("no metric says that the data server evicts")
	}
	if v, ok := metrics["homing_redis_evicts"+key(inbox)]; !ok || v != 0 {
		t.Errorf("the inbox server does not evict: %v, %v", v, ok)
	}
	if _, ok := metrics["homing_redis_evicts"+key(pubsub)]; ok {
		t.Error("the pub/sub server keeps nothing and has the metric")
	}
	if v := metrics["homing_redis_memory_used_ratio"+key(data)]; v <= 0 || v > 0.5 {
		t.Errorf("%v of the memory used", v)
	}
	if n := log.lines("level=WARN", "evicts"); n != 1 || log.lines("evicts", "node="+data.Addr(), "allkeys-lru") != 1 {
		t.Errorf("%d lines about eviction, want one about %s", n, data.Addr())
	}
}

// A replica that lags is left by reads, subscriptions and writes that wait for
// it, and comes back; when all lag, the master serves.
func TestLaggingReplica(t *testing.T) {
	t.Parallel()
	top := redistest.Topology(t, redisproc.TopologyOptions{
		Masters: []redisproc.MasterSpec{{Name: "m", Replicas: 2}}, Proxied: true,
	})
	r, _, _ := open(t, redistest.TopologyConfig(t, top))
	s := r.Data.Shards()[0]
	within(t, 3*time.Second, "two replicas", func() bool { return healthy(s) == 3 })
	e := listen(t, r, "c")
	late := e.Nodes()[0]
	stop := publish(t, s, "c")
	defer stop()
	proxy := server(top, masterAddr(s)).Proxy()
	const delay = 4 * time.Second
	proxy.SetDelay(delay, late)
	took := within(t, 8*time.Second, "the replica that lags is not healthy", func() bool { return reason(s, late) != "" })
	t.Logf("left after %s", took)
	if why := reason(s, late); !strings.Contains(why, "lags behind by") {
		t.Fatalf("%s is not healthy because %q", late, why)
	}
	within(t, 2*time.Second, "the subscription leaves it", func() bool { return e.Nodes()[0] != late })
	// Until others know as well, who may still read there, a write waits for it.
	within(t, 4*time.Second, "a write need not wait for it", func() bool {
		_, err := s.WriteCopied(t.Context(), 200*time.Millisecond, func(p redis.Pipeliner) { p.Set(t.Context(), "k", "v", 0) })
		return err == nil
	})
	for range 50 {
		err := s.Read(t.Context(), func(ctx context.Context, c *redis.Client) error {
			if c.Options().Addr == late {
				t.Error("read from the replica that lags")
			}
			return c.Get(ctx, "k").Err()
		})
		if err != nil {
			t.Fatalf("read: %v", err)
		}
	}
	proxy.SetDelay(delay)
	within(t, 8*time.Second, "no replica is healthy", func() bool { return healthy(s) == 1 })
	err := s.Read(t.Context(), func(_ context.Context, c *redis.Client) error {
		if c.Options().Addr != masterAddr(s) {
			t.Errorf("read from %s, want the master first", c.Options().Addr)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	proxy.SetDelay(0)
	within(t, 5*time.Second, "the replicas are healthy again", func() bool { return healthy(s) == 3 })
}

// reason is why the node is not healthy, "" when it is.
func reason(s *redisx.Shard, addr string) string {
	for _, n := range s.Nodes() {
		if n.Addr == addr {
			return n.Reason
		}
	}
	return "not there"
}
