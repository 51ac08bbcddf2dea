package front

import (
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/homing/homing/front/loop"
	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/drop"
)

// shutdown is how a worker stops: it drains, or, when the others have taken it
// for dead, sends everybody away at once. The loop owns it, but for draining and
// leaving.
type shutdown struct {
	*farewells

	node     *nodeDrain
	entry    *entry
	standing *standing
	m        *metrics
	log      *slog.Logger
	waiting  func() int  // bytes of envelopes that wait
	release  func(*conn) // has a GET that waits at another process be answered

	window, cutOff, closeTime loop.Tick
	drainWindow               time.Duration // as the log tells it

	draining  atomic.Bool   // the worker stops
	leaving   chan struct{} // closed with draining
	leaveOnce sync.Once

	seen      hub.Standing // the standing that was seen last
	drain     drain
	dismissal dismissal
}

// drain is how far a stop has come.
type drain struct {
	begun bool
	until loop.Tick // when what is left is cut off
	round round     // in which connections are told
}

func (d *shutdown) beginLeaving() {
	d.draining.Store(true)
	d.leaveOnce.Do(func() { close(d.leaving) })
}

// ready says why the worker lets nobody in now, as a *http1.Error, or nil.
func (d *shutdown) ready() error {
	switch {
	case d.draining.Load():
		return errStopping
	case !d.standing.good():
		return errNotGood
	}
	return nil
}

// inService says why a load balancer is to send nobody here, as a *http1.Error, or nil.
func (d *shutdown) inService() error {
	if err := d.ready(); err != nil {
		return err
	}
	if d.node.on.Load() {
		return errDraining()
	}
	return nil
}

// leaves reports whether the worker stops, or is ordered to drain.
func (d *shutdown) leaves() bool { return d.draining.Load() || d.node.on.Load() }

// turn goes on with the shutdown, if there is one. It looks at the standing
// first: a worker that is lost writes nothing more that waited.
func (d *shutdown) turn() {
	d.mayDeliver()
	switch {
	case d.seen == hub.StandingLost:
		d.dismissTurn()
	case d.draining.Load():
		d.drainTurn()
	default:
		d.node.turn()
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
	if !d.drain.round.on(d.loop, turnedTo, d.tellToStop) {
		d.loop.Wake()
	}
}

// tellToStop tells c, if it is to be told and has not been, and reports whether it was.
func (d *shutdown) tellToStop(c *conn) bool {
	switch {
	case c.State.idles():
		d.loop.Drop(c, drop.Closed)
		return false
	case c.State.stage == stageExchange:
		d.release(c)
	case c.State.stage == stageOpen && !c.State.leaving:
		d.tellInWindow(c)
	default:
		return false
	}
	return true
}

// opened tells a connection that has come into service during a drain.
func (d *shutdown) opened(c *conn) {
	if c.State.stage == stageOpen && d.drain.begun {
		d.tellInWindow(c)
	}
}

// tellInWindow tells c to come back after a time of its own within the window, at which
// it is closed.
func (d *shutdown) tellInWindow(c *conn) {
	now, after := d.loop.Now(), loop.Tick(0)
	if left := d.drain.until - d.cutOff; left > now {
		after = loop.Tick(rand.Uint32N(uint32(left - now)))
	}
	d.tell(c, after, 0)
	d.node.stopTold++
}

// over reports whether a drain or a dismissal has come to its end.
func (d *shutdown) over() bool {
	now, none := d.loop.Now(), d.loop.Len() == 0
	if d.dismissal.begun {
		return d.dismissal.until != 0 && (none || now >= d.dismissal.until)
	}
	return d.drain.begun && (none || now >= d.drain.until)
}
