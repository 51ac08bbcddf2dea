package front

import (
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/homing/homing/front/ws"
)

// homing is the protocol homing.v1: JSON text messages, each with a "t" that
// says what it is. docs/protocol.md describes it.
type homing struct{}

func (homing) upgrade(w *Worker, c *conn, req *ws.Request) error { return w.authenticate(c, req) }

func (homing) message(w *Worker, c *conn, msg *ws.Message) {
	if msg.Op == ws.OpBinary {
		w.close(c, ws.CloseUnsupportedData, "binary messages are not understood")
		return
	}
	in, err := w.parser.parse(msg.Payload)
	if err != nil {
		w.answer(c, `{"t":"error","code":"bad_json"`, nil)
		return
	}
	switch in.kind.value {
	case "ping":
		w.answer(c, `{"t":"ok"`, in.ref)
	case "resume":
		w.resume(c, &in)
	case "ack":
		w.ack(c, &in)
	default:
		w.answer(c, `{"t":"error","code":"unknown_type"`, in.ref)
	}
}

// answer sends a reply that begins with head, an open JSON object, and repeats
// the client's reference when it gave one.
func (w *Worker) answer(c *conn, head string, ref jsontext.Value) {
	body := appendRef(append(make([]byte, 0, len(head)+len(ref)+8), head...), ref)
	w.send(c, &message{data: ws.Frame(ws.OpText, body)})
}

// appendRef ends the JSON object that b begins, with the client's reference
// when it gave one.
func appendRef(b []byte, ref jsontext.Value) []byte {
	if len(ref) > 0 {
		b = append(b, `,"ref":`...)
		b = append(b, ref...)
	}
	return append(b, '}')
}

// greet sends hello, and then what has waited for it.
func (w *Worker) greet(c *conn) {
	c.state, c.deadline = stateOpen, 0
	w.trace(c, "player connected")
	hello := message{data: ws.Frame(ws.OpText, w.hello(c)), control: true}
	if c.out == nil {
		w.send(c, &hello)
	} else {
		c.out.prepend(hello)
		c.out.progress = w.now
		w.flush(c)
	}
	w.opened(c)
}

// opened sees to a connection that is in service from now on.
func (w *Worker) opened(c *conn) {
	if c.state == stateOpen && w.drain.begun {
		w.dismiss(c)
	}
	w.arm(c)
}

func (w *Worker) hello(c *conn) []byte {
	b := append(make([]byte, 0, 96+len(c.user)), `{"t":"hello","user":`...)
	b, _ = jsontext.AppendQuote(b, string(c.user)) // a user id is ASCII
	b = append(b, `,"conn":"`...)
	b = w.appendName(b, c)
	b = append(b, '"')
	if w.deps.Inbox != nil {
		b = append(b, `,"resume":true`...)
	}
	b = append(b, `,"ping":`...)
	b = strconv.AppendInt(b, w.cfg.PingInterval.Milliseconds(), 10)
	return append(b, '}')
}

func (homing) farewell(after uint32) []byte {
	b := append(make([]byte, 0, 48), `{"t":"reconnect","after_ms":`...)
	b = strconv.AppendInt(b, int64(after)*tickLength.Milliseconds(), 10)
	return ws.Frame(ws.OpText, append(b, '}'))
}
