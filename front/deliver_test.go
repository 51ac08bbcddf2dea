package front

import (
	"bytes"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/homing/homing/front/ws"
	"github.com/homing/homing/hub"
)

// got reads the n bytes that client i of the crowd has got.
func (c *crowd) got(tb testing.TB, i, n int) []byte {
	tb.Helper()
	all := make([]byte, 0, n)
	buf := make([]byte, n)
	wait(tb, "the bytes", func() bool {
		if m, err := unix.Read(c.peers[i], buf[:n-len(all)]); err == nil {
			all = append(all, buf[:m]...)
		}
		return len(all) == n
	})
	return all
}

// An envelope that takes several turns has its bytes for itself, whatever the
// loop builds between two of them.
func TestALongEnvelopeKeepsItsBytes(t *testing.T) {
	c := newCrowd(t, 2)
	c.drain()
	long := note(`"long"`, c.users[0])
	for i := range 2 * turnBudget {
		long.Users = append(long.Users, hub.UserID(fmt.Sprint("nobody-", i)))
	}
	long.Users = append(long.Users, c.users[1])
	short := note(`"next"`, c.users...)
	var order []string
	c.Deliver(onWire(long), false, func(hub.Outcome) { order = append(order, "long") })
	c.step()
	turns := 1
	c.Deliver(onWire(short), false, func(hub.Outcome) { order = append(order, "next") })
	for ; len(order) < 2; turns++ {
		c.sessions.answer(c.conns[0], `{"t":"ok"`, nil)
		c.step()
	}
	if turns != 3 || order[0] != "long" {
		t.Errorf("confirmed in the order %q after %d turns", order, turns)
	}
	first, second := ws.Frame(ws.OpText, long.Payload), ws.Frame(ws.OpText, short.Payload)
	answers := bytes.Repeat(ws.Frame(ws.OpText, []byte(`{"t":"ok"}`)), turns-1)
	for i, want := range [][]byte{
		append(append(bytes.Clone(first), answers...), second...),
		append(bytes.Clone(first), second...),
	} {
		if got := c.got(t, i, len(want)); !bytes.Equal(got, want) {
			t.Errorf("client %d read %q, want %q", i, got, want)
		}
	}
}

// The turns between leave nothing out and say nothing twice.
func TestLongDeliveriesMeetEveryTargetOnce(t *testing.T) {
	const n = 2*turnBudget + 7
	c := newCrowd(t, n)
	for i := range n {
		if i%2 == 1 {
			c.conns[i].State.service = newServiceName("poker")
		}
	}
	for name, tc := range map[string]struct {
		envelope hub.Envelope
		want     int
	}{
		"to users":              {note(`1`, c.users...), n},
		"to all":                {hub.Envelope{Kind: hub.KindBroadcast, Payload: []byte("{}")}, n},
		"to all of a service":   {hub.Envelope{Kind: hub.KindBroadcast, Services: []hub.Service{"poker"}, Payload: []byte("{}")}, n / 2},
		"to users of a service": {hub.Envelope{Kind: hub.KindNotify, Users: c.users, Services: []hub.Service{"poker"}, Payload: []byte("{}")}, n / 2},
	} {
		written := c.written()
		heard := -1
		c.deliverTo(onWire(tc.envelope), func(o hub.Outcome) { heard = o.Heard })
		if tc.envelope.Kind == hub.KindBroadcast && heard != tc.want {
			t.Errorf("%s: %d heard it, want %d", name, heard, tc.want)
		}
		if n := written(); n != tc.want {
			t.Errorf("%s: %d were written, want %d", name, n, tc.want)
		}
		c.drain()
	}
	gone := 0
	c.deliver(onWire(hub.Envelope{Kind: hub.KindDisconnect, Users: c.users}))
	for _, conn := range c.conns {
		if conn.Ending() {
			gone++
		}
	}
	if gone != n {
		t.Errorf("%d were closed, want %d", gone, n)
	}
}
