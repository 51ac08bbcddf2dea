package index

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
)

func TestDeadProcess(t *testing.T) {
	w := onShards(t, 2)
	ix := w.index(quick)
	dead, live := w.process(quick), w.process(quick)
	for i := range 1500 {
		u := hub.UserID(fmt.Sprint("user", i))
		dead.Set(u, one("chess"), nil)
		if i%3 == 0 {
			live.Set(u, one("go"), nil)
		}
	}
	eventually(t, 5*time.Second, "all are written", func() bool { return pendingOf(dead)+pendingOf(live) == 0 })
	dead.end()
	crashed := time.Now()
	eventually(t, 5*time.Second, "its users are offline", func() bool { return where(t, ix, "user1") == nil })
	if took := time.Since(crashed); took > quick.lease.Period+quick.lease.Patience+2*quick.lease.Refresh+time.Second {
		t.Errorf("offline after %v, with a lease of %v", took, quick.lease.Period)
	}
	if got := where(t, ix, "user0"); len(got) != 1 || got[0] != live.id {
		t.Errorf("user0 is at %q, want only the live process", got)
	}
	eventually(t, 10*time.Second, "no ghost is left", func() bool {
		users, _ := w.dump()
		return len(users) == 500 && w.lead().ZCard(t.Context(), w.keys.Processes()).Val() == 1
	})
	users, _ := w.dump()
	for u, value := range users {
		if value != string(live.id)+"=go*1" {
			t.Fatalf("%s is %q", u, value)
		}
	}
}

// TestSweepSparesWhoReconnects sweeps again and again while the users of dead
// processes reconnect to a live one.
func TestSweepSparesWhoReconnects(t *testing.T) {
	const users = 400
	w := onServer(t)
	w.index(quick)
	ix := w.index(quick)
	live := w.process(quick)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				live.Set(hub.UserID(fmt.Sprint("user", i%users)), one("go"), nil)
				time.Sleep(100 * time.Microsecond)
			}
		}
	})
	for range 3 {
		dead := w.process(quick)
		for i := range users {
			dead.Set(hub.UserID(fmt.Sprint("user", i)), one("chess"), nil)
		}
		dead.set(t, "user0", one("chess")...)
		dead.end()
		eventually(t, 10*time.Second, "no ghost is left", func() bool {
			all, _ := w.dump()
			for _, value := range all {
				if holdsOf(value, dead.id) != "" {
					return false
				}
			}
			return true
		})
	}
	close(stop)
	wg.Wait()
	eventually(t, 5*time.Second, "all is written", func() bool { return pendingOf(live) == 0 })
	for i := range users {
		if got := where(t, ix, hub.UserID(fmt.Sprint("user", i))); len(got) != 1 || got[0] != live.id {
			t.Fatalf("user%d is at %q", i, got)
		}
	}
}

// TestDeclaredDeadWritesNothingMore: a process that could not renew and was
// declared dead is swept, learns of it, and is not heard of again.
func TestDeclaredDeadWritesNothingMore(t *testing.T) {
	w := onServer(t)
	ix := w.index(quick)
	slow := quick
	slow.renew = 2500 * time.Millisecond // far longer than its lease
	p := w.process(slow)
	for i := range 1000 {
		p.Set(hub.UserID(fmt.Sprint("user", i)), one("chess"), nil)
	}
	eventually(t, 5*time.Second, "it is found", func() bool { return where(t, ix, "user1") != nil })
	eventually(t, 5*time.Second, "it is swept", func() bool { users, _ := w.dump(); return len(users) == 0 })
	eventually(t, 5*time.Second, "it learns that it is dead", func() bool { return p.stands.Now() == hub.StandingLost })
	called := make(chan error, 1)
	p.Set("late", one("chess"), func(err error) { called <- err })
	if err := <-called; !errors.Is(err, ErrStopped) {
		t.Errorf("Set: %v, want ErrStopped", err)
	}
	if users, _ := w.dump(); len(users) != 0 {
		t.Errorf("%d entries of the dead", len(users))
	}
	if err := p.Close(t.Context()); err != nil {
		t.Errorf("Close: %v, want nothing to be left to do", err)
	}
}

// TestStrayEntryIsSwept: an entry whose process nobody has a record of, met by
// a lookup, is removed without waiting for an audit.
func TestStrayEntryIsSwept(t *testing.T) {
	w := onServer(t)
	timing := quick
	ix := w.index(timing)
	eventually(t, 5*time.Second, "the audit has passed", func() bool {
		return w.lead().Exists(t.Context(), w.keys.Turn("audit")).Val() == 1
	})
	time.Sleep(100 * time.Millisecond)
	w.master(0).Set(t.Context(), w.keys.User("anna"), string(pidA)+"=*1", 0)
	time.Sleep(2 * timing.sweep)
	if users, _ := w.dump(); len(users) != 1 {
		t.Fatal("swept without a reason: the test shows nothing")
	}
	if got := where(t, ix, "anna"); len(got) != 1 {
		t.Errorf("anna is at %q, want the process that was not asked yet", got)
	}
	eventually(t, 5*time.Second, "she is offline", func() bool { return where(t, ix, "anna") == nil })
	eventually(t, 5*time.Second, "the entry is gone", func() bool { users, _ := w.dump(); return len(users) == 0 })
}

// TestAuditSweepsWhatNobodyMet: the first of all sweeps needs no reason.
func TestAuditSweepsWhatNobodyMet(t *testing.T) {
	w := onServer(t)
	w.master(0).Set(t.Context(), w.keys.User("anna"), string(pidA)+"=*1", 0)
	w.index(quick)
	eventually(t, 5*time.Second, "the entry is gone", func() bool { users, _ := w.dump(); return len(users) == 0 })
}

// TestSweepWaitsWhileNothingIsCertain: as long as the shard of the leases has
// not been steady for a lease's time, nobody is taken for dead.
func TestSweepWaitsWhileNothingIsCertain(t *testing.T) {
	w := onServer(t)
	c, ctx := w.master(0), t.Context()
	c.Set(ctx, w.keys.User("anna"), string(pidA)+"=*1", 0)
	c.ZAdd(ctx, w.keys.Processes(), redis.Z{Member: string(pidA)})
	timing := quick
	timing.lease.Period = time.Hour // no shard has been steady for that long
	ix := w.index(timing)
	time.Sleep(3 * timing.sweep)
	if got := where(t, ix, "anna"); len(got) != 1 {
		t.Errorf("anna is at %q, want the process that may yet live", got)
	}
	if users, _ := w.dump(); len(users) != 1 {
		t.Error("swept")
	}
}
