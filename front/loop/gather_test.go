package loop

import (
	"fmt"
	"testing"

	"github.com/homing/homing/hub/drop"
)

// What is sent soon is written after a moment, in order, the newest of a key alone.
func TestSendSoonGathers(t *testing.T) {
	r := start(t, nil)
	conn := r.dial()
	r.say(conn, "x", 2)
	r.on(func() {
		c := r.only()
		for i := range 3 {
			if got := r.SendSoon(c, &Message{Data: fmt.Append(nil, i), Key: []byte{byte('a' + i%2)}, Class: Latest}); got != Queued {
				t.Errorf("status %d", got)
			}
		}
		if !c.Waiting() || c.polling {
			t.Error("it is not gathered")
		}
	})
	if got := r.read(conn, 2); got != "12" {
		t.Errorf("read %q", got)
	}
	wait(t, "nothing to wait", func() (nothing bool) {
		r.on(func() { nothing = !r.only().Waiting() && len(r.later.conns) == 0 })
		return nothing
	})
}

// What is sent at once takes along what was gathered.
func TestSendFlushesWhatWasGathered(t *testing.T) {
	r := start(t, nil)
	conn := r.dial()
	r.say(conn, "x", 2)
	r.on(func() {
		c := r.only()
		r.SendSoon(c, &Message{Data: []byte("1"), Class: Must})
		if got := r.Send(c, &Message{Data: []byte("2"), Class: Must}); got != Written || c.Waiting() {
			t.Errorf("status %d", got)
		}
		r.SendSoon(c, &Message{Data: []byte("3"), Class: Must})
		r.End(c, []byte("4"), false)
		if got := r.SendSoon(c, &Message{Data: []byte("5"), Class: Must}); got != Gone {
			t.Errorf("status %d of one that ends", got)
		}
	})
	if got := r.read(conn, 4); got != "1234" {
		t.Errorf("read %q", got)
	}
}

// Many connections are written to in several steps, and one that has ended in none.
func TestGatheredForManyIsWrittenToAll(t *testing.T) {
	const many = gatherBudget + 10
	r := start(t, nil)
	type reader interface{ Read([]byte) (int, error) }
	var conns []reader
	for range many {
		conn := r.dial()
		r.say(conn, "x", 2)
		conns = append(conns, conn)
	}
	r.on(func() {
		first := true
		for i := range r.Places() {
			c := r.At(i)
			if c == nil {
				continue
			}
			r.SendSoon(c, &Message{Data: []byte("1"), Class: Must})
			if first {
				r.Drop(c, drop.Closed)
			}
			first = false
		}
	})
	got := 0
	for _, conn := range conns {
		b := make([]byte, 4)
		if n, _ := conn.Read(b); n == 1 {
			got++
		}
	}
	if got != many-1 {
		t.Errorf("%d of %d have read", got, many-1)
	}
}
