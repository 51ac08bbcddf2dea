package index

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/redisx/redisproc"
	"github.com/homing/homing/redisx/redistest"
)

// TestAuditFindsWhatVanished: entries are deleted or changed by hand while
// leases and masters stand. The process notices and repairs all of them.
func TestAuditFindsWhatVanished(t *testing.T) {
	w := onServer(t)
	ix := w.index(quick)
	timing := quick
	timing.pass = 3 * time.Second
	p := w.process(timing)
	const users = 1000
	for i := range users {
		p.Set(hub.UserID(fmt.Sprint("user", i)), one("chess"), nil)
	}
	eventually(t, 5*time.Second, "all are written", func() bool { return pendingOf(p) == 0 })
	c, ctx := w.master(0), t.Context()
	for i := range users / 3 {
		c.Del(ctx, w.keys.User(hub.UserID(fmt.Sprint("user", i))))
	}
	c.Set(ctx, w.keys.User("user999"), string(p.id)+"=poker*7", 0)
	began := time.Now()
	eventually(t, 2*timing.pass, "all are found again", func() bool {
		for _, u := range []hub.UserID{"user0", "user100", "user332"} {
			if where(t, ix, u) == nil {
				return false
			}
		}
		users, _ := w.dump()
		return len(users) == 1000 && users["user999"] == string(p.id)+"=chess*1"
	})
	if took := time.Since(began); took > timing.pass {
		t.Errorf("after %v, want it within a pass of %v: the first find is reason to verify all", took, timing.pass)
	}
}

// TestAuditFindsFewInOnePass: a single entry that vanished is found by the end
// of a pass.
func TestAuditFindsFewInOnePass(t *testing.T) {
	w := onServer(t)
	ix := w.index(quick)
	timing := quick
	timing.pass = 600 * time.Millisecond
	p := w.process(timing)
	for i := range 200 {
		p.Set(hub.UserID(fmt.Sprint("user", i)), one("chess"), nil)
	}
	eventually(t, 5*time.Second, "all are written", func() bool { return pendingOf(p) == 0 })
	w.master(0).Del(t.Context(), w.keys.User("user77"))
	eventually(t, 5*time.Second, "it is found again", func() bool { return where(t, ix, "user77") != nil })
}

// TestOneShardAway: users of a data shard that does not answer are named, the
// others are found.
func TestOneShardAway(t *testing.T) {
	servers := []*redisproc.Server{redistest.Process(t, redisproc.ServerOptions{}), redistest.Process(t, redisproc.ServerOptions{})}
	cfg := redistest.Config(t, "redis://"+servers[0].Addr())
	cfg.Data = append(cfg.Data, "redis://"+servers[1].Addr())
	w := newWorld(t, cfg)
	goes := 0 // not the one where the leases stand
	if w.r.Data.Lead() == w.r.Data.Shards()[0] {
		goes = 1
	}
	ix, p := w.index(quick), w.process(quick)
	var users, gone []hub.UserID
	for i := range 40 {
		u := hub.UserID(fmt.Sprint("user", i))
		p.set(t, u, one("chess")...)
		users = append(users, u)
		if w.r.Data.Shard(string(u)) == w.r.Data.Shards()[goes] {
			gone = append(gone, u)
		}
	}
	servers[goes].Crash()
	found, err := ix.Locate(t.Context(), users, nil)
	if err != nil || len(found.Unavailable) != len(gone) || found.Online != len(users)-len(gone) || found.Offline != 0 {
		t.Fatalf("%d online, %d offline, %d unavailable, %v; want %d unavailable and the others online", found.Online, found.Offline, len(found.Unavailable), err, len(gone))
	}
	if _, err := ix.Locate(t.Context(), gone, nil); !errors.Is(err, hub.ErrUnavailable) {
		t.Errorf("of users of that shard only: %v, want ErrUnavailable", err)
	}
	if _, err := ix.Presence(t.Context(), users); !errors.Is(err, hub.ErrUnavailable) {
		t.Errorf("presence: %v, want ErrUnavailable: it names everybody or nobody", err)
	}
	reads, writes := 0, 0
	for _, c := range ix.Check(t.Context()) {
		if c.Read != nil {
			reads++
		}
		if c.Write != nil {
			writes++
		}
	}
	if reads != 1 || writes != 1 {
		t.Errorf("%d shards cannot be read and %d not written, want 1 and 1", reads, writes)
	}
}

// TestTwoHomes: while the list of shards changes, users are registered where
// both lists have them, and found whoever registered them.
func TestTwoHomes(t *testing.T) {
	a, b, c := redistest.Server(t), redistest.Server(t), redistest.Server(t)
	old := redistest.Config(t, a)
	old.Data = []string{a, b}
	grown := old
	grown.Data, grown.DataPrevious = []string{a, b, c}, old.Data
	done := grown
	done.DataPrevious = nil

	before, now, after := newWorld(t, old), newWorld(t, grown), newWorld(t, done)
	p, q := before.process(quick), now.process(quick)
	var users []hub.UserID
	for i := range 30 {
		u := hub.UserID(fmt.Sprint("user", i))
		users = append(users, u)
		q.set(t, u, one("go")...)
		if i%2 == 0 {
			p.set(t, u, one("chess")...)
		}
	}
	for name, w := range map[string]*world{"old": before, "between": now} {
		found, err := w.index(quick).Locate(t.Context(), users, nil)
		if err != nil || found.Online != len(users) || len(found.Groups) != 2 {
			t.Errorf("%s: %d online in %d groups, %v; want %d in 2", name, found.Online, len(found.Groups), err, len(users))
		}
		for _, g := range found.Groups {
			if want := map[hub.ProcessID]int{p.id: 15, q.id: 30}[g.Process]; len(g.Users) != want {
				t.Errorf("%s: %d users at %s, want %d, each once", name, len(g.Users), g.Process, want)
			}
		}
	}
	found, err := after.index(quick).Locate(t.Context(), users, nil)
	if err != nil || found.Online != len(users) {
		t.Errorf("new: %d online, %v; want %d", found.Online, err, len(users))
	}
	q.set(t, "user1")
	if got := where(t, before.index(quick), "user1"); got != nil {
		t.Errorf("user1 has left and is at %q for the old ones", got)
	}
}
