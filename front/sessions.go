package front

import (
	"github.com/go-json-experiment/json/jsontext"

	"github.com/homing/homing/front/loop"
	"github.com/homing/homing/front/ws"
	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/drop"
)

// The close codes of Homing's own (RFC 6455 §7.4.2); docs/protocol.md lists
// all that a client may meet.
const (
	closeDisconnected ws.CloseCode = 4003 // a backend asked for it
	closeSlowConsumer ws.CloseCode = 4008 // the write queue was full
	closeSilent       ws.CloseCode = 4009 // no answer to a ping
	closeReplaced     ws.CloseCode = 4010 // the user has too many connections, and a newer one
)

// comeBack is the reason told with ws.CloseServiceRestart.
const comeBack = "come back"

// sessions are the connections that have users: who they are, what they may
// use, what they are sent, and how they end. The loop owns it.
type sessions struct {
	tracer

	loop      *loop.Loop[client]
	m         *metrics
	protocols *protocols
	presence  Presence
	friends   *friends // nil: nobody has any
	users     users
	topics    *topics
	replays   *replayBudget
	hash      idHash

	perConn, perUser allowance
	held             heldBounds
	maxPerUser       int  // connections of one user; 0: no limit
	refuseNewest     bool // one more is refused; else the oldest is closed for it
	canResume        bool
}

// send sends m to c. What waits in the write queue is bounded by m's class;
// one that must not be lost and finds no room ends c.
func (s *sessions) send(c *conn, m *loop.Message) hub.Status {
	return s.came(c, s.loop.Send(c, m))
}

// came is what has come of a message for c.
func (s *sessions) came(c *conn, st loop.Status) hub.Status {
	switch st {
	case loop.Written:
		return hub.StatusWritten
	case loop.Queued:
		return hub.StatusQueued
	case loop.Full:
		s.cut(c, drop.SlowConsumer, closeSlowConsumer, "slow consumer")
		return hub.StatusDropped
	case loop.Dropped:
		return hub.StatusDropped
	case loop.Gone:
	}
	return hub.StatusMissed
}

// message is m as c's protocol has it.
func (s *sessions) message(c *conn, m outgoing, class loop.Class) *loop.Message {
	return &loop.Message{Data: s.protocols.of(c).appendMessage(nil, m), Class: class}
}

// answer sends a reply that begins with head, an open JSON object, and repeats
// the client's reference when it gave one.
func (s *sessions) answer(c *conn, head string, ref jsontext.Value) {
	body := appendRef(append(make([]byte, 0, len(head)+len(ref)+8), head...), ref)
	if m := s.message(c, outgoing{kind: kindAnswer, body: body, to: c}, loop.Must); len(m.Data) > 0 {
		s.send(c, m)
	}
}

// close ends c with a close code, after what waits already.
func (s *sessions) close(c *conn, code ws.CloseCode, reason string) {
	if c.State.stage >= stageClosing {
		return
	}
	s.m.closed(code)
	s.trace(c, "connection closed", "code", int(code), "reason", reason)
	s.finish(c, s.protocols.of(c).farewell(c, code, reason), false)
}

// cut ends c with a close code because it does not keep up or has fallen
// silent: what waits is given up, and c has the close timeout and no longer.
func (s *sessions) cut(c *conn, why drop.Reason, code ws.CloseCode, reason string) {
	s.loop.Abandon(c, why)
	if c.State.stage >= stageClosing {
		return
	}
	s.m.closed(code)
	s.trace(c, "connection closed", "code", int(code), "reason", reason)
	s.finish(c, s.protocols.of(c).farewell(c, code, reason), true)
}

// finish makes last the last bytes that c is sent. Nobody finds c any more.
func (s *sessions) finish(c *conn, last []byte, soon bool) {
	s.unregister(c)
	c.State.stage = stageClosing
	c.State.used = usage{} // its user's is kept; what is on its way is let in once more
	s.loop.End(c, last, soon)
}

// ended takes leave of c, which is gone.
func (s *sessions) ended(c *conn) {
	if st := c.State.stage; st == stageRegister || st == stageOpen {
		s.m.closed(ws.CloseAbnormal)
		s.trace(c, "connection ended")
	}
	s.unregister(c)
	c.State.stage = stageClosing
}

// charge uses n units of a resource for c and for its user, or returns the name
// of the budget that has too little left. The name is a label of a metric.
func (s *sessions) charge(c *conn, what resource, n int) (exceeded string) {
	now := s.loop.Now()
	if !c.State.used.take(now, &s.perConn, what, n) {
		return budgetNames[what].conn
	}
	if g := c.State.group(); g != nil && !g.used.take(now, &s.perUser, what, n) {
		return budgetNames[what].user
	}
	return ""
}

// overspent closes a connection whose client sends more than it may.
func (s *sessions) overspent(c *conn, budget string) {
	s.m.overBudget.WithLabelValues(budget).Inc()
	how := budgetCloses[budget]
	s.close(c, how.code, how.reason)
}

// tick forgets what users who have left had used.
func (s *sessions) tick() {
	s.m.users.Set(float64(len(s.users.newest)))
	s.presence.SetConnections(s.loop.Len())
	s.users.absent.age(s.loop.Now(), &s.perUser, forgetBudget)
}

// forgetBudget is how many of those who have left a tick looks at.
const forgetBudget = 256
