package front

import "math/rand/v2"

// drain is how far a stop has come.
type drain struct {
	begun bool
	until uint32 // tick at which what is left is cut off
	told  int    // place up to which connections have been told
}

// drainTurn goes on with a stop: it stops accepting, then tells the
// connections, a limited number per turn.
func (w *Worker) drainTurn() {
	if !w.drain.begun {
		w.drain.begun = true
		w.drain.until = w.now + w.limits.window + w.limits.drain
		w.log.Info("draining", "connections", w.table.count, "window", w.cfg.DrainWindow)
		w.leaveListeners()
	}
	for budget := scanBudget; w.drain.told < len(w.table.conns); w.drain.told++ {
		c := w.table.conns[w.drain.told]
		if c == nil || c.state != stateOpen || c.deadline != 0 {
			continue
		}
		if budget--; budget < 0 {
			w.poller.Wake()
			return
		}
		w.dismiss(c)
	}
}

// dismiss tells c to come back after a time of its own within the window, at
// which it is closed.
func (w *Worker) dismiss(c *conn) {
	left := w.drain.until - w.limits.drain
	after := uint32(0)
	if left > w.now {
		after = rand.Uint32N(left - w.now)
	}
	c.deadline = w.now + after
	if text := w.protocols[c.protocol].farewell(after); len(text) > 0 {
		w.send(c, &message{data: text, control: true})
	}
	w.arm(c)
}

// stopped reports whether a drain or a dismissal has come to its end.
func (w *Worker) stopped() bool {
	if w.dismissal.begun {
		return w.dismissal.over(w.now, w.table.count)
	}
	return w.drain.begun && (w.table.count == 0 || w.now >= w.drain.until)
}
