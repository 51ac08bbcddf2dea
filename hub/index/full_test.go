package index

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
)

// fill makes a server refuse writes for want of memory, until the function
// returned is called.
func fill(t *testing.T, c *redis.Client) (empty func()) {
	t.Helper()
	set := func(limit string) {
		if err := c.ConfigSet(context.Background(), "maxmemory", limit).Err(); err != nil {
			t.Fatal(err)
		}
	}
	set("1")
	if err := c.Set(t.Context(), "more", 1, 0).Err(); !redis.HasErrorPrefix(err, "OOM") {
		t.Fatalf("a write at a full Redis: %v, want OOM", err)
	}
	return func() { set("0") }
}

// A player who has left must not stay because another cannot come, and a worker
// must not be taken for dead because its Redis has no room.
func TestFullRedisLosesPlayersAndKeepsLeases(t *testing.T) {
	w := onServer(t)
	ix := w.index(quick)
	here, there := w.process(quick), w.process(quick)
	here.set(t, "alone", one("chess")...)
	here.set(t, "both", one("chess")...)
	there.set(t, "both", one("go")...)
	empty := fill(t, w.lead())

	refused := make(chan error, 1)
	here.Set("late", one("chess"), func(err error) { refused <- err })
	eventually(t, 10*time.Second, "a registration is refused", func() bool { return here.writers[w.r.Data.Lead()].ledger.pending() > 0 })
	here.set(t, "alone")
	here.set(t, "both")
	if users, _ := w.dump(); users["alone"] != "" || users["both"] != string(there.id)+"=go*1" {
		t.Errorf("after both have left: %q", users)
	}
	// Longer than a lease stands by itself.
	for end := time.Now().Add(2 * quick.lease.Period); time.Now().Before(end); time.Sleep(quick.renew) {
		if n := w.lead().Exists(t.Context(), w.keys.Lease(here.id), w.keys.Lease(there.id)).Val(); n != 2 {
			t.Fatalf("%d leases stand, want 2", n)
		}
	}
	if got := where(t, ix, "both"); len(got) != 1 || got[0] != there.id {
		t.Errorf("both is at %v, want %s alone", got, there.id)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := there.Close(ctx); err != nil {
		t.Errorf("a process that stops: %v", err)
	}
	select {
	case err := <-refused:
		t.Errorf("a registration that was not written ended with %v", err)
	default:
	}
	empty()
	if err := <-refused; err != nil {
		t.Errorf("a registration once there is room: %v", err)
	}
}

// What a dead process left is swept away at a full Redis too.
func TestFullRedisIsSwept(t *testing.T) {
	w := onServer(t)
	w.index(quick)
	dies := w.process(quick)
	dies.set(t, "anna", one("chess")...)
	dies.end()
	fill(t, w.lead())
	eventually(t, 20*time.Second, "the dead process's users are gone", func() bool {
		users, _ := w.dump()
		return len(users) == 0
	})
}

func TestLedgerTakesRemovalsAlone(t *testing.T) {
	var l ledger
	set := func(u hub.UserID, services ...hub.ServiceCount) {
		if !l.set(u, services, nil) {
			t.Fatal("closed")
		}
	}
	set("a", one("x")...)
	set("b")
	set("c", one("x")...)
	set("c")
	set("d")
	var r round
	l.takeRemovals(&r, 2)
	if len(r.users) != 2 || r.users[0] != "b" || r.users[1] != "c" || len(r.changes) != 2 {
		t.Fatalf("took %q in %d changes, want b and c", r.users, len(r.changes))
	}
	l.putBack(&r)
	if n := l.pending(); n != 4 {
		t.Errorf("%d pending after they were put back, want 4", n)
	}
	l.takeRemovals(&r, 1)
	l.settle(&r, time.Now())
	r.finish()
	if n := l.pending(); n != 3 {
		t.Errorf("%d pending, want 3", n)
	}
}

func TestLongHoldsMakeShortCalls(t *testing.T) {
	long := strings.Repeat("x", scriptBytes/4)
	for _, tc := range []struct {
		holds []string
		want  int
	}{
		{[]string{long + long + long + long + long, "a"}, 1},
		{[]string{long, long, long, long, long}, 4},
		{[]string{"a", long, ""}, 3},
		{make([]string, 3*scriptUsers), scriptUsers},
	} {
		if n := callUsers(tc.holds); n != tc.want {
			t.Errorf("%d users in a call of %d, want %d", n, len(tc.holds), tc.want)
		}
	}
}
