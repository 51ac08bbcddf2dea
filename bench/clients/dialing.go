package clients

import (
	"time"

	"github.com/homing/homing/bench/child"
)

const (
	// dialsUnderWay is how many handshakes are under way at a time, in all
	// processes: enough to keep two cores busy, and few enough for the accept
	// queues of common servers (Node's holds 511).
	dialsUnderWay = 1024
	patience      = 20 * time.Second // from connect to hello
	progressEvery = 500 * time.Millisecond
)

// dialing is a connect call in progress.
type dialing struct {
	req      child.Request
	engine   *engine
	started  time.Time
	next     int       // client to dial next
	dialed   time.Time // when the last was
	reported time.Time
}

func newDialing(r child.Request, e *engine) *dialing {
	now := time.Now()
	return &dialing{req: r, engine: e, started: now, dialed: now, reported: now}
}

// step starts the connects that are due. It answers the call, and reports
// true, when every client is registered or has failed.
func (d *dialing) step() (done bool) {
	e, now := d.engine, time.Now()
	for d.next < len(e.bees) && e.under < e.swarm.Under && d.due(now) {
		e.dial(d.next)
		d.next++
		d.dialed = now
	}
	if now.Sub(d.reported) > progressEvery {
		d.reported = now
		d.req.Progress(e.count)
	}
	if e.under > 0 && now.Sub(d.dialed) > patience {
		d.giveUp()
	}
	if d.next < len(e.bees) || e.under > 0 {
		return false
	}
	d.req.Reply(report{Counts: e.count, Failed: e.failed})
	return true
}

// due reports whether the schedule wants the next connect now.
func (d *dialing) due(now time.Time) bool {
	rate := d.engine.swarm.Rate
	return rate <= 0 || float64(d.next) <= now.Sub(d.started).Seconds()*rate
}

// giveUp fails the clients whose handshakes are under way.
func (d *dialing) giveUp() {
	for i := range d.engine.bees {
		if s := d.engine.bees[i].state; s != idle && s != open {
			d.engine.fail(i, errNoHello)
		}
	}
}
