package front

import (
	"math/rand/v2"

	"github.com/homing/homing/front/ws"
	"github.com/homing/homing/hub"
)

// dismissal is how far a disowned worker has come with sending everybody away.
// The others may have handed over what waits here, so nothing is written any
// more but when to come back. Owned by the loop.
type dismissal struct {
	begun bool
	told  int    // place up to which connections have been sent away
	until uint32 // tick at which what is left is cut off; 0: not everybody was sent away yet
}

// dismissTurn goes on with a dismissal: it stops accepting, then sends the
// connections away, a limited number per turn.
func (w *Worker) dismissTurn() {
	d := &w.dismissal
	if !d.begun {
		d.begun = true
		w.leaveListeners()
	}
	for budget := scanBudget; d.told < len(w.table.conns); d.told++ {
		c := w.table.conns[d.told]
		if c == nil || c.state >= stateClosing {
			continue
		}
		if budget--; budget < 0 {
			w.poller.Wake()
			return
		}
		w.sendAway(c)
	}
	if d.until == 0 {
		d.until = w.now + w.limits.close
	}
}

// sendAway tells c to come back after a time of its own, and closes it in the
// same write. What waited for it is given up, but for a frame that has begun.
func (w *Worker) sendAway(c *conn) {
	if c.state < stateRegister {
		w.refuse(c, unreachable())
		return
	}
	var data []byte
	if c.state == stateOpen { // before hello a client understands nothing but a close frame
		data = w.protocols[c.protocol].farewell(rand.Uint32N(w.limits.window + 1))
	}
	w.m.dismissed.Inc()
	w.m.closed(ws.CloseServiceRestart)
	w.giveUpHeld(c, dropDisowned)
	w.abandon(c, dropDisowned)
	w.endWith(c, append(data, ws.CloseFrame(ws.CloseServiceRestart, comeBack)...))
}

// banished reports whether c will be sent away and is written nothing before.
func (w *Worker) banished(c *conn) bool {
	return w.standing.seen == hub.StandingLost && c.state < stateClosing
}

// over reports whether the dismissal has come to its end.
func (d *dismissal) over(now uint32, connections int) bool {
	return d.until != 0 && (connections == 0 || now >= d.until)
}
