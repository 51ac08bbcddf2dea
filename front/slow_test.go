package front

import (
	"encoding/json"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	gws "github.com/gobwas/ws"

	"github.com/homing/homing/hub"
)

// classNote builds an envelope of one class with about 1 KiB of data.
func classNote(class hub.Class, key string, n int, users ...hub.UserID) hub.Envelope {
	note := hub.Notification{
		ID: strconv.Itoa(n), Class: class, Key: key,
		Data: json.RawMessage(`"` + strings.Repeat("x", 1000) + `"`),
	}
	return hub.Envelope{Kind: hub.KindNotify, Class: class, Key: key, ID: note.ID, Users: users, Payload: note.Render()}
}

// stuck returns a client whose kernel takes little while it does not read.
func stuck(r *rig, token string) *peer {
	c := r.join(token)
	if err := c.Conn.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		r.t.Fatal(err)
	}
	return c
}

// fill writes to ann until something waits in the outbox, and returns the
// number of messages that were sent.
func fill(r *rig, class hub.Class) int {
	n := 0
	for r.metric("homing_front_waiting_connections") == 0 {
		n++
		r.deliver(classNote(class, "", n, "ann"))
		wait(r.t, "delivery", func() bool { return r.metric("homing_front_targets_total") >= float64(n) })
	}
	return n
}

func (r *rig) dropped(why, class string) float64 {
	return r.metric("homing_front_dropped_messages_total", "reason", why, "class", class)
}

func smallOutbox(c *Config) {
	c.OutboxBytes, c.OutboxMessages, c.SendBuffer = 16<<10, 10, 4096
}

func TestSlowReaderOfMustIsClosed(t *testing.T) {
	r := start(t, func(c *Config) { smallOutbox(c); c.CloseTimeout = 5 * time.Second }) // until the test reads
	c := stuck(r, "ann")
	bystander := r.join("bob")
	n := fill(r, hub.ClassMust)
	for i := range 30 {
		r.deliver(classNote(hub.ClassMust, "", n+i+1, "ann", "bob"))
	}
	for range 30 {
		bystander.json()
	}
	wait(t, "the index to forget ann", func() bool { return r.presence.of("ann") == nil })
	if r.dropped("slow_consumer", "must") == 0 {
		t.Error("no message counted as dropped")
	}
	c.wantClose(4008)
}

func TestOfLatestOnlyTheNewestOfAKeyIsRead(t *testing.T) {
	r := start(t, smallOutbox)
	c := stuck(r, "ann")
	n := fill(r, hub.ClassMust)
	for i := range 50 {
		r.deliver(classNote(hub.ClassLatest, "position", n+i+1, "ann"))
		r.deliver(classNote(hub.ClassLatest, "score", 1000+i, "ann"))
	}
	wait(t, "delivery", func() bool { return r.metric("homing_front_targets_total") == float64(n+100) })
	replaced := int(r.dropped("replaced", "latest"))
	if replaced < 90 { // the kernel may take one or the other late
		t.Errorf("%d were replaced, want nearly 98", replaced)
	}
	var ids []string
	for len(ids) < n+100-replaced {
		ids = append(ids, c.json()["id"].(string))
	}
	if got, want := ids[len(ids)-2:], []string{strconv.Itoa(n + 50), "1049"}; got[0] != want[0] || got[1] != want[1] {
		t.Errorf("the last are %v, want %v", got, want)
	}
	c.quiet(50 * time.Millisecond)
}

func TestDroppableGivesUpTheOldest(t *testing.T) {
	r := start(t, smallOutbox)
	c := stuck(r, "ann")
	n := fill(r, hub.ClassMust)
	for i := range 50 {
		r.deliver(classNote(hub.ClassDroppable, "", n+i+1, "ann"))
	}
	r.deliver(classNote(hub.ClassMust, "", 9999, "ann")) // has the oldest droppable make room, too
	wait(t, "delivery", func() bool { return r.metric("homing_front_targets_total") == float64(n+51) })
	given := int(r.dropped("evicted", "droppable"))
	if given == 0 {
		t.Fatal("nothing was given up")
	}
	var ids []string
	for len(ids) < n+51-given {
		ids = append(ids, c.json()["id"].(string))
	}
	last := ids[len(ids)-2:]
	if last[0] != strconv.Itoa(n+50) || last[1] != "9999" {
		t.Errorf("the last are %v, want the newest droppable and then the other", last)
	}
	if first := ids[n]; first != strconv.Itoa(n+given+1) {
		t.Errorf("the first droppable is %s, want %d: the %d before it were older", first, n+given+1, given)
	}
	c.quiet(50 * time.Millisecond)
}

func TestStuckReaderIsCutAfterWriteTimeout(t *testing.T) {
	r := start(t, func(c *Config) { c.SendBuffer, c.WriteTimeout = 4096, 300*time.Millisecond })
	stuck(r, "ann")
	for i := range 200 {
		r.deliver(classNote(hub.ClassMust, "", i, "ann"))
	}
	wait(t, "the socket to be closed", func() bool { return r.metric("homing_front_connections") == 0 })
	if r.metric("homing_front_stalled_connections_total") != 1 || r.dropped("write_timeout", "must") == 0 {
		t.Error("the cut was not counted")
	}
}

func TestSlowReaderGetsEverythingInOrder(t *testing.T) {
	r := start(t, func(c *Config) { c.SendBuffer = 4096 })
	c := stuck(r, "ann")
	const n = 200
	for i := range n {
		r.deliver(classNote(hub.ClassMust, "", i, "ann"))
	}
	wait(t, "delivery", func() bool { return r.metric("homing_front_targets_total") == n })
	for i := range n {
		if id := c.json()["id"]; id != strconv.Itoa(i) {
			t.Fatalf("message %v in the place of %d", id, i)
		}
		if i%10 == 0 { // control frames go between
			c.write(gws.MaskFrame(gws.NewPongFrame(nil)))
		}
	}
	wait(t, "the outbox to empty", func() bool { return r.metric("homing_front_waiting_connections") == 0 })
	if got := r.metric("homing_front_written_messages_total"); got != n {
		t.Errorf("%v messages counted as written, want %d", got, n)
	}
}
