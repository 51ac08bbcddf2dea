package front

import (
	"errors"
	"io"

	"github.com/homing/homing/front/loop"
	"github.com/homing/homing/front/ws"
	"github.com/homing/homing/hub/drop"
)

// turns is what the loop calls: it leads each event of a connection to whoever
// the connection's stage belongs to.
type turns struct {
	tracer

	loop       *loop.Loop[client]
	m          *metrics
	door       *door
	entry      *entry
	sessions   *sessions
	protocols  *protocols
	resumes    *resumes
	topics     *topics
	deliveries *deliveries
	rooms      *rooms
	friends    *friends
	shutdown   *shutdown
	pipes      *pipes
	engines    *engineDoor // nil: nobody speaks Engine.IO
}

// BeginTurn goes on with a shutdown, if there is one, before anything is read.
func (t *turns) BeginTurn() { t.shutdown.turn() }

// EndTurn delivers what waits.
func (t *turns) EndTurn() {
	t.deliveries.turn()
	t.rooms.turn()
	t.friends.turn()
	t.engines.turn()
}

// Tick lets go of what time has made good.
func (t *turns) Tick() {
	t.sessions.tick()
	t.shutdown.node.tick()
	t.entry.limiter.Refill()
	t.resumes.tick()
	t.deliveries.tick()
	t.friends.tick()
	t.topics.tick()
	t.engines.tick()
}

// Stopped reports whether the shutdown is over.
func (t *turns) Stopped() bool { return t.shutdown.over() }

// Charge takes n bytes from what c and its user may send. One that is closing
// and goes on for long has not read its last bytes, and will not. What goes
// through a pipe is charged where it is served.
func (t *turns) Charge(c *conn, n int) bool {
	if c.State.piped() != nil {
		return true
	}
	exceeded := t.sessions.charge(c, useBytes, n)
	if exceeded == "" {
		return true
	}
	switch st := c.State.stage; {
	case st >= stageClosing:
		t.m.overBudget.WithLabelValues("closing").Inc()
		t.loop.Drop(c, drop.Closed)
	case st >= stageRegister, st == stageConnect:
		t.sessions.overspent(c, exceeded)
	default:
		t.m.overBudget.WithLabelValues("handshake").Inc()
		if !c.Handshaking() {
			t.entry.refuse(c, errHeaderTooLarge)
		}
	}
	return false
}

// Received takes bytes of a request, or of c's protocol.
func (t *turns) Received(c *conn, data []byte) {
	switch c.State.stage {
	case stageRequest:
		t.door.received(c, data)
	case stageLocate:
		t.door.passages.early(c, data)
	case stageVerify:
		t.door.early(c, data)
	case stageExchange, stageConnect, stageRegister, stageOpen, stageLeft:
		t.protocols.of(c).received(c, data)
	case stageClosing:
	}
}

// Exceeded ends a connection over TLS that makes more work than its messages
// would; the loop drops one that is not in service.
func (t *turns) Exceeded(c *conn, what loop.Budget) {
	if what == loop.TLSRecords && c.State.stage >= stageRegister {
		t.sessions.overspent(c, string(what))
		return
	}
	t.m.overBudget.WithLabelValues(string(what)).Inc()
}

// HungUp counts a handshake that comes to nothing.
func (t *turns) HungUp(c *conn, err error) {
	if c.State.stage < stageRegister && !c.State.idles() {
		t.m.handshakes.WithLabelValues("abandoned").Inc()
	}
	if !errors.Is(err, io.EOF) {
		t.trace(c, "connection lost", "err", err)
	}
}

// Flushed goes on with what waited for the client to read.
func (t *turns) Flushed(c *conn) {
	t.resumes.flushed(c)
	t.pipes.flushed(c)
	t.engines.flushed(c)
}

// Waits has what waits for a session that is polled be given to its client.
func (t *turns) Waits(c *conn) { t.engines.polls.waits(c) }

// Due is when c must be looked at: by its resume, or by its protocol.
func (t *turns) Due(c *conn) loop.Tick {
	if !c.State.speaks() {
		return 0
	}
	return earlier(c.State.due(), t.protocols.of(c).due(c))
}

// Check does what is due for c.
func (t *turns) Check(c *conn) {
	if c.State.extra != nil {
		t.resumes.check(c)
	}
	if c.State.speaks() {
		t.protocols.of(c).check(c)
	}
}

// Expired ends the stage that c has been in for too long.
func (t *turns) Expired(c *conn) {
	if c.State.idles() {
		t.loop.Drop(c, drop.Closed)
		return
	}
	switch c.State.stage {
	case stageRequest, stageLocate, stageExchange, stageConnect, stageVerify:
		t.entry.refuse(c, errTimeout)
	case stageRegister:
		t.sessions.close(c, ws.CloseTryAgainLater, "the hub is not available")
	case stageOpen:
		t.shutdown.due(c)
	case stageLeft:
		t.sessions.close(c, ws.CloseNormal, "nothing was left to say")
	case stageClosing:
	}
}

// Ended takes leave of c.
func (t *turns) Ended(c *conn, _ drop.Reason) {
	t.pipes.ended(c)
	t.sessions.ended(c)
	t.engines.ended(c)
}

// Discarded counts messages that were given up.
func (t *turns) Discarded(why drop.Reason, lost loop.Lost) { t.m.lost(why, lost) }
