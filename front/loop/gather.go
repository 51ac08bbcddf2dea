package loop

import "time"

const (
	// gatherFor is how long what is sent soon waits for more.
	gatherFor = 100 * time.Millisecond
	// gatherBudget is how many connections are written to before the loop looks at
	// its sockets again, gatherPause later at the soonest.
	gatherBudget = 64
	gatherPause  = time.Millisecond
)

// gathering is the connections for which something is gathered.
type gathering[S any] struct {
	conns []*Conn[S] // in the order in which that began; some were flushed since
	at    int        // the next of them
	timed bool       // a look at them is due
}

// SendSoon is Send for a message that can wait for a moment, up to about 100 ms: those
// that come meanwhile are written with it, in order, and so are those of Send. It does
// not say Written.
func (w *writer[S]) SendSoon(c *Conn[S], m *Message) Status {
	if c.state >= stateEnding {
		return Gone
	}
	if c.out == nil && c.held == 0 {
		c.held |= delayed
		w.later.conns = append(w.later.conns, c)
		w.flushSoon(gatherFor)
	}
	return w.enqueue(c, m)
}

func (w *writer[S]) flushSoon(after time.Duration) {
	if !w.later.timed {
		w.later.timed = true
		w.AfterFunc(after, w.flushGathered)
	}
}

// flushGathered writes what was gathered for some connections.
func (w *writer[S]) flushGathered() {
	g := &w.later
	g.timed = false
	for budget := gatherBudget; g.at < len(g.conns); g.at++ {
		if budget == 0 {
			w.flushSoon(gatherPause)
			return
		}
		c := g.conns[g.at]
		g.conns[g.at] = nil
		if c.is(delayed) && c.state != stateGone {
			w.flush(c)
			budget--
		}
	}
	clear(g.conns)
	g.conns, g.at = g.conns[:0], 0
}
