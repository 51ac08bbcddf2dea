package redisproc_test

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/redisx/redisproc"
)

// proxied starts a master with two replicas and a Sentinel, all behind proxies.
func proxied(t *testing.T) *redisproc.Topology {
	t.Helper()
	top, err := redisproc.StartTopology(short(t), redisproc.TopologyOptions{
		Masters: []redisproc.MasterSpec{{Name: "m", Replicas: 2}}, Sentinels: 1, Proxied: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(top.Close)
	return top
}

func client(t *testing.T, addr string) *redis.Client {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: addr, Protocol: 2, MaxRetries: -1, ReadTimeout: 300 * time.Millisecond, ContextTimeoutEnabled: true})
	t.Cleanup(func() { c.Close() })
	return c
}

// arrives sets a key through the master's proxy and returns how long the
// server s takes to have it.
func arrives(t *testing.T, top *redisproc.Topology, s *redisproc.Server, value string) time.Duration {
	t.Helper()
	start := time.Now()
	if err := client(t, top.Groups[0].Master.Addr()).Set(t.Context(), "k", value, 0).Err(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took > 250*time.Millisecond {
		t.Errorf("a write took %s: clients are not to be delayed", took)
	}
	c := client(t, s.Addr())
	for c.Get(t.Context(), "k").Val() != value {
		if time.Since(start) > 10*time.Second {
			t.Fatalf("%s never got the write", s.Name())
		}
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(start)
}

// Only the stream of the replicas that were named is late, by what was set.
func TestProxyDelay(t *testing.T) {
	t.Parallel()
	top := proxied(t)
	late, other := top.Groups[0].Replicas[0], top.Groups[0].Replicas[1]
	proxy := top.Groups[0].Master.Proxy()
	// A replica fresh from its first synchronization takes up to a second more.
	arrives(t, top, late, "first")
	arrives(t, top, other, "second")
	const delay = 700 * time.Millisecond
	proxy.SetDelay(delay, late.Addr())
	if took := arrives(t, top, other, "1"); took > delay/2 {
		t.Errorf("the replica beside it took %s", took)
	}
	if took := arrives(t, top, late, "2"); took < delay || took > 2*delay {
		t.Errorf("the late replica took %s, want %s", took, delay)
	}
	proxy.SetDelay(delay)
	if took := arrives(t, top, other, "3"); took < delay {
		t.Errorf("with all replicas late it took %s, want %s", took, delay)
	}
	proxy.SetDelay(0)
	if took := arrives(t, top, late, "4"); took > delay/2 {
		t.Errorf("without delay it took %s", took)
	}
}

// What is cut keeps its connections, and what was sent arrives when it is mended.
func TestProxyCut(t *testing.T) {
	t.Parallel()
	top := proxied(t)
	master, replica := top.Groups[0].Master, top.Groups[0].Replicas[0]
	through, past := client(t, master.Addr()), master.Client()
	t.Cleanup(func() { past.Close() })
	held := through.Conn()
	defer held.Close()
	if err := held.Ping(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	master.Proxy().Cut()
	answer := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		answer <- held.BLPop(ctx, 4*time.Second, "list").Err()
	}()
	if err := through.Ping(t.Context()).Err(); err == nil {
		t.Error("a new connection is answered through a cut")
	}
	if err := past.Set(t.Context(), "k", "cut", 0).Err(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond)
	if v := client(t, replica.Addr()).Get(t.Context(), "k").Val(); v != "" {
		t.Errorf("the replica has %q through a cut", v)
	}
	if err := past.RPush(t.Context(), "list", "x").Err(); err != nil {
		t.Fatal(err)
	}
	master.Proxy().Mend()
	if err := <-answer; err != nil {
		t.Errorf("a connection did not survive the cut: %v", err)
	}
	arrives(t, top, replica, "mended")
	master.Proxy().Reset()
	if err := held.Ping(t.Context()).Err(); err == nil {
		t.Error("a connection survived a reset")
	}
	if err := top.WaitReplicas(short(t)); err != nil {
		t.Fatal(err)
	}
}

// Sentinels fail over between proxied servers, and the new master's replicas
// follow it through its proxy.
func TestProxyFailover(t *testing.T) {
	t.Parallel()
	top := proxied(t)
	old := top.Groups[0].Master
	sentinel := top.Sentinels[0].Client()
	defer sentinel.Close()
	start := time.Now()
	if err := sentinel.Do(t.Context(), "SENTINEL", "FAILOVER", "m").Err(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(15 * time.Second)
	for {
		now, err := top.Current(t.Context(), "m")
		if err == nil && now != old {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no new master: %v", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Logf("another master after %s", time.Since(start))
	if err := top.WaitReplicas(short(t)); err != nil {
		t.Fatal(err)
	}
	t.Logf("replicas follow it after %s", time.Since(start))
}
