package index

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/lease"
	"github.com/homing/homing/redisx"
	"github.com/homing/homing/redisx/redisproc"
	"github.com/homing/homing/redisx/redistest"
)

// TestRegistrarsAgainstModel lets several processes change what they hold of
// the same users at the same time, in random order and with random services,
// and compares what Redis says in the end with what each set last.
func TestRegistrarsAgainstModel(t *testing.T) {
	const processes, users, sets = 4, 60, 3000
	w := onShards(t, 2)
	want := make([]map[hub.UserID]string, processes)
	ids := make([]hub.ProcessID, processes)
	var called atomic.Int64
	var wg sync.WaitGroup
	for i := range processes {
		p := w.process(quick)
		ids[i], want[i] = p.id, make(map[hub.UserID]string)
		rng := rand.New(rand.NewPCG(uint64(i), 7))
		wg.Go(func() {
			for n := range sets {
				u := hub.UserID(fmt.Sprint("user", rng.IntN(users)))
				services := randomServices(rng)
				want[i][u] = string(appendHolds(nil, services))
				p.Set(u, services, func(err error) {
					if err != nil {
						t.Errorf("set: %v", err)
					}
					called.Add(1)
				})
				if n%100 == 0 {
					time.Sleep(time.Millisecond)
				}
			}
		})
	}
	wg.Wait()
	eventually(t, 10*time.Second, "everything is written", func() bool { return called.Load() == processes*sets })
	got, _ := w.dump()
	for n := range users {
		u := hub.UserID(fmt.Sprint("user", n))
		entriesWanted := 0
		for i := range processes {
			if holds := holdsOf(got[u], ids[i]); holds != want[i][u] {
				t.Errorf("%s at process %d: %q, want %q", u, i, holds, want[i][u])
			}
			if want[i][u] != "" {
				entriesWanted++
			}
		}
		if n := count(got[u]); n != entriesWanted {
			t.Errorf("%s has %d entries, want %d: %q", u, n, entriesWanted, got[u])
		}
		if value, there := got[u]; there && value == "" {
			t.Errorf("%s has an empty value", u)
		}
	}
}

func randomServices(rng *rand.Rand) (out []hub.ServiceCount) {
	for _, name := range []hub.Service{"", "chess", "go"} {
		if rng.IntN(3) == 0 {
			out = append(out, hub.ServiceCount{Service: name, Count: 1 + rng.IntN(3)})
		}
	}
	return out
}

func count(value string) (n int) {
	for range entries(value) {
		n++
	}
	return n
}

func TestCloseLeavesNoTrace(t *testing.T) {
	w := onShards(t, 3)
	stays, leaves := w.process(quick), w.process(quick)
	for i := range 200 {
		u := hub.UserID(fmt.Sprint("user", i))
		leaves.Set(u, one("chess"), nil)
		if i < 10 {
			stays.set(t, u, one("go")...)
		}
	}
	called := make(chan error, 1)
	leaves.Set("late", one("chess"), func(err error) { called <- err })
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := leaves.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-called; err != nil {
		t.Errorf("what was queued before Close: %v", err)
	}
	if leaves.Ready() {
		t.Error("ready after Close")
	}
	users, others := w.dump()
	want := map[hub.UserID]string{}
	for i := range 10 {
		want[hub.UserID(fmt.Sprint("user", i))] = string(stays.id) + "=go*1"
	}
	if diff := cmp.Diff(want, users); diff != "" {
		t.Error(diff)
	}
	for _, k := range others {
		if k == w.keys.Lease(leaves.id) {
			t.Errorf("%s is still there", k)
		}
	}
	if names := w.lead().ZRange(t.Context(), w.keys.Processes(), 0, -1).Val(); !slices.Equal(names, []string{string(stays.id)}) {
		t.Errorf("processes %q", names)
	}
	leaves.Set("later", one("chess"), func(err error) { called <- err })
	if err := <-called; !errors.Is(err, ErrStopped) {
		t.Errorf("Set after Close: %v, want ErrStopped", err)
	}
	if err := leaves.Close(ctx); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

func TestStopWritesNothingMore(t *testing.T) {
	w := onServer(t)
	p := w.process(quick)
	p.set(t, "anna", one("chess")...)
	p.end()
	called := make(chan error, 1)
	p.Set("anna", nil, func(err error) { called <- err })
	if err := <-called; !errors.Is(err, ErrStopped) {
		t.Errorf("Set after the end: %v, want ErrStopped", err)
	}
	if err := p.Close(t.Context()); !errors.Is(err, ErrStopped) {
		t.Errorf("Close after the end: %v, want ErrStopped", err)
	}
	if p.Ready() {
		t.Error("ready after the end")
	}
	if users, _ := w.dump(); users["anna"] != string(p.id)+"=chess*1" {
		t.Errorf("anna is %q", users["anna"])
	}
}

// TestRedisAway takes Redis away and brings it back empty: nothing that was
// set before or meanwhile is lost.
func TestRedisAway(t *testing.T) {
	server := redistest.Process(t, redisproc.ServerOptions{})
	w := newWorld(t, redistest.Config(t, "redis://"+server.Addr()))
	p := w.process(quick)
	for i := range 2000 {
		p.Set(hub.UserID(fmt.Sprint("before", i)), one("chess"), nil)
	}
	p.set(t, "gone", one("chess")...)
	server.Crash()
	done := make(chan error, 3)
	tell := func(err error) { done <- err }
	p.Set("meanwhile", one("chess"), tell)
	p.Set("changed", one("chess"), tell)
	p.Set("changed", one("go"), tell)
	p.Set("gone", nil, nil)
	eventually(t, 5*time.Second, "it is not ready", func() bool { return !p.Ready() })
	if len(done) != 0 {
		t.Error("called back without Redis")
	}
	if err := server.Restart(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("not written 10 s after Redis came back")
		}
	}
	mine := string(p.id)
	eventually(t, 10*time.Second, "all users are back", func() bool { users, _ := w.dump(); return len(users) == 2002 })
	users, _ := w.dump()
	for u, want := range map[hub.UserID]string{
		"before7": mine + "=chess*1", "meanwhile": mine + "=chess*1", "changed": mine + "=go*1", "gone": "",
	} {
		if users[u] != want {
			t.Errorf("%s is %q, want %q", u, users[u], want)
		}
	}
	eventually(t, 5*time.Second, "it is ready", p.Ready)
}

// TestShardEmptiedUnderTheSameMaster: somebody flushes the data Redis.
func TestShardEmptiedUnderTheSameMaster(t *testing.T) {
	w := onShards(t, 2)
	p := w.process(quick)
	for i := range 2000 {
		p.Set(hub.UserID(fmt.Sprint("user", i)), one("chess"), nil)
	}
	eventually(t, 5*time.Second, "all are written", func() bool { users, _ := w.dump(); return len(users) == 2000 })
	for i := range 2 {
		if err := w.master(i).FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, 5*time.Second, "all are back", func() bool { users, _ := w.dump(); return len(users) == 2000 })
}

// TestLostRemovalIsRepeated: a shard that lost its last writes must not keep
// a user who has left.
func TestLostRemovalIsRepeated(t *testing.T) {
	w := onServer(t)
	p := w.process(quick)
	p.set(t, "anna", one("chess")...)
	p.set(t, "anna")
	c, ctx := w.master(0), t.Context()
	c.Set(ctx, w.keys.User("anna"), string(p.id)+"=chess*1", 0) // as a promoted replica has it
	c.Del(ctx, w.keys.Lease(p.id))
	eventually(t, 5*time.Second, "anna is gone again", func() bool { users, _ := w.dump(); return len(users) == 0 })
}

// TestLateWriteIsUndone: a write whose outcome nobody saw arrives after a
// later one, as it can when a server hangs.
func TestLateWriteIsUndone(t *testing.T) {
	server := redistest.Process(t, redisproc.ServerOptions{})
	w := newWorld(t, redistest.Config(t, "redis://"+server.Addr()))
	timing := quick
	timing.lease.Period = time.Hour // it does not lapse, which would be another reason to look
	timing.renew = time.Hour        // nor does a renewal fail before anything is written
	timing.doubt = 2 * time.Second  // what comes late comes before it
	p := w.process(timing)
	p.set(t, "anna", one("chess")...)
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	p.Set("anna", one("go"), func(err error) { done <- err })
	eventually(t, 5*time.Second, "the first attempt has timed out", func() bool {
		return testutil.ToFloat64(p.met.flushErrors) > 0
	})
	if err := server.Cont(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	w.master(0).Set(t.Context(), w.keys.User("anna"), string(p.id)+"=chess*1", 0) // here it comes
	eventually(t, 5*time.Second, "the later one stands", func() bool {
		users, _ := w.dump()
		return users["anna"] == string(p.id)+"=go*1"
	})
}

func TestNothingIsWrittenBeforeTheLease(t *testing.T) {
	server := redistest.Process(t, redisproc.ServerOptions{})
	cfg := redistest.Config(t, "redis://"+server.Addr())
	r, err := redisx.New(cfg, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	g := NewRegistrar(r, hub.NewKeys(cfg.Prefix), hub.Process{ID: hub.NewProcessID()}, lease.NewStanding(lease.Config{}, lease.DefaultTiming(), slog.New(slog.DiscardHandler)), slog.New(slog.DiscardHandler), nil)
	var result atomic.Pointer[error]
	g.Set("anna", one("chess"), func(err error) { result.Store(&err) })
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := g.Run(ctx); err != nil { // redisx does not run: there is no master
		t.Error(err)
	}
	if err := result.Load(); err == nil || !errors.Is(*err, ErrStopped) {
		t.Errorf("called back with %v, want ErrStopped", err)
	}
	if g.Ready() {
		t.Error("ready without Redis")
	}
}
