package front

import (
	"errors"
	"io"

	"github.com/homing/homing/front/epoll"
	"github.com/homing/homing/front/ws"
)

// The close codes of Homing's own (RFC 6455 §7.4.2); docs/protocol.md lists
// all that a client may meet.
const (
	closeDisconnected ws.CloseCode = 4003 // a backend asked for it
	closeSlowConsumer ws.CloseCode = 4008 // the outbox was full
	closeSilent       ws.CloseCode = 4009 // no answer to a ping
	closeReplaced     ws.CloseCode = 4010 // the user has too many connections, and a newer one
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
	n, err := epoll.Read(int(c.fd), w.buf[:])
	switch {
	case err == nil:
		w.arrived(c, w.buf[:n])
	case !errors.Is(err, epoll.ErrWouldBlock) && !w.endsInHandshake(c):
		w.hungUp(c, err)
	}
}

// arrived takes bytes as they came from c's socket, which it may overwrite. They
// are charged before they are looked at, whatever they are.
func (w *Worker) arrived(c *conn, data []byte) {
	if exceeded := w.charge(c, useBytes, max(len(data), readCost)); exceeded != "" {
		w.overread(c, exceeded)
		return
	}
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
		w.trace(c, "connection lost", "err", err)
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

// errOverread is why a TLS handshake ends whose client sends it in too many pieces.
var errOverread = errors.New("too many bytes, or too many pieces, before the end of the TLS handshake")

// overread ends or closes a connection of which more has been read than may be.
// One that is closing and goes on for long has not read the close frame, and
// will not.
func (w *Worker) overread(c *conn, budget string) {
	t := c.tls()
	if t != nil {
		t.deaf = true // a part of its ciphertext is missing now
	}
	switch {
	case c.state >= stateClosing:
		w.m.overBudget.WithLabelValues("closing").Inc()
		w.drop(c, dropClosed)
	case c.state >= stateRegister:
		w.overspent(c, budget)
	case t != nil && !t.Open():
		w.m.overBudget.WithLabelValues("handshake").Inc()
		w.failTLS(c, tlsTooLarge, errOverread)
	default:
		w.m.overBudget.WithLabelValues("handshake").Inc()
		w.refuse(c, errHeaderTooLarge)
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
		if err != nil {
			w.close(c, ws.CodeOf(err), err.Error())
			return
		}
		if data = rest; msg.Op == 0 {
			break
		}
		if exceeded := w.charge(c, useMessages, 1); exceeded != "" {
			w.overspent(c, exceeded)
			return
		}
		w.m.received.Inc()
		w.message(c, &msg)
	}
	w.incomplete(c)
}

// incomplete has c looked at when a message that has begun must have ended.
func (w *Worker) incomplete(c *conn) {
	if c.dec.Pending() > 0 && c.dec.Stamped() == 0 {
		c.dec.Stamp(w.now)
		w.arm(c)
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

// overspent closes a connection whose client sends more than it may.
func (w *Worker) overspent(c *conn, budget string) {
	w.m.overBudget.WithLabelValues(budget).Inc()
	how := budgetCloses[budget]
	w.close(c, how.code, how.reason)
}
