package front

import "github.com/homing/homing/front/ws"

// echo sends every message back.
type echo struct{}

func (echo) upgrade(w *Worker, c *conn, req *ws.Request) error {
	accept, err := req.Accept("")
	if err != nil {
		return err
	}
	c.side.accept = accept
	early, ok := w.switchProtocols(c, stateOpen)
	if !ok {
		return nil
	}
	c.deadline = 0
	w.opened(c)
	w.frames(c, early)
	return nil
}

func (echo) message(w *Worker, c *conn, msg *ws.Message) {
	w.send(c, &message{data: ws.Frame(msg.Op, msg.Payload)})
}

func (echo) farewell(uint32) []byte { return nil }
