package master

import "time"

// beatsPerTimeout is how many pings fit into the heartbeat timeout.
const beatsPerTimeout = 6

// pulse measures for how long a worker has owed an answer to a ping. It counts
// time by ticks that came in time: one that is late says that the master stood
// still, perhaps with the machine under it, and the count starts over. One ping
// is under way at most, so that they do not pile up at a worker that hangs.
type pulse struct {
	every  time.Duration // between ticks
	last   time.Time     // of the tick before
	owed   bool          // an answer
	sent   bool          // the ping that it is owed for
	silent time.Duration // since it has been owed
}

func newPulse(timeout time.Duration, now time.Time) pulse {
	return pulse{every: timeout / beatsPerTimeout, last: now}
}

// tick is called once per interval.
func (p *pulse) tick(now time.Time) {
	elapsed := now.Sub(p.last)
	p.last = now
	switch {
	case !p.owed:
		p.owed = true
	case elapsed > beatsPerTimeout/2*p.every:
		p.silent = 0
	default:
		p.silent += elapsed
	}
}

// answered notes the answer to a ping.
func (p *pulse) answered() { p.owed, p.sent, p.silent = false, false, 0 }
