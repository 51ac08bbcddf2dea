package front

import (
	"bytes"
	"errors"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/homing/homing/front/http1"
	"github.com/homing/homing/front/loop"
	"github.com/homing/homing/front/socketio"
	"github.com/homing/homing/front/ws"
)

// socketIO speaks Socket.IO in the sessions of an engine: the messages of homing.v1
// as events of their "t", in the main namespace (docs/protocol.md). The loop owns it.
type socketIO struct {
	engine   *engine
	entry    *entry
	sessions *sessions
	homing   *homing

	in, out  []byte // what a message is put together in
	answered uint64 // id of the last acknowledgement that was sent, plus 1
}

// talk is what a session of Socket.IO keeps while it has something under way.
type talk struct {
	decoder socketio.Decoder // with a packet whose attachments are due
	token   string           // of the request
	ticket  string           // of the request, too: by which the client was assigned to this node
	pid     string           // names the session that the client wants back; empty: none
	trail   *trail           // nil: nothing that is kept was given to the client
}

var (
	errNotConnect = errors.New("a packet before a connect")
	errTwice      = errors.New("a second connect to one namespace")
	errNamespace  = errors.New("a packet of a namespace without a connect")
	errNotEvent   = errors.New("a packet that no client sends")
)

func (s *socketIO) began(c *conn, req *http1.Request) {
	token := req.Query("token")
	if ticket := s.entry.ticketOf(req); ticket != "" {
		c.State.more().talk = &talk{ticket: ticket}
	}
	switch {
	case s.engine.isThree(c): // the server connects it, without being asked
		s.authenticate(c, &connectData{Token: token})
	case token != "":
		c.State.talking().token = token
	}
}

// text takes what a text message has.
func (s *socketIO) text(c *conn, data []byte) {
	d := c.State.decoder()
	p, ok, err := d.Text(data)
	switch {
	case err != nil:
		s.engine.fault(c, err)
	case ok:
		s.packet(c, &p)
	case c.State.stage < stageRegister: // nothing is kept for who has shown no token
		s.engine.fault(c, errNotConnect)
	default:
		c.State.talking().decoder = d
	}
}

// binary takes an attachment.
func (s *socketIO) binary(c *conn, data []byte) {
	d := c.State.decoder()
	p, ok, err := d.Binary(data, s.engine.maxPayload)
	switch {
	case err != nil:
		s.engine.fault(c, err)
	case ok:
		c.State.talking().decoder = d
		c.State.spareTalk()
		s.packet(c, &p)
	}
}

// packet takes one that is whole.
func (s *socketIO) packet(c *conn, p *socketio.Packet) {
	switch {
	case p.Type == socketio.Connect:
		s.connect(c, p)
	case c.State.stage < stageRegister, c.State.recovering():
		s.engine.fault(c, errNotConnect)
	case p.Namespace != socketio.MainNamespace || c.State.stage == stageLeft:
		s.engine.fault(c, errNamespace)
	case p.Type == socketio.Event, p.Type == socketio.BinaryEvent:
		s.event(c, p)
	case p.Type == socketio.Disconnect:
		s.leave(c)
	case p.Type == socketio.ConnectError:
		s.engine.fault(c, errNotEvent)
	}
}

// connectData is what a client says with its CONNECT.
type connectData struct {
	Token  string `json:"token"`
	PID    string `json:"pid"`
	Offset string `json:"offset"`
}

// maxPID is how long the name of a session may be that a client wants back.
const maxPID = 64

func (s *socketIO) connect(c *conn, p *socketio.Packet) {
	var data connectData
	if s.engine.isThree(c) {
		p.Namespace, _, _ = strings.Cut(p.Namespace, "?") // it may say more behind that
	}
	if len(p.Data) > 0 {
		_ = json.Unmarshal(p.Data, &data) // what is no string is not there
	}
	switch {
	case p.Namespace != socketio.MainNamespace:
		s.connectError(c, p.Namespace, []byte(`{"message":"Invalid namespace"}`))
	case c.State.stage == stageLeft:
		s.connectError(c, p.Namespace, []byte(`{"message":"Open another connection","data":{"code":"left"}}`))
	case c.State.stage != stageConnect:
		s.engine.fault(c, errTwice)
	default:
		s.authenticate(c, &data)
	}
}

// authenticate has the token looked at that a client has sent.
func (s *socketIO) authenticate(c *conn, data *connectData) {
	x := c.State.more()
	if t := x.talk; data.Token == "" && t != nil {
		data.Token = t.token
	}
	x.request, x.resume = &request{}, nil
	if t := x.talk; t != nil {
		x.request.assigned, t.ticket = t.ticket, ""
		c.State.spareTalk()
	}
	if s.sessions.canResume && data.PID != "" && len(data.PID) <= maxPID && len(data.Offset) <= maxOffset {
		t := c.State.talking()
		t.pid, t.trail = data.PID, newTrail(data.Offset, s.engine.loop.Now())
		x.resume = &resume{c: c, after: t.trail.place, promised: true}
	}
	if err := s.entry.authenticate(c, data.Token, nil); err != nil {
		s.entry.refuse(c, err)
	}
}

// refuse tells c why its token is not accepted: it may try another one until its
// time to connect is over. What keeps it out for the time being, or that time, ends
// the connection, and clients come back by themselves.
func (s *socketIO) refuse(c *conn, err error) {
	refused := &http1.Error{Status: http.StatusInternalServerError, Code: "internal"}
	errors.As(err, &refused)
	c.State.more().request = nil
	c.State.extra.resume = nil
	if t := c.State.extra.talk; t != nil {
		t.pid, t.trail = "", nil
	}
	c.State.spareTalk()
	c.State.spare()
	switch {
	case refused.Status == http.StatusTooManyRequests || refused.Status >= http.StatusInternalServerError:
		s.sessions.close(c, ws.CloseTryAgainLater, refused.Code)
	case c.State.stage != stageVerify || refused.Status != http.StatusUnauthorized:
		s.sessions.close(c, ws.ClosePolicyViolation, refused.Code)
	default:
		c.State.stage = stageConnect
		if exceeded := s.sessions.charge(c, useBytes, connectCost); exceeded != "" {
			s.sessions.overspent(c, exceeded)
			return
		}
		b, _ := json.Marshal(connectRefusal{refused.Detail, map[string]string{"code": refused.Code}}) // strings always marshal
		s.connectError(c, socketio.MainNamespace, b)
		if s.engine.isThree(c) { // it shows its token with its request only
			s.sessions.close(c, ws.ClosePolicyViolation, refused.Code)
		}
	}
}

type connectRefusal struct {
	Message string            `json:"message"`
	Data    map[string]string `json:"data"`
}

func (s *socketIO) connectError(c *conn, namespace string, data []byte) {
	p := socketio.Packet{Type: socketio.ConnectError, Namespace: namespace, Data: data}
	s.sessions.send(c, &loop.Message{Data: s.putPacket(nil, s.engine.putOf(c), &p), Class: loop.Must})
}

// leave takes c out of the hub. Its connection goes on, for as long as one has to
// connect.
func (s *socketIO) leave(c *conn) {
	s.sessions.m.closed(ws.CloseNormal)
	s.sessions.unregister(c)
	c.State.user = ""
	c.State.stage = stageLeft
	s.engine.loop.SetDeadline(c, s.engine.loop.Now()+s.engine.connectTime)
}

// event takes one that c emits: a message of homing.v1.
func (s *socketIO) event(c *conn, p *socketio.Packet) {
	name, args, err := p.Event()
	if err != nil {
		s.engine.fault(c, err)
		return
	}
	var ref []byte
	if p.HasID {
		ref = appendAckRef(nil, p.ID)
	}
	s.answered = 0
	switch {
	case name == "say" && len(p.Binaries) == 1 && len(args) == 1:
		s.sayBinary(c, p.Binaries[0], ref)
	case len(p.Binaries) > 0 || len(args) > 1 || len(args) == 1 && args[0].Kind() != '{':
		s.sessions.answer(c, `{"t":"error","code":"bad_json"`, ref)
	default:
		s.homing.message(c, s.message(name, args, ref))
	}
	if p.HasID && name == "say" && s.answered != p.ID+1 && c.State.stage < stageClosing {
		s.sessions.answer(c, `{"t":"ok"`, ref) // what is taken is acknowledged
	}
}

// sayBinary gives bytes to c's room.
func (s *socketIO) sayBinary(c *conn, data []byte, ref jsontext.Value) {
	if !s.homing.rooms.sayBinary(c, data) {
		s.sessions.answer(c, `{"t":"error","of":"say","code":"no_room"`, ref)
	}
}

// message puts an event together as a message of homing.v1. It is lent until the
// next one.
func (s *socketIO) message(name string, args []jsontext.Value, ref []byte) []byte {
	b := append(s.in[:0], '{')
	if len(args) == 1 {
		if fields := bytes.TrimSpace(args[0][1 : len(args[0])-1]); len(fields) > 0 {
			b = append(b, fields...)
			b = append(b, ',')
		}
	}
	b = append(b, `"t":`...) // of fields that stand twice the last one counts
	b, _ = jsontext.AppendQuote(b, name)
	if len(ref) > 0 {
		b = append(b, `,"ref":`...)
		b = append(b, ref...)
	}
	b = append(b, '}')
	s.in = b
	return b
}

// talk is what the session keeps of Socket.IO; nil: nothing.
func (s *session) talk() *talk {
	if s.extra == nil {
		return nil
	}
	return s.extra.talk
}

// recovering reports whether the session's CONNECT is answered only when it is known
// what its client has missed. What a client reads until then the libraries keep beyond
// the connection, and would have twice.
func (s *session) recovering() bool {
	t := s.talk()
	return t != nil && t.pid != ""
}

// decoder is what takes the next message.
func (s *session) decoder() socketio.Decoder {
	if t := s.talk(); t != nil {
		return t.decoder
	}
	return socketio.Decoder{}
}

// talking returns the session's talk, a new one when it has none.
func (s *session) talking() *talk {
	x := s.more()
	if x.talk == nil {
		x.talk = &talk{}
	}
	return x.talk
}

// spareTalk lets go of a talk that holds nothing.
func (s *session) spareTalk() {
	if x := s.extra; x != nil && x.talk != nil && *x.talk == (talk{}) {
		x.talk = nil
		s.spare()
	}
}
