package front

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	gws "github.com/gobwas/ws"

	"github.com/homing/homing/front/loop"
	"github.com/homing/homing/hub"
)

func TestUsageLeaksToTheUnit(t *testing.T) {
	of := allowance{useMessages: {rate: 3, burst: 5}, useBytes: {rate: 0, burst: 1}}
	var u usage
	for i := range 5 {
		if !u.take(1, &of, useMessages, 1) {
			t.Fatalf("message %d of 5 is refused", i)
		}
	}
	if u.take(4, &of, useMessages, 1) {
		t.Error("a message is let in after 0.3 s at 3 a second")
	}
	if !u.take(5, &of, useMessages, 1) {
		t.Error("no message is let in after 0.4 s at 3 a second")
	}
	if u.take(5+9, &of, useMessages, 3) {
		t.Error("0.9 s more are worth 3 messages and not 2.7")
	}
	if !u.take(5+10, &of, useMessages, 3) || u.none(5+10, &of) {
		t.Error("1 s more is worth 3 messages")
	}
	if !u.take(1<<30, &of, useMessages, 5) || u.take(1<<30, &of, useMessages, 1) {
		t.Error("after a long time there is not exactly the burst")
	}
	if !u.take(1, &of, useBytes, 1<<30) {
		t.Error("there is a limit although the rate is 0")
	}
}

func TestAllowancesAreCappedNotWrapped(t *testing.T) {
	cfg := testConfig(t)
	cfg.MaxMessage, cfg.UserShare = 1<<30, maxShare
	_, user := newAllowances(&cfg)
	var u usage
	if !u.take(1, &user, useBytes, 400_000_000) || u.take(1, &user, useBytes, 400_000_000) {
		t.Error("a budget of bytes beyond 32 bits is not the largest there is")
	}
}

// few makes the budgets of bytes small: a connection's 20,000, a user's 80,000.
func few(c *Config) { c.MaxMessage, c.ByteBurst, c.ByteRate, c.UserShare = 10_000, 20_000, 1, 4 }

// padded is a ping of about n bytes.
func padded(n int) string { return `{"t":"ping","x":"` + strings.Repeat("x", n) + `"}` }

func TestTooManyBytes(t *testing.T) {
	r := start(t, few)
	c := r.join("ann") // which costs connectCost
	c.text(padded(3000))
	c.wantText(`{"t":"ok"}`)
	c.text(padded(1000))
	code, reason := c.closed()
	if code != 1008 || reason != "too many bytes" {
		t.Errorf("closed with %d %q, want 1008 too many bytes", code, reason)
	}
	if n := r.metric("homing_front_over_budget_total", "budget", "bytes"); n != 1 {
		t.Errorf("%v counted, want 1", n)
	}
}

// TestHalfAMessageIsChargedBeforeItIsKept sends fragments that never end, and a
// frame that never does.
func TestHalfAMessageIsChargedBeforeItIsKept(t *testing.T) {
	r := start(t, few)
	for _, frame := range []gws.Frame{
		gws.NewFrame(gws.OpText, false, nil),
		gws.NewFrame(gws.OpText, false, []byte(strings.Repeat("x", 5000))),
	} {
		c := r.join(fmt.Sprint("user", len(frame.Payload)))
		c.write(gws.MaskFrame(frame))
		for range 1000 { // of six bytes each, at the least
			if err := gws.WriteFrame(c.Conn, gws.MaskFrame(gws.NewFrame(gws.OpContinuation, false, nil))); err != nil {
				break
			}
		}
		c.wantClose(1008)
	}
}

// TestAUserSharesABudget has connections of one user, each within its own
// budget, use up that of all of them.
func TestAUserSharesABudget(t *testing.T) {
	r := start(t, func(c *Config) { c.MessageRate, c.MessageBurst, c.UserShare = 1, 10, 2 })
	a, b, c := r.join("ann"), r.join("ann"), r.join("ann")
	for _, one := range []*peer{a, b} {
		for range 10 {
			one.text(`{"t":"ping"}`)
			one.wantText(`{"t":"ok"}`)
		}
	}
	c.text(`{"t":"ping"}`)
	code, reason := c.closed()
	if code != 1013 || reason != "too many messages of this user" {
		t.Errorf("closed with %d %q, want 1008 for the user", code, reason)
	}
	if n := r.metric("homing_front_over_budget_total", "budget", "user_messages"); n != 1 {
		t.Errorf("%v counted, want 1", n)
	}
	bob := r.join("bob")
	bob.text(`{"t":"ping"}`)
	bob.wantText(`{"t":"ok"}`)
}

// TestToConnectAgainIsNoWayToAFullBudget keeps what a user has used while it is
// away.
func TestToConnectAgainIsNoWayToAFullBudget(t *testing.T) {
	r := start(t, few)
	connects := 0
	for ; connects < 20; connects++ {
		c := r.dialRaw("ann")
		status := c.status()
		_ = c.Close()
		if status == 429 {
			break
		}
		wait(t, "ann to have left", func() bool { return r.presence.count() == 0 })
	}
	if connects != 80_000/connectCost {
		t.Errorf("%d connects were let in, want %d", connects, 80_000/connectCost)
	}
	if n := r.metric("homing_front_over_budget_total", "budget", "connects"); n != 1 {
		t.Errorf("%v counted, want 1", n)
	}
	if n := r.metric("homing_front_handshakes_total", "result", "too_many_connects"); n != 1 {
		t.Errorf("%v refusals counted, want 1", n)
	}
	r.join("bob")
}

// dialRaw sends a request and reads nothing.
func (r *rig) dialRaw(token string) *peer {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	_, err = io.WriteString(conn, "GET /ws?token="+token+" HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	if err != nil {
		r.t.Fatal(err)
	}
	return newClient(r.t, conn, nil)
}

// status reads the status of the reply to a handshake.
func (c *peer) status() (status int) {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := fmt.Fscanf(c.br, "HTTP/1.1 %d ", &status); err != nil {
		c.t.Fatalf("read the reply: %v", err)
	}
	return status
}

func TestASlowMessageIsClosed(t *testing.T) {
	r := start(t, func(c *Config) { c.MessageTimeout = 300 * time.Millisecond })
	c := r.join("ann")
	c.write(gws.MaskFrame(gws.NewFrame(gws.OpText, false, []byte("x"))))
	c.write(gws.MaskFrame(gws.NewPingFrame(nil))) // signs of life do not help
	code, reason := c.closed()
	if code != 1008 || reason != "message too slow" {
		t.Errorf("closed with %d %q, want 1008 message too slow", code, reason)
	}
	d := r.join("ann")
	for range 5 {
		d.write(gws.MaskFrame(gws.NewFrame(gws.OpText, false, []byte(`{"t":"`))))
		time.Sleep(100 * time.Millisecond)
		d.write(gws.MaskFrame(gws.NewFrame(gws.OpContinuation, true, []byte(`ping"}`))))
		d.wantText(`{"t":"ok"}`)
	}
}

// TestAFloodAfterTheCloseFrameIsCut reads on for a while from a connection that
// is closing, so that the client can read why, and no longer.
func TestAFloodAfterTheCloseFrameIsCut(t *testing.T) {
	r := start(t, func(c *Config) { few(c); c.CloseTimeout = time.Minute })
	c := r.join("ann")
	junk := make([]byte, 10_000)
	_ = c.SetWriteDeadline(time.Now().Add(10 * time.Second))
	for {
		if _, err := c.Write(gws.MustCompileFrame(gws.MaskFrame(gws.NewBinaryFrame(junk)))); err != nil {
			break
		}
	}
	wait(t, "the connection to be dropped", func() bool { return r.metric("homing_front_connections") == 0 })
	if n := r.metric("homing_front_over_budget_total", "budget", "closing"); n != 1 {
		t.Errorf("%v counted, want 1", n)
	}
}

// TestInboxWorkIsCharged refuses what is beyond it, by kind, without an end of
// the connection, for all connections of a user.
func TestInboxWorkIsCharged(t *testing.T) {
	inbox := newFakeInbox()
	r := startWith(t, inbox, func(c *Config) { c.InboxRate, c.InboxBurst = 1, ackCost+maxAck })
	c := r.join("ann")
	var ids []string
	for i := range maxAck {
		ids = append(ids, fmt.Sprintf(`"%d"`, i))
	}
	c.text(`{"t":"ack","ids":[` + strings.Join(ids, ",") + `],"ref":1}`)
	c.wantText(`{"t":"ok","ref":1}`)
	d := r.join("ann")
	for _, one := range []*peer{c, d} {
		one.text(`{"t":"ack","ids":["a","b","c","d","e","f","g","h"],"ref":2}`)
		one.wantText(`{"t":"error","of":"ack","code":"rate_limited","ref":2}`)
	}
	d.text(`{"t":"resume","ref":3}`)
	d.wantText(`{"t":"error","of":"resume","code":"rate_limited","ref":3}`)
	if n := len(strings.Fields(inbox.acknowledged())); n != maxAck {
		t.Errorf("%d ids reached the inbox, want %d", n, maxAck)
	}
	if n := r.metric("homing_front_over_budget_total", "budget", "inbox"); n != 3 {
		t.Errorf("%v counted, want 3", n)
	}
	bob := r.join("bob")
	bob.text(`{"t":"ack","id":"a","ref":4}`)
	bob.wantText(`{"t":"ok","ref":4}`)
}

func TestAbsenteesAreForgottenInTime(t *testing.T) {
	a := newAbsentees()
	of := allowance{useBytes: {rate: 10, burst: 1000}}
	half := usage{at: 1}
	half.used[useBytes] = 1000 // 100 bytes: 10 s
	a.add("nothing used", usage{at: 1}, 1)
	a.add("ann", half, 1)
	a.add("bob", half, 1)
	if _, ok := a.take("bob"); !ok {
		t.Fatal("bob is not remembered")
	}
	a.add("bob", half, 2) // away again, with an older entry in the order
	a.age(50, &of, 100)
	if len(a.users) != 2 {
		t.Fatalf("%d are remembered, want ann and bob", len(a.users))
	}
	a.age(101, &of, 100)
	if len(a.users) != 0 || a.head != len(a.order) {
		t.Errorf("%d are remembered after their time, %d in order", len(a.users), len(a.order)-a.head)
	}
}

func TestAbsenteesAreBounded(t *testing.T) {
	a := newAbsentees()
	used := usage{used: [resourceCount]uint32{useBytes: 1}}
	evicted := 0
	const n = 3 * absentLimit
	for i := range n {
		evicted += a.add(hub.UserID(fmt.Sprint(i)), used, loop.Tick(i+1))
	}
	if len(a.users) != absentLimit || evicted != n-absentLimit || len(a.order) > 2*absentLimit+1 {
		t.Errorf("%d are remembered and %d evicted, order of %d", len(a.users), evicted, len(a.order))
	}
	for range n { // the same user over and over leaves stale entries in the order
		a.take("x")
		a.add("x", used, n)
	}
	if len(a.users) > absentLimit || len(a.order) > 2*absentLimit+1 {
		t.Errorf("%d are remembered, order of %d", len(a.users), len(a.order))
	}
}
