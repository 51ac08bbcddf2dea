package front

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"testing"
	"time"

	gws "github.com/gobwas/ws"
	"github.com/google/go-cmp/cmp"

	"github.com/homing/homing/front/loop"
	"github.com/homing/homing/hub"
)

func TestHelloNamesUserAndConnection(t *testing.T) {
	r := start(t, nil)
	hello := r.dial("?token=ann").json()
	want := map[string]any{"t": "hello", "user": "ann", "conn": "process-abc.1", "ping": 25000.0}
	if diff := cmp.Diff(want, hello); diff != "" {
		t.Error(diff)
	}
}

func TestNotifyReachesEveryDeviceAndNobodyElse(t *testing.T) {
	r := start(t, nil)
	phone, tablet, other := r.join("ann@chess"), r.join("ann@poker"), r.join("bob")
	want := []hub.ServiceCount{{Service: "chess", Count: 1}, {Service: "poker", Count: 1}}
	if diff := cmp.Diff(want, r.presence.of("ann")); diff != "" {
		t.Error(diff)
	}
	r.deliver(note(`{"x":1}`, "ann", "nobody"))
	for _, c := range []*peer{phone, tablet} {
		if m := c.json(); m["t"] != "notify" || m["id"] != "n1" {
			t.Errorf("got %v", m)
		}
	}
	limited := note(`2`, "ann", "bob")
	limited.Services = []hub.Service{"poker", "go"}
	r.deliver(limited)
	if m := tablet.json(); m["data"] != 2.0 {
		t.Errorf("got %v", m)
	}
	phone.quiet(50 * time.Millisecond)
	other.quiet(50 * time.Millisecond)
	wait(t, "the missed targets", func() bool { return r.metric("homing_front_missed_targets_total") == 2 })
}

// A long delivery looks after the sockets in between, which takes the wake-up
// of an envelope that has just come. The loop must not sleep on that envelope
// until the next tick.
func TestEnvelopeThatComesDuringALongDeliveryIsNotSleptOn(t *testing.T) {
	r := start(t, nil)
	ann := r.join("ann")
	first, second := note(`1`, "ann"), note(`2`, "ann")
	const rounds = 15
	prompt := 0
	for range rounds {
		time.Sleep(7 * time.Millisecond) // at another time of the tick
		came := make(chan time.Time, 1)
		r.Deliver(first.Append(nil), false, func(hub.Outcome) { // on the loop, between two envelopes
			r.deliveries.budget = 1
			came <- time.Now()
			r.deliver(second)
		})
		for want := 1.0; want <= 2; want++ {
			if m := ann.json(); m["data"] != want {
				t.Errorf("got %v, want %v", m["data"], want)
			}
		}
		if time.Since(<-came) < loop.TickLength/10 {
			prompt++
		}
	}
	if prompt <= rounds/3 {
		t.Errorf("%d of %d came before a tenth of a tick had passed", prompt, rounds)
	}
}

// TestPingsOfThoseThatCameTogetherSpread asks when connections are pinged that
// opened in one tick, before and after they first answered one.
func TestPingsOfThoseThatCameTogetherSpread(t *testing.T) {
	cfg := testConfig(t)
	interval := loop.Ticks(cfg.PingInterval)
	const came = 1000
	for name, c := range map[string]struct {
		heard loop.Tick
		least loop.Tick // how early the first of them is pinged, as a part of the interval in tenths
	}{"first ping": {came, 9}, "later pings": {came + 7, 1}} {
		pinged := make(map[loop.Tick]int)
		for place := range int(interval) * 10 {
			pinged[firstPing(place, c.heard, came, interval)-c.heard]++
		}
		if n := loop.Tick(len(pinged)); n < interval*c.least/10 || pinged[0] > 0 || pinged[interval] == 0 {
			t.Errorf("%s: at %d ticks of %d, or at once", name, n, interval)
		}
		for at, n := range pinged {
			if n > 2*int(interval)*10/len(pinged) {
				t.Errorf("%s: %d of %d together after %d ticks", name, n, interval*10, at)
			}
		}
	}
}

func TestBroadcastReachesAll(t *testing.T) {
	r := start(t, nil)
	var all []*peer
	for i := range 50 {
		all = append(all, r.join(fmt.Sprintf("user%d@s%d", i, i%2)))
	}
	e := note(`"all"`)
	e.Kind, e.Users = hub.KindBroadcast, nil
	r.deliver(e)
	e.Services = []hub.Service{"s1"}
	r.deliver(e)
	for i, c := range all {
		for range 1 + i%2 {
			if m := c.json(); m["data"] != "all" {
				t.Errorf("client %d: %v", i, m)
			}
		}
	}
	all[0].quiet(50 * time.Millisecond)
}

func TestDisconnectClosesAllOfAUser(t *testing.T) {
	r := start(t, nil)
	a, b, other := r.join("ann"), r.join("ann"), r.join("bob")
	r.deliver(hub.Envelope{Kind: hub.KindDisconnect, Users: []hub.UserID{"ann"}, Payload: []byte("banned")})
	for _, c := range []*peer{a, b} {
		if code, reason := c.closed(); code != 4003 || reason != "banned" {
			t.Errorf("closed with %d %q", code, reason)
		}
	}
	other.quiet(50 * time.Millisecond)
	wait(t, "the index to forget ann", func() bool { return r.presence.of("ann") == nil })
}

func TestUserLeavesIndexWithLastConnection(t *testing.T) {
	r := start(t, nil)
	a, b := r.join("ann"), r.join("ann")
	_ = a.Close()
	wait(t, "one connection", func() bool {
		s := r.presence.of("ann")
		return len(s) == 1 && s[0].Count == 1
	})
	b.write(gws.MaskFrame(gws.NewCloseFrame(gws.NewCloseFrameBody(1000, "bye"))))
	b.wantClose(1000)
	wait(t, "none", func() bool { return r.presence.count() == 0 })
	_ = b.Close()
	wait(t, "no sockets", func() bool { return r.metric("homing_front_connections") == 0 })
}

func TestClientMessages(t *testing.T) {
	r := start(t, nil)
	c := r.join("ann")
	for _, tc := range []struct{ in, want string }{
		{`{"t":"ping","ref":"a"}`, `{"t":"ok","ref":"a"}`},
		{`{"t":"ping"}`, `{"t":"ok"}`},
		{`{"t":"dance","ref":7}`, `{"t":"error","code":"unknown_type","ref":7}`},
		{`{"t":`, `{"t":"error","code":"bad_json"}`},
		{`[]`, `{"t":"error","code":"bad_json"}`},
		{`{}`, `{"t":"error","code":"bad_json"}`},
	} {
		c.text(tc.in)
		if f := c.next(); string(f.Payload) != tc.want {
			t.Errorf("%s: got %s, want %s", tc.in, f.Payload, tc.want)
		}
	}
	c.write(gws.MaskFrame(gws.NewPingFrame([]byte("hi"))))
	if f := c.next(); f.Header.OpCode != gws.OpPong || string(f.Payload) != "hi" {
		t.Errorf("got %v %q, want the pong", f.Header.OpCode, f.Payload)
	}
}

func TestBadFrames(t *testing.T) {
	long := make([]byte, 2000)
	masked := func(f gws.Frame) []byte { return gws.MustCompileFrame(gws.MaskFrame(f)) }
	for name, tc := range map[string]struct {
		bytes []byte
		code  int
	}{
		"binary":               {masked(gws.NewBinaryFrame([]byte{1})), 1003},
		"unmasked":             {gws.MustCompileFrame(gws.NewTextFrame([]byte("{}"))), 1002},
		"reserved bit":         {[]byte{0xC1, 0x80, 0, 0, 0, 0}, 1002},
		"unknown opcode":       {[]byte{0x83, 0x80, 0, 0, 0, 0}, 1002},
		"lone continuation":    {masked(gws.NewFrame(gws.OpContinuation, true, nil)), 1002},
		"fragmented ping":      {masked(gws.NewFrame(gws.OpPing, false, nil)), 1002},
		"long ping":            {[]byte{0x89, 0xFE, 0, 126, 0, 0, 0, 0}, 1002},
		"invalid UTF-8":        {masked(gws.NewTextFrame([]byte{0xFF, 0xFE})), 1007},
		"close code 1005":      {masked(gws.NewCloseFrame([]byte{0x03, 0xED})), 1002},
		"oversize":             {masked(gws.NewTextFrame(long)), 1009},
		"oversize, only head":  {[]byte{0x81, 0xFF, 0, 0, 1, 0, 0, 0, 0, 0, 1, 2, 3, 4}, 1009},
		"oversize, fragmented": {append(masked(gws.NewFrame(gws.OpText, false, long[:600])), masked(gws.NewFrame(gws.OpContinuation, true, long[:600]))...), 1009},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, func(c *Config) { c.MaxMessage = 1000 })
			c := r.join("ann")
			if _, err := c.Write(tc.bytes); err != nil {
				t.Fatal(err)
			}
			c.wantClose(tc.code)
			if n := r.metric("homing_front_closes_total", "code", strconv.Itoa(tc.code)); n != 1 {
				t.Errorf("closes_total{code=%d} is %v", tc.code, n)
			}
		})
	}
}

func TestTooManyMessages(t *testing.T) {
	r := start(t, func(c *Config) { c.MessageRate, c.MessageBurst = 1, 5 })
	c := r.join("ann")
	for range 6 {
		c.text(`{"t":"ping"}`)
	}
	c.wantClose(1008)
}

func TestSilentClientIsPingedThenClosed(t *testing.T) {
	r := start(t, func(c *Config) { c.PingInterval, c.PongTimeout = 300*time.Millisecond, 300*time.Millisecond })
	c := r.join("ann")
	for range 2 {
		if f := c.next(); f.Header.OpCode != gws.OpPing {
			t.Fatalf("got %v, want a ping", f.Header.OpCode)
		}
		c.write(gws.MaskFrame(gws.NewPongFrame(nil)))
	}
	if f := c.next(); f.Header.OpCode != gws.OpPing {
		t.Fatalf("got %v, want a ping", f.Header.OpCode)
	}
	c.wantClose(4009)
}

func TestPeerThatDoesNotAnswerCloseIsCut(t *testing.T) {
	r := start(t, nil)
	c := r.join("ann")
	r.deliver(hub.Envelope{Kind: hub.KindDisconnect, Users: []hub.UserID{"ann"}})
	c.wantClose(4003) // and says nothing
	wait(t, "the socket to be closed", func() bool { return r.metric("homing_front_connections") == 0 })
}

func TestHelloWaitsForTheIndex(t *testing.T) {
	r := start(t, nil)
	r.presence.goAway()
	c := r.dial("?token=ann")
	c.quiet(50 * time.Millisecond)
	r.deliver(note(`1`, "ann"))
	c.quiet(50 * time.Millisecond)
	r.presence.back(nil)
	if m := c.json(); m["t"] != "hello" {
		t.Fatalf("first %v, want hello", m)
	}
	if m := c.json(); m["t"] != "notify" {
		t.Fatalf("then %v, want the notification", m)
	}
}

func TestIndexAwayTooLong(t *testing.T) {
	r := start(t, func(c *Config) { c.RegisterTimeout = 200 * time.Millisecond })
	r.presence.goAway()
	c := r.dial("?token=ann")
	r.deliver(note(`1`, "ann"))
	c.wantClose(1013)
	r.presence.back(errors.New("stopped"))
	wait(t, "the index to forget ann", func() bool { return r.presence.count() == 0 })
	if n := r.metric("homing_front_dropped_messages_total", "reason", "connection_closed"); n != 1 {
		t.Errorf("%v messages counted as dropped, want 1", n)
	}
}

func TestInboxOverflowIsCounted(t *testing.T) {
	cfg := testConfig(t)
	cfg.InboxBytes = 1 << 16
	w, err := NewWorker(cfg, nil, Deps{Log: testLog(t), Registry: newRegistry(), Presence: nobody{}})
	if err != nil {
		t.Fatal(err)
	}
	defer w.loop.Close()
	body := make([]byte, 1<<15)
	for range 3 {
		w.Deliver(body, false, nil)
	}
	if n := valueOf(t, w.m.refusedEnvelopes); n != 2 {
		t.Errorf("%v envelopes counted as refused, want 2", n)
	}
}

func TestMalformedEnvelopeIsCounted(t *testing.T) {
	r := start(t, nil)
	c := r.join("ann")
	r.Deliver([]byte("nonsense"), false, nil)
	r.deliver(note(`1`, "ann"))
	if m := c.json(); m["t"] != "notify" {
		t.Fatalf("got %v", m)
	}
	if n := r.metric("homing_front_dropped_envelopes_total", "reason", "malformed"); n != 1 {
		t.Errorf("%v envelopes counted as malformed, want 1", n)
	}
}

func TestHalfClosedPeerIsClosed(t *testing.T) {
	r := start(t, nil)
	c := r.join("ann")
	if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	wait(t, "the index to forget ann", func() bool { return r.presence.count() == 0 })
	if _, err := c.frame(); err == nil {
		t.Error("the connection goes on")
	}
}

func TestLongDeliveriesDoNotStarveReads(t *testing.T) {
	r := start(t, nil)
	c := r.join("ann")
	e := note(`1`)
	for i := range hub.MaxUsers {
		e.Users = append(e.Users, hub.UserID(fmt.Sprint("u", i)))
	}
	body := e.Append(nil)
	const n = 100
	for range n {
		r.Deliver(body, false, nil)
	}
	c.text(`{"t":"ping"}`)
	if m := c.json(); m["t"] != "ok" {
		t.Fatalf("got %v", m)
	}
	if done := r.metric("homing_front_envelopes_total"); done == n {
		t.Error("the answer came after all deliveries")
	}
	wait(t, "all deliveries", func() bool { return r.metric("homing_front_missed_targets_total") == n*hub.MaxUsers })
}

func TestOutcomeNamesWhoWasMissedAndHowTheOthersFared(t *testing.T) {
	r := start(t, nil)
	c := r.join("ann")
	outcome := make(chan hub.Outcome, 1)
	e := note(`1`, "bob", "ann", "carol")
	e.Shared = 1
	r.Deliver(e.Append(nil), true, func(o hub.Outcome) { outcome <- o })
	want := hub.Outcome{
		Missed:   []hub.UserID{"bob", "carol"},
		Shared:   1,
		Statuses: []byte{byte(hub.StatusMissed), byte(hub.StatusWritten), byte(hub.StatusMissed)},
	}
	if d := cmp.Diff(want, <-outcome); d != "" {
		t.Errorf("outcome (-want +got):\n%s", d)
	}
	if m := c.json(); m["t"] != "notify" {
		t.Errorf("got %v", m)
	}
}
