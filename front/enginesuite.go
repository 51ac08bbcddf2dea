package front

import (
	"bytes"
	"errors"
	"log/slog"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/homing/homing/front/engineio"
	"github.com/homing/homing/front/http1"
	"github.com/homing/homing/front/loop"
	"github.com/homing/homing/front/socketio"
	"github.com/homing/homing/front/ws"
)

// suite is what the published test suites of Engine.IO and Socket.IO talk to: below
// /engine.io/ it sends each message back; below /socket.io/ it has two namespaces,
// sends back what CONNECT says as "auth" and "message" as "message-back", and
// acknowledges "message-with-ack".
type suite struct {
	*engine

	talks map[*conn]*suiteTalk
}

// suiteTalk is one session.
type suiteTalk struct {
	echoes     bool
	decoder    socketio.Decoder
	namespaces []string
}

// NewEngineSuite opens cfg's listeners and prepares a worker that answers what the
// published test suites of Engine.IO 4 and Socket.IO 5 expect, without tokens, on
// the read and write path of a Worker. It serves once Run is called.
func NewEngineSuite(cfg Config, log *slog.Logger, reg prometheus.Registerer) (*Worker, error) {
	return newBare(cfg, log, reg, func(p *parts, cfg *Config) {
		e := p.newEngine(cfg, "suite")
		e.app = &suite{engine: e, talks: map[*conn]*suiteTalk{}}
		p.speakEngine("/engine.io/", e, p.framing(cfg))
		p.door.below["/socket.io/"] = p.door.below["/engine.io/"]
	})
}

func (s *suite) began(c *conn, req *http1.Request) {
	for old := range s.talks {
		if old.Gone() {
			delete(s.talks, old)
		}
	}
	x := &suiteTalk{echoes: len(req.Path) > 1 && req.Path[1] == 'e'}
	s.talks[c] = x
	switch {
	case x.echoes:
		s.serve(c)
	case s.isThree(c):
		s.connect(c, &socketio.Packet{Namespace: socketio.MainNamespace})
	}
}

// serve has c be in service, as one that has shown a token is.
func (s *suite) serve(c *conn) {
	if c.State.stage == stageConnect {
		c.State.stage = stageOpen
		s.loop.TakeIn(c, 0)
	}
}

func (s *suite) text(c *conn, data []byte) {
	x := s.talks[c]
	if x.echoes {
		s.send(c, engineio.Packet{Type: engineio.Message, Data: data})
		return
	}
	p, ok, err := x.decoder.Text(data)
	s.decoded(c, p, ok, err)
}

func (s *suite) binary(c *conn, data []byte) {
	x := s.talks[c]
	if x.echoes {
		s.send(c, engineio.Packet{Type: engineio.Message, Binary: true, Data: data})
		return
	}
	p, ok, err := x.decoder.Binary(data, s.maxPayload)
	s.decoded(c, p, ok, err)
}

var errSuite = errors.New("a packet that does not fit the state of the namespace")

func (s *suite) decoded(c *conn, p socketio.Packet, ok bool, err error) {
	x := s.talks[c]
	switch {
	case err != nil:
		s.fault(c, err)
	case !ok:
	case p.Type == socketio.Connect && !slices.Contains(x.namespaces, p.Namespace):
		s.connect(c, &p)
	case p.Type == socketio.Connect, p.Type == socketio.ConnectError:
		s.fault(c, errSuite)
	case !slices.Contains(x.namespaces, p.Namespace):
		s.fault(c, errSuite)
	case p.Type == socketio.Disconnect:
		x.namespaces = slices.DeleteFunc(x.namespaces, func(n string) bool { return n == p.Namespace })
	case p.Type == socketio.Event || p.Type == socketio.BinaryEvent:
		s.event(c, &p)
	}
}

func (s *suite) connect(c *conn, p *socketio.Packet) {
	if p.Namespace != socketio.MainNamespace && p.Namespace != "/custom" {
		s.put(c, &socketio.Packet{Type: socketio.ConnectError, Namespace: p.Namespace, Data: []byte(`{"message":"Invalid namespace"}`)})
		return
	}
	x := s.talks[c]
	x.namespaces = append(x.namespaces, p.Namespace)
	s.serve(c)
	answer := socketio.Packet{Type: socketio.Connect, Namespace: p.Namespace}
	if !s.isThree(c) {
		answer.Data = []byte(`{"sid":"` + newPID("") + `"}`)
	}
	s.put(c, &answer)
	auth := []byte(p.Data)
	if len(auth) == 0 {
		auth = []byte("{}")
	}
	s.put(c, &socketio.Packet{Type: socketio.Event, Namespace: p.Namespace, Data: socketio.AppendEvent(nil, "auth", auth)})
}

func (s *suite) event(c *conn, p *socketio.Packet) {
	name, args, err := p.Event()
	if err != nil {
		s.fault(c, err)
		return
	}
	values := make([][]byte, len(args))
	for i := range args {
		values[i] = args[i]
	}
	back := socketio.Packet{Type: p.Type, Namespace: p.Namespace, Binaries: p.Binaries}
	switch {
	case name == "message":
		back.Data = socketio.AppendEvent(nil, "message-back", values...)
	case name == "message-with-ack" && p.HasID:
		back.Type, back.ID, back.HasID = p.Type+1, p.ID, true // of an event, of a binary one
		back.Data = slices.Concat([]byte{'['}, bytes.Join(values, []byte{','}), []byte{']'})
	default:
		return
	}
	s.put(c, &back)
}

// put sends a packet of Socket.IO.
func (s *suite) put(c *conn, p *socketio.Packet) {
	packets := []engineio.Packet{{Type: engineio.Message, Data: p.Append(nil)}}
	for _, b := range p.Binaries {
		packets = append(packets, engineio.Packet{Type: engineio.Message, Binary: true, Data: b})
	}
	s.send(c, packets...)
}

func (s *suite) send(c *conn, packets ...engineio.Packet) {
	var b []byte
	for _, p := range packets {
		b = s.putOf(c)(b, p)
	}
	s.sessions.send(c, &loop.Message{Data: b, Class: loop.Must})
}

func (s *suite) refuse(c *conn, err error) {
	s.sessions.close(c, ws.ClosePolicyViolation, err.Error())
}

func (s *suite) greeted(*conn)                                                  {}
func (s *suite) appendMessage(b []byte, _ putPacket, _ outgoing) []byte         { return b }
func (s *suite) farewell(*conn, putPacket, ws.CloseCode, string) ([]byte, bool) { return nil, false }
