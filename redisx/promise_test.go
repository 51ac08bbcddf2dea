package redisx_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/redisx"
	"github.com/homing/homing/redisx/redisproc"
	"github.com/homing/homing/redisx/redistest"
)

// writer stores numbered keys through WriteCopied, one after the other, and
// remembers those that were acknowledged, until stop.
type writer struct {
	stopped      chan struct{}
	done         sync.WaitGroup
	acknowledged []string
	count        atomic.Int64 // of acknowledged, while it runs
	refused      int
	gap          time.Duration // the longest between two acknowledgements
}

func write(t *testing.T, s *redisx.Shard, name string) *writer {
	t.Helper()
	w := &writer{stopped: make(chan struct{})}
	w.done.Go(func() {
		last := time.Now()
		for i := 0; ; i++ {
			select {
			case <-w.stopped:
				return
			case <-time.After(time.Millisecond):
			}
			key := fmt.Sprintf("%s-%d", name, i)
			_, err := s.WriteCopied(context.Background(), 300*time.Millisecond, func(p redis.Pipeliner) {
				p.Set(context.Background(), key, "v", 0)
			})
			switch {
			case err == nil:
				w.acknowledged = append(w.acknowledged, key)
				w.count.Add(1)
				w.gap = max(w.gap, time.Since(last))
				last = time.Now()
			case !errors.Is(err, redisx.ErrUnavailable):
				t.Errorf("%s: %v, want ErrUnavailable", key, err)
			default:
				w.refused++
			}
		}
	})
	return w
}

func (w *writer) stop() {
	close(w.stopped)
	w.done.Wait()
}

// missing returns how many of the acknowledged keys the master lacks.
func (w *writer) missing(t *testing.T, s *redisx.Shard) (n int) {
	t.Helper()
	c, err := s.Master()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range w.acknowledged {
		held, err := c.Exists(t.Context(), k).Result()
		if err != nil {
			t.Fatal(err)
		}
		n += 1 - int(held)
	}
	return n
}

// failover asks a Sentinel for a planned failover until it agrees, and returns
// when the shard has another master.
func failover(t *testing.T, top *redisproc.Topology, s *redisx.Shard) time.Duration {
	t.Helper()
	c := top.Sentinels[0].Client()
	defer c.Close()
	old := masterAddr(s)
	within(t, 15*time.Second, "the Sentinel begins a failover", func() bool {
		time.Sleep(50 * time.Millisecond)
		return c.Do(t.Context(), "SENTINEL", "FAILOVER", top.Groups[0].Name).Err() == nil
	})
	return within(t, 10*time.Second, "another master", func() bool {
		a := masterAddr(s)
		return a != "" && a != old
	})
}

// Three planned failovers in a row, as soon as the Sentinels let us: what was
// acknowledged is on the last master, and the pause is short.
func TestPlannedFailovers(t *testing.T) {
	t.Parallel()
	top, r := one(t, 2)
	s := r.Data.Shards()[0]
	var writers []*writer
	for i := range 3 {
		writers = append(writers, write(t, s, fmt.Sprint(i)))
	}
	time.Sleep(500 * time.Millisecond)
	ahead := 0 // failovers that we knew of before the Sentinels agreed
	for i := range 3 {
		epoch := s.Epoch()
		took := failover(t, top, s)
		named, err := top.Current(t.Context(), top.Groups[0].Name)
		if err != nil {
			t.Fatal(err)
		}
		if named.Addr() != masterAddr(s) {
			ahead++
		}
		t.Logf("failover %d: %s to another master", i, took)
		if s.Epoch() <= epoch {
			t.Errorf("failover %d: epoch %d, was %d", i, s.Epoch(), epoch)
		}
	}
	if ahead == 0 {
		t.Error("no successor was believed before the Sentinels named it")
	}
	within(t, 10*time.Second, "a write is acknowledged again", func() bool { return s.Write(t.Context(), set("k", "v")) == nil })
	time.Sleep(2 * time.Second)
	for i, w := range writers {
		w.stop()
		if n := w.missing(t, s); n > 0 {
			t.Errorf("writer %d: %d of %d acknowledged writes are gone", i, n, len(w.acknowledged))
		}
		t.Logf("writer %d: %d acknowledged, %d refused, longest pause %s", i, len(w.acknowledged), w.refused, w.gap)
		if w.gap > 3*time.Second {
			t.Errorf("writer %d: nothing was acknowledged for %s", i, w.gap)
		}
	}
}

// lingers makes the test end when go-redis has given up its attempts to dial
// the dead, a second after their clients were closed.
func lingers(t *testing.T) {
	t.Helper()
	t.Cleanup(func() { time.Sleep(1100 * time.Millisecond) })
}

// A planned failover and at once the death of the new master.
func TestPlannedFailoverThenCrash(t *testing.T) {
	t.Parallel()
	lingers(t)
	top, r := one(t, 2)
	s := r.Data.Shards()[0]
	w := write(t, s, "k")
	time.Sleep(300 * time.Millisecond)
	failover(t, top, s)
	before := w.count.Load()
	time.Sleep(1500 * time.Millisecond)
	if w.count.Load() == before {
		t.Error("nothing was acknowledged between the two")
	}
	second := masterAddr(s)
	server(top, second).Crash()
	within(t, 15*time.Second, "another master", func() bool { a := masterAddr(s); return a != "" && a != second })
	within(t, 10*time.Second, "a write is acknowledged again", func() bool { return s.Write(t.Context(), set("k", "v")) == nil })
	w.stop()
	if n := w.missing(t, s); n > 0 {
		t.Errorf("%d of %d acknowledged writes are gone", n, len(w.acknowledged))
	}
	t.Logf("%d acknowledged, %d refused, longest pause %s", len(w.acknowledged), w.refused, w.gap)
}

// A replica that somebody made a master by hand is no successor: the Sentinels
// turn it back. Until they do, nothing is acknowledged.
func TestReplicaMadeMasterByHand(t *testing.T) {
	t.Parallel()
	top, r := one(t, 2)
	s := r.Data.Shards()[0]
	master, replica := masterAddr(s), top.Groups[0].Replicas[0]
	within(t, 3*time.Second, "two replicas", func() bool { return s.Copies() == 2 })
	c := replica.Client()
	defer c.Close()
	if err := c.ReplicaOf(t.Context(), "NO", "ONE").Err(); err != nil {
		t.Fatal(err)
	}
	for start := time.Now(); time.Since(start) < 3*time.Second; time.Sleep(20 * time.Millisecond) {
		_, err := s.WriteCopied(t.Context(), 50*time.Millisecond, func(p redis.Pipeliner) { p.Set(t.Context(), "k", "v", 0) })
		if !errors.Is(err, redisx.ErrNotCopied) {
			t.Fatalf("after %s: %v, want ErrNotCopied", time.Since(start), err)
		}
		if a := masterAddr(s); a != master {
			t.Fatalf("%s is the master, want %s", a, master)
		}
	}
}

// A replica that is gone is not waited for once that was noticed, and counts
// again when it is back; a shard without any acknowledges nothing for a while.
func TestWriteCopied(t *testing.T) {
	t.Parallel()
	top, r := one(t, 2)
	s := r.Data.Shards()[0]
	within(t, 3*time.Second, "two copies", func() bool { return s.Copies() == 2 })
	put := func(limit time.Duration) error {
		_, err := s.WriteCopied(t.Context(), limit, func(p redis.Pipeliner) { p.Set(t.Context(), "k", "v", 0) })
		return err
	}
	if err := put(time.Second); err != nil {
		t.Fatal(err)
	}
	replicas := top.Groups[0].Replicas
	if err := replicas[0].Stop(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = replicas[0].Cont() })
	start := time.Now()
	if err := put(100 * time.Millisecond); !errors.Is(err, redisx.ErrNotCopied) {
		t.Errorf("with a replica that hangs: %v, want ErrNotCopied", err)
	}
	if took := time.Since(start); took > 400*time.Millisecond {
		t.Errorf("it took %s, want about the limit", took)
	}
	took := within(t, 4*time.Second, "the hung replica is not waited for", func() bool { return put(50*time.Millisecond) == nil })
	t.Logf("not waited for after %s", took)
	if err := replicas[0].Cont(); err != nil {
		t.Fatal(err)
	}
	within(t, 4*time.Second, "it counts again", func() bool { return s.Copies() == 2 })
	replicas[0].Crash()
	within(t, 3*time.Second, "one copy", func() bool { return s.Copies() == 1 })
	replicas[1].Crash()
	within(t, 3*time.Second, "no healthy node but the master", func() bool { return healthy(s) == 1 })
	if n := s.Copies(); n != 1 {
		t.Errorf("%d copies just after the last replica has gone, want 1", n)
	}
	if err := put(50 * time.Millisecond); !errors.Is(err, redisx.ErrUnavailable) {
		t.Errorf("without replicas: %v, want ErrUnavailable", err)
	}
	within(t, 13*time.Second, "no copies", func() bool { return s.Copies() == 0 })
}

// Replies of the commands come back as they are, and nothing to do is a barrier.
func TestWriteCopiedReplies(t *testing.T) {
	t.Parallel()
	_, r := one(t, 1)
	s := r.Data.Shards()[0]
	ctx := t.Context()
	cmds, err := s.WriteCopied(ctx, time.Second, func(p redis.Pipeliner) {
		p.Get(ctx, "none")
		p.Set(ctx, "k", "v", 0)
	})
	if err != nil || len(cmds) != 2 || !errors.Is(cmds[0].Err(), redis.Nil) {
		t.Errorf("a missing key: %v, %v", cmds, err)
	}
	_, err = s.WriteCopied(ctx, time.Second, func(p redis.Pipeliner) {
		p.Get(ctx, "none")
		p.EvalSha(ctx, strings.Repeat("0", 40), nil)
	})
	if !redis.HasErrorPrefix(err, "NOSCRIPT") || errors.Is(err, redisx.ErrUnavailable) {
		t.Errorf("an unknown script: %v, want NOSCRIPT alone", err)
	}
	if _, err = s.WriteCopied(ctx, time.Second, func(redis.Pipeliner) {}); err != nil {
		t.Errorf("a barrier: %v", err)
	}
}

// Replicas that are some tens of milliseconds behind slow down those who wait
// for them, and nobody else.
func TestSlowReplicas(t *testing.T) {
	t.Parallel()
	top := redistest.Topology(t, redisproc.TopologyOptions{
		Masters: []redisproc.MasterSpec{{Name: "m", Replicas: 2}}, Proxied: true,
	})
	cfg := redistest.TopologyConfig(t, top)
	cfg.PoolSize, cfg.ReadTimeout = 4, 5*time.Second // on a machine that is busy with other tests
	s := redistest.Open(t, cfg).Data.Shards()[0]
	within(t, 3*time.Second, "two replicas", func() bool { return s.Copies() == 2 })
	const behind = 300 * time.Millisecond
	server(top, masterAddr(s)).Proxy().SetDelay(behind)
	var writers sync.WaitGroup
	var waiting atomic.Int32
	waiting.Store(12) // more than the pool
	for i := range waiting.Load() {
		writers.Go(func() {
			defer waiting.Add(-1)
			start := time.Now()
			_, err := s.WriteCopied(t.Context(), 5*time.Second, func(p redis.Pipeliner) { p.Set(t.Context(), fmt.Sprint(i), "v", 0) })
			if took := time.Since(start); err != nil || took < behind {
				t.Errorf("a write took %s: %v", took, err)
			}
		})
	}
	time.Sleep(behind / 3)
	plain := 0
	for ; waiting.Load() == 12; plain++ {
		if err := s.Write(t.Context(), set("k", "v")); err != nil {
			t.Errorf("a plain write: %v", err)
		}
	}
	if plain < 3 {
		t.Errorf("%d plain writes while others waited for replicas", plain)
	}
	writers.Wait()
}

// What one process wrote and waited for, another one reads at once, while
// replicas are restarted empty, one after the other.
func TestReadsWhatWasCopied(t *testing.T) {
	t.Parallel()
	top, r := one(t, 2)
	writer := r.Data.Shards()[0]
	readers := []*redisx.Shard{
		redistest.Open(t, redistest.TopologyConfig(t, top)).Data.Shards()[0],
		redistest.Open(t, redistest.TopologyConfig(t, top)).Data.Shards()[0],
	}
	within(t, 3*time.Second, "two copies", func() bool { return writer.Copies() == 2 })
	var looks sync.WaitGroup
	done := make(chan struct{})
	written, missed := 0, 0
	looks.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
			}
			key := fmt.Sprint(i)
			if _, err := writer.WriteCopied(t.Context(), 300*time.Millisecond, func(p redis.Pipeliner) { p.Set(t.Context(), key, "v", 0) }); err != nil {
				continue // nothing was promised
			}
			written++
			for _, s := range readers {
				err := s.Read(t.Context(), func(ctx context.Context, c *redis.Client) error { return c.Get(ctx, key).Err() })
				if errors.Is(err, redis.Nil) {
					missed++
				}
			}
		}
	})
	for i := range 4 {
		replica := top.Groups[0].Replicas[i%2]
		replica.Crash()
		time.Sleep(time.Duration(i) * 400 * time.Millisecond) // noticed or not
		if err := replica.Restart(t.Context(), top.Groups[0].Master.Addr()); err != nil {
			t.Fatal(err)
		}
		within(t, 5*time.Second, "two copies again", func() bool { return writer.Copies() == 2 })
		time.Sleep(2500 * time.Millisecond)
	}
	close(done)
	looks.Wait()
	if missed > 0 || written < 1000 {
		t.Errorf("%d of %d writes that were waited for were not found, want none of 1,000 and more", missed, written)
	}
	t.Logf("%d written, each looked for twice", written)
}
