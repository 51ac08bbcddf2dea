package front

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"net"
	"slices"
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
func stuck(r *rig, token string) *client {
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
	r := start(t, smallOutbox)
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
	wait(t, "delivery", func() bool { return r.dropped("replaced", "latest") == 98 })
	var ids []string
	for len(ids) < n+2 {
		ids = append(ids, c.json()["id"].(string))
	}
	if got, want := ids[n:], []string{strconv.Itoa(n + 50), "1049"}; got[0] != want[0] || got[1] != want[1] {
		t.Errorf("after the backlog %v, want %v", got, want)
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

// What comes out of an outbox in pieces of any size is whole, in order, and
// accounted for.
func TestOutboxWritesWholeMessages(t *testing.T) {
	var o outbox
	var want, got []byte
	limit := bounds{1 << 20, 1 << 10}
	for i := range 300 {
		m := message{data: bytes.Repeat([]byte{byte(i)}, 1+i%37), control: i%11 == 0}
		o.push(m, limit)
		want = append(want, m.data...)
		for take := i % 50; take > 0 && !o.empty(); {
			piece := o.vector(nil)[0]
			piece = piece[:min(take, len(piece))]
			got = append(got, piece...)
			o.wrote(len(piece))
			take -= len(piece)
		}
	}
	for !o.empty() {
		for _, piece := range o.vector(nil) {
			got = append(got, piece...)
			o.wrote(len(piece))
		}
	}
	if !bytes.Equal(got, want) {
		t.Error("the bytes differ")
	}
	if o.bytes != 0 || o.count != 0 {
		t.Errorf("%d bytes and %d messages are still counted", o.bytes, o.count)
	}
}

// waiting names what an outbox holds, by the first byte of each message.
func waiting(o *outbox) string {
	var b []byte
	for _, m := range o.queue[o.head:] {
		b = append(b, m.data[0])
	}
	return string(b)
}

func TestLatestOvertakesNothing(t *testing.T) {
	limit := bounds{1 << 10, 10}
	latest := func(data, key string) message {
		return message{data: []byte(data), key: []byte(key), class: hub.ClassLatest}
	}
	for _, tc := range []struct {
		name  string
		begun int // bytes of the first that are written
		push  []message
		want  string
	}{
		{"the newer goes to the end", 0, []message{latest("A", "k"), {data: []byte("B")}, latest("C", "k")}, "BC"},
		{"other keys stay", 0, []message{latest("A", "k"), latest("B", "l"), latest("C", "k")}, "BC"},
		{"a key of another class stays", 0, []message{{data: []byte("A"), key: []byte("k")}, latest("B", "k")}, "AB"},
		{"what has begun stays", 1, []message{latest("Along", "k"), {data: []byte("B")}, latest("C", "k"), latest("D", "k")}, "ABD"},
		{"pings stay where they are", 0, []message{latest("A", "k"), {data: []byte("P"), key: []byte("k"), control: true}, latest("C", "k")}, "PC"},
	} {
		var o outbox
		o.begin(tc.push[0], tc.begun)
		for _, m := range tc.push[1:] {
			o.push(m, limit)
		}
		if got := waiting(&o); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}

func TestLatestKeepsToTheBounds(t *testing.T) {
	o := outbox{}
	limit := bounds{100, 10}
	of := func(class hub.Class, n int) message {
		return message{data: bytes.Repeat([]byte{'x'}, n), key: []byte("k"), class: class}
	}
	o.push(of(hub.ClassLatest, 10), limit)
	o.push(of(hub.ClassDroppable, 30), limit)
	o.push(of(hub.ClassMust, 40), limit)
	if v, lost := o.push(of(hub.ClassLatest, 60), limit); v != queued || lost != (displaced{replaced: 1, evicted: 1}) || o.bytes != 100 {
		t.Errorf("verdict %d, %+v, %d bytes wait", v, lost, o.bytes)
	}
	if v, lost := o.push(of(hub.ClassLatest, 61), limit); v != noRoom || lost != (displaced{replaced: 1}) || o.bytes != 40 {
		t.Errorf("verdict %d, %+v, %d bytes wait", v, lost, o.bytes)
	}
}

// TestOutboxAgainstAList does the same to an outbox and to a list without any
// cleverness.
func TestOutboxAgainstAList(t *testing.T) {
	limit := bounds{2000, 40}
	var o outbox
	var list []message // what waits; of the first, off bytes are written
	off := 0
	random := rand.New(rand.NewPCG(1, 2))
	naive := func(m message) verdict {
		begun := min(off, 1)
		drop := func(obsolete func(message) bool) bool {
			for i := begun; i < len(list); i++ {
				if obsolete(list[i]) {
					list = slices.Delete(list, i, i+1)
					return true
				}
			}
			return false
		}
		if m.class == hub.ClassLatest {
			drop(func(q message) bool { return q.class == hub.ClassLatest && bytes.Equal(q.key, m.key) })
		}
		for {
			size := len(m.data)
			for _, q := range list {
				size += len(q.data)
			}
			switch {
			case size <= limit.bytes && len(list) < limit.count:
				list = append(list, m)
				return queued
			case drop(func(q message) bool { return q.class == hub.ClassDroppable }):
			case m.class == hub.ClassDroppable:
				return givenUp
			default:
				return noRoom
			}
		}
	}
	for step := range 100_000 {
		if n := random.IntN(4); n == 0 && len(list) > 0 { // the kernel takes something
			take := random.IntN(len(list[0].data)-off) + 1
			o.wrote(take)
			if off += take; off == len(list[0].data) {
				list, off = list[1:], 0
			}
			continue
		}
		m := message{data: make([]byte, 1+random.IntN(120)), class: hub.Class(random.IntN(3))}
		m.data[0] = byte(step)
		if m.class == hub.ClassLatest {
			m.key = []byte{byte(random.IntN(10))}
		}
		got, _ := o.push(m, limit)
		if want := naive(m); got != want {
			t.Fatalf("step %d: verdict %d, want %d", step, got, want)
		}
		same := slices.EqualFunc(list, o.queue[o.head:], func(a, b message) bool { return &a.data[0] == &b.data[0] })
		if bytes := sizeOf(list); !same || o.bytes != bytes || o.count != len(list) || o.off != off {
			t.Fatalf("step %d: %d messages of %d bytes wait, %d written, want %d, %d, %d", step, o.count, o.bytes, o.off, len(list), bytes, off)
		}
	}
}

func sizeOf(list []message) (n int) {
	for _, m := range list {
		n += len(m.data)
	}
	return n
}

// A reader that takes nothing costs no more however much is replaced.
func TestOutboxOfAStuckReaderDoesNotGrow(t *testing.T) {
	var o outbox
	limit := bounds{1 << 20, 100}
	o.begin(message{data: []byte("begun")}, 1)
	for range 5 {
		o.push(message{data: []byte("must")}, limit)
	}
	for i := range 100_000 {
		o.push(message{data: []byte("x"), key: []byte{byte(i % 40)}, class: hub.ClassLatest}, limit)
		o.push(message{data: []byte("x"), class: hub.ClassDroppable}, limit)
	}
	if n := cap(o.queue); n > 1000 {
		t.Errorf("the queue of %d messages has grown to %d places", o.count, n)
	}
}

// BenchmarkPushLatest replaces in a full outbox of many keys.
func BenchmarkPushLatest(b *testing.B) {
	var o outbox
	limit := bounds{1 << 20, 1024}
	keys := make([][]byte, 1023)
	for i := range keys {
		keys[i] = []byte(strconv.Itoa(10_000 + i))
		o.push(message{data: keys[i], key: keys[i], class: hub.ClassLatest}, limit)
	}
	b.ReportAllocs()
	for b.Loop() {
		key := keys[rand.IntN(len(keys))]
		if v, _ := o.push(message{data: key, key: key, class: hub.ClassLatest}, limit); v != queued {
			b.Fatal(v)
		}
	}
}

func TestWaitingPongIsReplaced(t *testing.T) {
	var o outbox
	o.begin(message{data: []byte("begun")}, 2)
	for i := range 100 {
		o.push(message{data: []byte{byte(i)}, key: pongKey, control: true}, bounds{1, 1})
	}
	if v := o.vector(nil); len(v) != 2 || v[1][0] != 99 {
		t.Errorf("waiting: %q", v)
	}
}
