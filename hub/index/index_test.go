package index

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/lease"
	"github.com/homing/homing/redisx"
	"github.com/homing/homing/redisx/redisproc"
	"github.com/homing/homing/redisx/redistest"
)

// still is a timing under which nothing happens by itself.
var still = timing{
	lease: lease.Timing{Period: time.Hour, Refresh: time.Hour, Patience: time.Hour},
	renew: time.Hour, sweep: time.Hour, audit: time.Hour, pass: time.Hour, doubt: time.Hour,
}

func TestLocateOnOneShardAndOnThree(t *testing.T) {
	for _, shards := range []int{1, 3} {
		t.Run(fmt.Sprint(shards, " shards"), func(t *testing.T) {
			w := onShards(t, shards)
			ix := w.index(still)
			// Both begin after the table was read: they are looked up when met.
			a, b := w.process(still), w.process(still)
			var users []hub.UserID
			for i := range 20 {
				users = append(users, hub.UserID(fmt.Sprint("user", i)))
			}
			for i, u := range users[:15] {
				a.set(t, u, one("chess")...)
				if i < 5 {
					b.set(t, u, hub.ServiceCount{Service: "chess", Count: 1}, hub.ServiceCount{Service: "go", Count: 2})
				}
			}
			for _, tc := range []struct {
				services []hub.Service
				onA, onB []hub.UserID
				online   int
			}{
				{nil, users[:15], users[:5], 15},
				{[]hub.Service{"chess"}, users[:15], users[:5], 15},
				{[]hub.Service{"go"}, nil, users[:5], 5},
				{[]hub.Service{"poker", "go"}, nil, users[:5], 5},
				{[]hub.Service{"poker"}, nil, nil, 0},
			} {
				p, err := ix.Locate(t.Context(), users, tc.services)
				if err != nil {
					t.Fatal(err)
				}
				want := Placement{Online: tc.online, Offline: len(users) - tc.online}
				for _, g := range []Group{{a.id, tc.onA}, {b.id, tc.onB}} {
					if len(g.Users) > 0 {
						want.Groups = append(want.Groups, g)
					}
				}
				byProcess := cmpopts.SortSlices(func(x, y Group) bool { return x.Process < y.Process })
				if diff := cmp.Diff(want, p, byProcess); diff != "" {
					t.Errorf("services %q: %s", tc.services, diff)
				}
			}
			a.set(t, users[0])
			if got := where(t, ix, users[0]); !slices.Equal(got, []hub.ProcessID{b.id}) {
				t.Errorf("after a let go, user0 is at %q, want %q", got, b.id)
			}
			b.set(t, users[0])
			if got := where(t, ix, users[0]); got != nil {
				t.Errorf("after both let go, user0 is at %q", got)
			}
		})
	}
}

// TestOnTheStandIn: development without an installed Redis takes the same path.
func TestOnTheStandIn(t *testing.T) {
	w := newWorld(t, redistest.Config(t, "redis://"+miniredis.RunT(t).Addr()))
	ix := w.index(quick)
	p := w.process(quick)
	p.set(t, "anna", one("chess")...)
	if got := where(t, ix, "anna", "chess"); !slices.Equal(got, []hub.ProcessID{p.id}) {
		t.Errorf("anna is at %q", got)
	}
	if got, err := ix.Online(t.Context(), 10); !slices.Equal(got, []hub.UserID{"anna"}) || err != nil {
		t.Errorf("online: %q, %v", got, err)
	}
	if err := p.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if users, _ := w.dump(); len(users) != 0 {
		t.Errorf("left: %q", users)
	}
}

func TestLocateNobody(t *testing.T) {
	ix := onServer(t).index(still)
	p, err := ix.Locate(t.Context(), nil, nil)
	if diff := cmp.Diff(Placement{}, p); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func TestPresence(t *testing.T) {
	w := onShards(t, 2)
	ix := w.index(still)
	a, b := w.process(still), w.process(still)
	a.set(t, "anna", hub.ServiceCount{Count: 1}, hub.ServiceCount{Service: "chess", Count: 2})
	b.set(t, "anna", one("go")...)
	b.set(t, "carl", one("go")...)
	got, err := ix.Presence(t.Context(), []hub.UserID{"bob", "anna", "carl"})
	if err != nil {
		t.Fatal(err)
	}
	want := []hub.Presence{
		{User: "bob"},
		{User: "anna", Processes: []hub.Holding{
			{Process: a.id, Services: []hub.ServiceCount{{Count: 1}, {Service: "chess", Count: 2}}},
			{Process: b.id, Services: one("go")},
		}},
		{User: "carl", Processes: []hub.Holding{{Process: b.id, Services: one("go")}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestOnline(t *testing.T) {
	w := onShards(t, 2)
	a := w.process(still)
	var want []hub.UserID
	for i := range 2 * walkPage {
		u := hub.UserID(fmt.Sprintf("user%04d", i))
		want = append(want, u)
		a.Set(u, one("chess"), nil)
	}
	a.set(t, "last", one("chess")...)
	a.set(t, "last")
	eventually(t, 5*time.Second, "all are written", func() bool { return pendingOf(a) == 0 })
	w.master(0).Set(t.Context(), w.keys.User("ghost"), "AAAAAAAAAAA=*1", 0)
	ix := w.index(still)
	got, err := ix.Online(t.Context(), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, limit := range []int{0, 1, 7} {
		if got, err := ix.Online(t.Context(), limit); len(got) != limit || err != nil {
			t.Errorf("limit %d: %d users, %v", limit, len(got), err)
		}
	}
}

func pendingOf(p process) (n int) {
	for _, l := range p.writers {
		n += l.ledger.pending()
	}
	return n
}

func TestProcesses(t *testing.T) {
	w := onServer(t)
	ix := w.index(quick)
	a := w.process(quick)
	a.SetConnections(17)
	shown := func() bool {
		ps := ix.census.Processes("front")
		return len(ps) == 1 && ps[0].ID == a.id && ps[0].Connections == 17 && ps[0].Node == "test"
	}
	eventually(t, 5*time.Second, "the process shows with its connections", shown)
	if ps := ix.census.Processes("api"); len(ps) != 0 {
		t.Errorf("api processes: %v", ps)
	}
	if ps := ix.census.Processes(""); len(ps) != 1 {
		t.Errorf("processes of any role: %v", ps)
	}
}

func TestUnavailable(t *testing.T) {
	server := redistest.Process(t, redisproc.ServerOptions{})
	w := newWorld(t, redistest.Config(t, "redis://"+server.Addr()))
	early := New(w.r, lease.NewCensus(w.r, w.keys, nil, quick.lease, slog.New(slog.DiscardHandler), nil), w.keys, slog.New(slog.DiscardHandler), nil)
	if _, err := early.Locate(t.Context(), []hub.UserID{"anna"}, nil); !errors.Is(err, hub.ErrUnavailable) {
		t.Errorf("before the first reading: %v, want ErrUnavailable", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := early.census.WaitReady(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("WaitReady: %v", err)
	}
	ix := w.index(quick)
	server.Crash()
	for name, lookup := range map[string]func() error{
		"Locate":   func() error { _, err := ix.Locate(t.Context(), []hub.UserID{"anna"}, nil); return err },
		"Presence": func() error { _, err := ix.Presence(t.Context(), []hub.UserID{"anna"}); return err },
		"Online":   func() error { _, err := ix.Online(t.Context(), 1); return err },
	} {
		if err := lookup(); !errors.Is(err, hub.ErrUnavailable) || !errors.Is(err, redisx.ErrUnavailable) {
			t.Errorf("%s without Redis: %v, want ErrUnavailable", name, err)
		}
	}
}

// TestMasterThatRefusesWrites: a master without replicas answers, but no lease
// can be renewed. That kills nobody, and nothing is swept.
func TestMasterThatRefusesWrites(t *testing.T) {
	w := onServer(t)
	ix := w.index(quick)
	p := w.process(quick)
	p.set(t, "anna", one("chess")...)
	eventually(t, 10*time.Second, "a missing lease would be a death", ix.census.Steady)
	c, ctx := w.master(0), t.Context()
	if err := c.ConfigSet(ctx, "min-replicas-to-write", "1").Err(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(3 * quick.lease.Period); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if where(t, ix, "anna") == nil {
			t.Fatal("anna is offline")
		}
	}
	if n := c.Exists(ctx, w.keys.Lease(p.id)).Val(); n != 0 {
		t.Fatal("the lease still stands: the test shows nothing")
	}
	if err := c.ConfigSet(ctx, "min-replicas-to-write", "0").Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, "the lease is renewed", p.Ready)
	for deadline := time.Now().Add(2 * quick.lease.Period); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if where(t, ix, "anna") == nil {
			t.Fatal("anna is offline after writes are taken again")
		}
	}
	p.end()
	eventually(t, 5*time.Second, "a death is a death again", func() bool { return where(t, ix, "anna") == nil })
}

func TestLocateAllocationsDoNotGrowWithUsersPerProcess(t *testing.T) {
	roll := lease.NewRoll(time.Now(), true)
	roll.Add(hub.Process{ID: pidA})
	roll.Add(hub.Process{ID: pidB})
	var users []hub.UserID
	var l lookup
	for i := range 300 {
		users = append(users, hub.UserID(fmt.Sprint("user", i)))
		l.values = append(l.values, []string{"", a1, b1, a1 + " " + b1}[i%4])
	}
	if n := testing.AllocsPerRun(100, func() {
		if p := l.group(roll, users, nil); p.Online != 225 || len(p.Groups) != 2 {
			t.Fatalf("%d online in %d groups", p.Online, len(p.Groups))
		}
	}); n > 2 {
		t.Errorf("grouping 300 users of 2 processes: %v allocations, want 2", n)
	}
}
