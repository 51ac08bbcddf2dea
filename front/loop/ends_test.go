package loop

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/homing/homing/hub/drop"
)

// A peer that does not end its side is not waited for beyond the close timeout.
func TestEndDoesNotWaitForEver(t *testing.T) {
	r := start(t, nil)
	conn := r.dial()
	r.say(conn, "x", 2)
	begun := time.Now()
	r.on(func() { r.End(r.only(), []byte("bye"), false) })
	r.gone(1)
	within(t, time.Since(begun), 200*time.Millisecond, 5*time.Second)
	if got := r.read(conn, 3); got != "bye" {
		t.Errorf("read %q", got)
	}
	r.wantEnd(conn)
}

// Who reads slowly, but reads, gets everything.
func TestEndWaitsForWhatWaits(t *testing.T) {
	r := start(t, func(cfg *Config, _ *lines) { cfg.CloseTimeout = 200 * time.Millisecond })
	conn := r.dialSlow()
	r.say(conn, "x", 2)
	var filled int
	r.on(func() {
		c := r.only()
		filled = r.block(c)
		r.End(c, []byte("bye"), false)
		if s := r.Send(c, &Message{Data: []byte("late")}); s != Gone {
			t.Errorf("status %d after End, want Gone", s)
		}
	})
	for begun := time.Now(); time.Since(begun) < 600*time.Millisecond; filled -= 100 {
		r.read(conn, 100)
		time.Sleep(50 * time.Millisecond)
	}
	if got := strings.TrimLeft(r.read(conn, filled+3), "."); got != "bye" {
		t.Errorf("read %q", got)
	}
	r.wantEnd(conn)
	_ = conn.Close()
	r.gone(1)
}

// An end that is to come soon gives the peer the close timeout, whether it reads
// or not.
func TestEndSoonIsOverInTime(t *testing.T) {
	for _, reads := range []bool{false, true} {
		r := start(t, func(cfg *Config, _ *lines) { cfg.CloseTimeout = time.Second })
		conn := r.dialSlow()
		r.say(conn, "x", 2)
		var filled int
		begun := time.Now()
		r.on(func() {
			c := r.only()
			filled = r.block(c)
			r.End(c, []byte("bye"), true)
		})
		if reads {
			time.Sleep(700 * time.Millisecond)
			r.read(conn, filled+3) // the rest of the time begins to run anew if it is not kept
		}
		r.gone(1)
		within(t, time.Since(begun), 800*time.Millisecond, 1600*time.Millisecond)
	}
}

// endings are the ways in which a handler ends a connection.
var endings = map[string]func(*rig, *Conn[text]){
	"drop": func(r *rig, c *Conn[text]) { r.Drop(c, drop.Closed) },
	"end":  func(r *rig, c *Conn[text]) { r.End(c, []byte("bye\n"), false) },
	"soon": func(r *rig, c *Conn[text]) { r.End(c, []byte("bye\n"), true) },
}

// Whatever a callback does to its connection, the loop goes on.
func TestAConnectionMayEndInEveryCallback(t *testing.T) {
	for name, end := range endings {
		for where, change := range map[string]func(*Config, *lines){
			"received": func(_ *Config, h *lines) { h.line = func(c *Conn[text], _ string) { end(h.r, c) } },
			"charge": func(_ *Config, h *lines) {
				h.charge = func(c *Conn[text], _ int) bool {
					if !c.Ending() {
						end(h.r, c)
						return false
					}
					return true
				}
			},
			"expired": func(cfg *Config, h *lines) {
				cfg.HandshakeTimeout = TickLength
				h.expired = func(c *Conn[text]) { end(h.r, c) }
			},
			"check": func(_ *Config, h *lines) {
				h.due = func(*Conn[text]) Tick { return 1 }
				h.check = func(c *Conn[text]) { end(h.r, c) }
			},
			"timer": func(_ *Config, h *lines) {
				h.due = func(*Conn[text]) Tick { return 1 }
				h.check = func(c *Conn[text]) {
					h.r.AfterFunc(0, func() { end(h.r, c) })
				}
			},
		} {
			t.Run(where+" "+name, func(t *testing.T) {
				r := start(t, change)
				conn := r.dial()
				if where == "received" || where == "charge" {
					_, _ = conn.Write([]byte("x\n"))
				}
				if name == "drop" {
					r.wantEnd(conn)
				} else if got := r.read(conn, 4); got != "bye\n" {
					t.Errorf("read %q", got)
				}
				_ = conn.Close()
				r.gone(1)
			})
		}
	}
}

func TestAConnectionMayEndWhenItIsFlushed(t *testing.T) {
	for name, end := range endings {
		t.Run(name, func(t *testing.T) {
			r := start(t, func(_ *Config, h *lines) { h.flushed = func(c *Conn[text]) { end(h.r, c) } })
			conn := r.dialSlow()
			r.say(conn, "x", 2)
			var filled int
			r.on(func() { filled = r.fill(r.only()) })
			r.read(conn, filled)
			if name != "drop" && r.read(conn, 4) != "bye\n" {
				t.Error("the last bytes are missing")
			}
			r.wantEnd(conn)
			_ = conn.Close()
			r.gone(1)
		})
	}
}

func TestAConnectionMayEndWhenItsPeerHangsUp(t *testing.T) {
	for name, end := range endings {
		t.Run(name, func(t *testing.T) {
			r := start(t, func(_ *Config, h *lines) { h.hangUp = func(c *Conn[text]) { end(h.r, c) } })
			conn := r.dial()
			r.say(conn, "x", 2)
			_ = conn.Close()
			r.gone(1)
			r.on(func() {
				if len(r.h.hungUp) != 1 || !errors.Is(r.h.hungUp[0], io.EOF) {
					t.Errorf("hung up: %v", r.h.hungUp)
				}
			})
		})
	}
}

// A client that goes on although it is sent away costs what it is charged, until
// the handler has had enough.
func TestBytesAfterTheEndAreChargedAndNotLookedAt(t *testing.T) {
	charged := 0
	r := start(t, func(cfg *Config, h *lines) {
		cfg.CloseTimeout = time.Minute
		h.charge = func(c *Conn[text], n int) bool {
			if c.Ending() {
				charged += n
			}
			if charged > 1000 {
				h.r.Drop(c, drop.Closed)
				return false
			}
			return true
		}
	})
	conn := r.dial()
	r.say(conn, "x", 2)
	r.on(func() { r.End(r.only(), nil, false) })
	r.wantEnd(conn)
	for wrote := 0; ; wrote += 100 {
		if _, err := conn.Write(make([]byte, 100)); err != nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	r.gone(1)
	if charged < 1000 || charged > 70_000 {
		t.Errorf("charged %d bytes", charged)
	}
}

// What ends others in the middle of a turn leaves no event for them.
func TestAConnectionMayEndOthers(t *testing.T) {
	r := start(t, func(_ *Config, h *lines) {
		h.line = func(c *Conn[text], _ string) {
			for place := range h.r.Places() {
				if other := h.r.At(place); other != nil && other != c {
					h.r.Drop(other, drop.Closed)
				}
			}
			h.r.Send(c, &Message{Data: []byte("alone\n")})
		}
	})
	const n = 30
	var all []net.Conn
	for range n {
		all = append(all, r.dial())
	}
	wait(t, "connections", func() (come bool) {
		r.on(func() { come = r.Len() == n })
		return come
	})
	r.on(func() { // all of them become ready in one turn
		for _, conn := range all {
			_, _ = conn.Write([]byte("x\n"))
		}
		time.Sleep(20 * time.Millisecond)
	})
	r.gone(n - 1)
	r.on(func() {
		if r.Len() != 1 {
			t.Errorf("%d connections, want 1", r.Len())
		}
	})
}

// At the end of the loop all connections end, and what was posted is called.
func TestTheLoopEndsItsConnections(t *testing.T) {
	r := start(t, nil)
	conn := r.dial()
	r.say(conn, "x", 2)
	called := false
	r.on(func() {
		r.h.stopping = true
		r.Post(func() { called = true })
	})
	r.stop()
	r.wantEnd(conn)
	if !called || len(r.h.ended) != 1 || r.h.ended[0] != drop.Closed {
		t.Errorf("called: %t, ended: %v", called, r.h.ended)
	}
}
