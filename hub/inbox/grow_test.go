package inbox

import (
	"fmt"
	"testing"
	"time"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/redisx"
	"github.com/homing/homing/redisx/redistest"
)

// resharded has twelve users with unread notifications on the shards at first,
// and a process that knows then as their successors, and first as the previous
// list if previous.
func resharded(t *testing.T, first, then []string, previous bool) (before, after *box, users []hub.UserID) {
	t.Helper()
	before = newBox(t, nil, first...).another(func(rc *redisx.Config) { rc.Data = []string{redistest.Server(t)} }).sees()
	for _, s := range before.history.witnesses {
		if err := s.Write(t.Context(), before.older); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 12 {
		users = append(users, hub.UserID(fmt.Sprint("user-", i)))
	}
	for _, id := range []string{"a", "b"} {
		before.store(id, hub.ClassDroppable, time.Hour, users...)
	}
	before.store("c", hub.ClassMust, time.Hour, users...)
	after = before.another(func(rc *redisx.Config) {
		rc.Inbox = then
		if previous {
			rc.InboxPrevious = first
		}
	})
	return before, after, users
}

// moved splits users by whether they have another home in after.
func moved(t *testing.T, before, after *box, users []hub.UserID) (moved, stayed []hub.UserID) {
	t.Helper()
	for _, u := range users {
		if before.role.Shard(string(u)).Name() == after.role.Shard(string(u)).Name() {
			stayed = append(stayed, u)
		} else {
			moved = append(moved, u)
		}
	}
	if len(moved) == 0 || len(stayed) == 0 {
		t.Fatalf("%d users move and %d stay: the test shows nothing", len(moved), len(stayed))
	}
	return moved, stayed
}

func TestShardsGrowAndShrink(t *testing.T) {
	shards := []string{redistest.Server(t), redistest.Server(t), redistest.Server(t)}
	for name, change := range map[string][2][]string{
		"grow": {shards[:2], shards}, "shrink": {shards, shards[:2]},
	} {
		t.Run(name, func(t *testing.T) {
			before, after, users := resharded(t, change[0], change[1], true)
			moved(t, before, after, users)
			after.sees()
			time.Sleep(2 * time.Millisecond)
			after.store("d", hub.ClassDroppable, time.Hour, users...)
			after.store("b", hub.ClassDroppable, time.Hour, users...) // a repeat
			for _, u := range users {
				after.want(u, "", "a b c d")
				after.want(u, "c", "a b c d") // within the overlap
				after.want(u, "unknown", "gone: a b c d")
				after.want(u, "d", "a b c")
				after.ack(u, "c")
				after.want(u, "", "a b d")
				if m, err := after.Read(t.Context(), u, ""); err != nil || m.Last != "d" && m.Last != "b" {
					t.Errorf("last %q, %v", m.Last, err)
				}
			}
		})
	}
}

// TestShardsChangeWithoutThePreviousList: nobody can find what was stored, and
// nobody says otherwise.
func TestShardsChangeWithoutThePreviousList(t *testing.T) {
	shards := []string{redistest.Server(t), redistest.Server(t), redistest.Server(t)}
	for name, change := range map[string][2][]string{
		"grow": {shards[:2], shards}, "shrink": {shards, shards[:2]},
	} {
		t.Run(name, func(t *testing.T) {
			before, after, users := resharded(t, change[0], change[1], false)
			moved, stayed := moved(t, before, after, users)
			after.sees()
			before.sees()
			for _, u := range moved {
				after.want(u, "", "gone:")
				after.want(u, "b", "gone:")
			}
			for _, u := range stayed {
				after.want(u, "", "a b c")
			}
			// Processes that have not heard of the new list yet do not know
			// what others store.
			for _, u := range moved {
				before.want(u, "", "gone: a b c")
			}
			for _, u := range stayed {
				before.want(u, "", "a b c")
			}
		})
	}
}

// TestThePreviousListIsDropped once everything that it led to has expired, and
// too early.
func TestThePreviousListIsDropped(t *testing.T) {
	shards := []string{redistest.Server(t), redistest.Server(t), redistest.Server(t)}
	before, during, users := resharded(t, shards[:2], shards, true)
	during.sees()
	after := during.another(func(rc *redisx.Config) { rc.InboxPrevious = nil })
	moved, stayed := moved(t, before, after, users)
	after.want(moved[0], "", "gone:")
	after.want(stayed[0], "", "a b c")
	s := &snapshot{shard: after.role.Shard(string(moved[0]))}
	s.mark = &mark{Layouts: map[string]int64{before.history.layout: 1000, after.history.layout: 1}}
	for age, want := range map[time.Duration]bool{after.cfg.MaxAge: false, after.cfg.MaxAge + 2*layoutGrace: true} {
		if s.now = 1000 + age.Milliseconds(); after.whole(string(moved[0]), []*snapshot{s}, 0) != want {
			t.Errorf("whole %v after %v, want %v", !want, age, want)
		}
	}
	s.now = 1000 + layoutGrace.Milliseconds() + 10
	if !after.whole(string(moved[0]), []*snapshot{s}, s.now) {
		t.Error("a client that has seen what was stored since is told that it lacks something")
	}
}

// TestTwoHomes is about what the servers' clocks and the order of homes make
// of the place that a client names.
func TestTwoHomes(t *testing.T) {
	at := func(position int64, id string) entry {
		return entry{at: position, Stored: hub.Stored{ID: id, Class: hub.ClassDroppable}}
	}
	const far = 1_000_000 // more than the overlap
	for _, c := range []struct {
		name     string
		old, now snapshot
		after    string
		want     string
	}{
		{"nothing seen", snapshot{entries: []entry{at(5, "a"), at(9, "c")}}, snapshot{entries: []entry{at(5, "b")}}, "", "a b c"},
		{"seen in the old", snapshot{after: 2 * far, entries: []entry{at(far, "a")}}, snapshot{entries: []entry{at(5, "b")}}, "x", "b"},
		{"seen in the new", snapshot{entries: []entry{at(far, "a"), at(3*far, "b")}}, snapshot{after: 3 * far, entries: []entry{at(far, "c")}}, "x", "b"},
		{"seen in both", snapshot{after: 2 * far, entries: []entry{at(far, "a"), at(2*far, "b")}}, snapshot{after: 4 * far, entries: []entry{at(4*far, "c")}}, "x", "b c"},
		{"something gone from the old before", snapshot{gone: far}, snapshot{after: 2 * far}, "x", ""},
		{"something gone from the old since", snapshot{gone: 3 * far}, snapshot{after: 2 * far}, "x", "gone:"},
		{"something gone from the new", snapshot{after: 2 * far}, snapshot{gone: far}, "x", "gone:"},
		{"known nowhere", snapshot{}, snapshot{}, "x", "gone:"},
		{"in both", snapshot{entries: []entry{at(5, "a")}}, snapshot{entries: []entry{at(9, "a")}}, "", "a"},
	} {
		missed, _ := since([]*snapshot{&c.old, &c.now}, c.after)
		got := ""
		if !missed.Recovered {
			got = "gone:"
		}
		for _, e := range missed.Entries {
			if got != "" {
				got += " "
			}
			got += e.ID
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
