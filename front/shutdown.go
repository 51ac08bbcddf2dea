package front

import (
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/homing/homing/front/loop"
	"github.com/homing/homing/front/ws"
	"github.com/homing/homing/hub"
)

// shutdown is how a worker stops: it drains, or, when the others have taken it
// for dead, sends everybody away at once. The loop owns it, but for draining and
// leaving.
type shutdown struct {
	loop     *loop.Loop[client]
	sessions *sessions
	entry    *entry
	standing *standing
	m        *metrics
	log      *slog.Logger
	waiting  func() int // bytes of envelopes that wait

	window, cutOff, closeTime loop.Tick
	drainWindow               time.Duration // as the log tells it

	draining  atomic.Bool   // the worker stops
	leaving   chan struct{} // closed with draining
	leaveOnce sync.Once

	seen      hub.Standing // the standing that was seen last
	drain     drain
	dismissal dismissal
}

// turnedTo is how many connections one turn tells to leave.
const turnedTo = 256

// drain is how far a stop has come.
type drain struct {
	begun bool
	until loop.Tick // when what is left is cut off
	told  int       // place up to which connections have been told
}

func (d *shutdown) beginLeaving() {
	d.draining.Store(true)
	d.leaveOnce.Do(func() { close(d.leaving) })
}

// ready says why the worker lets nobody in now, as a *http1.Error, or nil.
func (d *shutdown) ready() error {
	switch {
	case d.draining.Load():
		return errDraining
	case !d.standing.good():
		return errNotGood
	}
	return nil
}

// turn goes on with the shutdown, if there is one. It looks at the standing
// first: a worker that is lost writes nothing more that waited.
func (d *shutdown) turn() {
	d.mayDeliver()
	if d.seen == hub.StandingLost {
		d.dismissTurn()
	} else if d.draining.Load() {
		d.drainTurn()
	}
}

// drainTurn goes on with a stop: it stops accepting, then tells the connections,
// a limited number per turn.
func (d *shutdown) drainTurn() {
	if !d.drain.begun {
		d.drain.begun = true
		d.drain.until = d.loop.Now() + d.window + d.cutOff
		d.log.Info("draining", "connections", d.loop.Len(), "window", d.drainWindow)
		d.loop.LeaveListeners()
	}
	for budget := turnedTo; d.drain.told < d.loop.Places(); d.drain.told++ {
		c := d.loop.At(d.drain.told)
		if c == nil || c.State.stage != stageOpen || c.State.leaving {
			continue
		}
		if budget--; budget < 0 {
			d.loop.Wake()
			return
		}
		d.tell(c)
	}
}

// opened tells a connection that has come into service during a drain.
func (d *shutdown) opened(c *conn) {
	if c.State.stage == stageOpen && d.drain.begun {
		d.tell(c)
	}
}

// tell tells c to come back after a time of its own within the window, at which
// it is closed.
func (d *shutdown) tell(c *conn) {
	now, after := d.loop.Now(), loop.Tick(0)
	if left := d.drain.until - d.cutOff; left > now {
		after = loop.Tick(rand.Uint32N(uint32(left - now)))
	}
	c.State.leaving = true
	d.loop.SetDeadline(c, max(now+after, 1))
	if m := d.reconnect(c, nil, after, 0); len(m) > 0 {
		d.loop.Send(c, &loop.Message{Data: m})
	}
}

// reconnect appends to b what tells c to come back after a time. left is how much
// of that time is left when the connection ends.
func (d *shutdown) reconnect(c *conn, b []byte, after, left loop.Tick) []byte {
	body := append(make([]byte, 0, 48), `{"t":"reconnect","after_ms":`...)
	const ms = int(loop.TickLength / time.Millisecond)
	body = strconv.AppendInt(body, int64(int(after)*ms), 10)
	return d.sessions.protocols.of(c).appendMessage(b, outgoing{kind: kindReconnect, body: append(body, '}'), retry: int(left) * ms})
}

// due ends a connection that was told when to come back.
func (d *shutdown) due(c *conn) { d.sessions.close(c, ws.CloseServiceRestart, comeBack) }

// over reports whether a drain or a dismissal has come to its end.
func (d *shutdown) over() bool {
	now, none := d.loop.Now(), d.loop.Len() == 0
	if d.dismissal.begun {
		return d.dismissal.until != 0 && (none || now >= d.dismissal.until)
	}
	return d.drain.begun && (none || now >= d.drain.until)
}
