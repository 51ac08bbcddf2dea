package loop

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/homing/homing/hub/drop"
)

// other is where detached connections of the tests come from.
var other = netip.MustParseAddr("192.0.2.7")

func taken(data [][]byte) string { return string(bytes.Join(data, nil)) }

func TestADetachedConnection(t *testing.T) {
	waits, flushed := 0, 0
	r := start(t, func(_ *Config, h *lines) {
		h.waits = func(*Conn[text]) { waits++ }
		h.flushed = func(*Conn[text]) { flushed++ }
	})
	r.on(func() {
		c := r.Detach(other, text{})
		if c.Addr() != other || r.account.Pending() != 1 || r.Len() != 1 || r.At(c.Place()) != c {
			t.Errorf("of %v, %d pending", c.Addr(), r.account.Pending())
		}
		r.TakeIn(c, 0)
		if got := r.TakeWaiting(c); got != nil || waits != 0 {
			t.Errorf("%q waits before anything was sent", got)
		}
		r.Cork(c)
		r.Send(c, &Message{Data: []byte("b"), Class: Must})
		if got := r.TakeWaiting(c); got != nil || waits != 0 {
			t.Errorf("%q was taken of a corked connection", got)
		}
		r.Uncork(c, &Message{Data: []byte("a")})
		if status := r.Send(c, &Message{Data: []byte("c"), Class: Must}); status != Queued || waits != 2 {
			t.Errorf("status %d, Waits was called %d times", status, waits)
		}
		if got := taken(r.TakeWaiting(c)); got != "abc" || flushed != 1 || c.Waiting() {
			t.Errorf("took %q, Flushed was called %d times", got, flushed)
		}
		status := Queued
		for n := 0; status == Queued; n++ {
			if status = r.Send(c, &Message{Data: make([]byte, 1024), Class: Must}); n > 20 {
				t.Fatal("the queue has no bound")
			}
		}
		if status != Full {
			t.Errorf("status %d of a full queue", status)
		}
		r.Abandon(c, drop.Closed)
		r.End(c, []byte("bye"), false)
		if got := taken(r.TakeWaiting(c)); got != "bye" || !c.Gone() {
			t.Errorf("took %q of one that ends, gone: %v", got, c.Gone())
		}
		c = r.Detach(other, text{})
		r.End(c, nil, false)
		if !c.Gone() || r.Len() != 0 || r.account.Pending() != 0 {
			t.Error("one that ends without a word is there still")
		}
	})
}

func TestADetachedConnectionIsLimitedByAddress(t *testing.T) {
	r := start(t, func(cfg *Config, _ *lines) { cfg.Arrivals.AddressPending = 2 })
	r.on(func() {
		first := r.Detach(other, text{})
		r.Detach(other, text{})
		if r.Detach(other, text{}) == nil || !first.Gone() || r.Len() != 2 {
			t.Errorf("%d of one address are there", r.Len())
		}
	})
	r = start(t, func(cfg *Config, _ *lines) { cfg.Arrivals.AddressRate, cfg.Arrivals.AddressBurst = 1, 1 })
	r.on(func() {
		r.Detach(other, text{})
		if c := r.Detach(other, text{}); c != nil || r.Len() != 1 {
			t.Error("an address comes faster than it may")
		}
	})
}

func TestADetachedConnectionEndsWhenNobodyTakesWhatWaits(t *testing.T) {
	r := start(t, func(cfg *Config, _ *lines) { cfg.WriteTimeout = 2 * TickLength })
	r.on(func() {
		c := r.Detach(other, text{})
		r.TakeIn(c, 0)
		r.Send(c, &Message{Data: []byte("a"), Class: Must})
	})
	r.gone(1)
}

// land gives a detached connection, for which something waits, the socket that the
// client has sent "land" on, and something behind it.
func land(t *testing.T, r *rig, conn net.Conn) {
	t.Helper()
	var c *Conn[text]
	answer := r.h.line
	r.h.line = func(on *Conn[text], line string) {
		if line != "land" {
			answer(on, line)
			return
		}
		place := c.Place()
		r.TakeIn(on, 0)
		if !r.Land(c, on, func(b []byte) []byte { return append([]byte("> "), b...) }) || !on.Gone() || c.Place() != place || r.Len() != 1 {
			t.Errorf("it has not landed: %d connections", r.Len())
		}
	}
	r.on(func() {
		c = r.Detach(other, text{})
		r.TakeIn(c, 0)
		r.Send(c, &Message{Data: []byte("before\n"), Class: Must})
	})
	lines := bufio.NewReader(conn)
	for i, want := range []string{"> before\n", "hello 1\n", "hello 2\n", "hello 3\n"} {
		if i == 0 {
			fmt.Fprint(conn, "land\n")
		} else {
			fmt.Fprintf(conn, "hello %d\n", i)
		}
		if got, err := lines.ReadString('\n'); got != want || err != nil {
			t.Fatalf("read %q, %v, want %q", got, err, want)
		}
	}
	_ = conn.Close()
	r.gone(2) // the one whose socket was taken, too
}

func TestADetachedConnectionLands(t *testing.T) {
	r := start(t, nil)
	land(t, r, r.dial())
}

func TestADetachedConnectionLandsOverTLS(t *testing.T) {
	r, client := startTLS(t, nil)
	conn := tls.Client(r.dial(), client)
	land(t, r, conn)
}
