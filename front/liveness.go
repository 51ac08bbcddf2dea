package front

import (
	"time"

	"github.com/homing/homing/front/ws"
)

const ticksPerSecond = uint64(time.Second / tickLength)

// limits are the durations of Config in ticks.
type limits struct {
	handshake, register, ping, pong, write, close, window, drain, message, resume, resumeWait, replay uint32
}

func newLimits(c *Config) limits {
	return limits{
		handshake:  ticks(c.HandshakeTimeout),
		register:   ticks(c.RegisterTimeout),
		ping:       ticks(c.PingInterval),
		pong:       ticks(c.PongTimeout),
		write:      ticks(c.WriteTimeout),
		close:      ticks(c.CloseTimeout),
		window:     ticks(c.DrainWindow),
		drain:      ticks(c.DrainTimeout),
		message:    ticks(c.MessageTimeout),
		resume:     ticks(c.ResumeMemory),
		resumeWait: ticks(c.ResumeTimeout),
		replay:     ticks(c.ReplayTimeout),
	}
}

// ticks rounds d up to whole ticks.
func ticks(d time.Duration) uint32 {
	return uint32((d + tickLength - 1) / tickLength)
}

// arm notes when c must be looked at next. Being heard of does not move that:
// check finds out that nothing was due after all, and arms again.
func (w *Worker) arm(c *conn) {
	if c.state == stateGone {
		return
	}
	due := never
	if c.deadline != 0 {
		due = c.deadline
	}
	if c.state == stateOpen {
		due = min(due, w.lively(c))
	}
	if c.out != nil && !c.held() {
		due = min(due, c.out.progress+w.limits.write)
	}
	if r := c.resuming(); r != nil && r.phase != resumeReading {
		due = min(due, r.until)
	}
	if begun := c.dec.Stamped(); begun != 0 && c.state < stateClosing {
		due = min(due, begun+w.limits.message)
	}
	w.table.due[c.id] = due
}

// lively is the tick at which c is pinged, or given up when it was. The first
// ping comes at any time up to the interval, by place, so that connections
// that came together are not pinged together from then on; later ones come up
// to a tenth early, in case that something made all clients speak at once.
func (w *Worker) lively(c *conn) uint32 {
	if c.pinged != 0 {
		return c.pinged + w.limits.pong
	}
	spread := w.limits.ping / 10
	if c.heard <= c.opened {
		spread = w.limits.ping - 1
	}
	return c.heard + w.limits.ping - uint32(c.id)%(spread+1)
}

// check does what is due for c.
func (w *Worker) check(c *conn) {
	if r := c.resuming(); r != nil && r.phase != resumeReading && w.now >= r.until {
		w.expireResume(c, r)
	}
	switch {
	case c.out != nil && !c.held() && w.now >= c.out.progress+w.limits.write:
		w.m.stalled.Inc()
		w.drop(c, dropStalled)
	case c.deadline != 0 && w.now >= c.deadline:
		w.expire(c)
	case c.state < stateClosing && w.slowMessage(c):
		w.m.overBudget.WithLabelValues("message_time").Inc()
		w.close(c, ws.ClosePolicyViolation, "message too slow")
	case c.state == stateOpen && w.now >= w.lively(c):
		w.ping(c)
	}
	w.arm(c)
}

// slowMessage reports whether a message of c has been arriving for too long.
func (w *Worker) slowMessage(c *conn) bool {
	begun := c.dec.Stamped()
	return begun != 0 && w.now >= begun+w.limits.message
}

// expire ends the state that c has been in for too long.
func (w *Worker) expire(c *conn) {
	switch c.state {
	case stateProxy, stateRequest, stateVerify:
		if t := c.tls(); t != nil && !t.Open() {
			w.failTLS(c, tlsTimeout, errTimeout) // it could not read a reply
			return
		}
		w.refuse(c, errTimeout)
	case stateRegister:
		w.close(c, ws.CloseTryAgainLater, "the hub is not available")
	case stateOpen: // its turn in a drain
		w.close(c, ws.CloseServiceRestart, comeBack)
	case stateClosing, stateGone:
		w.drop(c, dropClosed)
	}
}

var pingFrame = ws.Frame(ws.OpPing, nil)

// ping asks a silent client for a sign of life, or gives up one that was asked.
func (w *Worker) ping(c *conn) {
	if c.pinged != 0 {
		w.cut(c, dropStalled, closeSilent, "no answer to a ping")
		return
	}
	c.pinged = w.now
	w.send(c, &message{data: pingFrame, control: true})
}
