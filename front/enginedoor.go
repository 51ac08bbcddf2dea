package front

import (
	"bytes"
	"net/http"
	"net/netip"
	"strings"

	"github.com/homing/homing/front/engineio"
	"github.com/homing/homing/front/http1"
	"github.com/homing/homing/front/loop"
	"github.com/homing/homing/front/ws"
	"github.com/homing/homing/hub/drop"
)

// engineDoor serves the requests for an engine's path: it leads those that ask for a
// WebSocket there, and answers those of polled sessions. Requests are led, not
// connections: one that is kept may carry those of several sessions. The loop owns
// it. A nil one serves nobody.
type engineDoor struct {
	*engine

	sockets     versions
	polls       *enginePolls
	probes      *engineProbes
	upgraded    upgradedIDs
	messageTime loop.Tick    // for a request's body
	far         *farRequests // nil: there are no other processes
	again       func(*conn, []byte)
	stopping    func() bool // the worker stops
	leaving     func() bool // it does, or its node drains: connections are not kept
}

// exchange is what a connection has that carries HTTP requests.
type exchange struct {
	from    netip.Addr // whose it is; the zero Addr: that is not known
	proxied bool       // a proxy has said so
	known   bool       // it has named a session that has shown a token
	keep    bool       // the connection outlives this request
	unread  bool       // the client has not taken the last answer
	headers []string   // of the answer
	session *conn      // whose request it is; nil: none's
	far     *farPoll   // its GET waits at another process; nil: none does
	farSID  string     // the other process's session whose request it is; empty: none's
	body    *http1.Body
	part    []byte               // of a line of the body
	posted  func(payload []byte) // takes the whole body, and answers
}

// keepIdle is for how long a connection is kept for another request.
const keepIdle = 60 * loop.TicksPerSecond

const (
	textPlain   = "text/plain; charset=UTF-8"
	octetStream = "application/octet-stream"
)

// idles reports whether the connection is kept for another request, and nothing has
// come of that.
func (c *client) idles() bool {
	return c.stage == stageRequest && c.extra != nil && c.extra.exchange != nil && c.request() != nil && len(c.request().head) == 0
}

// known reports whether the connection carries HTTP requests, and has been taken in.
func (s *session) known() bool {
	return s.extra != nil && s.extra.exchange != nil && s.extra.exchange.known
}

func (d *engineDoor) upgrade(c *conn, req *http1.Request) error {
	x := c.State.more().exchange
	if x == nil {
		x = &exchange{}
		c.State.extra.exchange = x
	}
	switch {
	case !x.known:
		x.from, x.proxied = c.Addr(), c.State.request().proxied
	case x.proxied: // the proxy may send anybody's requests over it
		x.from = netip.Addr{}
	}
	x.keep, x.headers = req.KeepsAlive(), nil
	if !d.entry.origins.Allow(req.Origin, req.Host) {
		d.decline(c, req, engineio.ErrForbidden)
		return nil
	}
	c.State.request().origin = req.Origin // a page may read why it is refused
	if x.headers = http1.AllowOrigin(req.Origin); x.headers != nil {
		x.headers = append(x.headers, "Access-Control-Allow-Credentials: true")
	}
	if req.Method != http.MethodPost && hasBody(req) {
		d.decline(c, req, engineio.ErrRequest)
		return nil
	}
	if req.Method == http.MethodOptions {
		d.entry.answer(c, http1.Preflight(req.Origin, "GET, POST", "Content-Type", "Access-Control-Allow-Credentials: true"))
		return nil
	}
	return d.lead(c, req)
}

// hasBody reports whether bytes follow a request that are not the next one. Who let a
// proxy take them for a body could have its other clients read answers to them.
func hasBody(req *http1.Request) bool {
	body, err := req.Body(0)
	return err != nil || !body.Ended()
}

// lead serves a request of a page that may send it.
func (d *engineDoor) lead(c *conn, req *http1.Request) error {
	transport, sid := req.Query("transport"), req.Query("sid")
	switch {
	case transport != "websocket" && transport != "polling":
		d.decline(c, req, engineio.ErrTransport)
	case sid == "" && req.Method != http.MethodGet:
		d.decline(c, req, engineio.ErrMethod)
	case transport == "polling" && req.Lists("Upgrade", "websocket"):
		d.decline(c, req, engineio.ErrRequest)
	case transport == "websocket":
		return d.webSocket(c, req, sid)
	case sid != "":
		d.request(c, req, sid)
	case !d.speaks(req):
		d.decline(c, req, engineio.ErrVersion)
	default:
		return d.open(c, req)
	}
	return nil
}

// webSocket begins a session over WebSocket, or tries one for the session that is
// named.
func (d *engineDoor) webSocket(c *conn, req *http1.Request, sid string) error {
	session := d.polls.byID[sid]
	switch {
	case d.upgraded.known[sid]:
		return d.turnAway(c, req)
	case sid != "" && session == nil:
		d.decline(c, req, engineio.ErrSession)
		return nil
	case sid == "" && !d.speaks(req):
		d.decline(c, req, engineio.ErrVersion)
		return nil
	}
	if session == nil {
		if err := d.entry.lets(c, req); err != nil {
			return err
		}
	}
	reply, err := acceptEngine(req)
	if mayTry := session == nil || session.State.mayProbe(); err != nil || !mayTry {
		d.decline(c, req, engineio.ErrRequest)
		return nil //nolint:nilerr // it is answered
	}
	c.State.extra.exchange = nil
	if session != nil {
		d.probes.open(c, session, reply)
		return nil
	}
	d.sockets.of(d.isThreeRequest(req)).open(c, req, reply)
	return nil
}

// turnAway ends c, which wants a WebSocket for a session that has one.
func (d *engineDoor) turnAway(c *conn, req *http1.Request) error {
	reply, err := acceptEngine(req)
	if err != nil {
		d.decline(c, req, engineio.ErrRequest)
		return nil //nolint:nilerr // it is answered
	}
	c.State.extra.exchange = nil
	d.probes.turnAway(c, reply)
	return nil
}

// decline answers a request that is not one of Engine.IO's. What asks for a
// WebSocket is told in plain text.
func (d *engineDoor) decline(c *conn, req *http1.Request, why *engineio.Error) {
	d.sessions.m.polls.WithLabelValues("refused").Inc()
	contentType, body := "application/json", why.Bytes()
	if req.Lists("Upgrade", "websocket") {
		contentType, body = "text/html", []byte(why.Message)
	}
	c.State.extra.exchange.keep = false
	d.reply(c, why.Status, contentType, body)
}

// open begins a session that is polled, of c's client.
func (d *engineDoor) open(c *conn, req *http1.Request) error {
	if err := d.entry.lets(c, req); err != nil {
		return err
	}
	if d.stopping() {
		return errStopping
	}
	session := d.engine.loop.Detach(c.State.extra.exchange.from, client{protocol: d.polled})
	if session == nil {
		return errTooManyOfAddress()
	}
	sid := d.newSID()
	session.State.more().polled = &polled{sid: sid, three: d.isThreeRequest(req), octets: !d.wantsBase64(req)}
	d.polls.byID[sid] = session
	d.sessions.m.polledSessions.Inc()
	d.sessions.m.polls.WithLabelValues("opened").Inc()
	d.begin(session, req)
	d.engine.loop.Arm(session)
	body := engineio.AppendPacket(nil, d.engine.handshake(sid, true))
	if session.State.extra.polled.three {
		body = session.State.extra.polled.payload3(body)
	}
	d.reply(c, http.StatusOK, textPlain, body)
	return nil
}

// request serves a request of a session.
func (d *engineDoor) request(c *conn, req *http1.Request, sid string) {
	session := d.polls.byID[sid]
	switch {
	case req.Method != http.MethodGet && req.Method != http.MethodPost:
		d.decline(c, req, engineio.ErrRequest)
	case d.upgraded.known[sid]:
		d.decline(c, req, engineio.ErrRequest)
	case session == nil && d.far.ownerOf(sid) != "":
		d.far.request(c, req, sid, d.far.ownerOf(sid))
	case session == nil:
		d.decline(c, req, engineio.ErrSession)
	case !d.polls.charge(session, loop.ReadCost):
		d.decline(c, req, engineio.ErrSession)
	case req.Method == http.MethodGet:
		d.know(c, session)
		d.await(c, session)
		d.polls.get(session, c, func(status int, body []byte) { d.answer(c, status, body) })
	default:
		d.know(c, session)
		d.post(c, req, session, func(payload []byte) { d.answer(c, d.polls.posted(session, payload), okBody) })
	}
}

// know takes c in once it has named a session that has shown a token.
func (d *engineDoor) know(c, session *conn) {
	x := c.State.extra.exchange
	if !x.known && session.State.stage >= stageRegister && session.State.stage < stageClosing {
		x.known = true
		d.engine.loop.TakeIn(c, 0)
	}
}

// await has c wait for the answer to a request of a session.
func (d *engineDoor) await(c, session *conn) {
	c.State.stage = stageExchange
	c.State.extra.exchange.session = session
	d.engine.loop.SetDeadline(c, 0)
}

// post reads the body of a POST, which posted takes then. session is nil when it is
// another process's.
func (d *engineDoor) post(c *conn, req *http1.Request, session *conn, posted func(payload []byte)) {
	contentType, _ := req.Header("Content-Type")
	octets := strings.HasPrefix(contentType, octetStream) && !d.takesOctets(req, session)
	limit := d.maxPayload
	if session != nil && session.State.early() {
		limit = d.earlyLimit
	}
	body, err := req.Body(limit)
	switch {
	case session != nil && (octets || session.State.extra.polled.posting):
		d.polls.gone(session)
		d.decline(c, req, engineio.ErrRequest)
		return
	case octets:
		d.decline(c, req, engineio.ErrRequest)
		return
	case err != nil:
		c.State.extra.exchange.keep = false
		d.reply(c, http1.StatusOf(err), textPlain, nil)
		return
	}
	x := c.State.extra.exchange
	d.await(c, session)
	d.engine.loop.SetDeadline(c, d.engine.loop.Now()+d.messageTime)
	x.body, x.posted = body, posted
	if session != nil {
		session.State.extra.polled.posting = true
	}
	if waits, err := req.ExpectsContinue(); waits && err == nil {
		d.engine.loop.Send(c, &loop.Message{Data: []byte(http1.Continue)})
	}
	if c.Gone() {
		return
	}
	early := c.State.request().head
	c.State.request().head = nil
	d.received(c, early)
}

// received takes a part of a request's body, or keeps what comes behind a request
// that is not answered yet.
func (d *engineDoor) received(c *conn, data []byte) {
	x := c.State.extra.exchange
	if x.body == nil {
		r := c.State.request()
		if r.head = append(r.head, data...); len(r.head) > d.entry.headLimit {
			d.engine.loop.Drop(c, drop.Closed)
		}
		return
	}
	if len(x.part) > 0 {
		data = append(x.part, data...)
		x.part = nil
	}
	n, err := x.body.Take(data)
	if err != nil {
		x.keep = false
		d.endPost(x)
		d.reply(c, http1.StatusOf(err), textPlain, nil)
		return
	}
	if !x.body.Ended() {
		x.part = bytes.Clone(data[n:])
		return
	}
	c.State.request().head = bytes.Clone(data[n:])
	posted, payload := x.posted, x.body.Bytes()
	d.endPost(x)
	posted(payload)
}

var okBody = []byte("ok")

// endPost has the session take another POST.
func (d *engineDoor) endPost(x *exchange) {
	if x.session != nil {
		if e := x.session.State.extra; e != nil && e.polled != nil {
			e.polled.posting = false
		}
	}
	x.body, x.session, x.posted = nil, nil, nil
}

// answer answers a request of a session: with packets, with okBody, or, when the
// status says so, with an error.
func (d *engineDoor) answer(c *conn, status int, body []byte) {
	if status != http.StatusOK { // who guesses pays for a connection each time
		c.State.extra.exchange.keep = false
	}
	switch {
	case status == statusUnknown:
		d.reply(c, http.StatusBadRequest, "application/json", engineio.ErrSession.Bytes())
	case status != http.StatusOK:
		d.reply(c, status, "application/json", engineio.ErrRequest.Bytes())
	case len(body) == len(okBody) && &body[0] == &okBody[0]:
		d.reply(c, status, "text/html", body)
	case engineio.IsBinary3(body):
		d.reply(c, status, octetStream, body)
	default:
		d.reply(c, status, textPlain, body)
	}
}

// reply answers the request of c, which is kept for another one if its client
// wants that.
func (d *engineDoor) reply(c *conn, status int, contentType string, body []byte) {
	if c.Gone() || c.State.stage >= stageClosing {
		return
	}
	x := c.State.extra.exchange
	x.session = nil
	d.far.end(x)
	headers := append(x.headers, "Cache-Control: no-store")
	if !x.keep || d.leaving() {
		d.entry.answer(c, http1.Reply(status, contentType, body, headers...))
		return
	}
	d.engine.loop.Send(c, &loop.Message{Data: http1.ReplyKept(status, contentType, body, headers...)})
	switch {
	case c.Gone():
	case c.Waiting(): // so that what is not read does not pile up
		x.unread = true
		c.State.stage = stageExchange
		d.engine.loop.SetDeadline(c, 0)
	default:
		d.next(c, x)
	}
}

// flushed goes on with a connection whose client has read its answer. d may be nil.
func (d *engineDoor) flushed(c *conn) {
	if d == nil || c.State.extra == nil || c.State.stage != stageExchange {
		return
	}
	if x := c.State.extra.exchange; x != nil && x.unread {
		x.unread = false
		d.next(c, x)
	}
}

// next has c carry another request.
func (d *engineDoor) next(c *conn, x *exchange) {
	early := c.State.request().head
	c.State.extra.request = &request{}
	c.State.stage = stageRequest
	if x.known {
		d.engine.loop.SetDeadline(c, d.engine.loop.Now()+keepIdle)
	} else {
		d.engine.loop.SetDeadline(c, d.engine.loop.Now()+loop.Ticks(d.entry.timeout))
	}
	if len(early) > 0 {
		d.engine.loop.Post(func() { // refused: the next byte brings it on
			if c.State.stage == stageRequest {
				d.again(c, early)
			}
		})
	}
}

// turn answers the GETs for which there is something. d may be nil.
func (d *engineDoor) turn() {
	if d != nil {
		d.polls.turn()
	}
}

// tick answers the GETs for which nothing will come any more. d may be nil.
func (d *engineDoor) tick() {
	if d != nil && d.far != nil {
		d.far.tick()
	}
}

// ended takes leave of a connection: of a session, of one that carries requests, or
// of a WebSocket that is tried. d may be nil.
func (d *engineDoor) ended(c *conn) {
	x := c.State.extra
	if d == nil || x == nil {
		return
	}
	d.polls.ended(c, x)
	e := x.exchange
	if e == nil {
		return
	}
	d.far.ended(e)
	if session := e.session; session != nil {
		e.session = nil
		d.polls.givenUp(session, c, e.body != nil)
	}
}

// The rest is what a protocol has.

func (d *engineDoor) due(*conn) loop.Tick                         { return 0 }
func (d *engineDoor) check(*conn)                                 {}
func (d *engineDoor) greeted(*conn)                               {}
func (d *engineDoor) silence() loop.Tick                          { return 0 }
func (d *engineDoor) appendMessage(b []byte, _ outgoing) []byte   { return b }
func (d *engineDoor) farewell(*conn, ws.CloseCode, string) []byte { return nil }
