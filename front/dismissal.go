package front

import (
	"math/rand/v2"

	"github.com/homing/homing/front/loop"
	"github.com/homing/homing/front/ws"
	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/drop"
)

// dismissal is how far a disowned worker has come with sending everybody away.
// The others may have handed over what waits here, so nothing is written any
// more but when to come back.
type dismissal struct {
	begun bool
	round round     // in which connections are sent away
	until loop.Tick // when what is left is cut off; 0: not everybody was sent away yet
}

// mayDeliver reports whether the worker is in good standing at this moment. A
// process that was stopped goes on anywhere, so it is asked right before each
// envelope, not once per turn.
func (d *shutdown) mayDeliver() bool {
	s := d.standing.now()
	if s != d.seen {
		d.changed(s)
	}
	return s == hub.StandingGood
}

// changed takes note of another standing.
func (d *shutdown) changed(now hub.Standing) {
	before := d.seen
	d.seen = now
	d.m.standing.Set(float64(now))
	switch now {
	case hub.StandingGood:
		d.log.Warn("in good standing again: delivery goes on", "inbox_bytes", d.waiting())
		d.entry.greetRegistered()
	case hub.StandingDoubt:
		d.m.doubts.Inc()
		d.log.Warn("in doubt whether the others think this process alive: nothing is delivered and nobody let in", "connections", d.loop.Len())
	case hub.StandingLost:
		d.log.Error("taken for dead by the others: everybody is sent away", "connections", d.loop.Len(), "before", before.String())
		d.loop.Withhold()
		d.beginLeaving()
		d.loop.Wake() // the next turn begins the dismissal
	}
}

// dismissTurn goes on with a dismissal: it stops accepting, then sends the
// connections away, a limited number per turn.
func (d *shutdown) dismissTurn() {
	x := &d.dismissal
	if !x.begun {
		x.begun = true
		d.loop.LeaveListeners()
	}
	if !x.round.on(d.loop, turnedTo, d.sendAway) {
		d.loop.Wake()
		return
	}
	if x.until == 0 {
		x.until = d.loop.Now() + d.closeTime
	}
}

// sendAway tells c to come back after a time of its own, and closes it in the
// same write. What waited for it is given up, but for a message that has begun. It
// reports whether c was there to be sent away.
func (d *shutdown) sendAway(c *conn) bool {
	switch {
	case c.State.stage >= stageClosing:
		return false
	case c.State.stage < stageRegister:
		d.entry.refuse(c, errUnreachable())
		return true
	}
	var last []byte
	if c.State.stage == stageOpen { // before hello a client understands nothing but the end
		after := loop.Tick(rand.Uint32N(uint32(d.window) + 1))
		last = d.reconnect(c, nil, after, after)
	}
	d.m.dismissed.Inc()
	d.m.closed(ws.CloseServiceRestart)
	d.sessions.giveUpHeld(c, drop.Disowned)
	d.loop.Abandon(c, drop.Disowned)
	last = append(last, d.sessions.protocols.of(c).farewell(c, ws.CloseServiceRestart, comeBack)...)
	d.sessions.finish(c, last, false)
	return true
}
