package redisx_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
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

// one is a topology of a single master: what most faults need.
func one(t *testing.T, replicas int) (*redisproc.Topology, *redisx.Redis) {
	t.Helper()
	top := redistest.Topology(t, redisproc.TopologyOptions{
		Masters: []redisproc.MasterSpec{{Name: "m", Replicas: replicas}},
	})
	return top, redistest.Open(t, redistest.TopologyConfig(t, top))
}

// ear is a subscriber that remembers what it heard.
type ear struct {
	*redisx.Subscriber
	reg   *prometheus.Registry
	mu    sync.Mutex
	heard map[string]int
}

func listen(t *testing.T, r *redisx.Redis, channel string) *ear {
	t.Helper()
	e := &ear{reg: prometheus.NewRegistry(), heard: map[string]int{}}
	e.Subscriber = redisx.NewSubscriber(r.PubSub, []string{channel}, func(_ int, _ string, payload []byte) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.heard[string(payload)]++
	}, logger(t), e.reg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	ready, cancelReady := context.WithTimeout(ctx, 5*time.Second)
	defer cancelReady()
	if err := e.WaitReady(ready); err != nil {
		t.Fatal(err)
	}
	return e
}

func (e *ear) got(payload string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.heard[payload] > 0
}

// reaches publishes through the shard until the ear hears one, and returns how
// long that took.
func (e *ear) reaches(t *testing.T, s *redisx.Shard, channel string, limit time.Duration) time.Duration {
	t.Helper()
	i := 0
	return within(t, limit, "a message arrives", func() bool {
		i++
		payload := fmt.Sprintf("%s-%d", t.Name(), i)
		err := s.Write(t.Context(), func(ctx context.Context, c *redis.Client) error {
			return c.Publish(ctx, channel, payload).Err()
		})
		if err != nil {
			return false
		}
		time.Sleep(20 * time.Millisecond)
		return e.got(payload)
	})
}

func server(top *redisproc.Topology, addr string) *redisproc.Server {
	for _, s := range top.Groups[0].Servers() {
		if s.Addr() == addr {
			return s
		}
	}
	return nil
}

func masterAddr(s *redisx.Shard) string {
	c, err := s.Master()
	if err != nil {
		return ""
	}
	return c.Options().Addr
}

func TestMasterKilled(t *testing.T) {
	t.Parallel()
	top, r := one(t, 2)
	s := r.PubSub.Shards()[0]
	e := listen(t, r, "c")
	e.reaches(t, s, "c", time.Second)
	epoch, old := s.Epoch(), masterAddr(s)
	server(top, old).Crash()
	reads := 0
	took := within(t, 8*time.Second, "another master", func() bool {
		if err := s.Read(t.Context(), func(ctx context.Context, c *redis.Client) error { return c.DBSize(ctx).Err() }); err != nil {
			t.Errorf("read %d without a master: %v", reads, err)
		}
		reads++
		a := masterAddr(s)
		return a != "" && a != old
	})
	t.Logf("%d reads meanwhile", reads)
	again := e.reaches(t, s, "c", 5*time.Second)
	t.Logf("another master after %s, a message %s later", took, again)
	if s.Epoch() <= epoch {
		t.Errorf("epoch %d, was %d", s.Epoch(), epoch)
	}
	if s.Stable() > took+again {
		t.Errorf("stable for %s, longer than since the failover", s.Stable())
	}
}

// The Sentinel that leads may die with the master, and its announcement with it.
func TestMasterAndSentinelKilled(t *testing.T) {
	t.Parallel()
	top, r := one(t, 2)
	s := r.PubSub.Shards()[0]
	old := masterAddr(s)
	top.Sentinels[0].Crash()
	server(top, old).Crash()
	took := within(t, 10*time.Second, "another master", func() bool {
		a := masterAddr(s)
		return a != "" && a != old
	})
	t.Logf("another master after %s", took)
}

// A configuration that names one Sentinel finds the others, and survives its loss.
func TestSentinelsAreDiscovered(t *testing.T) {
	t.Parallel()
	top := redistest.Topology(t, redisproc.TopologyOptions{Masters: []redisproc.MasterSpec{{Name: "m", Replicas: 2}}})
	r := redistest.Open(t, redistest.Config(t, "sentinel://"+top.Sentinels[0].Addr()+"/m"))
	s := r.Data.Shards()[0]
	time.Sleep(100 * time.Millisecond)
	top.Sentinels[0].Crash()
	old := masterAddr(s)
	server(top, old).Crash()
	within(t, 10*time.Second, "another master", func() bool {
		a := masterAddr(s)
		return a != "" && a != old
	})
}

func TestHungReplicaIsLeft(t *testing.T) {
	t.Parallel()
	top, r := one(t, 2)
	s := r.PubSub.Shards()[0]
	e := listen(t, r, "c")
	at := e.Nodes()[0]
	if at == masterAddr(s) {
		t.Fatalf("subscribed at the master with two replicas up")
	}
	hung := server(top, at)
	if err := hung.Stop(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hung.Cont() })
	took := e.reaches(t, s, "c", 2*time.Second)
	if e.Nodes()[0] == at {
		t.Error("still at the hung replica")
	}
	t.Logf("left after %s", took)
	if took > 1500*time.Millisecond {
		t.Errorf("left after %s, want 1.5 s", took)
	}
	metrics := gather(t, e.reg)
	if metrics["homing_redis_subscription_moves_total{silent,m}"] != 1 || metrics["homing_redis_subscription_up{m}"] != 1 {
		t.Errorf("metrics %v, want one silent move and a subscription", metrics)
	}
	// Reads go round it too.
	for range 10 {
		err := s.Read(t.Context(), func(ctx context.Context, c *redis.Client) error { return c.Ping(ctx).Err() })
		if err != nil {
			t.Errorf("read: %v", err)
		}
	}
}

// A replica that follows nobody, or somebody else, answers every ping and
// delivers nothing.
func TestDetachedReplicaIsLeft(t *testing.T) {
	t.Parallel()
	for _, to := range [][2]string{{"NO", "ONE"}, {"127.0.0.1", "1"}} {
		t.Run(to[0], func(t *testing.T) {
			t.Parallel()
			top, r := one(t, 2)
			s := r.PubSub.Shards()[0]
			e := listen(t, r, "c")
			at := e.Nodes()[0]
			c := server(top, at).Client()
			defer c.Close()
			if err := c.ReplicaOf(t.Context(), to[0], to[1]).Err(); err != nil {
				t.Fatal(err)
			}
			took := e.reaches(t, s, "c", 3*time.Second)
			t.Logf("left after %s", took)
		})
	}
}

// Without a replica the master serves the subscription. When the replica is
// back the subscription returns to it, and loses nothing on the way.
func TestNoReplicaThenBack(t *testing.T) {
	t.Parallel()
	top, r := one(t, 1)
	e := listen(t, r, "c")
	master, replica := top.Groups[0].Master, top.Groups[0].Replicas[0]
	if at := e.Nodes()[0]; at != replica.Addr() {
		t.Fatalf("subscribed at %s, want the replica", at)
	}
	replica.Crash()
	within(t, 3*time.Second, "the subscription goes to the master", func() bool {
		return e.Nodes()[0] == master.Addr()
	})
	s := r.PubSub.Shards()[0]
	if err := s.Write(t.Context(), set("k", "v")); !errors.Is(err, redisx.ErrUnavailable) || !strings.Contains(err.Error(), "NOREPLICAS") {
		t.Errorf("write without a replica: %v, want NOREPLICAS as unavailable", err)
	}
	stop := publish(t, s, "c")
	if err := replica.Restart(t.Context(), master.Addr()); err != nil {
		t.Fatal(err)
	}
	within(t, 8*time.Second, "the subscription goes back to the replica", func() bool {
		return e.Nodes()[0] == replica.Addr()
	})
	time.Sleep(100 * time.Millisecond)
	sent := stop()
	within(t, time.Second, "the last message arrives", func() bool { return e.got(strconv.Itoa(sent - 1)) })
	for i := range sent {
		if !e.got(strconv.Itoa(i)) {
			t.Fatalf("message %d of %d is lost", i, sent)
		}
	}
	t.Logf("%d messages, none lost", sent)
}

// publish sends the numbers from 0 up, about one each millisecond, until the
// returned function is called, which returns how many.
func publish(t *testing.T, s *redisx.Shard, channel string) (stop func() int) {
	t.Helper()
	done, sent := make(chan struct{}), 0
	var publisher sync.WaitGroup
	publisher.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
			}
			err := s.Write(context.Background(), func(ctx context.Context, c *redis.Client) error {
				return c.Publish(ctx, channel, strconv.Itoa(sent)).Err()
			})
			if err != nil {
				t.Errorf("publish: %v", err)
			}
			sent++
		}
	})
	return func() int {
		close(done)
		publisher.Wait()
		return sent
	}
}

func TestServersDownAtStart(t *testing.T) {
	t.Parallel()
	port, err := redisproc.FreePort(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	cfg := redistest.Config(t, fmt.Sprintf("redis://127.0.0.1:%d", port))
	r, err := redisx.New(cfg, logger(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	run(t, r)
	soon, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := r.WaitReady(soon); err == nil {
		t.Fatal("ready without a server")
	} else {
		t.Log(err)
	}
	redistest.Process(t, redisproc.ServerOptions{Port: port})
	within(t, 3*time.Second, "ready", func() bool { return masterAddr(r.Data.Shards()[0]) != "" })
}

func TestNodesAndMetrics(t *testing.T) {
	t.Parallel()
	top := redistest.Topology(t, redisproc.TopologyOptions{Masters: []redisproc.MasterSpec{{Name: "m", Replicas: 2}}})
	reg := prometheus.NewPedanticRegistry()
	r, err := redisx.New(redistest.TopologyConfig(t, top), logger(t), reg)
	if err != nil {
		t.Fatal(err)
	}
	run(t, r)
	s := r.Data.Shards()[0]
	within(t, 3*time.Second, "a master and two healthy replicas", func() bool { return healthy(s) == 3 })
	metrics := gather(t, reg)
	for _, n := range s.Nodes() {
		key := fmt.Sprintf("homing_redis_node_healthy{%s,%s,m}", n.Addr, n.Role)
		if metrics[key] != 1 {
			t.Errorf("%s is %v, want 1", key, metrics[key])
		}
	}
	replica := top.Groups[0].Replicas[0]
	if err := replica.Stop(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = replica.Cont() })
	within(t, 4*time.Second, "the hung replica is not healthy", func() bool { return healthy(s) == 2 })
	if v := gather(t, reg)[fmt.Sprintf("homing_redis_node_healthy{%s,replica,m}", replica.Addr())]; v != 0 {
		t.Errorf("a hung replica is reported healthy")
	}
}

func healthy(s *redisx.Shard) (n int) {
	for _, node := range s.Nodes() {
		if node.Healthy {
			n++
		}
	}
	return n
}

// gather returns every sample as name{label values in the order of their names}.
func gather(t *testing.T, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var values []string
			for _, l := range m.GetLabel() {
				values = append(values, l.GetValue())
			}
			all[f.GetName()+"{"+strings.Join(values, ",")+"}"] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return all
}

// The old master that comes back, still a master and empty, is not believed.
func TestOldMasterReturns(t *testing.T) {
	t.Parallel()
	top, r := one(t, 2)
	s := r.Data.Shards()[0]
	old := masterAddr(s)
	server(top, old).Crash()
	within(t, 8*time.Second, "another master", func() bool { a := masterAddr(s); return a != "" && a != old })
	epoch := s.Epoch()
	if err := server(top, old).Restart(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if a := masterAddr(s); a == old {
			t.Fatal("the old master is the master again")
		}
		time.Sleep(20 * time.Millisecond)
	}
	for _, n := range s.Nodes() {
		if n.Addr == old && n.Healthy {
			t.Error("the old master counts as a healthy replica while it answers as a master")
		}
	}
	if s.Epoch() != epoch {
		t.Errorf("epoch %d, was %d", s.Epoch(), epoch)
	}
}

// Redis works on without Sentinels, and so do we.
func TestSentinelsGone(t *testing.T) {
	t.Parallel()
	top, r := one(t, 1)
	e := listen(t, r, "c")
	for _, s := range top.Sentinels {
		s.Crash()
	}
	for range 40 {
		if err := r.Data.Shards()[0].Write(t.Context(), set("k", "v")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	e.reaches(t, r.PubSub.Shards()[0], "c", time.Second)
	if !e.Ready() {
		t.Error("the subscriber is not ready")
	}
}

// The data of a hung master cannot be written, and is not waited for long.
func TestHungMaster(t *testing.T) {
	t.Parallel()
	top, r := one(t, 2)
	s := r.Data.Shards()[0]
	old := masterAddr(s)
	hung := server(top, old)
	if err := hung.Stop(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hung.Cont() })
	start := time.Now()
	if err := s.Write(t.Context(), set("k", "v")); !errors.Is(err, redisx.ErrUnavailable) {
		t.Errorf("write: %v, want ErrUnavailable", err)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("a write to a hung master took %s", took)
	}
	took := within(t, 8*time.Second, "a write succeeds", func() bool { return s.Write(t.Context(), set("k", "v")) == nil })
	t.Logf("written after %s", took)
	if masterAddr(s) == old {
		t.Error("written to the hung master")
	}
}
