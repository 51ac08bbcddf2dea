package front

import (
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/homing/homing/front/loop"
	"github.com/homing/homing/front/ws"
	"github.com/homing/homing/hub/fleet"
)

// turnedTo is how many connections one turn tells to leave.
const turnedTo = 256

// farewells tell connections when to come back, and where. The loop owns it.
type farewells struct {
	loop     *loop.Loop[client]
	sessions *sessions
	targets  []fleet.Target // where they may go; empty: wherever they came from
	free     int            // of all targets
}

// aim has those who are told from now on be sent to targets, each to one that is
// drawn by how many more it takes. Empty: nobody is sent anywhere.
func (f *farewells) aim(targets []fleet.Target) {
	f.targets, f.free = f.targets[:0:0], 0
	for _, t := range targets {
		if t.Endpoint != "" && t.Free > 0 {
			f.targets = append(f.targets, t)
			f.free += t.Free
		}
	}
}

// draw is where one more client is sent; empty: nowhere.
func (f *farewells) draw() string {
	if f.free == 0 {
		return ""
	}
	at := rand.IntN(f.free)
	for _, t := range f.targets {
		if at -= t.Free; at < 0 {
			return t.Endpoint
		}
	}
	return ""
}

// tell tells c to come back after a time, at which it is closed. left is how much of
// that time is still to come then.
func (f *farewells) tell(c *conn, after, left loop.Tick) {
	c.State.leaving = true
	f.loop.SetDeadline(c, max(f.loop.Now()+after, 1))
	if m := f.reconnect(c, nil, after, left); len(m) > 0 {
		f.loop.Send(c, &loop.Message{Data: m})
	}
}

// reconnect appends to b what tells c to come back after a time. left is how much
// of that time is left when the connection ends.
func (f *farewells) reconnect(c *conn, b []byte, after, left loop.Tick) []byte {
	body := append(make([]byte, 0, 96), `{"t":"reconnect","after_ms":`...)
	const ms = int(loop.TickLength / time.Millisecond)
	body = strconv.AppendInt(body, int64(int(after)*ms), 10)
	if to := f.draw(); to != "" {
		if with, err := jsontext.AppendQuote(append(body, `,"to":`...), to); err == nil {
			body = with
		}
	}
	return f.sessions.protocols.of(c).appendMessage(b, outgoing{kind: kindReconnect, body: append(body, '}'), retry: int(left) * ms, to: c})
}

// due ends a connection that was told when to come back.
func (f *farewells) due(c *conn) { f.sessions.close(c, ws.CloseServiceRestart, comeBack) }

// round goes over all places of the loop, some in each turn.
type round struct{ at int } // the place to look at next

// on goes on with the round: it shows visit one connection after the other, until that
// has reported so often that there was something to do. It reports whether the round is
// over: every connection has been seen.
func (r *round) on(l *loop.Loop[client], budget int, visit func(*conn) bool) (over bool) {
	for ; r.at < l.Places(); r.at++ {
		c := l.At(r.at)
		if c == nil {
			continue
		}
		if budget <= 0 {
			return false
		}
		if visit(c) {
			budget--
		}
	}
	return true
}
