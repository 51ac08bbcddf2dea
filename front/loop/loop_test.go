package loop

import (
	"testing"
	"unsafe"

	"github.com/homing/homing/hub/drop"
)

func TestAConnectionIsSmall(t *testing.T) {
	const want = 32
	if size := unsafe.Sizeof(Conn[[80]byte]{}) - 80; size > want {
		t.Errorf("a connection takes %d bytes beside its state, want at most %d", size, want)
	}
}

func TestIdleConnectionsHaveNothingBesides(t *testing.T) {
	r := start(t, nil)
	conn := r.dial()
	r.say(conn, "x", 2)
	r.on(func() {
		c := r.only()
		r.TakeIn(c, 0)
		if c.aux != nil || c.out != nil {
			t.Errorf("aux %+v, queue %+v", c.aux, c.out)
		}
	})
}

// Whatever a callback does to its connection, the loop goes on.
func TestAConnectionMayEndInEveryCallback(t *testing.T) {
	ends := map[string]func(*rig, *Conn[text]){
		"drop": func(r *rig, c *Conn[text]) { r.Drop(c, drop.Closed) },
		"end":  func(r *rig, c *Conn[text]) { r.End(c, []byte("bye\n"), false) },
		"soon": func(r *rig, c *Conn[text]) { r.End(c, []byte("bye\n"), true) },
	}
	for name, end := range ends {
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
		} {
			t.Run(where+" "+name, func(t *testing.T) {
				r := start(t, change)
				conn := r.dial()
				if where != "expired" {
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
