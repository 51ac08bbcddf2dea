package front

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/homing/homing/front/loop"
	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/drop"
)

// handOver delivers e as one that is handed over, and returns what became of
// its users.
func (r *rig) handOver(e hub.Envelope) []byte {
	r.t.Helper()
	if e.Age == 0 {
		e.Age = time.Millisecond
	}
	outcome := make(chan hub.Outcome, 1)
	r.Deliver(onWire(e), true, func(o hub.Outcome) { outcome <- o })
	return (<-outcome).Statuses
}

func (c *peer) silent(others ...*peer) {
	c.t.Helper()
	for _, each := range append(others, c) {
		each.quiet(20 * time.Millisecond)
	}
}

var written, missedUser = byte(hub.StatusWritten), byte(hub.StatusMissed)

// Everything here happens within a few of the worker's ticks, and twice.
func TestHandedOverIsHeardOncePerConnection(t *testing.T) {
	r := start(t, nil)
	before := r.join("ann")
	e := numbered(1, "bob", "ann")
	e.Shared = 1 // ann has connections elsewhere too
	r.deliver(e)
	before.wantIDs("1")
	after := r.join("ann")
	for round := range 2 { // two processes that missed ann
		if got := r.handOver(e); got[1] != written {
			t.Errorf("round %d: statuses %v", round, got)
		}
		if round == 0 {
			after.wantIDs("1")
		}
		before.silent(after)
	}
	last := r.join("ann")
	r.handOver(e)
	last.wantIDs("1")
	before.silent(after, last)
	r.handOver(numbered(2, "ann")) // another notification
	for _, c := range []*peer{before, after, last} {
		c.wantIDs("2")
	}
}

func TestHandedOverTwiceIsHeardOnce(t *testing.T) {
	r := start(t, nil)
	c := r.join("ann")
	e := numbered(1, "ann") // of one process only, which was not this one
	if got := r.handOver(numbered(1, "bob")); got[0] != missedUser {
		t.Errorf("of a user who is not here: %v", got)
	}
	for range 3 {
		if got := r.handOver(e); got[0] != written {
			t.Errorf("statuses %v", got)
		}
	}
	c.wantIDs("1")
	c.silent()
	r.deliver(e) // its sender repeats it under the same id
	c.wantIDs("1")
}

func TestHandedOverToUsersWhomTheWorkerNeverTold(t *testing.T) {
	r := start(t, nil)
	c, other := r.join("ann@chess"), r.join("bob")
	e := numbered(1, "ann", "bob")
	e.Shared = 2
	e.Services = []hub.Service{"poker"}
	r.deliver(e) // which is for none of them
	time.Sleep(3 * loop.TickLength)
	e.Services = nil
	e.Age = loop.TickLength // they were here long before it was sent
	r.handOver(e)
	c.wantIDs("1")
	other.wantIDs("1")
}

// Whoever was on the way in when a notification was delivered has not heard it.
func TestAConnectionThatHadNotJoinedHasNotHeardIt(t *testing.T) {
	r := start(t, nil)
	first := r.join("ann")
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	wait(t, "both", func() bool { return r.metric("homing_front_accepted_connections_total") == 2 })
	last := r.join("ann") // accepted after it, and joined before
	e := numbered(1, "ann")
	e.Shared = 1
	r.deliver(e)
	for _, c := range []*peer{first, last} {
		c.wantIDs("1")
	}
	if _, err := io.WriteString(conn, "GET /ws?token=ann HTTP/1.1\r\n"+upgradeHead+"\r\n"); err != nil {
		t.Fatal(err)
	}
	c := newClient(t, conn, nil)
	c.skipReply()
	if m := c.json(); m["t"] != "hello" {
		t.Fatalf("got %v", m)
	}
	r.handOver(e)
	c.wantIDs("1")
	c.silent(first, last)
}

// Whoever registers when it is delivered reads it after hello, and once.
func TestAConnectionThatRegistersHasHeardIt(t *testing.T) {
	r := start(t, nil)
	r.presence.goAway()
	c := r.dial("?token=ann")
	wait(t, "the registration", func() bool { return r.presence.count() == 1 })
	e := numbered(1, "ann")
	e.Shared = 1
	r.deliver(e)
	r.handOver(e)
	r.presence.back(nil)
	if m := c.json(); m["t"] != "hello" {
		t.Fatalf("got %v", m)
	}
	c.wantIDs("1")
	c.silent()
}

func TestHandedOverAfterAReplayIsNotHeardAgain(t *testing.T) {
	inbox := newFakeInbox()
	r := startWith(t, inbox, nil)
	c := r.join("ann")
	c.text(`{"t":"resume"}`)
	read := inbox.next(t)
	e := stored("a", "ann")
	r.handOver(e) // held
	read.finds("a")
	c.wantText(`{"t":"resumed","recovered":true,"count":1,"last":"last"}`)
	c.wantIDs("a")
	if got := r.handOver(e); got[0] != written {
		t.Errorf("statuses %v", got)
	}
	r.handOver(stored("b", "ann"))
	c.wantIDs("b")
	c.silent()
}

func TestBroadcastThatIsHandedOver(t *testing.T) {
	r := start(t, nil)
	cast := numbered(1)
	cast.Kind = hub.KindBroadcast
	before := r.join("ann")
	r.deliver(cast)
	before.wantIDs("1")
	after := r.join("bob") // whose worker died before it told him, perhaps
	for range 2 {
		r.handOver(cast)
	}
	after.wantIDs("1")
	before.silent(after)
}

func TestBroadcastThatTheWorkerNeverHad(t *testing.T) {
	r := start(t, nil)
	before := r.join("ann")
	time.Sleep(ageSlack + 6*loop.TickLength)
	after := r.join("bob")
	cast := numbered(1)
	cast.Kind, cast.Age = hub.KindBroadcast, 2*loop.TickLength
	for range 2 {
		r.handOver(cast)
	}
	after.wantIDs("1")
	last := r.join("carol")
	r.handOver(cast)
	last.wantIDs("1")
	before.silent(after, last)
}

// A broadcast that takes several turns is for those who were there when it
// began; whoever comes meanwhile is not taken for told.
func TestWhoComesDuringABroadcastIsNotTakenForTold(t *testing.T) {
	c := newCrowd(t, turnBudget+10)
	cast := numbered(1)
	cast.Kind = hub.KindBroadcast
	c.Deliver(onWire(cast), false, nil)
	c.step()
	x := &c.deliveries.current
	if !x.begun || x.at > c.conns[turnBudget].Place() {
		t.Fatalf("after a turn the broadcast is at %d", x.at)
	}
	c.loop.Drop(c.conns[0], drop.Lost)
	c.connect(t) // takes the place before those who are still to come
	c.connect(t) // takes one after them
	written := c.written()
	c.step()
	if n := written(); x.begun || n != 10 {
		t.Errorf("%d were written in the second turn, want the 10 that were left", n)
	}
	cast.Age = time.Millisecond
	c.deliver(onWire(cast))
	if n := written(); n != 2 {
		t.Errorf("handed over to %d, want the 2 who came meanwhile", n)
	}
}

func TestNothingIsRememberedOfWhatCannotComeAgain(t *testing.T) {
	c := newCrowd(t, 10)
	c.deliver(onWire(numbered(1, c.users...)))
	nameless := note(`1`, c.users...)
	nameless.ID, nameless.Shared, nameless.Age = "", 10, time.Second
	c.deliver(onWire(nameless))
	if n := c.deliveries.heard.size(); n != 0 {
		t.Errorf("%d deliveries are remembered", n)
	}
	shared := numbered(2, c.users...)
	shared.Shared = 3
	c.deliver(onWire(shared))
	if n := c.deliveries.heard.size(); n != 3 {
		t.Errorf("%d deliveries are remembered, want 3", n)
	}
}

// The memory is compared with a plain list that forgets nothing.
func TestHeardRemembersAllOfItsTime(t *testing.T) {
	const keys, least, most = 500, loop.Tick(heardTime / loop.TickLength), loop.Tick(heardTime/loop.TickLength) * 4 / 3
	type told struct {
		joined uint64
		at     loop.Tick
	}
	h := newHeard()
	all := make(map[int]told)
	now := loop.Tick(1)
	for step := range 30_000 {
		now += loop.Tick(rand.Uint32N(10))
		if n := h.age(now); n != 0 {
			t.Fatalf("%d deliveries were evicted", n)
		}
		k := rand.IntN(keys)
		id, user := fmt.Append(nil, k/20), fmt.Append(nil, k%20)
		got, known := h.told(id, user)
		want, ever := all[k]
		switch old := now - want.at; {
		case known && (!ever || got != want.joined || old > most+10):
			t.Fatalf("step %d: %d, which was told %d ticks ago at %d", step, got, old, want.joined)
		case !known && ever && old < least:
			t.Fatalf("step %d: forgotten after %d ticks", step, old)
		}
		if rand.IntN(10) == 0 {
			h.tell(id, user, uint64(step), now)
			all[k] = told{uint64(step), now}
		}
	}
	if n := h.age(now + 5*most); n != 0 {
		t.Errorf("%d deliveries were evicted", n)
	}
}

func TestHeardIsBounded(t *testing.T) {
	h := newHeard()
	h.limit = 100
	evicted, n := 0, 1000
	id := func(i int) []byte { return fmt.Append(nil, i) }
	for i := range n {
		evicted += h.tell(id(i), []byte("ann"), uint64(i), loop.Tick(i/100))
	}
	if h.size() > heardParts*h.limit || h.size()+evicted != n {
		t.Errorf("%d are remembered and %d were evicted, of %d", h.size(), evicted, n)
	}
	var known []int
	for i := range n {
		if at, ok := h.told(id(i), []byte("ann")); ok {
			if at != uint64(i) {
				t.Errorf("delivery %d was remembered as %d", i, at)
			}
			known = append(known, i)
		}
	}
	if d := cmp.Diff(h.size(), len(known)); d != "" || known[0] != n-h.size() {
		t.Errorf("the oldest that is known is %d of %d", known[0], len(known))
	}
	late := loop.Tick(n/100) + loop.Tick(heardTime/loop.TickLength)/3
	if got := h.age(late); got == 0 || h.size()+evicted+got != n { // a part whose time had not come
		t.Errorf("%d were forgotten early, %d are left", got, h.size())
	}
}

func BenchmarkHeard(b *testing.B) {
	h := newHeard()
	user := []byte("user-0000")
	for i := 0; b.Loop(); i++ {
		user[8], user[7], user[6] = byte(i), byte(i>>8), byte(i>>16)
		h.tell([]byte("01JD2Z8Q4V7M3T9K5R1XWY6C0H"), user, uint64(i), 1)
	}
}

// Whoever comes back is connected before it is a member: others may have been told in
// between, and what its old worker had not confirmed is handed over then.
func TestWhoBecomesAMemberLaterHasNotHeardIt(t *testing.T) {
	r := start(t, nil)
	ann, bob := r.join("ann"), r.join("bob")
	subscribe := func(c *peer, user hub.UserID) {
		t.Helper()
		if fates, err := r.JoinTopic(t.Context(), "guild", []hub.UserID{user}); err != nil || fates[0] != hub.TopicDone {
			t.Fatalf("join: %v, %v", fates, err)
		}
		if m := c.json(); m["t"] != "subscribed" {
			t.Fatalf("got %v", m)
		}
	}
	subscribe(ann, "ann")
	e := numbered(1, hub.Topic("guild").Address())
	e.Shared = 1
	r.deliver(e)
	ann.wantIDs("1")
	subscribe(bob, "bob")
	for range 2 {
		r.handOver(e)
	}
	bob.wantIDs("1")
	ann.silent(bob)
}
