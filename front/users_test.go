package front

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/homing/homing/front/auth"
	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/drop"
)

// TestUsersAgainstAList does the same with users and with a plain list.
func TestUsersAgainstAList(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	u := newUsers()
	list := make(map[hub.UserID][]*conn) // oldest first
	var all []*conn
	for step := range 20_000 {
		if rnd.IntN(2) == 0 || len(all) == 0 {
			id := auth.Identity{User: hub.UserID(fmt.Sprint("u", rnd.IntN(8)))}
			if i := rnd.IntN(3); i > 0 {
				id.Service = hub.Service(fmt.Sprint("s", i))
			}
			c := &conn{}
			u.add(c, id)
			all, list[id.User] = append(all, c), append(list[id.User], c)
		} else {
			i := rnd.IntN(len(all))
			c := all[i]
			user := c.State.user
			all = slices.Delete(all, i, i+1)
			list[user] = slices.DeleteFunc(list[user], func(o *conn) bool { return o == c })
			u.remove(c, 1)
		}
		user := hub.UserID(fmt.Sprint("u", rnd.IntN(8)))
		compareUser(t, step, &u, user, list[user])
	}
}

func compareUser(t *testing.T, step int, u *users, user hub.UserID, want []*conn) {
	t.Helper()
	var met []*conn
	u.delivery.begin(u, []byte(user))
	for c := u.delivery.next(); c != nil; c = u.delivery.next() {
		met = append(met, c)
	}
	slices.Reverse(met)
	if !slices.Equal(met, want) || u.count(user) != len(want) {
		t.Fatalf("step %d: %s has %d connections, counted as %d; want %d", step, user, len(met), u.count(user), len(want))
	}
	var oldest *conn
	counts := make(map[hub.Service]int)
	for i, c := range want {
		if i == 0 {
			oldest = c
		}
		counts[c.State.service.name()]++
	}
	if u.oldest(user) != oldest {
		t.Fatalf("step %d: not the oldest of %s", step, user)
	}
	got := u.counts(user)
	if len(got) != len(counts) || !slices.IsSortedFunc(got, func(a, b hub.ServiceCount) int { return len(a.Service) - len(b.Service) }) {
		t.Fatalf("step %d: counts %v, want %v", step, got, counts)
	}
	for _, s := range got {
		if counts[s.Service] != s.Count {
			t.Fatalf("step %d: counts %v, want %v", step, got, counts)
		}
	}
}

func TestAWalkLeavesOutWhoLeaves(t *testing.T) {
	u := newUsers()
	var all []*conn
	for range 5 {
		c := &conn{}
		u.add(c, auth.Identity{User: "ann"})
		all = append(all, c)
	}
	u.delivery.begin(&u, []byte("ann"))
	if u.delivery.next() != all[4] {
		t.Fatal("the newest is not first")
	}
	u.remove(all[3], 1) // the next one
	u.remove(all[4], 1) // the last one met
	u.remove(all[1], 1)
	u.add(&conn{}, auth.Identity{User: "ann"})
	if u.delivery.next() != all[2] || u.delivery.next() != all[0] || u.delivery.next() != nil {
		t.Error("the walk does not meet those who are left, once each")
	}
}

func TestTheOldestConnectionOfAUserMakesRoom(t *testing.T) {
	r := start(t, func(c *Config) { c.UserConnections = 2 })
	first, second := r.join("ann"), r.join("ann@go")
	bob := r.join("bob")
	third := r.join("ann@chess")
	code, reason := first.closed()
	if code != int(closeReplaced) || reason != "too many connections of this user" {
		t.Errorf("closed with %d %q", code, reason)
	}
	wait(t, "the index", func() bool { return len(r.presence.of("ann")) == 2 })
	if got := r.presence.of("ann"); got[0].Service != "chess" || got[1].Service != "go" {
		t.Errorf("the index has %v", got)
	}
	r.deliver(note(`1`, "ann", "bob"))
	for _, c := range []*peer{second, third, bob} {
		if m := c.json(); m["t"] != "notify" {
			t.Errorf("got %v", m)
		}
	}
	if n := r.metric("homing_front_surplus_connections_total"); n != 1 {
		t.Errorf("%v counted, want 1", n)
	}
}

func TestTheNewestConnectionOfAUserIsRefused(t *testing.T) {
	r := start(t, func(c *Config) { c.UserConnections, c.UserOverflow = 2, overflowNewest })
	first, second := r.join("ann"), r.join("ann")
	if got := r.dialRaw("ann").status(); got != 429 {
		t.Errorf("status %d, want 429", got)
	}
	if n := r.metric("homing_front_handshakes_total", "result", "too_many_connections"); n != 1 {
		t.Errorf("%v refusals counted, want 1", n)
	}
	r.join("bob")
	_ = first.Close()
	wait(t, "room", func() bool { return r.presence.of("ann")[0].Count == 1 })
	r.join("ann")
	second.text(`{"t":"ping"}`)
	second.wantText(`{"t":"ok"}`)
}

// crowdOf has one user open n connections.
func crowdOf(t *testing.T, user hub.UserID, n int) *crowd {
	t.Helper()
	c := newCrowd(t, 0)
	for range n {
		c.connectAs(t, user)
	}
	return c
}

// TestADisconnectOfManyHoldsNobodyUp delivers to somebody else while the
// connections of one user are being closed.
func TestADisconnectOfManyHoldsNobodyUp(t *testing.T) {
	const n = 3*closeBudget + 10
	c := crowdOf(t, "ann", n)
	c.connectAs(t, "bob")
	finished := false
	c.Deliver(onWire(hub.Envelope{Kind: hub.KindDisconnect, Users: []hub.UserID{"nobody", "ann"}, Payload: []byte("bye")}), false,
		func(hub.Outcome) { finished = true })
	c.Deliver(onWire(note(`1`, "bob")), false, nil)
	written := c.written()
	c.step()
	users := &c.sessions.users
	if wrote, left := written(), users.count("ann"); wrote != 1 || finished || left < n-closeBudget {
		t.Errorf("after a turn bob was written %d messages, and %d connections of ann are left", wrote, left)
	}
	c.connectAs(t, "ann") // who comes meanwhile stays
	for turns := 0; !finished; turns++ {
		if turns > n {
			t.Fatal("the disconnection does not end")
		}
		c.step()
	}
	if left := users.count("ann"); left != 1 || c.deliveries.queue.size() != 0 {
		t.Errorf("%d connections of ann are left, want 1; %d bytes of envelopes", left, c.deliveries.queue.size())
	}
}

// TestADeliveryToManyOfOneUserYields does not write to all of them in one turn,
// nor twice to any.
func TestADeliveryToManyOfOneUserYields(t *testing.T) {
	const n = turnBudget + 50
	c := crowdOf(t, "ann", n)
	var outcome hub.Outcome
	finished := false
	c.Deliver(onWire(note(`1`, "ann", "nobody")), true, func(o hub.Outcome) { outcome, finished = o, true })
	written := c.written()
	c.step()
	wrote := written()
	if wrote >= n || finished {
		t.Fatalf("%d were written in one turn", wrote)
	}
	c.loop.Drop(c.sessions.users.oldest("ann"), drop.Lost) // which would be last
	c.connectAs(t, "ann")
	for !finished {
		c.step()
	}
	if wrote += written(); wrote != n-1 {
		t.Errorf("%d were written, want %d", wrote, n-1)
	}
	if want := []byte{byte(hub.StatusWritten), byte(hub.StatusMissed)}; !slices.Equal(outcome.Statuses, want) {
		t.Errorf("statuses %v, want %v", outcome.Statuses, want)
	}
}

// BenchmarkOneUser adds and removes a connection of a user that has n others:
// the cost must not depend on n.
func BenchmarkOneUser(b *testing.B) {
	for _, n := range []int{0, 1, 100, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			u := newUsers()
			id := auth.Identity{User: "ann", Service: "chess"}
			for range n {
				u.add(&conn{}, id)
			}
			b.ReportAllocs()
			for b.Loop() {
				var c conn
				u.add(&c, id)
				_ = u.counts("ann")
				u.remove(&c, 1)
			}
		})
	}
}
