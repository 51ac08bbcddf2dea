package front

import (
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/homing/homing/front/loop"
	"github.com/homing/homing/front/ws"
	"github.com/homing/homing/hub/fleet"
)

// Stopping is the ID of the drain of a worker that stops.
const Stopping = "stop"

// drainDeadline is the reason told to those who are closed at the end of a drain.
const drainDeadline = "drain-deadline"

const (
	// leaveWithin is how soon a client that was told goes: some time of its own within
	// a second, so that those who were told in one turn do not come together.
	leaveWithin = loop.TicksPerSecond
	// owedFor is for how long a loop that stands still may tell more afterwards. What it
	// has missed beyond that is not caught up with: others would see a herd.
	owedFor = loop.TicksPerSecond
	// settleIn is for how long nobody who has just come is told: who comes for a room
	// joins it first.
	settleIn = 3 * loop.TicksPerSecond
	// idleFor is how long a connection that is kept for another request is kept on.
	idleFor = 10 * loop.TicksPerSecond
	// deadlineGrain is by how much a deadline differs that is another one; less is how
	// exactly the clocks of two machines are compared.
	deadlineGrain = time.Second
	// maxTail is how long before the deadline the last one is told, at most.
	maxTail = 10 * loop.TicksPerSecond
)

// nodeDrain sends the players of a running worker away, because its node was ordered to
// drain: some each second, until a deadline. The loop owns it, but for what says
// otherwise.
type nodeDrain struct {
	*farewells

	rooms   Rooms // nil: there are none
	m       *metrics
	log     *slog.Logger
	window  loop.Tick        // in which those come back who are closed at the deadline
	release func(*conn)      // has a GET that waits at another process be answered
	plays   func(*conn) bool // has a seat in a room that runs here

	ordered   atomic.Pointer[fleet.Orders] // the newest; from any goroutine
	on        atomic.Bool                  // nobody is let in; for any goroutine
	published atomic.Pointer[published]    // for any goroutine

	taken    *fleet.Orders // the orders that the loop has taken note of last
	id       string        // of the drain; empty: there is none
	rate     float64       // connections told per tick, here; 0: evenly
	deadline time.Time     // as the rooms know it
	until    loop.Tick     // the deadline
	tail     loop.Tick     // how long before it the last one is told
	told     int
	stopTold int // by the drain of a stop

	pace   pace  // of telling
	round  round // in which they are told, or closed
	idle   int   // places seen since somebody was told
	closes bool  // the deadline has passed
	busy   bool  // this turn has something to do
	lag    lag
}

// published is what others may know of the loop.
type published struct {
	connections, told, stopTold int
	id                          string
	lag                         time.Duration
}

func (d *nodeDrain) order(o *fleet.Orders) { d.ordered.Store(o) }

// load is Worker.Load.
func (d *nodeDrain) load(stopping bool) (l fleet.Load, p fleet.Progress) {
	if d.rooms != nil {
		l.Rooms, l.Seats = d.rooms.Count()
	}
	if now := d.published.Load(); now != nil {
		l.Connections, l.LagMillis = now.connections, now.lag.Seconds()*1000
		p.ID, p.Told = now.id, now.told
		if stopping {
			p.ID, p.Told = Stopping, now.stopTold
		}
	}
	if p.ID != "" {
		p.Left, p.Rooms = l.Connections, l.Rooms
	}
	return l, p
}

// tick takes note of new orders, and of how many may be told by now.
func (d *nodeDrain) tick() {
	if o := d.ordered.Load(); o != d.taken {
		d.taken = o
		d.take(o)
	}
	if d.id != "" {
		d.refill()
	}
	d.publish()
}

// publish lets others know how far the loop has come.
func (d *nodeDrain) publish() {
	d.lag.add(d.loop.Now(), d.loop.Late())
	now := published{connections: d.loop.Len(), told: d.told, stopTold: d.stopTold, id: d.id, lag: d.lag.worst()}
	if was := d.published.Load(); was == nil || *was != now {
		d.published.Store(&now)
	}
}

// take obeys orders.
func (d *nodeDrain) take(o *fleet.Orders) {
	d.aim(o.Targets)
	switch {
	case o.Drain == nil && d.id == "":
	case o.Drain == nil:
		d.cancel()
	case o.Drain.Deadline.IsZero():
		d.log.Error("an order to drain without a deadline is not obeyed", "drain", o.Drain.ID)
	default:
		d.follow(o.Drain, o.Share)
	}
}

// cancel ends the drain: nobody else is told.
func (d *nodeDrain) cancel() {
	d.log.Info("the order to drain is taken back", "drain", d.id, "told", d.told, "connections", d.loop.Len())
	d.id, d.busy = "", false
	d.on.Store(false)
	if d.rooms != nil {
		d.rooms.Stay()
	}
}

// follow begins a drain, or goes on with it at another rate, by another deadline.
func (d *nodeDrain) follow(drain *fleet.Drain, share float64) {
	now := d.loop.Now()
	left := loop.Ticks(max(0, time.Until(drain.Deadline)))
	begins, moved := d.id != drain.ID, drain.Deadline.Sub(d.deadline).Abs() > deadlineGrain
	d.rate = float64(max(0, drain.Rate)) * max(0, min(share, 1)) / float64(loop.TicksPerSecond)
	d.until = now + left
	if begins {
		d.log.Info("ordered to drain", "drain", drain.ID, "why", drain.Why, "connections", d.loop.Len(), "rate", drain.Rate, "deadline", drain.Deadline)
		d.id, d.told, d.pace, d.closes = drain.ID, 0, pace{until: now}, false
		d.tail = max(leaveWithin, min(maxTail, left/10))
		d.on.Store(true)
	}
	if begins || moved {
		d.deadline = drain.Deadline
		if d.rooms != nil {
			d.rooms.Evacuate(drain.Deadline)
		}
	}
}

// refill counts how many may be told by now.
func (d *nodeDrain) refill() {
	now := d.loop.Now()
	if closes := now >= d.until; closes != d.closes {
		d.closes, d.round = closes, round{}
		if closes && d.loop.Len() > 0 {
			d.log.Warn("the deadline of the drain has come: those who are left are closed", "drain", d.id, "connections", d.loop.Len())
		}
	}
	rate := d.rate
	if d.taken.Drain.Rate <= 0 {
		rate = d.evenly(now)
	}
	d.pace.refill(now, rate)
	d.idle, d.busy = 0, d.closes || d.pace.owed >= 1
}

// evenly is how many are told per tick so that the last one is told a while before the
// deadline.
func (d *nodeDrain) evenly(now loop.Tick) float64 {
	left := loop.Tick(1)
	if end := d.until - min(d.until, d.tail); end > now {
		left = end - now
	}
	return float64(d.loop.Len()) / float64(left)
}

// turn tells some of those who may be told now.
func (d *nodeDrain) turn() {
	if !d.busy {
		return
	}
	visit, budget := d.visit, min(turnedTo, int(d.pace.owed))
	if d.closes {
		visit, budget = d.send, turnedTo
	}
	began := d.round.at
	over := d.round.on(d.loop, budget, visit)
	d.idle += d.round.at - began
	if over {
		d.round = round{}
	}
	switch {
	case d.closes && over, d.idle >= d.loop.Places(): // everybody was seen
		d.busy = false
		d.pace.owed = min(d.pace.owed, 1) // nobody is there to be told; that does not add up
	case d.closes || d.pace.owed >= 1:
		d.loop.Wake()
	default:
		d.busy = false
	}
}

// visit tells c to leave, if it is to, and reports whether it was.
func (d *nodeDrain) visit(c *conn) bool {
	st := &c.State
	switch {
	case st.idles() && !st.leaving:
		st.leaving = true // its client may be about to send a request, after whose answer it ends
		d.loop.SetDeadline(c, d.loop.Now()+idleFor)
		return false
	case st.stage != stageOpen || st.leaving || st.piped() != nil: // who serves the other end of a pipe tells its client
		return false
	case d.plays(c) || d.loop.Now() < st.opened+settleIn:
		return false
	}
	d.pace.owed--
	d.told++
	d.idle = 0
	d.m.drained.WithLabelValues("told").Inc()
	d.tell(c, loop.Tick(rand.Uint32N(uint32(leaveWithin))), 1+loop.Tick(rand.Uint32N(uint32(leaveWithin))))
	return true
}

// send closes c, because the deadline has passed, and tells it to come back after a
// time of its own.
func (d *nodeDrain) send(c *conn) bool {
	switch c.State.stage {
	case stageExchange:
		d.release(c)
		return false // it is not closed, and seen again
	case stageOpen:
	default:
		return false
	}
	after := loop.Tick(rand.Uint32N(uint32(d.window) + 1))
	if m := d.reconnect(c, nil, after, after); len(m) > 0 && !c.State.leaving {
		d.loop.Send(c, &loop.Message{Data: m})
	}
	d.m.drained.WithLabelValues(drainDeadline).Inc()
	d.sessions.close(c, ws.CloseServiceRestart, drainDeadline)
	return true
}

// pace is how many may be told by now, at so many per tick.
type pace struct {
	owed  float64
	until loop.Tick // the tick up to which that is counted
}

// refill counts what the time since it was called last has brought. Of a time that was
// longer than owedFor the rest is let go.
func (p *pace) refill(now loop.Tick, rate float64) {
	p.owed = min(p.owed+rate*float64(now-p.until), 1+rate*float64(owedFor))
	p.until = now
}

// lag is how late the ticks of the last second or two began.
type lag struct {
	now, before time.Duration
	since       loop.Tick
}

func (l *lag) add(at loop.Tick, late time.Duration) {
	if at-l.since >= loop.TicksPerSecond {
		l.before, l.now, l.since = l.now, 0, at
	}
	l.now = max(l.now, late)
}

func (l *lag) worst() time.Duration { return max(l.now, l.before) }
