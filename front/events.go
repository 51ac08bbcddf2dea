package front

import (
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/homing/homing/front/http1"
	"github.com/homing/homing/front/loop"
	"github.com/homing/homing/front/sse"
	"github.com/homing/homing/front/ws"
	"github.com/homing/homing/hub"
)

// events are the connections that read server-sent events: the messages of
// homing.v1 from the server, one event each (docs/protocol.md). The client says
// nothing after its request. The loop owns it.
type events struct {
	loop       *loop.Loop[client]
	entry      *entry
	sessions   *sessions
	resumes    *resumes
	subscribes *subscribes
}

// commentEvery is how often a comment is sent. It keeps proxies from closing the
// stream, and has the write timeout find a client that has gone.
const commentEvery = 15 * loop.TicksPerSecond

// names are the types of events. Notifications have none, so that EventSource
// hands them to onmessage.
var names = [...]string{
	kindHello: "hello", kindAnswer: "problem", kindResumed: "resumed", kindReconnect: "reconnect",
	kindFriends: "friends", kindPresence: "presence",
	kindTopic: "topic",
}

func (e *events) upgrade(c *conn, req *http1.Request) error {
	switch req.Method {
	case http.MethodGet:
	case http.MethodOptions:
		return e.preflight(c, req)
	default:
		return &http1.Error{
			Status: http.StatusMethodNotAllowed, Code: "method_not_allowed",
			Detail: "Want GET.", Header: "Allow: GET, OPTIONS",
		}
	}
	if err := e.entry.lets(c, req); err != nil {
		return err
	}
	if r := c.State.request(); r != nil {
		r.origin = req.Origin // a page may read why it is refused
	}
	if after, asked := placeOf(req); asked {
		if len(after) > hub.MaxID {
			return http1.BadRequest("Last-Event-ID: %d bytes, want at most %d", len(after), hub.MaxID)
		}
		c.State.more().resume = &resume{c: c, after: after, promised: true}
	}
	if topics := req.QueryValues("topic"); len(topics) > hub.MaxTopics {
		return http1.BadRequest("%d topics, want at most %d", len(topics), hub.MaxTopics)
	} else if len(topics) > 0 {
		c.State.more().topics = &subscriptions{wanted: distinct(topics)}
	}
	e.entry.takeTicket(c, req)
	return e.entry.authenticate(c, bearer(req), streamHead(req))
}

// distinct leaves out what was named before.
func distinct(all []string) []string {
	var out []string
	for _, one := range all {
		if !slices.Contains(out, one) {
			out = append(out, strings.Clone(one)) // which is part of the request
		}
	}
	return out
}

// bearer takes the token from Authorization (RFC 6750 §2.1) or from ?token=,
// because EventSource sets no headers.
func bearer(req *http1.Request) string {
	value, _ := req.Header("Authorization")
	if scheme, token, ok := strings.Cut(value, " "); ok && strings.EqualFold(scheme, "Bearer") {
		return strings.TrimLeft(token, " ")
	}
	return req.Query("token")
}

// placeOf is where the client stands, and whether it asks for what it has missed:
// EventSource says so when it comes back, and ?lastEventId= when it comes first.
func placeOf(req *http1.Request) (after string, asked bool) {
	if after, asked = req.Header("Last-Event-ID"); !asked {
		after, asked = req.QueryValue("lastEventId")
	}
	return after, asked
}

// streamHead is the head of the response, which ends with the connection.
func streamHead(req *http1.Request) []byte {
	return http1.StreamHead(sse.ContentType, append(http1.AllowOrigin(req.Origin), "X-Accel-Buffering: no")...)
}

// preflight answers a page of another origin that asks whether it may send the
// headers that we read.
func (e *events) preflight(c *conn, req *http1.Request) error {
	if err := e.entry.lets(c, req); err != nil {
		return err
	}
	e.entry.answer(c, http1.Preflight(req.Origin, "GET", "Authorization, Last-Event-ID"))
	return nil
}

// greeted begins the replay, and subscribes to the topics, that the client has asked for
// with its request.
func (e *events) greeted(c *conn) {
	if c.State.resuming() != nil {
		e.resumes.beginPromised(c)
	}
	e.subscribes.subscribeAsked(c)
}

// received passes over what a client sends although nothing is asked of it. It
// has been charged.
func (e *events) received(*conn, []byte) {}

func (e *events) silence() loop.Tick { return commentEvery }

// due is when the next comment is sent: the first at any time up to the
// interval, by place, so that those of connections that came together spread.
func (e *events) due(c *conn) loop.Tick {
	switch {
	case c.State.stage != stageOpen:
		return 0
	case c.State.pinged != 0:
		return c.State.pinged + commentEvery
	}
	return c.State.opened + 1 + loop.Tick(c.Place())%commentEvery
}

var (
	comment    = []byte(sse.Comment)
	commentKey = []byte("comment") // of those that wait, one is enough
)

func (e *events) check(c *conn) {
	if at := e.due(c); at == 0 || e.loop.Now() < at {
		return
	}
	c.State.pinged = e.loop.Now()
	e.loop.Send(c, &loop.Message{Data: comment, Key: commentKey})
}

func (e *events) appendMessage(b []byte, m outgoing) []byte {
	ev := sse.Event{Data: m.body}
	if int(m.kind) < len(names) {
		ev.Name = names[m.kind]
	}
	switch m.kind {
	case kindNotification:
		if hub.IsStored(m.body) {
			ev.ID = string(m.id)
		}
	case kindHello:
		ev.Retry = 1000 + rand.IntN(2000) // so that those who lose a server do not come back together
	case kindPlace:
		if ev.ID = string(m.id); ev.ID == "" {
			return b
		}
	case kindReconnect:
		ev.Retry = m.retry
	case kindAnswer, kindResumed, kindTopic, kindFriends, kindPresence, kindFrame, kindBinaryFrame: // rooms are joined over WebSocket only
	}
	return sse.Append(b, ev)
}

// farewell tells what a close frame would.
func (e *events) farewell(_ *conn, code ws.CloseCode, reason string) []byte {
	b := append(make([]byte, 0, 64+len(reason)), `{"t":"closing","code":`...)
	b = strconv.AppendInt(b, int64(code), 10)
	b = append(b, `,"reason":`...)
	b, err := jsontext.AppendQuote(b, reason)
	if err != nil {
		b = append(b, `""`...) // a backend's reason that is not UTF-8
	}
	return sse.Append(nil, sse.Event{Name: "closing", Data: append(b, '}')})
}
