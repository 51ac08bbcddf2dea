package loop

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/homing/homing/hub/drop"
)

// What waits for a slow reader is bounded by the policies of the classes.
func TestASlowReader(t *testing.T) {
	r := start(t, nil)
	conn := r.dial()
	r.say(conn, "x", 2)
	large := bytes.Repeat([]byte{'.'}, 4<<10)
	r.on(func() {
		c := r.only()
		for !c.Waiting() {
			r.Send(c, &Message{Data: large, Class: Must})
		}
		status := Queued
		for range 100 {
			if status = r.Send(c, &Message{Data: large, Class: Must}); status != Queued {
				break
			}
		}
		if status != Full {
			t.Errorf("status %d of a message without room, want Full", status)
		}
		if s := r.Send(c, &Message{Data: []byte("d"), Class: Droppable, Key: nil}); s != Dropped && s != Queued {
			t.Errorf("status %d of a droppable message", s)
		}
		if s := r.Send(c, &Message{Data: []byte("c")}); s != Queued {
			t.Errorf("status %d of a control message, want Queued", s)
		}
		if n := r.h.lost[drop.SlowConsumer][Must]; n != 1 {
			t.Errorf("%d counted as given up, want 1", n)
		}
		r.Abandon(c, drop.Closed)
		if n := r.h.lost[drop.Closed][Must]; n == 0 {
			t.Error("nothing is counted as abandoned")
		}
	})
}

func TestWhatWaitsIsFlushedInOrder(t *testing.T) {
	flushed := make(chan struct{}, 10)
	r := start(t, func(cfg *Config, h *lines) {
		cfg.QueueBytes, cfg.QueueMessages = 1<<20, 1000
		h.flushed = func(*Conn[text]) { flushed <- struct{}{} }
	})
	conn := r.dial()
	r.say(conn, "x", 2)
	var want strings.Builder
	r.on(func() {
		for i := range 500 {
			line := fmt.Sprintf("%04d%s\n", i, strings.Repeat(".", 995))
			want.WriteString(line)
			r.Send(r.only(), &Message{Data: []byte(line), Class: Must})
		}
	})
	if got := r.read(conn, want.Len()); got != want.String() {
		t.Error("the bytes differ")
	}
	<-flushed
	r.on(func() {
		if r.only().Waiting() {
			t.Error("something waits still")
		}
	})
}

func TestACorkedConnectionReadsTheFirstFirst(t *testing.T) {
	r := start(t, nil)
	conn := r.dial()
	r.say(conn, "x", 2)
	r.on(func() {
		c := r.only()
		r.Cork(c)
		if s := r.Send(c, &Message{Data: []byte("second "), Class: Must}); s != Queued {
			t.Errorf("status %d, want Queued", s)
		}
	})
	r.on(func() { r.Uncork(r.only(), &Message{Data: []byte("first ")}) })
	if got := r.read(conn, 13); got != "first second " {
		t.Errorf("read %q", got)
	}
	r.on(func() {
		c := r.only()
		r.Cork(c)
		r.Send(c, &Message{Data: []byte("never"), Class: Must})
		r.End(c, []byte("end"), false)
	})
	if got := r.read(conn, 3); got != "end" {
		t.Errorf("read %q", got)
	}
	r.wantEnd(conn)
}

// A peer that does not end its side is not waited for beyond the close timeout.
func TestEndDoesNotWaitForEver(t *testing.T) {
	r := start(t, nil)
	conn := r.dial()
	r.say(conn, "x", 2)
	r.on(func() { r.End(r.only(), []byte("bye"), false) })
	wait(t, "the connection to be gone", func() (gone bool) {
		r.on(func() { gone = r.Len() == 0 })
		return gone
	})
	if got := r.read(conn, 3); got != "bye" {
		t.Errorf("read %q", got)
	}
}

func TestWithheldConnectionsGetTheEndOnly(t *testing.T) {
	r := start(t, nil)
	conn := r.dial()
	r.say(conn, "x", 2)
	r.on(func() {
		c := r.only()
		r.Cork(c)
		r.Send(c, &Message{Data: []byte("waits"), Class: Must})
		r.Withhold()
		c.corked = false
		r.flush(c)
		if !c.Waiting() {
			t.Error("what waited was written")
		}
		r.Abandon(c, drop.Disowned)
		r.End(c, []byte("end"), false)
	})
	if got := r.read(conn, 3); got != "end" {
		t.Errorf("read %q", got)
	}
}

func TestSendToAnIdleConnectionAllocatesNothing(t *testing.T) {
	r := start(t, nil)
	conn := r.dial()
	r.say(conn, "x", 2)
	m := Message{Data: []byte("x"), Class: Must}
	r.on(func() {
		c := r.only()
		if n := testing.AllocsPerRun(100, func() { r.Send(c, &m) }); n != 0 {
			t.Errorf("%v allocations, want 0", n)
		}
	})
}
