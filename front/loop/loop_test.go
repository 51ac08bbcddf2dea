package loop

import (
	"testing"
	"unsafe"
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
