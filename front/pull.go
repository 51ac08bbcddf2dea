package front

import (
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/homing/homing/front/auth"
	"github.com/homing/homing/front/http1"
	"github.com/homing/homing/front/loop"
	"github.com/homing/homing/front/ws"
	"github.com/homing/homing/hub"
)

// pulls answer GET /inbox: what the inbox of a user holds after a place, for clients
// that poll (docs/protocol.md). A client that waits for something new is a connection
// of its user meanwhile, as any other; one that does not is none. The loop owns it.
type pulls struct {
	loop     *loop.Loop[client]
	entry    *entry
	sessions *sessions
	resumes  *resumes
}

const (
	// pullCount is how many notifications an answer has unless the client says
	// otherwise, and maxPullCount how many at most.
	pullCount, maxPullCount = 100, 200
	// pullBytes is how many bytes of them an answer has, or one notification.
	pullBytes = 64 << 10
	// maxPullWait is how many seconds a client may wait for something new.
	maxPullWait = 60
)

// pull is what a client asks for. It belongs to a resume, which reads the inbox.
type pull struct {
	past    string      // the last notification of the page before this one; empty: there was none
	count   int         // notifications at most
	seconds int         // to wait for something new; 0: the client does not wait
	until   loop.Tick   // when that is over; 0: it is, or has not begun
	user    hub.UserID  // of a client that does not wait
	service hub.Service // its token's
	headers []string    // of the answer
	news    func()      // called when something arrives for a client that waits; nil: it does not
}

func (p *pulls) upgrade(c *conn, req *http1.Request) error {
	switch req.Method {
	case http.MethodGet:
	case http.MethodOptions:
		if err := p.entry.lets(c, req); err != nil {
			return err
		}
		p.entry.answer(c, http1.Preflight(req.Origin, "GET", "Authorization"))
		return nil
	default:
		return &http1.Error{
			Status: http.StatusMethodNotAllowed, Code: "method_not_allowed",
			Detail: "Want GET.", Header: "Allow: GET, OPTIONS",
		}
	}
	if err := p.entry.lets(c, req); err != nil {
		return err
	}
	c.State.request().origin = req.Origin // a page may read why it is refused
	asked, after, err := parsePull(req)
	if err != nil {
		return err
	}
	c.State.more().resume = &resume{c: c, after: after, promised: true, pull: asked}
	return p.entry.authenticate(c, bearer(req), nil)
}

func parsePull(req *http1.Request) (p *pull, after string, err error) {
	p = &pull{past: req.Query("past"), headers: append(http1.AllowOrigin(req.Origin), "Cache-Control: no-store")}
	after = req.Query("after")
	if len(after) > hub.MaxID || len(p.past) > hub.MaxID {
		return nil, "", http1.BadRequest("after, past: want at most %d bytes", hub.MaxID)
	}
	if p.count, err = intParam(req, "count", pullCount, 1, maxPullCount); err != nil {
		return nil, "", err
	}
	p.seconds, err = intParam(req, "wait", 0, 0, maxPullWait)
	return p, after, err
}

// intParam is a parameter of a request, which may be left out.
func intParam(req *http1.Request, name string, absent, low, high int) (int, error) {
	value, ok := req.QueryValue(name)
	if !ok {
		return absent, nil
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < low || n > high {
		return 0, http1.BadRequest("%s: %.20q: want %d to %d", name, value, low, high)
	}
	return n, nil
}

// calls serves a client that does not wait: nothing is to find it.
func (p *pulls) calls(c *conn, id auth.Identity, used usage) (bool, error) {
	x := c.State.resuming()
	if x.pull.seconds > 0 {
		return false, nil
	}
	if !used.take(p.loop.Now(), &p.sessions.perUser, useInbox, resumeCost) {
		p.sessions.m.overBudget.WithLabelValues(budgetNames[useInbox].user).Inc()
		return true, errTooManyPulls()
	}
	if p.resumes.budget.waiting.Len() >= p.resumes.cfg.queue {
		p.sessions.m.resumes.WithLabelValues("busy").Inc()
		return true, pullUnavailable("The inbox cannot be read now.")
	}
	p.sessions.m.forgottenUsage.Add(float64(p.sessions.users.keep(id.User, used, p.loop.Now())))
	x.pull.user, x.pull.service = id.User, id.Service
	if _, ok := p.entry.switchProtocols(c, stageExchange, p.loop.Now()+3*p.resumes.cfg.wait); ok {
		p.resumes.join(x)
	}
	return true, nil
}

// greeted begins to read what the client has missed.
func (p *pulls) greeted(c *conn) { p.resumes.beginPromised(c) }

// take answers x with what has been read, or has it wait for something new.
func (p *pulls) take(x *resume, missed hub.Missed) {
	c := x.c
	result := "recovered"
	if !missed.Recovered {
		result = "gone"
	}
	p.sessions.m.resumes.WithLabelValues(result).Inc()
	if x.pull.begins(p.loop.Now()) && x.after == missed.Last && x.pull.past == "" && c.State.extra.holding == nil && !c.State.leaving {
		p.await(x)
		return
	}
	service := x.pull.service
	if x.pull.seconds > 0 {
		service = c.State.service.name()
	}
	missed.Entries = slices.DeleteFunc(missed.Entries, func(e hub.Stored) bool {
		return len(e.Services) > 0 && !slices.Contains(e.Services, service)
	})
	p.answer(x, missed)
}

// begins reports whether the client waits still, and notes until when.
func (p *pull) begins(now loop.Tick) bool {
	if p.seconds == 0 || p.until != 0 {
		return false
	}
	p.until = now + loop.Tick(p.seconds)*loop.TicksPerSecond
	return true
}

// await has x wait for something new, and then be read again.
func (p *pulls) await(x *resume) {
	budget := p.resumes.budget
	budget.giveBack(x, x.replay.reserved)
	budget.leave(x)
	x.phase, x.until = resumeAwaiting, x.pull.until
	x.pull.news = func() {
		x.pull.news = nil
		p.resumes.join(x)
	}
}

// answer sends a page of what has been read, and what has arrived meanwhile.
func (p *pulls) answer(x *resume, missed hub.Missed) {
	page, more := x.pull.page(missed.Entries)
	p.sessions.remember(x, page)
	p.sessions.m.replayed.Add(float64(len(page)))
	next := "after=" + url.QueryEscape(missed.Last)
	if more {
		next = "after=" + url.QueryEscape(x.after) + "&past=" + url.QueryEscape(page[len(page)-1].ID)
	}
	body := append([]byte(nil), `{"recovered":`...)
	body = strconv.AppendBool(body, missed.Recovered)
	body = append(body, `,"more":`...)
	body = strconv.AppendBool(body, more)
	body = append(body, `,"next":"`...)
	body = append(append(body, next...), `","notifications":[`...)
	for i := range page {
		body = append(appendComma(body), page[i].Payload...)
	}
	p.resumes.budget.giveBack(x, x.replay.reserved)
	p.send(x, body)
}

// appendComma appends a comma behind an element of a list.
func appendComma(b []byte) []byte {
	if b[len(b)-1] != '[' {
		b = append(b, ',')
	}
	return b
}

// page is what an answer has of all that is to be read, and whether that is not all.
func (p *pull) page(all []hub.Stored) (page []hub.Stored, more bool) {
	if i := slices.IndexFunc(all, func(e hub.Stored) bool { return e.ID == p.past }); p.past != "" && i >= 0 {
		all = all[i+1:] // else it has gone meanwhile, and the client reads some again
	}
	size := 0
	for i := range all {
		if size += len(all[i].Payload); i == p.count || i > 0 && size > pullBytes {
			return all[:i], true
		}
	}
	return all, false
}

// send sends the body, which begins the list of notifications, then what was held for
// the client, each message of its own so that it is counted, and ends c.
func (p *pulls) send(x *resume, body []byte) {
	c := x.c
	var late []held
	if h := c.State.extra.holding; h != nil {
		late = slices.DeleteFunc(h.messages, func(m held) bool { return len(m.Data) == 0 || p.sessions.repeats(c, m.original) })
		c.State.extra.holding = nil
	}
	const end = "]}"
	size := len(body) + len(end)
	for i := range late {
		if m := &late[i]; i > 0 || body[len(body)-1] != '[' {
			m.Data = append([]byte{','}, m.Data...)
		}
		size += len(late[i].Data)
	}
	head := http1.ReplyHead(http.StatusOK, "application/json", size, x.pull.headers...)
	p.loop.Send(c, &loop.Message{Data: append(head, body...)})
	for i := range late {
		if c.State.stage < stageClosing {
			p.sessions.send(c, &late[i].Message)
		}
	}
	if c.State.stage < stageClosing {
		p.sessions.m.closed(ws.CloseNormal)
		p.sessions.finish(c, []byte(end), false)
	}
}

// breakOff answers a client that was let in and cannot be told now.
func (p *pulls) breakOff(x *resume, err error) {
	c, headers := x.c, x.pull.headers
	p.sessions.m.closed(ws.CloseTryAgainLater)
	p.sessions.finish(c, http1.Problem(err, headers...), false)
}

// appendMessage leaves only notifications, as an answer has them.
func (p *pulls) appendMessage(b []byte, m outgoing) []byte {
	if m.kind == kindNotification {
		return append(b, m.body...)
	}
	return b
}

// farewell is the answer to a client that waits, and waits in vain.
func (p *pulls) farewell(c *conn, _ ws.CloseCode, reason string) []byte {
	var headers []string
	if x := c.State.resuming(); x != nil && x.pull != nil {
		headers = x.pull.headers
	}
	return http1.Problem(pullUnavailable(reason), headers...)
}

// pullUnavailable refuses a client for now. The time to come back is drawn, so that a
// herd does not stay one.
func pullUnavailable(detail string) error {
	return &http1.Error{Status: http.StatusServiceUnavailable, Code: "unavailable", Detail: detail, Header: retryAfter(1 + rand.N(2))}
}

// errTooManyPulls refuses a user that polls too often.
func errTooManyPulls() error {
	return refuseUser("rate_limited", "This user asks for more work at the inbox than it may.")
}

// The rest is what a protocol has.

func (p *pulls) received(*conn, []byte) {}
func (p *pulls) due(*conn) loop.Tick    { return 0 }
func (p *pulls) check(*conn)            {}
func (p *pulls) silence() loop.Tick     { return 0 }

// user is whose inbox x is of.
func (r *resume) user() hub.UserID {
	if r.pull != nil && r.pull.user != "" {
		return r.pull.user
	}
	return r.c.State.user
}

// hears tells a client that waits that something has arrived.
func (r *resume) hears() {
	if r != nil && r.phase == resumeAwaiting {
		r.pull.news()
	}
}
