package front

import (
	"github.com/homing/homing/front/http1"
	"github.com/homing/homing/front/loop"
	"github.com/homing/homing/front/ws"
)

// echo sends every message back.
type echo struct {
	framing

	entry *entry
}

func (e *echo) upgrade(c *conn, req *http1.Request) error {
	if err := ws.CheckUpgrade(req); err != nil {
		return err
	}
	reply, err := ws.Accept(req, "")
	if err != nil {
		return err
	}
	c.State.request().reply = reply
	early, ok := e.entry.switchProtocols(c, stageOpen, 0)
	if !ok {
		return nil
	}
	e.entry.opened(c)
	e.loop.Arm(c)
	e.received(c, early)
	return nil
}

func (e *echo) received(c *conn, data []byte) {
	c.State.pinged = 0
	e.frames(c, data, e.message)
}

func (e *echo) message(c *conn, msg *ws.Message) {
	e.sessions.send(c, &loop.Message{Data: ws.Frame(msg.Op, msg.Payload), Class: loop.Must})
}

func (e *echo) appendMessage(b []byte, _ outgoing) []byte { return b }
