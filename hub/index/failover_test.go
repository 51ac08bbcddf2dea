package index

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/lease"
	"github.com/homing/homing/redisx/redisproc"
)

// short leases lapse on the replicas before Sentinel has promoted one.
var short = timing{
	lease: lease.Timing{Period: 1500 * time.Millisecond, Refresh: 200 * time.Millisecond, Patience: 400 * time.Millisecond},
	renew: 500 * time.Millisecond,
	sweep: 500 * time.Millisecond,
	audit: time.Hour,
	pass:  time.Hour,
	doubt: 500 * time.Millisecond,
}

// sentinelRetry is when Sentinels whose first vote failed, as it can on a busy
// machine, have tried again: after twice their failover timeout of 10 s.
const sentinelRetry = 45 * time.Second

// TestDataFailover takes the data master away under load and looks up all the
// while: nobody is offline at any time, although no lease could be renewed,
// and who came and went meanwhile is there or not as it should be.
func TestDataFailover(t *testing.T) {
	t.Run("killed", func(t *testing.T) {
		testDataFailover(t, func(master *redisproc.Server) { master.Crash() }, func(*redisproc.Server) {})
	})
	t.Run("hung, and back as a master of old", func(t *testing.T) {
		check := func(err error) {
			if err != nil {
				t.Error(err)
			}
		}
		testDataFailover(t,
			func(master *redisproc.Server) { check(master.Stop()) },
			func(master *redisproc.Server) { check(master.Cont()) })
	})
}

func testDataFailover(t *testing.T, down, up func(master *redisproc.Server)) {
	t.Helper()
	top, cfg := replicated(t)
	w := newWorld(t, cfg)
	ix := w.index(short)
	long := short
	long.lease.Period, long.renew = 10*time.Second, 3*time.Second
	a, b := w.process(short), w.process(short)
	idle := w.process(long) // its lease survives and it writes nothing: only the epoch tells it
	late := &latecomer{world: w, id: hub.NewProcessID(), user: "slow"}
	late.renew(t)
	early := w.run(late.keepRenewing)
	constant := []hub.UserID{late.user}
	for i := range 1000 {
		u := hub.UserID(fmt.Sprint("user", i))
		constant = append(constant, u)
		[]process{a, b}[i%2].Set(u, one("chess"), nil)
	}
	eventually(t, 10*time.Second, "all are written", func() bool { return pendingOf(a)+pendingOf(b) == 0 })
	eventually(t, 20*time.Second, "a missing lease would be a death", ix.census.Steady)
	epoch := w.r.Data.Shards()[0].Epoch()

	watch := w.run(watcher(t, ix, constant))
	traffic := w.run(func(ctx context.Context) error { return comeAndGo(ctx, a) })
	time.Sleep(200 * time.Millisecond)
	idle.set(t, "lost", one("chess")...)
	idle.set(t, "left", one("chess")...)
	idle.set(t, "left")
	lastWrites(t, top.Groups[0].Replicas, w.keys, idle.id)
	early() // from here on the latecomer knows no master
	killed := time.Now()
	down(top.Groups[0].Master)
	eventually(t, sentinelRetry, "there is another master", func() bool {
		sh := w.r.Data.Shards()[0]
		return sh.Epoch() != epoch && sh.Stable() > 0
	})
	took := time.Since(killed)
	eventually(t, sentinelRetry, "writes pass again", func() bool { return a.Ready() && pendingOf(a) < 100 })
	t.Logf("another master after %v, writing again after %v", took.Round(time.Millisecond), time.Since(killed).Round(time.Millisecond))
	time.Sleep(short.lease.Period / 2) // long enough to be looked up without a lease
	late.renew(t)
	w.run(late.keepRenewing)
	up(top.Groups[0].Master)
	time.Sleep(2 * short.lease.Period) // till a missing lease is a death again
	traffic()
	eventually(t, sentinelRetry, "all is written", func() bool { return pendingOf(a)+pendingOf(b) == 0 })
	watch()

	want := wantedOf(a, b, idle)
	want[late.user] = late.value()
	var diff string
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		got, _ := w.dump()
		if diff = cmp.Diff(want, got); diff == "" {
			break
		}
	}
	if diff != "" {
		t.Errorf("5 s later Redis does not say what the processes hold: %s", diff)
	}
	if ps := ix.census.Processes(""); len(ps) != 4 {
		t.Errorf("%d live processes, want 4", len(ps))
	}
}

// lastWrites makes replicas that are about to be promoted look as if the last
// writes had not reached them: "lost" is not there yet, "left" still is.
func lastWrites(t *testing.T, replicas []*redisproc.Server, keys hub.Keys, pid hub.ProcessID) {
	t.Helper()
	time.Sleep(100 * time.Millisecond) // they have reached them by now
	for _, replica := range replicas {
		c := replica.Client()
		_, err := c.Pipelined(t.Context(), func(pipe redis.Pipeliner) error {
			pipe.ConfigSet(t.Context(), "replica-read-only", "no")
			pipe.Del(t.Context(), keys.User("lost"))
			pipe.Set(t.Context(), keys.User("left"), string(pid)+"=chess*1", 0)
			pipe.ConfigSet(t.Context(), "replica-read-only", "yes")
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

// latecomer is a process that finds the new master later than everyone else,
// as one may whose Sentinel events got lost. Its lease is the test's to renew.
type latecomer struct {
	*world
	id   hub.ProcessID
	user hub.UserID
}

func (l *latecomer) value() string { return string(l.id) + "=*1" }

func (l *latecomer) write(ctx context.Context) error {
	c, err := l.r.Data.Shards()[0].Master()
	if err != nil {
		return err
	}
	_, err = c.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		pipe.Set(ctx, l.keys.Lease(l.id), "{}", short.lease.Period)
		pipe.ZAdd(ctx, l.keys.Processes(), redis.Z{Score: float64(time.Now().Unix()), Member: string(l.id)})
		pipe.Set(ctx, l.keys.User(l.user), l.value(), 0)
		return nil
	})
	return err
}

// renew writes until it succeeds: a master just promoted refuses writes until
// its replicas are back.
func (l *latecomer) renew(t *testing.T) {
	t.Helper()
	eventually(t, sentinelRetry, "the latecomer has renewed", func() bool { return l.write(t.Context()) == nil })
}

func (l *latecomer) keepRenewing(ctx context.Context) error {
	for ctx.Err() == nil {
		_ = l.write(ctx) // a new master may refuse for a while
		time.Sleep(short.renew / 5)
	}
	return nil
}

// watcher looks constant up without a pause and fails the test when one of
// them is offline. A lookup may fail.
func watcher(t *testing.T, ix *Index, constant []hub.UserID) func(context.Context) error {
	return func(ctx context.Context) error {
		lookups, failed := 0, 0
		for ctx.Err() == nil {
			p, err := ix.Locate(ctx, constant, nil)
			switch {
			case ctx.Err() != nil:
			case err != nil:
				failed++
			case p.Offline > 0:
				t.Errorf("lookup %d: %d of %d offline", lookups, p.Offline, len(constant))
				return nil
			}
			lookups++
			time.Sleep(2 * time.Millisecond)
		}
		t.Logf("%d lookups, %d failed", lookups, failed)
		return nil
	}
}

// comeAndGo connects a new user every millisecond and disconnects every other
// of them a little later.
func comeAndGo(ctx context.Context, p process) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		p.Set(hub.UserID(fmt.Sprint("new", i)), one("go"), nil)
		if i >= 100 && i%2 == 0 {
			p.Set(hub.UserID(fmt.Sprint("new", i-100)), nil, nil)
		}
	}
}

// wantedOf is what the ledgers of processes that share no user say.
func wantedOf(processes ...process) map[hub.UserID]string {
	want := make(map[hub.UserID]string)
	for _, p := range processes {
		for _, l := range p.writers {
			l.ledger.mu.Lock()
			for u, h := range l.ledger.held {
				want[u] = string(p.id) + "=" + l.ledger.texts.get(h.text)
			}
			l.ledger.mu.Unlock()
		}
	}
	return want
}
