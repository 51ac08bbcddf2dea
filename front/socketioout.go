package front

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/homing/homing/front/engineio"
	"github.com/homing/homing/front/socketio"
	"github.com/homing/homing/front/ws"
	"github.com/homing/homing/hub"
)

// What clients of Socket.IO are told.

// ackRef begins a reference that stands for an acknowledgement: what is answered
// with it goes to the callback that the client gave with its event.
const ackRef = `{"$ack":`

func appendAckRef(b []byte, id uint64) []byte {
	b = append(b, ackRef...)
	b = strconv.AppendUint(b, id, 10)
	return append(b, '}')
}

// cutAck returns a message without the acknowledgement that it ends with, and which
// that is.
func cutAck(body []byte) (rest []byte, id uint64, ok bool) {
	const mark = `,"ref":` + ackRef
	i := bytes.LastIndex(body, []byte(mark))
	if i < 0 || !bytes.HasSuffix(body, []byte("}}")) {
		return body, 0, false
	}
	id, err := strconv.ParseUint(string(body[i+len(mark):len(body)-2]), 10, 64)
	if err != nil {
		return body, 0, false
	}
	return append(slices.Clone(body[:i]), '}'), id, true
}

func (s *socketIO) greeted(c *conn) {
	if c.State.recovering() {
		s.homing.resumes.beginPromised(c)
		return
	}
	if t := c.State.talk(); t != nil {
		t.token = ""
		c.State.spareTalk()
	}
	s.sessions.release(c) // of another user's session, which it may have named
	if s.sessions.canResume {
		s.homing.resumes.anchor(c)
	}
}

// recovers reports whether c's client wants a session back that was its user's. Any
// other one is forgotten.
func (s *socketIO) recovers(c *conn) bool {
	t := c.State.talk()
	if t == nil || t.pid == "" {
		return false
	}
	if isPIDOf(t.pid, c.State.user) {
		return true
	}
	t.pid, t.trail = "", nil
	s.sessions.forgetResume(c.State.resuming())
	return false
}

// appendMessage appends a message of the hub as an event. Its last argument is the
// offset, if it has one: clients remember that, and name it when they come back.
func (s *socketIO) appendMessage(b []byte, put putPacket, m outgoing) []byte {
	switch m.kind {
	case kindNotification:
		return s.putNotification(b, put, m)
	case kindHello:
		if s.recovers(m.to) { // it is answered when its replay begins
			return b
		}
		return s.putHello(b, put, m.to, m.body, newPID(m.to.State.user))
	case kindPlace:
		return s.putPlace(b, put, m)
	case kindBinaryFrame:
		p := socketio.Packet{Type: socketio.BinaryEvent, Data: []byte(`["frame",` + socketio.Placeholder + `]`), Binaries: [][]byte{m.body}}
		return s.putPacket(b, put, &p)
	case kindResumed:
		b = s.putResumed(b, put, m)
	case kindAnswer, kindTopic, kindReconnect, kindFriends, kindPresence, kindFrame:
	}
	if m.to != nil && m.to.State.recovering() {
		return b
	}
	if rest, id, ok := cutAck(m.body); ok {
		s.answered = id + 1
		p := socketio.Packet{Type: socketio.Ack, ID: id, HasID: true, Data: slices.Concat([]byte("["), rest, []byte("]"))}
		return s.putPacket(b, put, &p)
	}
	return s.putEvent(b, put, m.body, nil, false)
}

// putNotification puts one with the offset of its client, if it is kept.
func (s *socketIO) putNotification(b []byte, put putPacket, m outgoing) []byte {
	if m.to == nil || !hub.IsKept(m.body) || s.engine.isThree(m.to) {
		return s.putEvent(b, put, m.body, nil, false)
	}
	x := m.to.State.talking()
	if x.trail == nil {
		x.trail = &trail{}
	}
	x.trail.note(m.id, hub.IsStored(m.body), m.at, s.engine.loop.Now())
	return s.putEvent(b, put, m.body, x.trail.offset(), true)
}

// putHello answers CONNECT, and says hello.
func (s *socketIO) putHello(b []byte, put putPacket, c *conn, hello []byte, pid string) []byte {
	if s.engine.isThree(c) { // its client knows neither ids nor offsets
		return s.putEvent(s.putPacket(b, put, &socketio.Packet{Type: socketio.Connect}), put, hello, nil, false)
	}
	b = s.putConnect(b, put, c, pid)
	return s.putEvent(b, put, hello, c.State.trail().offset(), s.sessions.canResume)
}

// putResumed answers the CONNECT of a client that was promised a replay: now it is
// known whether it has missed anything that is gone. What it has missed comes after
// that, so that the libraries remember the offset of each message as it is read.
func (s *socketIO) putResumed(b []byte, put putPacket, m outgoing) []byte {
	t := m.to.State.talk()
	if t == nil || t.pid == "" {
		return b
	}
	pid := newPID(m.to.State.user)
	if m.recovered {
		pid = t.pid // tells the client that it has missed nothing
	}
	t.token, t.pid = "", ""
	return s.putHello(b, put, m.to, s.sessions.hello(m.to), pid)
}

// putPlace tells where to recover from next time, at the end of a replay.
func (s *socketIO) putPlace(b []byte, put putPacket, m outgoing) []byte {
	if s.engine.isThree(m.to) {
		return b
	}
	x := m.to.State.talking()
	if x.trail == nil {
		x.trail = &trail{}
	}
	if x.trail.place = string(m.id); len(m.id) > 0 { // an inbox that has never held anything knows no place
		x.trail.note(m.id, true, 0, s.engine.loop.Now())
	}
	return s.putEvent(b, put, []byte(`{"t":"place"}`), x.trail.offset(), true)
}

// pidUser is how many bytes of a pid stand for the user.
const pidUser = 3

// newPID names a session of a user. Another user's client does not get it back.
func newPID(user hub.UserID) string {
	var b [12]byte
	_, _ = rand.Read(b[pidUser:]) // never fails: it crashes the program instead
	of := markOf([]byte(user))
	copy(b[:pidUser], of[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// isPIDOf reports whether a session was that user's, as far as its name tells.
func isPIDOf(pid string, user hub.UserID) bool {
	const chars = pidUser * 4 / 3
	return len(pid) > chars && pid[:chars] == newPID(user)[:chars]
}

func (s *socketIO) putConnect(b []byte, put putPacket, c *conn, pid string) []byte {
	data := append([]byte(nil), `{"sid":"`...)
	data = s.entry.appendName(data, c)
	if s.sessions.canResume {
		data = append(data, `","pid":`...)
		data, _ = jsontext.AppendQuote(data, pid) // what is not UTF-8 is replaced
		data = append(data, '}')
	} else {
		data = append(data, `"}`...)
	}
	return s.putPacket(b, put, &socketio.Packet{Type: socketio.Connect, Data: data})
}

// putEvent puts an event whose name is the message's "t".
func (s *socketIO) putEvent(b []byte, put putPacket, body, place []byte, hasPlace bool) []byte {
	text := append(s.out[:0], byte(socketio.Event), '[', '"')
	text = append(text, typeOf(body)...)
	text = append(text, '"', ',')
	text = append(text, body...)
	if hasPlace {
		text = append(text, ',')
		text, _ = jsontext.AppendQuote(text, place) // an id is ASCII
	}
	text = append(text, ']')
	s.out = text
	return put(b, engineio.Packet{Type: engineio.Message, Data: text})
}

// typeOf is the "t" of a message of the hub, which begins with it.
func typeOf(body []byte) []byte {
	const begin = `{"t":"`
	if !bytes.HasPrefix(body, []byte(begin)) {
		return []byte("message")
	}
	name, _, _ := bytes.Cut(body[len(begin):], []byte{'"'})
	return name
}

// putPacket puts a packet of Socket.IO and its attachments.
func (s *socketIO) putPacket(b []byte, put putPacket, p *socketio.Packet) []byte {
	b = put(b, engineio.Packet{Type: engineio.Message, Data: p.Append(nil)})
	for _, binary := range p.Binaries {
		b = put(b, engineio.Packet{Type: engineio.Message, Binary: true, Data: binary})
	}
	return b
}

// final are the close codes after which a client must not come back by itself. The
// libraries do, unless the server has disconnected them.
var final = []ws.CloseCode{
	ws.CloseNormal, ws.CloseProtocolError, ws.CloseUnsupportedData, ws.CloseInvalidPayload, ws.ClosePolicyViolation, ws.CloseTooBig,
	closeDisconnected, closeReplaced,
}

// farewell tells what a close frame would. A client whose CONNECT is not answered is
// refused, or told nothing when it is to try again: the libraries would have what it is
// told then when it is in.
func (s *socketIO) farewell(c *conn, put putPacket, code ws.CloseCode, reason string) (b []byte, told bool) {
	text, err := jsontext.AppendQuote(nil, reason)
	if err != nil {
		text = []byte(`""`) // a backend's reason that is not UTF-8
	}
	told = slices.Contains(final, code)
	switch {
	case c.State.stage >= stageOpen && !c.State.recovering():
		b = s.putEvent(nil, put, fmt.Appendf(nil, `{"t":"closing","code":%d,"reason":%s}`, code, text), nil, false)
	case told && s.engine.isThree(c): // has been refused, and is disconnected
	case told:
		data := fmt.Appendf(nil, `{"message":%s,"data":{"code":%d}}`, text, code)
		return s.putPacket(nil, put, &socketio.Packet{Type: socketio.ConnectError, Data: data}), true
	}
	if told {
		b = s.putPacket(b, put, &socketio.Packet{Type: socketio.Disconnect})
	}
	return b, told
}
