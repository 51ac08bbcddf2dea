package front

import (
	"errors"
	"io"

	"github.com/homing/homing/front/poll"
	"github.com/homing/homing/front/ws"
)

// The close codes of Homing's own (RFC 6455 §7.4.2); docs/protocol.md lists
// all that a client may meet.
const (
	closeDisconnected ws.CloseCode = 4003 // a backend asked for it
	closeSlowConsumer ws.CloseCode = 4008 // the outbox was full
	closeSilent       ws.CloseCode = 4009 // no answer to a ping
)

// comeBack is the reason told with ws.CloseServiceRestart.
const comeBack = "come back"

// read takes what has arrived for c, as much as one buffer holds; more makes
// the connection ready again, after the others had their turn.
func (w *Worker) read(c *conn) {
	if c.state == stateProxy {
		w.readProxyHeader(c)
		return
	}
	n, err := poll.Read(int(c.fd), w.buf[:])
	switch {
	case err == nil:
		w.arrived(c, w.buf[:n])
	case !errors.Is(err, poll.ErrWouldBlock) && !w.endsInHandshake(c):
		w.hungUp(c, err)
	}
}

// arrived takes bytes as they came from c's socket, which it may overwrite.
func (w *Worker) arrived(c *conn, data []byte) {
	if c.tls() != nil {
		w.cipher(c, data)
		return
	}
	w.received(c, data)
}

// hungUp ends a connection whose peer has ended its side: nothing that we
// could still write would be answered.
func (w *Worker) hungUp(c *conn, err error) {
	if c.state < stateRegister {
		w.m.handshakes.WithLabelValues("abandoned").Inc()
	}
	if !errors.Is(err, io.EOF) {
		w.log.Debug("connection lost", "user", c.user, "err", err)
	}
	w.drop(c, dropLost)
}

// received takes bytes that a client sent, which it may overwrite.
func (w *Worker) received(c *conn, data []byte) {
	w.m.receivedBytes.Add(float64(len(data)))
	c.heard, c.pinged = w.now, 0
	switch c.state {
	case stateRequest:
		w.request(c, data)
	case stateVerify:
		w.early(c, data)
	case stateRegister, stateOpen:
		w.frames(c, data)
	case stateProxy, stateClosing, stateGone:
	}
}

// early keeps what a client sends before it has read the reply.
func (w *Worker) early(c *conn, data []byte) {
	if len(c.side.head)+len(data) > w.cfg.HandshakeLimit {
		w.refuse(c, errHeaderTooLarge)
		return
	}
	c.side.head = append(c.side.head, data...)
}

// frames takes bytes of WebSocket frames, which it unmasks in place.
func (w *Worker) frames(c *conn, data []byte) {
	for len(data) > 0 && (c.state == stateRegister || c.state == stateOpen) {
		msg, rest, err := c.dec.Next(data, w.cfg.MaxMessage)
		switch {
		case err != nil:
			w.close(c, ws.CodeOf(err), err.Error())
			return
		case msg.Op == 0:
			return
		case !w.credit(c):
			w.close(c, ws.ClosePolicyViolation, "too many messages")
			return
		}
		w.m.received.Inc()
		w.message(c, &msg)
		data = rest
	}
}

func (w *Worker) message(c *conn, msg *ws.Message) {
	switch msg.Op {
	case ws.OpPing:
		w.send(c, &message{data: ws.Frame(ws.OpPong, msg.Payload), key: pongKey, control: true})
	case ws.OpPong:
	case ws.OpClose:
		w.closedByPeer(c, msg.Code)
	default:
		w.protocols[c.protocol].message(w, c, msg)
	}
}

// pongKey has a pong take the place of one that still waits: only the newest
// ping needs an answer (RFC 6455 §5.5.3), and so they cannot pile up.
var pongKey = []byte("pong")

// closedByPeer answers a close frame with the same code.
func (w *Worker) closedByPeer(c *conn, code ws.CloseCode) {
	w.m.closedByPeer(code)
	w.abandon(c, dropClosed)
	w.endWith(c, ws.CloseFrame(code, ""))
}

// credit takes one of the messages that c may send now, and reports whether
// there was one.
func (w *Worker) credit(c *conn) bool {
	rate := uint64(w.cfg.MessageRate)
	if rate == 0 {
		return true
	}
	if gained := uint64(w.now-c.refilled) * rate / ticksPerSecond; gained > 0 {
		c.tokens = uint16(min(uint64(c.tokens)+gained, uint64(w.cfg.MessageBurst)))
		c.refilled = w.now
	}
	if c.tokens == 0 {
		return false
	}
	c.tokens--
	return true
}
