package front

import (
	"bytes"
	"net/http"
	"slices"

	"github.com/homing/homing/front/engineio"
	"github.com/homing/homing/front/http1"
	"github.com/homing/homing/front/loop"
	"github.com/homing/homing/front/ws"
	"github.com/homing/homing/hub/drop"
)

// polled is what a session has while its client polls: it is a connection without a
// socket, and what waits for it is what the next GET is answered with. There is one
// GET and one POST at a time. What is sent or to be sent again is one answer.
//
//bound:polled
type polled struct {
	sid     string
	get     func(status int, body []byte) // answers the GET that waits; nil: none does
	by      *conn                         // which brought it; nil: another process did
	sent    []byte                        // the answer that another process was given and has not confirmed; nil: none
	again   []byte                        // an answer that was given in vain; nil: none
	posting bool                          // the body of a POST is arriving
	waits   bool                          // it is in enginePolls.waiting
	probe   *conn                         // the WebSocket that is tried for it; nil: none
	probed  bool                          // the client has been told that it works
	three   bool                          // the client speaks version 3
	octets  bool                          // it takes payloads that are binary; of version 3
}

// enginePolls are the sessions of an engine that are polled. The loop owns it.
type enginePolls struct {
	*engine

	byID    map[string]*conn
	waiting []*conn // those with something to say
	probes  *engineProbes
}

// maxSID is more than the id of a session has.
const maxSID = 128

// putPolled appends a packet of a payload, with a separator behind it.
func putPolled(b []byte, p engineio.Packet) []byte {
	return append(engineio.AppendPacket(b, p), engineio.Separator)
}

// What GETs are answered with that get no message.
var (
	noopBody  = []byte{byte(engineio.Noop)}
	closeBody = []byte{byte(engineio.Close)}
)

// closeBehind is a close behind other packets, which is left out: the next GET finds no
// session. socket.io-client looks at a close before it hands out what it has read with it.
// That it hands out once it has connected again, and does not count: what is kept came twice.
var closeBehind = []byte{engineio.Separator, byte(engineio.Close)}

// get has a GET of a session be answered when there is something. by is nil when
// another process brings it.
func (d *enginePolls) get(session, by *conn, answer func(status int, body []byte)) {
	p := session.State.extra.polled
	if p.three {
		answer = p.answer3(answer)
	}
	if first := p.get; first != nil {
		p.get, p.by = nil, nil
		first(http.StatusOK, closeBody)
		d.gone(session)
		answer(http.StatusBadRequest, nil)
		return
	}
	p.get, p.by = answer, by
	d.serve(session)
}

// waits notes that there is something for a session's client.
func (d *enginePolls) waits(session *conn) {
	if x := session.State.extra; x != nil && x.polled != nil && !x.polled.waits {
		x.polled.waits = true
		d.waiting = append(d.waiting, session)
	}
}

// turn answers the GETs for which there is something.
func (d *enginePolls) turn() {
	for i := 0; i < len(d.waiting); i++ {
		session := d.waiting[i]
		d.waiting[i] = nil
		if x := session.State.extra; x != nil && x.polled != nil {
			x.polled.waits = false
			d.serve(session)
		}
	}
	d.waiting = d.waiting[:0]
}

// serve answers the GET of a session, if one waits and there is something to say.
func (d *enginePolls) serve(session *conn) {
	p := session.State.extra.polled
	get, by := p.get, p.by
	if get == nil || p.sent != nil {
		return
	}
	p.get, p.by = nil, nil // TakeWaiting may end the session
	data, again := d.loop.TakeWaiting(session), p.again
	p.again = nil
	if again != nil {
		data = slices.Insert(data, 0, append(again, engineio.Separator))
	}
	switch {
	case len(data) > 0:
		d.sessions.m.polls.WithLabelValues("answered").Inc()
		get(http.StatusOK, bytes.TrimSuffix(bytes.TrimSuffix(bytes.Join(data, nil), []byte{engineio.Separator}), closeBehind))
	case p.probed:
		get(http.StatusOK, noopBody)
	default:
		p.get, p.by = get, by
	}
}

// charge charges a session for one of its requests, of n bytes. It ends one that is closed
// already and goes on.
func (d *enginePolls) charge(session *conn, n int) bool {
	exceeded := d.sessions.charge(session, useMessages, 1)
	if exceeded == "" {
		exceeded = d.sessions.charge(session, useBytes, n)
	}
	switch {
	case exceeded == "":
		return true
	case session.State.stage >= stageClosing:
		d.sessions.m.overBudget.WithLabelValues(exceeded).Inc()
		d.gone(session)
	default:
		d.sessions.overspent(session, exceeded)
	}
	return false
}

// early reports whether a session may say a little only: it has shown no token, or nobody
// listens any more.
func (s *client) early() bool { return s.stage < stageRegister || s.stage >= stageClosing }

// posted takes the payload of a POST, and returns the status that answers it. What is
// said to a session that is closed and waits for a GET is passed by, as by the reference
// server: a client that was refused would not come for what is still to be read, and why.
func (d *enginePolls) posted(session *conn, payload []byte) (status int) {
	if session.State.early() && len(payload) > d.earlyLimit { // which another process has read
		d.gone(session)
		return http.StatusRequestEntityTooLarge
	}
	if session.State.stage >= stageClosing {
		if !d.charge(session, len(payload)) {
			return http.StatusBadRequest
		}
		return http.StatusOK
	}
	if exceeded := d.sessions.charge(session, useBytes, max(len(payload), loop.ReadCost)); exceeded != "" {
		d.sessions.overspent(session, exceeded)
		return http.StatusBadRequest
	}
	next := session.State.extra.polled.next()
	for rest := payload; ; {
		var p engineio.Packet
		var err error
		if p, rest, err = next(rest); err != nil {
			d.fault(session, err)
		} else if p.Type == engineio.Close {
			d.left(session)
			return http.StatusOK
		} else if d.charge(session, 0) {
			d.sessions.m.received.Inc()
			d.take(session, p)
		}
		switch {
		case session.State.stage >= stageClosing:
			d.gone(session)
			return http.StatusBadRequest
		case rest == nil:
			return http.StatusOK
		}
	}
}

// left ends a session whose client has taken leave.
func (d *enginePolls) left(session *conn) {
	p := session.State.extra.polled
	if get := p.get; get != nil {
		p.get, p.by = nil, nil
		get(http.StatusOK, noopBody)
	}
	d.sessions.m.closed(ws.CloseNormal)
	d.gone(session)
}

// gone ends a session at once: its client is not there, or breaks the rules.
func (d *enginePolls) gone(session *conn) {
	d.loop.Abandon(session, drop.Closed)
	if session.State.stage < stageClosing {
		d.sessions.finish(session, nil, false)
	}
	d.loop.Drop(session, drop.Closed)
}

// ended takes leave of a session, or of a WebSocket that is tried for one.
func (d *enginePolls) ended(c *conn, x *extra) {
	if p := x.polled; p != nil {
		d.endPolled(c, p)
		if get := p.get; get != nil {
			p.get, p.by = nil, nil
			get(http.StatusOK, closeBody)
		}
	}
	if session := x.probing; session != nil {
		d.probes.end(c, session)
	}
}

// givenUp ends a session of which c carried a request, and has ended.
func (d *enginePolls) givenUp(session, c *conn, posts bool) {
	if p := session.State.polledBy(c); p != nil { // its client has given the GET up
		p.get, p.by = nil, nil
		d.gone(session)
	} else if posts {
		d.gone(session)
	}
}

// endPolled has a session not be polled any more.
func (d *enginePolls) endPolled(session *conn, p *polled) {
	delete(d.byID, p.sid)
	d.sessions.m.polledSessions.Dec()
	session.State.extra.polled = nil
	if probe := p.probe; probe != nil {
		probe.State.extra.probing, p.probe = nil, nil
		d.sessions.close(probe, ws.CloseNormal, "the session has ended")
	}
}

// polledBy is how the session is polled, if the GET that waits came with c.
func (s *session) polledBy(c *conn) *polled {
	if s.extra == nil || s.extra.polled == nil || s.extra.polled.by != c {
		return nil
	}
	return s.extra.polled
}

// mayProbe reports whether a WebSocket may be tried for the session.
func (s *client) mayProbe() bool {
	return s.stage < stageClosing && s.extra.polled.probe == nil
}

// enginePolled is what sessions speak that are polled.
type enginePolled struct {
	*enginePolls

	door *engineDoor
}

func (s *enginePolled) upgrade(*conn, *http1.Request) error { return errNotFound } // no path leads here
func (s *enginePolled) received(*conn, []byte)              {}
func (s *enginePolled) silence() loop.Tick                  { return s.pingAfter }
func (s *enginePolled) personal()                           {}
func (s *enginePolled) refuse(c *conn, err error)           { s.app.refuse(c, err) }

// greeted has the connection that brought the GET be known, which has shown no token
// itself.
func (s *enginePolled) greeted(c *conn) {
	if p := c.State.extra.polled; p.by != nil {
		s.door.know(p.by, c)
	}
	s.app.greeted(c)
}

// due is when the heartbeat wants to see c. It pauses while a WebSocket is tried.
func (s *enginePolled) due(c *conn) loop.Tick {
	if c.State.extra.polled.probed {
		return 0
	}
	return s.engine.due(c)
}

func (s *enginePolled) check(c *conn) {
	if !c.State.extra.polled.probed && !s.beat(c, putPolled) {
		s.sessions.m.closed(closeSilent)
		s.gone(c)
	}
}

func (s *enginePolled) appendMessage(b []byte, m outgoing) []byte {
	return s.app.appendMessage(b, putPolled, m)
}

func (s *enginePolled) farewell(c *conn, code ws.CloseCode, reason string) []byte {
	b, told := s.app.farewell(c, putPolled, code, reason)
	if told { // clients take what they read together for a lost connection, and come back
		return b
	}
	return putPolled(b, engineio.Packet{Type: engineio.Close})
}
