package front

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"github.com/homing/homing/front/engineio"
	"github.com/homing/homing/front/http1"
	"github.com/homing/homing/front/loop"
	"github.com/homing/homing/front/ws"
	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/drop"
)

// engine is what all sessions of Engine.IO (docs/protocol.md) have in common,
// whatever carries them. What is said in them is the app's. The loop owns it.
type engine struct {
	loop     *loop.Loop[client]
	sessions *sessions
	entry    *entry
	process  hub.ProcessID
	app      engineApp

	pingInterval, pingTimeout time.Duration
	pingAfter, pongTime       loop.Tick // the same
	connectTime               loop.Tick // from the handshake to the app's first message
	maxPayload                int
	three                     bool // version 3 is spoken, too: see enginethree.go
	earlyLimit                int  // bytes of a message, or a payload, before a token is accepted

	socket, polled protocolID // of sessions over WebSocket, and of those that are polled
	socket3        protocolID // of sessions of version 3 over WebSocket, if that is spoken
}

// engineApp is what speaks in the sessions of an engine.
type engineApp interface {
	// began is told of each session, and of the request that it began with.
	began(c *conn, req *http1.Request)
	// text and binary take a message, which is only lent.
	text(c *conn, data []byte)
	binary(c *conn, data []byte)
	// refuse is refuser's, greeted and what follows protocol's. put is how packets
	// go over the wire.
	refuse(c *conn, err error)
	greeted(c *conn)
	appendMessage(b []byte, put putPacket, m outgoing) []byte
	// farewell is protocol's. told says that the client closes the session itself.
	farewell(c *conn, put putPacket, code ws.CloseCode, reason string) (b []byte, told bool)
}

// putPacket appends a packet as it goes over a wire.
type putPacket func(b []byte, p engineio.Packet) []byte

// newSID draws the id of a session: who owns it, and 128 bits that nobody guesses.
func (e *engine) newSID() string {
	var secret [16]byte
	_, _ = rand.Read(secret[:]) // never fails: it crashes the program instead
	return string(e.process) + base64.RawURLEncoding.EncodeToString(secret[:])
}

// handshake is the packet that a session begins with.
func (e *engine) handshake(sid string, upgrades bool) engineio.Packet {
	h := engineio.Handshake{
		SID: sid, Upgrades: upgrades, PingInterval: e.pingInterval, PingTimeout: e.pingTimeout, MaxPayload: e.maxPayload,
	}
	return engineio.Packet{Type: engineio.Open, Data: h.Bytes()[1:]}
}

// begin has c, which has its protocol, wait for what the app wants to hear first.
func (e *engine) begin(c *conn, req *http1.Request) {
	c.State.stage = stageConnect
	c.State.pinged, c.State.asked = e.loop.Now(), false
	e.loop.SetDeadline(c, e.loop.Now()+e.connectTime)
	e.app.began(c, req)
}

// take takes a packet of c.
func (e *engine) take(c *conn, p engineio.Packet) {
	switch {
	case p.Type == engineio.Message && p.Binary:
		e.app.binary(c, p.Data)
	case p.Type == engineio.Message:
		e.app.text(c, p.Data)
	case p.Type == engineio.Ping && e.isThree(c):
		e.pong(c)
	case p.Type == engineio.Pong && !e.isThree(c):
		c.State.pinged, c.State.asked = e.loop.Now(), false
	default:
		e.fault(c, errPacket)
	}
}

// errPacket is why a session ends whose client sends what only a server does.
var errPacket = errors.New("a packet that no client sends here")

// fault ends the session of a client that breaks the protocol.
func (e *engine) fault(c *conn, err error) {
	e.sessions.close(c, ws.CloseProtocolError, err.Error())
}

// putOf is how packets go to c.
func (e *engine) putOf(c *conn) putPacket {
	switch {
	case c.State.protocol == e.socket:
		return putSocket
	case e.three && c.State.protocol == e.socket3:
		return putSocket3
	}
	return putPolled
}

// due is when the heartbeat of c wants to see it. The server asks, whatever the
// client has said meanwhile: clients count on it.
func (e *engine) due(c *conn) loop.Tick {
	switch {
	case e.isThree(c):
		return c.State.pinged + e.pingAfter + e.pongTime - 1 // a tick early, so that it is in time
	case c.State.asked:
		return c.State.pinged + e.pongTime
	}
	// The first ping comes up to a tenth early, by place, so that the pings of
	// connections which came together spread; a tick early, so that it is in time.
	early := 1 + loop.Tick(c.Place())%(e.pingAfter/10+1)
	return c.State.pinged + max(1, e.pingAfter-min(early, e.pingAfter))
}

// pingKey has a ping take the place of one that still waits.
var pingKey = []byte("ping")

// beat asks c for a Pong, or reports false when it has not answered the last time.
func (e *engine) beat(c *conn, put putPacket) bool {
	if e.loop.Now() < e.due(c) {
		return true
	}
	if c.State.asked || e.isThree(c) {
		return false
	}
	c.State.trail().forget(e.loop.Now())
	c.State.pinged, c.State.asked = e.loop.Now(), true
	e.loop.Send(c, &loop.Message{Data: put(nil, engineio.Packet{Type: engineio.Ping}), Key: pingKey})
	return true
}

// engineSockets are the sessions of an engine over WebSocket.
type engineSockets struct {
	framing
	*engine

	id   protocolID // its own
	wire engineWire
}

// engineWire is how packets go over a WebSocket in one version of the protocol.
type engineWire struct {
	put    putPacket
	text   func([]byte) (engineio.Packet, error)
	binary func([]byte) (engineio.Packet, error)
	// apart: the first packet is not sent together with the answer to the request,
	// because old clients begin to listen in between.
	apart bool
}

var wire4 = engineWire{put: putSocket, text: engineio.ParseText, binary: engineio.ParseBinary}

// putSocket appends a packet as a frame.
func putSocket(b []byte, p engineio.Packet) []byte {
	if p.Binary {
		return ws.AppendFrame(b, ws.OpBinary, p.Data)
	}
	return ws.AppendText(b, byte(p.Type), p.Data)
}

// acceptEngine is ws.Accept. The subprotocol that is offered first is selected: it
// says nothing, but clients that offer one want an answer.
func acceptEngine(req *http1.Request) ([]byte, error) {
	offered, err := ws.Subprotocols(req)
	if err != nil {
		return nil, err
	}
	return ws.Accept(req, strings.Join(offered[:min(1, len(offered))], ""))
}

// open begins a session of c, whose request asks for a WebSocket. reply is the
// answer to that.
func (s *engineSockets) open(c *conn, req *http1.Request, reply []byte) {
	early := c.State.endRequest()
	c.State.protocol = s.id
	open := s.wire.put(nil, s.engine.handshake(s.newSID(), false))
	if s.wire.apart {
		s.framing.loop.Send(c, &loop.Message{Data: reply})
		reply = nil
	}
	s.framing.loop.Send(c, &loop.Message{Data: append(reply, open...)})
	if c.Gone() {
		return
	}
	s.begin(c, req)
	s.framing.loop.Arm(c)
	s.received(c, early)
}

func (s *engineSockets) received(c *conn, data []byte) { s.frames(c, data, s.message) }

func (s *engineSockets) message(c *conn, msg *ws.Message) {
	parse := s.wire.text
	if msg.Op == ws.OpBinary {
		parse = s.wire.binary
	}
	p, err := parse(msg.Payload)
	switch {
	case err != nil:
		s.fault(c, err)
	case p.Type == engineio.Close:
		s.closedByPeer(c, ws.CloseNormal)
	default:
		s.take(c, p)
	}
}

func (s *engineSockets) due(c *conn) loop.Tick {
	return earlier(s.engine.due(c), s.messageDue(c))
}

func (s *engineSockets) check(c *conn) {
	if !s.tooSlow(c) && !s.beat(c, s.wire.put) {
		s.framing.sessions.cut(c, drop.WriteTimeout, closeSilent, "no answer to a ping")
	}
}

func (s *engineSockets) upgrade(*conn, *http1.Request) error { return errNotFound } // no path leads here
func (s *engineSockets) greeted(c *conn)                     { s.app.greeted(c) }
func (s *engineSockets) silence() loop.Tick                  { return s.engine.pingAfter }
func (s *engineSockets) refuse(c *conn, err error)           { s.app.refuse(c, err) }

func (s *engineSockets) appendMessage(b []byte, m outgoing) []byte {
	return s.app.appendMessage(b, s.wire.put, m)
}

func (s *engineSockets) personal() {}

func (s *engineSockets) farewell(c *conn, code ws.CloseCode, reason string) []byte {
	b, _ := s.app.farewell(c, s.wire.put, code, reason)
	return append(b, ws.CloseFrame(code, reason)...)
}
