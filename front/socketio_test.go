package front

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	gws "github.com/gobwas/ws"

	"github.com/homing/homing/hub"
)

// talker is a client of Socket.IO over WebSocket, of somebody else's code.
type talker struct{ *peer }

// engine connects as far as Engine.IO goes, and returns what the server says.
func (r *rig) engine(query string) (*talker, map[string]any) {
	r.t.Helper()
	conn, br, _, err := (gws.Dialer{Timeout: 5 * time.Second}).Dial(r.t.Context(), "ws://"+r.addr+"/socket.io/?EIO=4&transport=websocket"+query)
	if err != nil {
		r.t.Fatalf("dial %s: %v", query, err)
	}
	c := &talker{newClient(r.t, conn, br)}
	var open map[string]any
	if packet := c.packet(); packet[0] != '0' || json.Unmarshal([]byte(packet[1:]), &open) != nil {
		r.t.Fatalf("%q, want an open packet", packet)
	}
	return c, open
}

// packet reads a text frame.
func (c *talker) packet() string {
	c.t.Helper()
	f := c.next()
	if f.Header.OpCode != gws.OpText {
		c.t.Fatalf("frame %v %q, want text", f.Header.OpCode, f.Payload)
	}
	return string(f.Payload)
}

// want reads a packet that begins so, and returns the rest.
func (c *talker) want(begin string) string {
	c.t.Helper()
	packet := c.packet()
	rest, ok := strings.CutPrefix(packet, begin)
	if !ok {
		c.t.Fatalf("%q, want %q", packet, begin)
	}
	return rest
}

// talk connects as a user and reads hello.
func (r *rig) talk(token string) *talker {
	r.t.Helper()
	c, _ := r.engine("")
	c.text(`40{"token":"` + token + `"}`)
	c.want(`40{"sid":"process-abc.`)
	c.want(`42["hello",{"t":"hello","user":"`)
	return c
}

func TestSocketIO(t *testing.T) {
	r := startWith(t, newFakeInbox(), nil)
	c, open := r.engine("")
	if fmt.Sprint(open["upgrades"], open["pingInterval"], open["pingTimeout"], open["maxPayload"]) != "[] 25000 10000 65536" || len(open) != 5 || len(open["sid"].(string)) < 22 {
		t.Errorf("%v", open)
	}
	c.text(`40{"token":"ann@chess"}`)
	if rest := c.want(`40{"sid":"process-abc.`); !strings.Contains(rest, `","pid":"`) {
		t.Errorf("%s", rest)
	}
	if rest := c.want(`42["hello",{"t":"hello","user":"ann","conn":"process-abc.`); !strings.HasSuffix(rest, `"resume":true,"ping":25000},""]`) {
		t.Errorf("%s", rest)
	}
	r.deliver(note(`{"gift":"sword"}`, "ann"))
	c.want(`42["notify",{"t":"notify","id":"n1","data":{"gift":"sword"}}]`)
	r.deliver(stored("mail-1", "ann"))
	if rest := c.want(`42["notify",{"t":"notify","id":"mail-1",`); !strings.HasSuffix(rest, `,"mail-1"]`) {
		t.Errorf("%s", rest)
	}
	for event, want := range map[string]string{
		`427["ping"]`:                           `437[{"t":"ok"}]`,
		`428["ping",{}]`:                        `438[{"t":"ok"}]`,
		`429["ping",{"a":1,"t":"resume"}]`:      `439[{"t":"ok"}]`,
		`42["ping",{"ref":3}]`:                  `42["ok",{"t":"ok","ref":3}]`,
		`420["say",{"data":1}]`:                 `430[{"t":"error","of":"say","code":"no_room"}]`,
		`4210["fly"]`:                           `4310[{"t":"error","code":"unknown_type"}]`,
		`4211["ping",1]`:                        `4311[{"t":"error","code":"bad_json"}]`,
		`40/chat,`:                              `44/chat,{"message":"Invalid namespace"}`,
		`4212["ping", {"ref" : 1 , "x":[ ] } ]`: `4312[{"t":"ok"}]`,
	} {
		c.text(event)
		c.want(want)
	}
	c.text(`41`)
	wait(t, "the user to leave", func() bool { return r.presence.count() == 0 })
	c.text(`40{"token":"ann"}`)
	c.want(`44{"message":"Open another connection"`)
	c.text("1")
	c.wantClose(1000)
}

func TestSocketIOTokens(t *testing.T) {
	r := start(t, nil)
	c, _ := r.engine("")
	c.text(`40{"token":"expired"}`)
	if rest := c.want(`44{"message":"`); !strings.HasSuffix(rest, `"data":{"code":"token_expired"}}`) {
		t.Errorf("%s", rest)
	}
	c.text(`40`)
	if rest := c.want(`44{"message":"`); !strings.HasSuffix(rest, `"data":{"code":"token_missing"}}`) {
		t.Errorf("%s", rest)
	}
	c.text(`40{"token":"ann"}`)
	if rest := c.want(`40{"sid":"`); strings.Contains(rest, "pid") {
		t.Errorf("without an inbox there is nothing to recover: %s", rest)
	}
	c.want(`42["hello",`)
	c, _ = r.engine("&token=bob")
	c.text(`40`)
	c.want(`40{"sid":"`)
	c, _ = r.engine("")
	c.text(`40{"token":"broken"}`)
	c.wantClose(1013) // and nothing that the library would keep until it is in
}

func TestSocketIOBreaches(t *testing.T) {
	r := start(t, func(c *Config) { c.ConnectTimeout = 300 * time.Millisecond })
	for _, packets := range [][]string{
		{`42["ping"]`},
		{`4`},
		{`4abc`},
		{`abc`},
		{`2`},
		{`6`},
		{`0`},
		{`41`},
		{`43`},
		{`40{"token":"ann"}`, `40{"token":"ann"}`},
		{`40{"token":"ann"}`, `42["connect"]`},
		{`40{"token":"ann"}`, `42{}`},
		{`40{"token":"ann"}`, `42/chat,["ping"]`},
		{`40{"token":"ann"}`, `4511-["say"]`},
		{`40{"token":"ann"}`, `44{}`},
		{`40{"token":"ann"}`, `451-["say",{"_placeholder":true,"num":0}]`, `42["ping"]`},
		{`40{"token":"ann"}`, `451-["say",{"_placeholder":true,"num":1}]`},
	} {
		c, _ := r.engine("")
		for _, p := range packets {
			c.text(p)
		}
		if code, reason := c.closed(); code != 1002 {
			t.Errorf("%q: closed with %d %q", packets, code, reason)
		}
	}
	c, _ := r.engine("")
	c.write(gws.MaskFrame(gws.NewBinaryFrame([]byte("x"))))
	c.wantClose(1002)
	c, _ = r.engine("")
	c.want(`44{"message":"handshake_timeout","data":{"code":1008}}`)
	c.wantClose(1008)
}

func TestSocketIOHeartbeats(t *testing.T) {
	r := start(t, func(c *Config) { c.PingInterval, c.PongTimeout = 300*time.Millisecond, 300*time.Millisecond })
	c := r.talk("ann")
	for range 3 {
		c.want("2")
		c.text("3")
	}
	c.want("2")
	code := 0
	for range 50 { // what else it says is no answer
		c.text(`42["ping"]`)
		f := c.next()
		if f.Header.OpCode == gws.OpClose {
			got, _ := gws.ParseCloseFrameData(f.Payload)
			code = int(got)
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if code != 4009 || r.metric("homing_front_closes_total", "code", "4009") != 1 {
		t.Errorf("closed with %d, or it is not counted", code)
	}
}

// recover comes back as a client of which the library remembers pid and offset.
func (r *rig) recover(token, pid, offset string) *talker {
	r.t.Helper()
	c, _ := r.engine("")
	c.text(fmt.Sprintf(`40{"token":%q,"pid":%q,"offset":%q}`, token, pid, offset))
	return c
}

// offset reads an event that begins so, and returns its last argument.
func (c *talker) offset(begin string) string {
	c.t.Helper()
	var args []any
	if err := json.Unmarshal([]byte(begin + c.want(begin))[2:], &args); err != nil {
		c.t.Fatal(err)
	}
	offset, ok := args[len(args)-1].(string)
	if !ok {
		c.t.Fatalf("%s… has no offset", begin)
	}
	return offset
}

func TestSocketIORecovers(t *testing.T) {
	inbox := newFakeInbox()
	r := startWith(t, inbox, nil)
	pid := newPID("ann")
	c := r.recover("ann", pid, "mail-1")
	read := inbox.next(t)
	if read.after != "mail-1" {
		t.Errorf("after %q", read.after)
	}
	r.deliver(note(`"live"`, "ann"))
	r.deliver(stored("mail-4", "ann"))
	read.answer <- fakeAnswer{missed: hub.Missed{Recovered: true, Last: "mail-3", Entries: missed("mail-2", "mail-3").Entries}}
	if rest := c.want(`40{"sid":"process-abc.`); !strings.HasSuffix(rest, `","pid":"`+pid+`"}`) {
		t.Errorf("%s", rest)
	}
	if offset := c.offset(`42["hello",`); offset != "mail-1" {
		t.Errorf("it is to come back with %q if this is all that it reads", offset)
	}
	c.want(`42["resumed",{"t":"resumed","recovered":true,"count":2,"last":"mail-3"}]`)
	half := c.offset(`42["notify",{"t":"notify","id":"mail-2",`)
	if !strings.HasPrefix(half, "mail-2 ") {
		t.Errorf("%q", half)
	}
	c.offset(`42["notify",{"t":"notify","id":"mail-3",`)
	whole := c.offset(`42["place",{"t":"place"},`)
	c.want(`42["notify",{"t":"notify","id":"n1","data":"live"}]`)
	last := c.offset(`42["notify",{"t":"notify","id":"mail-4",`)

	for offset, want := range map[string][]string{
		half:  {"mail-3", "mail-4", "mail-5"},
		whole: {"mail-4", "mail-5"},
		last:  {"mail-5"},
	} {
		c := r.recover("ann", pid, offset)
		read := inbox.next(t)
		if place, _, _ := strings.Cut(offset, " "); read.after != place {
			t.Errorf("after %q, want %q", read.after, place)
		}
		all := missed("mail-1", "mail-2", "mail-3", "mail-4", "mail-5").Entries
		read.answer <- fakeAnswer{missed: hub.Missed{Recovered: true, Last: "mail-5", Entries: all}}
		c.want(`40{"sid":"`)
		if got := c.offset(`42["hello",`); got != offset {
			t.Errorf("%q and not %q: what was read before would come again", got, offset)
		}
		c.want(`42["resumed",`)
		for _, id := range want {
			c.offset(`42["notify",{"t":"notify","id":"` + id + `",`)
		}
		c.offset(`42["place",`)
		r.deliver(stored("mail-3", "ann")) // comes late: it was replayed, or read before
		r.deliver(note(`0`, "ann"))
		c.want(`42["notify",{"t":"notify","id":"n1",`)
		_ = c.Close()
	}
}

// TestSocketIORecoversWhatWasLate has a message come after one that was stored later.
func TestSocketIORecoversWhatWasLate(t *testing.T) {
	inbox := newFakeInbox()
	r := startWith(t, inbox, nil)
	c := r.talk("ann")
	r.deliver(stored("late-2", "ann"))
	offset := c.offset(`42["notify",`)
	c = r.recover("ann", newPID("ann"), offset)
	entries := missed("old", "seen", "late-1", "late-2", "late-3").Entries
	entries[0].Again, entries[1].Again = true, true // before all that can be late
	inbox.next(t).answer <- fakeAnswer{missed: hub.Missed{Recovered: true, Last: "late-3", Entries: entries}}
	c.want(`40{"sid":"`)
	c.offset(`42["hello",`)
	c.want(`42["resumed",{"t":"resumed","recovered":true,"count":2,`)
	c.offset(`42["notify",{"t":"notify","id":"late-1",`)
	c.offset(`42["notify",{"t":"notify","id":"late-3",`)
}

// TestSocketIOCannotRecover has it be told so, each time.
func TestSocketIOCannotRecover(t *testing.T) {
	inbox := newFakeInbox()
	r := startWith(t, inbox, nil)
	pid := newPID("ann")
	c := r.recover("ann", pid, "mail-1")
	inbox.next(t).answer <- fakeAnswer{missed: hub.Missed{Last: "mail-9"}}
	if rest := c.want(`40{"sid":"process-abc.`); strings.Contains(rest, pid) {
		t.Errorf("%s: the client takes it for its old session", rest)
	}
	c.offset(`42["hello",`)
	c.want(`42["resumed",{"t":"resumed","recovered":false,`)
	if offset := c.offset(`42["place",{"t":"place"},`); !strings.HasPrefix(offset, "mail-9") {
		t.Errorf("%q", offset)
	}
	c.text(`425["ack",{"id":"mail-2"}]`)
	c.want(`435[{"t":"ok"}]`)
	if inbox.acknowledged() != "ann/mail-2" {
		t.Errorf("acknowledged %q", inbox.acknowledged())
	}

	c = r.recover("bob", pid, "mail-1") // who has been somebody else
	if rest := c.want(`40{"sid":"process-abc.`); strings.Contains(rest, pid) {
		t.Errorf("%s", rest)
	}
	if offset := c.offset(`42["hello",`); offset != "" {
		t.Errorf("%q", offset)
	}
	r.deliver(note(`1`, "bob"))
	c.want(`42["notify",`)

	c = r.recover("ann", pid, "mail-1") // nothing that its library would keep is said to it
	inbox.next(t).answer <- fakeAnswer{err: hub.ErrUnavailable}
	c.wantClose(1013)
	c = r.recover("ann", pid, "mail-1")
	inbox.next(t)
	c.text(`42["ping"]`)
	c.want(`44{"message":`)
	c.wantClose(1002)
	c = r.recover("ann", pid, strings.Repeat("x", maxOffset+1))
	if rest := c.want(`40{"sid":"process-abc.`); strings.Contains(rest, pid) {
		t.Errorf("%s", rest)
	}
}

// TestSocketIOTopicsAreCaughtUpOnOnce has a client name its place in a topic when it is
// back.
func TestSocketIOTopicsAreCaughtUpOnOnce(t *testing.T) {
	r, kept, _ := startTopics(t, nil)
	payload := func(id string) []byte {
		n := hub.Notification{ID: id, Topics: []hub.Topic{"guild"}, Kept: true, Data: json.RawMessage(`1`)}
		return n.Render()
	}
	told := func(id string) {
		r.deliver(hub.Envelope{Kind: hub.KindNotify, ID: id, Users: []hub.UserID{hub.Topic("guild").Address()}, Payload: payload(id)})
	}
	c := r.talk("ann")
	c.text(`421["subscribe",{"topic":"guild"}]`)
	c.want(`431[{"t":"subscribed","topic":"guild"}]`)
	told("g-2")
	c.offset(`42["notify",{"t":"notify","id":"g-2",`)
	told("g-3")
	offset := c.offset(`42["notify",{"t":"notify","id":"g-3",`)
	if !strings.HasPrefix(offset, " ") {
		t.Errorf("%q names a place in an inbox", offset)
	}
	_ = c.Close()
	c = r.recover("ann", newPID("ann"), offset)
	kept.next(t).answer <- fakeAnswer{missed: hub.Missed{Recovered: true}} // the inbox
	c.want(`40{"sid":"`)
	if got := c.offset(`42["hello",`); got != offset {
		t.Errorf("%q, not %q", got, offset)
	}
	c.want(`42["resumed",`)
	c.offset(`42["place",`)
	c.text(`422["subscribe",{"topic":"guild","after":"g-3"}]`)
	history := hub.Missed{Recovered: true, Last: "g-4"}
	for _, id := range []string{"g-1", "g-2", "g-3", "g-4"} {
		history.Entries = append(history.Entries, hub.Stored{ID: id, Payload: payload(id)})
	}
	kept.next(t).answer <- fakeAnswer{missed: history}
	c.want(`432[{"t":"subscribed","topic":"guild","recovered":true,"count":2,`)
	c.want(`42["notify",{"t":"notify","id":"g-1",`)
	c.want(`42["notify",{"t":"notify","id":"g-4",`)
	told("g-3")
	told("g-5")
	c.offset(`42["notify",{"t":"notify","id":"g-5",`)
}

// TestSocketIORecoversBeforeTheFirstEvent has a client begin with an inbox that holds
// much, and come back before it is told anything.
func TestSocketIORecoversBeforeTheFirstEvent(t *testing.T) {
	inbox := newFakeInbox()
	inbox.anchor = "old-9"
	r := startWith(t, inbox, nil)
	c := r.talk("ann")
	offset := c.offset(`42["place",{"t":"place"},`)
	if offset != "old-9" {
		t.Errorf("%q", offset)
	}
	r.deliver(stored("new-1", "ann"))
	if got := c.offset(`42["notify",`); !strings.HasPrefix(got, "new-1 ") {
		t.Errorf("%q", got)
	}
	c = r.recover("ann", newPID("ann"), offset)
	read := inbox.next(t)
	if read.after != "old-9" {
		t.Errorf("after %q", read.after)
	}
	entries := missed("old-8", "old-9", "new-1").Entries
	entries[0].Again, entries[1].Again = true, true
	read.answer <- fakeAnswer{missed: hub.Missed{Recovered: true, Last: "new-1", Entries: entries}}
	c.want(`40{"sid":"`)
	c.offset(`42["hello",`)
	c.want(`42["resumed",{"t":"resumed","recovered":true,"count":1,`)
	c.offset(`42["notify",{"t":"notify","id":"new-1",`)
	c.offset(`42["place",`)

	inbox.mu.Lock()
	inbox.fails = hub.ErrUnavailable
	inbox.mu.Unlock()
	c = r.talk("bob")
	wait(t, "it to be counted", func() bool {
		return r.metric("homing_front_recovery_places_total", "result", "unavailable") == 1
	})
	c.text(`421["ping"]`)
	c.want(`431[`)
	if n := r.metric("homing_front_recovery_places_total", "result", "ok"); n != 1 {
		t.Errorf("%v clients were told a place", n)
	}
}

func TestTrails(t *testing.T) {
	var x trail
	for i := range maxMarks + 10 {
		x.note([]byte(fmt.Sprint("id-", i)), i%2 == 0, 0, 1)
	}
	offset := string(x.offset())
	if len(offset) > maxOffset || !strings.HasPrefix(offset, fmt.Sprintf("id-%d ", maxMarks+8)) {
		t.Errorf("%d bytes, %.20s…", len(offset), offset)
	}
	y := newTrail(offset, 5)
	for i := range maxMarks + 10 {
		if id := []byte(fmt.Sprint("id-", i)); y.has(id) != (i >= 10) {
			t.Errorf("%s: %v", id, y.has(id))
		}
	}
	if again := string(y.offset()); again != offset {
		t.Errorf("%s\n%s", again, offset)
	}
	y.note([]byte("new"), true, 0, 6+markTime)
	if got := string(y.offset()); got != "new" {
		t.Errorf("what is long ago is still in %q", got)
	}
	y.note([]byte("replayed-1"), true, 1_000_000, 6+markTime)
	y.note([]byte("replayed-2"), true, 1_200_000, 6+markTime)
	if got := string(y.offset()); strings.Count(got, "") != len("replayed-2 ")+2*8-7 {
		t.Errorf("%q", got)
	}
	for _, text := range []string{"", " ", "x ", "x !", "x AAAA", "x " + strings.Repeat("A", 9000)} {
		z := newTrail(text, 1)
		if len(z.marks) > maxMarks || z.has([]byte("y")) {
			t.Errorf("%q: %+v", text, z)
		}
	}
	y.forget(10 + 2*markTime)
	if len(y.marks) > 0 || y.place != "replayed-2" {
		t.Errorf("%+v", y)
	}
}

func TestSocketIOIsDrained(t *testing.T) {
	r := start(t, func(c *Config) { c.DrainWindow = 200 * time.Millisecond })
	c := r.talk("ann")
	go func() { _ = r.stop() }()
	c.want(`42["reconnect",{"t":"reconnect","after_ms":`)
	c.want(`42["closing",{"t":"closing","code":1012,"reason":"come back"}]`)
	if f := c.next(); f.Header.OpCode != gws.OpClose { // and no disconnect packet, after which clients do not come back
		t.Errorf("%v %q", f.Header.OpCode, f.Payload)
	}
}

func TestSocketIODisconnected(t *testing.T) {
	r := start(t, nil)
	c := r.talk("ann")
	r.deliver(hub.Envelope{Kind: hub.KindDisconnect, Users: []hub.UserID{"ann"}, Payload: []byte(`cheating "again"`)})
	c.want(`42["closing",{"t":"closing","code":4003,"reason":"cheating \"again\""}]`)
	c.want(`41`)
	c.wantClose(4003)
}

func TestSocketIORequestsThatAreRefused(t *testing.T) {
	r := start(t, nil)
	for query, want := range map[string]string{
		"EIO=4":                              `{"code":0,"message":"Transport unknown"}`,
		"EIO=4&transport=smoke":              `{"code":0,"message":"Transport unknown"}`,
		"transport=websocket":                `{"code":5,"message":"Unsupported protocol version"}`,
		"EIO=3&transport=websocket":          `{"code":5,"message":"Unsupported protocol version"}`,
		"EIO=4&transport=websocket&sid=lost": `{"code":1,"message":"Session ID unknown"}`,
		"EIO=4&transport=websocket":          `{"code":3,"message":"Bad request"}`,
	} {
		reply, body := r.raw("GET /socket.io/?" + query + " HTTP/1.1\r\nHost: x\r\n\r\n")
		if reply.StatusCode != 400 || body != want {
			t.Errorf("%s: %d %s", query, reply.StatusCode, body)
		}
	}
	r = start(t, func(c *Config) { c.SocketIO = false })
	if reply, _ := r.raw("GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\n\r\n"); reply.StatusCode != 404 {
		t.Errorf("switched off it answers %d", reply.StatusCode)
	}
}

func TestSocketIOTopics(t *testing.T) {
	r := startDeps(t, func(d *Deps) { d.Auth = topicAuth{} }, nil)
	c := r.talk("ann")
	c.text(`421["subscribe",{"topic":"guild"}]`)
	c.want(`431[{"t":"subscribed","topic":"guild"}]`)
	n := hub.Notification{ID: "n1", Data: json.RawMessage(`1`)}
	r.deliver(hub.Envelope{Kind: hub.KindNotify, ID: n.ID, Users: []hub.UserID{hub.Topic("guild").Address()}, Payload: n.Render()})
	c.want(`42["notify",{"t":"notify","id":"n1",`)
	c.text(`422["unsubscribe",{"topic":"guild"}]`)
	c.want(`432[{"t":"unsubscribed","topic":"guild"}]`)
	c.text(`423["publish",{"topic":"guild","data":1}]`)
	c.want(`433[{"t":"error"`)
}
