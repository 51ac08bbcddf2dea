package front

import (
	"errors"
	"net/http"

	"github.com/homing/homing/front/engineio"
	"github.com/homing/homing/front/http1"
	"github.com/homing/homing/front/loop"
	"github.com/homing/homing/front/ws"
	"github.com/homing/homing/hub/drop"
)

// engineProbes are the WebSockets that clients of polled sessions try, to go over to
// them. Until a client does, its session is polled; if it never does, that goes on.
type engineProbes struct {
	framing

	door     *engineDoor
	polls    *enginePolls
	protocol protocolID
}

// probeTime is how long a client may take to go over.
const probeTime = 10 * loop.TicksPerSecond

var errProbe = errors.New("a packet that is none of an upgrade")

// open tries c, whose request asks for a WebSocket, for a session. reply is the
// answer to that.
func (p *engineProbes) open(c, session *conn, reply []byte) {
	early := c.State.endRequest()
	c.State.protocol, c.State.stage = p.protocol, stageConnect
	c.State.more().probing = session
	session.State.extra.polled.probe = c
	p.loop.SetDeadline(c, p.loop.Now()+probeTime)
	p.loop.Send(c, &loop.Message{Data: reply})
	if !c.Gone() {
		p.loop.Arm(c)
		p.received(c, early)
	}
}

func (p *engineProbes) received(c *conn, data []byte) {
	var left []byte
	upgrade := false
	p.framesUntil(c, data, func(c *conn, msg *ws.Message, rest []byte) (stop bool) {
		upgrade, left = p.step(c, msg), rest
		return upgrade
	})
	if upgrade {
		p.land(c, left)
	}
}

// step takes one message of c, and reports whether its client goes over to it.
func (p *engineProbes) step(c *conn, msg *ws.Message) (upgrade bool) {
	session := c.State.extra.probing
	polled := session.State.extra.polled
	packet, err := engineio.ParseText(msg.Payload)
	switch {
	case err != nil || msg.Op != ws.OpText:
	case packet.Type == engineio.Ping && string(packet.Data) == engineio.Probe && !polled.probed:
		polled.probed = true
		p.loop.Send(c, &loop.Message{Data: putSocket(nil, engineio.Packet{Type: engineio.Pong, Data: packet.Data})})
		p.polls.serve(session)
		return false
	case packet.Type == engineio.Upgrade && polled.probed:
		return true
	}
	p.sessions.close(c, ws.CloseProtocolError, errProbe.Error())
	return false
}

// land gives a session the socket of c. rest is what came behind the packet that
// says so.
func (p *engineProbes) land(c *conn, rest []byte) {
	session := c.State.extra.probing
	x := session.State.extra.polled
	c.State.extra.probing, x.probe = nil, nil
	p.polls.endPolled(session, x)
	p.door.upgraded.add(x.sid)
	session.State.spare()
	if x.get != nil {
		x.get(http.StatusOK, noopBody)
	}
	c.State.stage = stageClosing // it was no session
	to := p.door.sockets.of(x.three)
	session.State.protocol = to.id
	session.State.pinged, session.State.asked = p.loop.Now(), false
	p.m.polls.WithLabelValues("upgraded").Inc()
	if !p.loop.Land(session, c, toFrames(to.wire.put)) {
		p.loop.Drop(session, drop.Lost)
		return
	}
	p.loop.Arm(session)
	to.received(session, rest)
}

// turnAway ends c, whose request asks for a WebSocket of a session that has one.
func (p *engineProbes) turnAway(c *conn, reply []byte) {
	c.State.endRequest()
	c.State.protocol, c.State.stage = p.protocol, stageConnect
	p.loop.Send(c, &loop.Message{Data: reply})
	p.sessions.close(c, ws.ClosePolicyViolation, "the session has a WebSocket already")
}

// maxUpgraded is how many sessions are remembered that have gone over to a WebSocket.
const maxUpgraded = 1024

// upgradedIDs are the ids of sessions that have gone over lately: what is late of
// their polling is told so.
//
//bound:upgraded
type upgradedIDs struct {
	known map[string]bool
	ring  [maxUpgraded]string
	next  int
}

func (u *upgradedIDs) add(sid string) {
	if u.known == nil {
		u.known = make(map[string]bool)
	}
	delete(u.known, u.ring[u.next])
	u.ring[u.next], u.known[sid] = sid, true
	u.next = (u.next + 1) % maxUpgraded
}

// toFrames returns what makes frames of the packets of a payload.
func toFrames(put putPacket) func(payload []byte) []byte {
	return func(payload []byte) (b []byte) {
		for rest := payload; len(rest) > 0; {
			packet, next, err := engineio.Next(rest)
			if err != nil {
				return b // what we have made ourselves can be read
			}
			b, rest = put(b, packet), next
		}
		return b
	}
}

// end has a session be polled on, for which c was tried in vain.
func (p *engineProbes) end(c, session *conn) {
	c.State.extra.probing = nil
	x := session.State.extra.polled
	x.probe = nil
	if x.probed {
		x.probed = false
		session.State.pinged, session.State.asked = p.loop.Now(), false
		p.loop.Arm(session)
	}
}

// refuse ends c, whose time is over.
func (p *engineProbes) refuse(c *conn, _ error) {
	p.sessions.close(c, ws.ClosePolicyViolation, "no upgrade in time")
}

func (p *engineProbes) due(c *conn) loop.Tick { return p.messageDue(c) }
func (p *engineProbes) check(c *conn)         { p.tooSlow(c) }

func (p *engineProbes) upgrade(*conn, *http1.Request) error       { return errNotFound } // no path leads here
func (p *engineProbes) appendMessage(b []byte, _ outgoing) []byte { return b }
