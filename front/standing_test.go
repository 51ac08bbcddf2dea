package front

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	gws "github.com/gobwas/ws"

	"github.com/homing/homing/front/loop"
	"github.com/homing/homing/hub"
)

// fakeStanding is a standing that a test sets.
type fakeStanding struct{ is atomic.Uint32 }

func (s *fakeStanding) set(to hub.Standing) { s.is.Store(uint32(to)) }
func (s *fakeStanding) now() hub.Standing   { return hub.Standing(s.is.Load()) }

// turn sets the worker's standing and waits until the loop has seen it.
func (r *rig) turn(to hub.Standing) {
	r.t.Helper()
	r.standing.set(to)
	wait(r.t, "the loop to see its standing", func() bool { return r.metric("homing_front_standing") == float64(to) })
}

// wire is the wire form of an envelope.
func onWire(e hub.Envelope) []byte { return e.Append(nil) }

// numbered builds an envelope whose notification has a number for its id.
func numbered(n int, users ...hub.UserID) hub.Envelope {
	note := hub.Notification{ID: fmt.Sprint(n), Data: []byte(`1`)}
	return hub.Envelope{Kind: hub.KindNotify, ID: note.ID, Users: users, Payload: note.Render()}
}

func TestInDoubtEnvelopesWaitInOrder(t *testing.T) {
	r := start(t, nil)
	c := r.join("ann")
	done := make(chan int, 20)
	give := func(n int) bool {
		return r.Deliver(onWire(numbered(n, "ann")), false, func(hub.Outcome) {
			if done <- n; n == 0 {
				r.standing.set(hub.StandingDoubt) // between two envelopes of one turn, as after a stop of the process
			}
		})
	}
	for n := range 10 {
		give(n)
	}
	c.wantIDs("0")
	wait(t, "doubt", func() bool { return r.metric("homing_front_doubts_total") == 1 })
	for n := 10; n < 15; n++ {
		give(n)
	}
	c.quiet(3 * loop.TickLength)
	if len(done) != 1 {
		t.Errorf("%d envelopes were confirmed, want the first only", len(done))
	}
	c.text(`{"t":"ping"}`) // the connection goes on
	c.wantText(`{"t":"ok"}`)
	r.turn(hub.StandingGood)
	for n := 1; n < 15; n++ {
		c.wantIDs(fmt.Sprint(n))
	}
	for want := range 15 {
		if got := <-done; got != want {
			t.Fatalf("envelope %d was confirmed in the place of %d", got, want)
		}
	}
}

func TestInDoubtTheInboxStaysBounded(t *testing.T) {
	r := start(t, func(c *Config) { c.InboxBytes = 1 << 16 })
	c := r.join("ann")
	r.turn(hub.StandingDoubt)
	taken := 0
	for taken < 1000 && r.Deliver(onWire(numbered(taken, "ann")), false, nil) {
		taken++
	}
	if taken == 0 || taken == 1000 || r.metric("homing_front_refused_envelopes_total") != 1 {
		t.Fatalf("%d envelopes were taken", taken)
	}
	r.standing.set(hub.StandingGood)
	for n := range taken {
		c.wantIDs(fmt.Sprint(n))
	}
}

// A long envelope is left where it is, and gone on with there.
func TestDoubtInTheMiddleOfAnEnvelope(t *testing.T) {
	var standing fakeStanding
	c := newCrowdOf(t, 1, standing.now)
	long := note(`1`)
	for i := range 2*turnBudget + turnBudget/2 {
		long.Users = append(long.Users, hub.UserID(fmt.Sprint("nobody-", i)))
	}
	long.Users = append(long.Users, c.users...)
	outcomes := make(chan hub.Outcome, 1)
	c.Deliver(long.Append(nil), true, func(o hub.Outcome) { outcomes <- o })
	left := func() int { return c.deliveries.current.users.Left }
	c.step()
	before := left()
	standing.set(hub.StandingDoubt)
	c.step()
	if left() != before || before == 0 {
		t.Errorf("%d users were left, in doubt %d", before, left())
	}
	standing.set(hub.StandingGood)
	for len(outcomes) == 0 {
		c.step()
	}
	o := <-outcomes
	if len(o.Statuses) != len(long.Users) || o.Statuses[len(o.Statuses)-1] != byte(hub.StatusWritten) || len(o.Missed) != len(long.Users)-1 {
		t.Errorf("%d statuses and %d missed of %d users", len(o.Statuses), len(o.Missed), len(long.Users))
	}
}

func TestInDoubtTheLoopDoesNotSpin(t *testing.T) {
	r := start(t, nil)
	c := r.join("ann")
	long := numbered(1)
	for i := range 5 * turnBudget {
		long.Users = append(long.Users, hub.UserID(fmt.Sprint("nobody-", i)))
	}
	r.turn(hub.StandingDoubt)
	r.deliver(long)
	r.deliver(numbered(2, "ann"))
	turns := func() int { return int(r.metric("homing_front_loop_turn_seconds")) }
	before := turns()
	time.Sleep(5 * loop.TickLength)
	if n := turns() - before; n < 2 || n > 12 {
		t.Errorf("%d turns in %v, want about one per tick", n, 5*loop.TickLength)
	}
	r.standing.set(hub.StandingGood)
	c.wantIDs("2")
}

func TestInDoubtNobodyIsLetIn(t *testing.T) {
	r := start(t, nil)
	slow := make(chan *http.Response, 1)
	go func() { // its token is being checked when doubt comes
		conn, err := net.Dial("tcp", r.addr)
		if err != nil {
			slow <- nil
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "GET /ws?token=slow HTTP/1.1\r\n"+upgradeHead+"\r\n")
		res, _ := http.ReadResponse(bufio.NewReader(conn), nil)
		slow <- res
	}()
	wait(t, "the check", func() bool { return r.metric("homing_front_connections") == 1 })
	r.turn(hub.StandingDoubt)
	for range 20 {
		res, body := r.raw("GET /ws?token=bad HTTP/1.1\r\n" + upgradeHead + "\r\n")
		if res.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, `"code":"hub_unreachable"`) {
			t.Fatalf("answered %d %s", res.StatusCode, body)
		}
		if after := res.Header.Get("Retry-After"); after != "1" && after != "2" {
			t.Errorf("Retry-After: %q", after)
		}
	}
	close(r.auth.hold)
	if res := <-slow; res == nil || res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("after its token was checked: %v", res)
	}
	if n := r.metric("homing_front_handshakes_total", "result", "hub_unreachable"); n != 21 {
		t.Errorf("%v handshakes counted as refused, want 21", n)
	}
	r.turn(hub.StandingGood)
	r.join("ann")
}

func TestInDoubtHelloWaits(t *testing.T) {
	r := start(t, nil)
	r.presence.goAway()
	c := r.dial("?token=ann")
	r.turn(hub.StandingDoubt)
	r.presence.back(nil)
	c.quiet(2 * loop.TickLength)
	r.standing.set(hub.StandingGood)
	if m := c.json(); m["t"] != "hello" {
		t.Errorf("got %v, want hello", m)
	}
}

func TestInDoubtHelloWaitsNoLongerThanARegistrationMayTake(t *testing.T) {
	r := start(t, func(c *Config) { c.RegisterTimeout = 3 * loop.TickLength })
	r.presence.goAway()
	c := r.dial("?token=ann")
	r.turn(hub.StandingDoubt)
	r.presence.back(nil)
	c.wantClose(1013)
	r.turn(hub.StandingGood)
	r.join("ann")
}

// sentAway reads a connection to its end: what came before the time to come
// back, and that time. The close frame must follow.
func (c *peer) sentAway() (before []string, after float64) {
	c.t.Helper()
	for {
		f := c.next()
		if f.Header.OpCode == gws.OpPing {
			continue
		}
		var m map[string]any
		if err := json.Unmarshal(f.Payload, &m); err != nil {
			c.t.Fatalf("frame %v %q: %v", f.Header.OpCode, f.Payload, err)
		}
		if m["t"] == "reconnect" {
			c.wantClose(1012)
			return before, m["after_ms"].(float64)
		}
		before = append(before, m["id"].(string))
	}
}

func TestALostWorkerSendsEverybodyAwayAtOnce(t *testing.T) {
	const window = 10 * time.Second
	r := start(t, func(c *Config) { c.DrainWindow, c.CloseTimeout = window, 5*time.Second })
	var all []*peer
	for i := range turnedTo + 50 { // more than one turn's
		all = append(all, r.join(fmt.Sprint("user", i)))
	}
	r.turn(hub.StandingDoubt)
	if !r.Deliver(onWire(numbered(1, "user0", "user9")), false, func(hub.Outcome) { t.Error("an envelope was confirmed") }) {
		t.Fatal("no room")
	}
	select {
	case <-r.Leaving():
		t.Fatal("leaving before anything was lost")
	default:
	}
	began := time.Now()
	r.turn(hub.StandingLost)
	r.standing.set(hub.StandingGood) // too late
	var times []float64
	for _, c := range all {
		before, after := c.sentAway()
		if times = append(times, after); len(before) != 0 || after < 0 || after > float64(window.Milliseconds()) {
			t.Fatalf("told to come back after %v, and before that %q", after, before)
		}
		_ = c.Close()
	}
	slices.Sort(times)
	for i := range 4 {
		quarter := times[len(times)*i/4 : len(times)*(i+1)/4]
		if mid, want := quarter[len(quarter)/2], (float64(i)+0.5)*2500; mid < want-1250 || mid > want+1250 {
			t.Errorf("the middle of quarter %d is told %v, want about %v", i, mid, want)
		}
	}
	<-r.Leaving()
	if err := r.stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("took %v", took)
	}
	if r.Standing() != hub.StandingLost {
		t.Errorf("standing %v after all", r.Standing())
	}
	if n := r.metric("homing_front_dismissed_total"); n != float64(len(all)) {
		t.Errorf("%v connections counted as sent away, want %d", n, len(all))
	}
	if n := r.presence.count(); n != 0 {
		t.Errorf("the index still names %d users", n)
	}
	if _, err := net.Dial("tcp", r.addr); err == nil {
		t.Error("the worker still listens")
	}
}

// Of what waits for a slow reader, nothing is written but the frame that has
// begun.
func TestALostWorkerWritesNothingThatWaited(t *testing.T) {
	inbox := newFakeInbox()
	r := startWith(t, inbox, func(c *Config) { c.SendBuffer, c.CloseTimeout = 4096, 5*time.Second })
	slow, resuming := stuck(r, "ann"), r.join("bob")
	resuming.text(`{"t":"resume"}`)
	read := inbox.next(t)
	const n = 100
	for i := range n {
		r.deliver(classNote(hub.ClassMust, "", i, "ann", "bob"))
	}
	wait(t, "delivery", func() bool { return r.metric("homing_front_targets_total") == 2*n })
	wait(t, "the kernel to take what it can", func() bool {
		written := r.metric("homing_front_written_messages_total")
		time.Sleep(20 * time.Millisecond)
		return written == r.metric("homing_front_written_messages_total")
	})
	written := int(r.metric("homing_front_written_messages_total"))
	r.turn(hub.StandingLost)
	read.finds("late")
	if before, _ := resuming.sentAway(); len(before) != 0 {
		t.Errorf("bob still got %q", before)
	}
	before, _ := slow.sentAway()
	if len(before) > written+1 {
		t.Errorf("%d messages were written before, then %d still", written, len(before)-written)
	}
	if lost, want := r.dropped("disowned", "must"), float64(2*n-len(before)); lost != want {
		t.Errorf("%v messages counted as given up, want %v", lost, want)
	}
}

// lingering is a worker whose turn to send everybody away has not come.
type lingering struct{ *turns }

func (lingering) BeginTurn() {}

// What the kernel has room for only now goes no more, although its connection's
// turn to be sent away has not come.
func TestALostWorkerWritesNothingBeforeItSendsAway(t *testing.T) {
	var standing fakeStanding
	c := newCrowdOf(t, 1, standing.now)
	conn := c.conns[0]
	for i := 0; !conn.Waiting(); i++ {
		c.deliver(onWire(classNote(hub.ClassMust, "", i, c.users...)))
	}
	for range 5 {
		c.deliver(onWire(classNote(hub.ClassMust, "", 0, c.users...)))
	}
	c.drain()
	standing.set(hub.StandingLost)
	before := metricOf(t, c.reg, "homing_front_written_bytes_total")
	c.shutdown.mayDeliver()
	c.stepAs(lingering{&c.turns}) // the socket is ready to be written to
	if now := metricOf(t, c.reg, "homing_front_written_bytes_total"); !conn.Waiting() || now != before {
		t.Error("what waited was written")
	}
}

func TestALostWorkerEndsThoughNobodyReads(t *testing.T) {
	r := start(t, func(c *Config) { c.SendBuffer, c.DrainWindow = 4096, time.Minute })
	stuck(r, "ann")
	r.deliver(note(`"`+strings.Repeat("x", 1_000_000)+`"`, "ann")) // begun, and never finished
	wait(t, "the kernel to take no more", func() bool { return r.metric("homing_front_waiting_connections") == 1 })
	began := time.Now()
	r.standing.set(hub.StandingLost)
	<-r.Leaving()
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took < 400*time.Millisecond || took > 3*time.Second {
		t.Errorf("ended after %v, want about the close timeout", took)
	}
}

func TestALostWorkerRefusesWhoeverIsOnTheWayIn(t *testing.T) {
	r := start(t, func(c *Config) { c.CloseTimeout = 5 * time.Second })
	half, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer half.Close()
	if _, err := io.WriteString(half, "GET /ws"); err != nil {
		t.Fatal(err)
	}
	r.presence.goAway()
	registering := r.dial("?token=ann")
	wait(t, "both", func() bool { return r.metric("homing_front_accepted_connections_total") == 2 })
	r.turn(hub.StandingLost)
	r.presence.back(nil)
	if f := registering.next(); len(f.Payload) < 2 || int(f.Payload[0])<<8|int(f.Payload[1]) != 1012 {
		t.Errorf("whoever registers reads %v %q, want a close frame with 1012", f.Header.OpCode, f.Payload)
	}
	res, err := http.ReadResponse(bufio.NewReader(half), nil)
	if err != nil || res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("half a request: %v, %v", res, err)
	}
	late, peer := socketPair(t)
	r.Adopt(late, false) // handed over by a master that does not know yet
	if _, err := peer.Write([]byte("GET /ws?token=bob HTTP/1.1\r\n" + upgradeHead + "\r\n")); err != nil {
		t.Fatal(err)
	}
	if res, err := http.ReadResponse(bufio.NewReader(peer), nil); err != nil || res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("an adopted connection: %v, %v", res, err)
	}
}

func TestALostWorkerSendsTLSClientsAwayToo(t *testing.T) {
	r, _ := startTLS(t, nil)
	c := r.joinTLS("ann")
	r.standing.set(hub.StandingLost)
	c.sentAway()
	_ = c.Close()
	if err := r.stop(); err != nil {
		t.Error(err)
	}
}

func TestLostInTheMiddleOfADrain(t *testing.T) {
	r := start(t, func(c *Config) { c.DrainWindow, c.DrainTimeout = time.Minute, time.Minute })
	c := r.join("ann")
	go func() { _ = r.stop() }()
	if m := c.json(); m["t"] != "reconnect" {
		t.Fatalf("got %v", m)
	}
	r.standing.set(hub.StandingLost)
	c.sentAway()
	_ = c.Close()
	if err := r.stop(); err != nil {
		t.Error(err)
	}
}

func TestLeavingIsClosedByADrain(t *testing.T) {
	r := start(t, nil)
	r.Drain()
	<-r.Leaving()
}

// Post lets a supervisor prove that the loop turns.
func TestPostProvesThatTheLoopTurns(t *testing.T) {
	r := start(t, nil)
	turned := make(chan struct{})
	if !r.Post(func() { close(turned) }) {
		t.Fatal("refused")
	}
	<-turned
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if r.Post(func() {}) {
		t.Error("a loop that has ended took a post")
	}
}
