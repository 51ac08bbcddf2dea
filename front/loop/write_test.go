package loop

import (
	"bytes"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/homing/homing/hub/drop"
)

// large is a message of which a few fill the kernel's buffers.
var large = Message{Data: bytes.Repeat([]byte{'.'}, 4<<10), Class: Must}

// fill sends to c until something waits, and returns how many bytes that was.
func (r *rig) fill(c *Conn[text]) (n int) {
	for !c.Waiting() {
		r.Send(c, &large)
		n += len(large.Data)
	}
	return n
}

// block has more wait for c than the kernel takes after all, and returns how many
// bytes c was sent.
func (r *rig) block(c *Conn[text]) int {
	n := r.fill(c)
	for range 3 {
		r.Send(c, &large)
		n += len(large.Data)
	}
	return n
}

// What waits for a slow reader is bounded by the policies of the classes.
func TestASlowReader(t *testing.T) {
	type send struct {
		what   string // class, data, and a key after a colon
		status Status
	}
	for _, tc := range []struct {
		name  string
		sends []send
		read  string
		lost  map[drop.Reason]Lost
	}{
		{"must", []send{{"M1", Queued}, {"M2", Queued}, {"M3", Queued}, {"M4", Full}}, "123", map[drop.Reason]Lost{drop.SlowConsumer: {Must: 1}}},
		{"latest", []send{{"L1:a", Queued}, {"L2:b", Queued}, {"L3:a", Queued}, {"L4:c", Queued}, {"L5:d", Full}}, "234", map[drop.Reason]Lost{
			drop.Replaced: {Latest: 1}, drop.SlowConsumer: {Latest: 1},
		}},
		{"droppable", []send{{"D1", Queued}, {"D2", Queued}, {"D3", Queued}, {"D4", Queued}}, "234", map[drop.Reason]Lost{drop.Evicted: {Droppable: 1}}},
		{"droppable behind others", []send{{"M1", Queued}, {"M2", Queued}, {"L3:a", Queued}, {"D4", Dropped}}, "123", map[drop.Reason]Lost{drop.QueueFull: {Droppable: 1}}},
		{"must evicts", []send{{"D1", Queued}, {"M2", Queued}, {"D3", Queued}, {"M4", Queued}, {"L5:a", Queued}, {"M6", Full}}, "245", map[drop.Reason]Lost{
			drop.Evicted: {Droppable: 2}, drop.SlowConsumer: {Must: 1},
		}},
		{"control always fits", []send{{"M1", Queued}, {"M2", Queued}, {"M3", Queued}, {"C4", Queued}, {"C5:p", Queued}, {"C6:p", Queued}}, "12346", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := start(t, func(cfg *Config, _ *lines) { cfg.QueueMessages = 4 }) // one of them is what fills
			conn := r.dialSlow()
			r.say(conn, "x", 2)
			var filled int
			r.on(func() {
				c := r.only()
				filled = r.fill(c)
				for _, s := range tc.sends {
					data, key, _ := strings.Cut(s.what, ":")
					class := map[byte]Class{'C': Control, 'M': Must, 'L': Latest, 'D': Droppable}[data[0]]
					if got := r.Send(c, &Message{Data: []byte(data[1:]), Key: []byte(key), Class: class}); got != s.status {
						t.Errorf("%s: status %d, want %d", s.what, got, s.status)
					}
				}
			})
			if got := strings.TrimLeft(r.read(conn, filled+len(tc.read)), "."); got != tc.read {
				t.Errorf("read %s, want %s", got, tc.read)
			}
			r.on(func() {
				if !maps.Equal(r.h.lost, tc.lost) {
					t.Errorf("lost %v, want %v", r.h.lost, tc.lost)
				}
			})
		})
	}
}

// A message beyond all bounds leaves nothing behind.
func TestAMessageThatNeverFits(t *testing.T) {
	for class, want := range map[Class]Status{Must: Full, Latest: Full, Droppable: Dropped} {
		flushed := make(chan struct{}, 2)
		r := start(t, func(cfg *Config, h *lines) {
			h.flushed = func(*Conn[text]) { flushed <- struct{}{} }
		})
		conn := r.dial()
		r.say(conn, "x", 2)
		r.on(func() {
			c := r.only()
			r.Cork(c)
			if got := r.Send(c, &Message{Data: make([]byte, 17<<10), Class: class}); got != want {
				t.Errorf("class %d: status %d, want %d", class, got, want)
			}
			r.Uncork(c, &Message{Data: []byte("first")})
		})
		if got := r.read(conn, 5); got != "first" {
			t.Errorf("class %d: read %q", class, got)
		}
		<-flushed
		r.on(func() {
			if r.only().Waiting() {
				t.Errorf("class %d: something waits", class)
			}
		})
	}
}

// Abandon gives up all but what has begun: what is read is whole messages.
func TestAbandonFinishesWhatHasBegun(t *testing.T) {
	r := start(t, nil)
	conn := r.dialSlow()
	r.say(conn, "x", 2)
	var filled int
	r.on(func() {
		c := r.only()
		filled = r.fill(c)
		begun := c.out.off > 0
		r.Send(c, &Message{Data: []byte("gone"), Class: Must})
		r.Abandon(c, drop.Disowned)
		if !begun {
			filled -= len(large.Data)
		}
		r.Send(c, &Message{Data: []byte("after"), Class: Must})
		if n := r.h.lost[drop.Disowned][Must]; n == 0 || n > 2 {
			t.Errorf("%d abandoned", n)
		}
	})
	if got := strings.TrimLeft(r.read(conn, filled+5), "."); got != "after" {
		t.Errorf("read %q", got)
	}
}

func TestWhoTakesNothingIsDropped(t *testing.T) {
	r := start(t, func(cfg *Config, _ *lines) { cfg.WriteTimeout = 300 * time.Millisecond })
	conn := r.dialSlow()
	r.say(conn, "x", 2)
	begun := time.Now()
	r.on(func() { r.block(r.only()) })
	r.gone(1)
	within(t, time.Since(begun), 200*time.Millisecond, 5*time.Second)
	if n := r.metric("homing_front_stalled_connections_total"); n != 1 {
		t.Errorf("%v stalled, want 1", n)
	}
	if r.h.ended[0] != drop.WriteTimeout || r.h.lost[drop.WriteTimeout][Must] == 0 {
		t.Errorf("ended for %v, lost %v", r.h.ended, r.h.lost)
	}
	wait(t, "nobody to be waited for", func() bool { return r.metric("homing_front_waiting_connections") == 0 })
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
		r.Uncork(c, &Message{Data: []byte("late")})
		r.Cork(c)
		if n := r.h.lost[drop.Closed][Must]; n != 1 {
			t.Errorf("%d given up, want 1", n)
		}
	})
	if got := r.read(conn, 3); got != "end" {
		t.Errorf("read %q", got)
	}
	r.wantEnd(conn)
}

// A corked connection whose socket takes bytes again does not keep the loop busy,
// and is not dropped for what waits.
func TestACorkedConnectionIsLeftAlone(t *testing.T) {
	turns := 0
	r := start(t, func(cfg *Config, h *lines) {
		cfg.WriteTimeout = 200 * time.Millisecond
		h.turn = func(string) { turns++ }
	})
	conn := r.dialSlow()
	r.say(conn, "x", 2)
	var filled, taken int
	r.on(func() {
		c := r.only()
		filled = r.fill(c)
		r.Cork(c)
		taken = filled - c.out.bytes + c.out.off
	})
	r.read(conn, taken)
	r.on(func() { turns = 0 })
	time.Sleep(5 * TickLength)
	r.on(func() {
		if turns > 60 {
			t.Errorf("%d calls in half a second", turns)
		}
		r.Uncork(r.only(), &Message{Data: []byte("first")})
	})
	if got := strings.TrimLeft(r.read(conn, filled-taken+5), "."); got != "first" {
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
		c.held &^= corked
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
