package front

import (
	"slices"
	"strings"

	"github.com/homing/homing/front/http1"
	"github.com/homing/homing/front/loop"
	"github.com/homing/homing/front/ws"
	"github.com/homing/homing/hub/drop"
)

// subprotocol is what homing.v1 clients offer in Sec-WebSocket-Protocol, and
// bearerPrefix begins the second one, which carries the token.
const (
	subprotocol  = "homing.v1"
	bearerPrefix = "bearer."
)

// websockets are the connections that speak homing.v1 over WebSocket (RFC 6455).
// The loop owns it.
type websockets struct {
	framing

	entry  *entry
	homing *homing
}

func (w *websockets) upgrade(c *conn, req *http1.Request) error {
	if err := ws.CheckUpgrade(req); err != nil {
		return err
	}
	offered, err := ws.Subprotocols(req)
	if err != nil {
		return err
	}
	if err := w.entry.lets(c, req); err != nil {
		return err
	}
	selected := ""
	if len(offered) > 0 {
		if selected = subprotocol; !slices.Contains(offered, subprotocol) {
			return errSubprotocol
		}
	}
	reply, err := ws.Accept(req, selected)
	if err != nil {
		return err
	}
	w.entry.takeTicket(c, req)
	return w.entry.authenticate(c, tokenOf(req, offered), reply)
}

// tokenOf takes the token from the subprotocols or from ?token=.
func tokenOf(req *http1.Request, offered []string) string {
	for _, p := range offered {
		if token, ok := strings.CutPrefix(p, bearerPrefix); ok {
			return token
		}
	}
	return req.Query("token")
}

func (w *websockets) received(c *conn, data []byte) {
	c.State.pinged = 0
	w.frames(c, data, w.message)
}

// message takes one text or binary message, which is only lent.
func (w *websockets) message(c *conn, msg *ws.Message) {
	if msg.Op == ws.OpBinary && w.homing.rooms.sayBinary(c, msg.Payload) {
		return
	}
	if msg.Op == ws.OpBinary {
		w.sessions.close(c, ws.CloseUnsupportedData, "binary messages are not understood")
		return
	}
	w.homing.message(c, msg.Payload)
}

func (w *websockets) appendMessage(b []byte, m outgoing) []byte {
	if m.kind == kindPlace {
		return b // resumed has told it
	}
	op := ws.OpText
	if m.kind == kindBinaryFrame {
		op = ws.OpBinary
	}
	return ws.AppendFrame(slices.Grow(b, ws.FrameSize(len(m.body))), op, m.body)
}

// framing is what all protocols over WebSocket have in common: frames, pings and
// the closing handshake.
type framing struct {
	loop     *loop.Loop[client]
	sessions *sessions
	m        *metrics

	maxMessage          int // bytes
	earlyLimit          int // bytes, before a token is accepted
	messageTime         loop.Tick
	pingAfter, pongTime loop.Tick
}

// frames takes bytes of WebSocket frames, which it unmasks in place, and hands
// each text or binary message to take.
func (f *framing) frames(c *conn, data []byte, take func(*conn, *ws.Message)) {
	f.framesUntil(c, data, func(c *conn, msg *ws.Message, _ []byte) bool {
		take(c, msg)
		return false
	})
}

// framesUntil is frames until take says that what follows, which it is given, is for
// somebody else.
func (f *framing) framesUntil(c *conn, data []byte, take func(_ *conn, _ *ws.Message, rest []byte) (stop bool)) {
	for len(data) > 0 && c.State.stage < stageClosing {
		msg, rest, err := c.State.dec.Next(data, f.limit(c))
		if err != nil {
			f.sessions.close(c, ws.CodeOf(err), err.Error())
			return
		}
		if data = rest; msg.Op == 0 {
			break
		}
		if exceeded := f.sessions.charge(c, useMessages, 1); exceeded != "" {
			f.sessions.overspent(c, exceeded)
			return
		}
		f.m.received.Inc()
		if f.control(c, &msg) {
			continue
		}
		if take(c, &msg, rest) {
			return
		}
	}
	f.incomplete(c)
}

// limit is how many bytes c's next message may have.
func (f *framing) limit(c *conn) int {
	if c.State.stage < stageRegister {
		return f.earlyLimit
	}
	return f.maxMessage
}

// control takes a control frame, and reports whether msg is one.
func (f *framing) control(c *conn, msg *ws.Message) bool {
	switch msg.Op {
	case ws.OpPing:
		f.loop.Send(c, &loop.Message{Data: ws.Frame(ws.OpPong, msg.Payload), Key: pongKey})
	case ws.OpPong:
	case ws.OpClose:
		f.closedByPeer(c, msg.Code)
	default:
		return false
	}
	return true
}

// pongKey has a pong take the place of one that still waits: only the newest
// ping needs an answer (RFC 6455 §5.5.3), and so they cannot pile up.
var pongKey = []byte("pong")

// closedByPeer answers a close frame with the same code.
func (f *framing) closedByPeer(c *conn, code ws.CloseCode) {
	f.m.closedByPeer(code)
	f.loop.Abandon(c, drop.Closed)
	f.sessions.finish(c, ws.CloseFrame(code, ""), false)
}

// incomplete has c looked at when a message that has begun must have ended.
func (f *framing) incomplete(c *conn) {
	if dec := &c.State.dec; dec.Pending() > 0 && dec.Stamped() == 0 {
		dec.Stamp(uint32(f.loop.Now()))
		f.loop.Arm(c)
	}
}

func (f *framing) greeted(*conn)      {}
func (f *framing) silence() loop.Tick { return f.pingAfter }

func (f *framing) farewell(_ *conn, code ws.CloseCode, reason string) []byte {
	return ws.CloseFrame(code, reason)
}

func (f *framing) due(c *conn) (at loop.Tick) {
	if c.State.stage == stageOpen {
		at = f.pingAt(c)
	}
	return earlier(at, f.messageDue(c))
}

// messageDue is when the message of c that has begun must have ended; 0: none has.
func (f *framing) messageDue(c *conn) loop.Tick {
	if begun := loop.Tick(c.State.dec.Stamped()); begun != 0 {
		return begun + f.messageTime
	}
	return 0
}

// earlier is the earlier of two ticks, of which 0 is never.
func earlier(a, b loop.Tick) loop.Tick {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// pingAt is when c is pinged, or given up when it was.
func (f *framing) pingAt(c *conn) loop.Tick {
	if c.State.pinged != 0 {
		return c.State.pinged + f.pongTime
	}
	return firstPing(c.Place(), c.Heard(), c.State.opened, f.pingAfter)
}

// firstPing is when a connection that was heard of last at a tick is pinged. The
// first ping comes at any time up to the interval, by place, so that connections
// that came together are not pinged together from then on; later ones come up to
// a tenth early, in case that something made all clients speak at once.
func firstPing(place int, heard, opened, interval loop.Tick) loop.Tick {
	spread := interval / 10
	if heard <= opened {
		spread = interval - 1
	}
	return heard + interval - loop.Tick(place)%(spread+1)
}

func (f *framing) check(c *conn) {
	if !f.tooSlow(c) && c.State.stage == stageOpen && f.loop.Now() >= f.pingAt(c) {
		f.ping(c)
	}
}

// tooSlow closes c when its message has not ended in time, and reports whether it
// did.
func (f *framing) tooSlow(c *conn) bool {
	at := f.messageDue(c)
	if at == 0 || f.loop.Now() < at {
		return false
	}
	f.m.overBudget.WithLabelValues("message_time").Inc()
	f.sessions.close(c, ws.ClosePolicyViolation, "message too slow")
	return true
}

var pingFrame = ws.Frame(ws.OpPing, nil)

// ping asks a silent client for a sign of life, or gives up one that was asked.
func (f *framing) ping(c *conn) {
	if c.State.pinged != 0 {
		f.sessions.cut(c, drop.WriteTimeout, closeSilent, "no answer to a ping")
		return
	}
	c.State.pinged = f.loop.Now()
	f.loop.Send(c, &loop.Message{Data: pingFrame})
}
