package loop

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
)

// What comes out of a queue in pieces of any size is whole, in order, and
// accounted for.
func TestQueueWritesWholeMessages(t *testing.T) {
	var o queue
	var want, got []byte
	limit := bounds{1 << 20, 1 << 10}
	for i := range 300 {
		m := Message{Data: bytes.Repeat([]byte{byte(i)}, 1+i%37), Class: Must}
		if i%11 == 0 {
			m.Class = Control
		}
		o.push(&m, limit)
		want = append(want, m.Data...)
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

// waiting names what a queue holds, by the first byte of each message.
func waiting(o *queue) string {
	var b []byte
	for _, m := range o.messages[o.head:] {
		b = append(b, m.Data[0])
	}
	return string(b)
}

// TestAnOlderLatest gives way to a newer one that waits, though it comes later.
func TestAnOlderLatest(t *testing.T) {
	limit := bounds{1 << 10, 10}
	latest := func(data, key string, sent Tick) *Message {
		return &Message{Data: []byte(data), Key: []byte(key), Class: Latest, Sent: sent}
	}
	var o queue
	o.push(latest("b", "k", 20), limit)
	o.push(&Message{Data: []byte("m"), Class: Must}, limit)
	if v, lost := o.push(latest("a", "k", 10), limit); v != outdated || lost != (displaced{replaced: 1}) || waiting(&o) != "bm" {
		t.Errorf("%v, %+v; %s waits", v, lost, waiting(&o))
	}
	for _, m := range []*Message{latest("c", "k", 20), latest("x", "l", 10), latest("d", "k", 21)} { // at once, of another key, newer
		if v, _ := o.push(m, limit); v != queued {
			t.Errorf("%s: %v", m.Data, v)
		}
	}
	if waiting(&o) != "mxd" || o.count != 3 || o.bytes != 3 {
		t.Errorf("%s waits, %d messages of %d bytes", waiting(&o), o.count, o.bytes)
	}
}

func TestLatestOvertakesNothing(t *testing.T) {
	limit := bounds{1 << 10, 10}
	latest := func(data, key string) Message {
		return Message{Data: []byte(data), Key: []byte(key), Class: Latest}
	}
	for _, tc := range []struct {
		name  string
		begun int // bytes of the first that are written
		push  []Message
		want  string
	}{
		{"the newer goes to the end", 0, []Message{latest("A", "k"), {Data: []byte("B"), Class: Must}, latest("C", "k")}, "BC"},
		{"other keys stay", 0, []Message{latest("A", "k"), latest("B", "l"), latest("C", "k")}, "BC"},
		{"a key of another class stays", 0, []Message{{Data: []byte("A"), Key: []byte("k"), Class: Must}, latest("B", "k")}, "AB"},
		{"what has begun stays", 1, []Message{latest("Along", "k"), {Data: []byte("B"), Class: Must}, latest("C", "k"), latest("D", "k")}, "ABD"},
		{"pings stay where they are", 0, []Message{latest("A", "k"), {Data: []byte("P"), Key: []byte("k")}, latest("C", "k")}, "PC"},
	} {
		var o queue
		o.begin(&tc.push[0], tc.begun)
		for _, m := range tc.push[1:] {
			o.push(&m, limit)
		}
		if got := waiting(&o); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}

func TestLatestKeepsToTheBounds(t *testing.T) {
	o := queue{}
	limit := bounds{100, 10}
	of := func(class Class, n int) *Message {
		return &Message{Data: bytes.Repeat([]byte{'x'}, n), Key: []byte("k"), Class: class}
	}
	o.push(of(Latest, 10), limit)
	o.push(of(Droppable, 30), limit)
	o.push(of(Must, 40), limit)
	if v, lost := o.push(of(Latest, 60), limit); v != queued || lost != (displaced{replaced: 1, evicted: 1}) || o.bytes != 100 {
		t.Errorf("verdict %d, %+v, %d bytes wait", v, lost, o.bytes)
	}
	if v, lost := o.push(of(Latest, 61), limit); v != noRoom || lost != (displaced{replaced: 1}) || o.bytes != 40 {
		t.Errorf("verdict %d, %+v, %d bytes wait", v, lost, o.bytes)
	}
}

// TestQueueAgainstAList does the same to a queue and to a list without any
// cleverness.
func TestQueueAgainstAList(t *testing.T) {
	limit := bounds{2000, 40}
	var o queue
	var list []Message // what waits; of the first, off bytes are written
	off := 0
	random := rand.New(rand.NewPCG(1, 2))
	naive := func(m Message) verdict {
		begun := min(off, 1)
		drop := func(obsolete func(Message) bool) bool {
			for i := begun; i < len(list); i++ {
				if obsolete(list[i]) {
					list = slices.Delete(list, i, i+1)
					return true
				}
			}
			return false
		}
		if m.Class == Latest {
			drop(func(q Message) bool { return q.Class == Latest && bytes.Equal(q.Key, m.Key) })
		}
		for {
			size := len(m.Data)
			for _, q := range list {
				size += len(q.Data)
			}
			switch {
			case size <= limit.bytes && len(list) < limit.count:
				list = append(list, m)
				return queued
			case drop(func(q Message) bool { return q.Class == Droppable }):
			case m.Class == Droppable:
				return givenUp
			default:
				return noRoom
			}
		}
	}
	for step := range 100_000 {
		if n := random.IntN(4); n == 0 && len(list) > 0 { // the kernel takes something
			take := random.IntN(len(list[0].Data)-off) + 1
			o.wrote(take)
			if off += take; off == len(list[0].Data) {
				list, off = list[1:], 0
			}
			continue
		}
		m := Message{Data: make([]byte, 1+random.IntN(120)), Class: Must + Class(random.IntN(3))}
		m.Data[0] = byte(step)
		if m.Class == Latest {
			m.Key = []byte{byte(random.IntN(10))}
		}
		got, _ := o.push(&m, limit)
		if want := naive(m); got != want {
			t.Fatalf("step %d: verdict %d, want %d", step, got, want)
		}
		same := slices.EqualFunc(list, o.messages[o.head:], func(a, b Message) bool { return &a.Data[0] == &b.Data[0] })
		if bytes := sizeOf(list); !same || o.bytes != bytes || o.count != len(list) || o.off != off {
			t.Fatalf("step %d: %d messages of %d bytes wait, %d written, want %d, %d, %d", step, o.count, o.bytes, o.off, len(list), bytes, off)
		}
	}
}

func sizeOf(list []Message) (n int) {
	for _, m := range list {
		n += len(m.Data)
	}
	return n
}

// A reader that takes nothing costs no more however much is replaced.
func TestQueueOfAStuckReaderDoesNotGrow(t *testing.T) {
	var o queue
	limit := bounds{1 << 20, 100}
	o.begin(&Message{Data: []byte("begun"), Class: Must}, 1)
	for range 5 {
		o.push(&Message{Data: []byte("must"), Class: Must}, limit)
	}
	for i := range 100_000 {
		o.push(&Message{Data: []byte("x"), Key: []byte{byte(i % 40)}, Class: Latest}, limit)
		o.push(&Message{Data: []byte("x"), Class: Droppable}, limit)
	}
	if n := cap(o.messages); n > 1000 {
		t.Errorf("the queue of %d messages has grown to %d places", o.count, n)
	}
}

// BenchmarkPushLatest replaces in a full queue of many keys.
func BenchmarkPushLatest(b *testing.B) {
	var o queue
	limit := bounds{1 << 20, 1024}
	keys := make([][]byte, 1023)
	for i := range keys {
		keys[i] = []byte(strconv.Itoa(10_000 + i))
		o.push(&Message{Data: keys[i], Key: keys[i], Class: Latest}, limit)
	}
	b.ReportAllocs()
	for b.Loop() {
		key := keys[rand.IntN(len(keys))]
		if v, _ := o.push(&Message{Data: key, Key: key, Class: Latest}, limit); v != queued {
			b.Fatal(v)
		}
	}
}

func TestWaitingPongIsReplaced(t *testing.T) {
	var o queue
	o.begin(&Message{Data: []byte("begun"), Class: Must}, 2)
	for i := range 100 {
		o.push(&Message{Data: []byte{byte(i)}, Key: []byte("pong")}, bounds{1, 1})
	}
	if v := o.vector(nil); len(v) != 2 || v[1][0] != 99 {
		t.Errorf("waiting: %q", v)
	}
}
