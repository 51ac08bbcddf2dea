package front

import (
	"context"
	"encoding/binary"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/homing/homing/front/engineio"
	"github.com/homing/homing/front/http1"
	"github.com/homing/homing/front/loop"
	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/drop"
)

const (
	// maxFar is how many requests of a worker may be asked for at other processes, and
	// how many GETs of others may wait there.
	maxFar = 8192
	// maxFarBytes is how many bytes those that are asked for may have together: a
	// process that stands still has them wait.
	maxFarBytes = 32 << 20
	// maxFarOfSession is how many of them may be one session's. One that keeps to the
	// rules has a GET and a POST.
	maxFarOfSession = 4
	// farTime is how long another process has to answer. It does so at once, if only
	// to say that there is nothing yet. One that stands still may go on: what it is asked
	// reaches it then. One that is known to be dead is not waited for.
	farTime = 8 * time.Second
	// deadLook is how often it is looked whether one that is asked has ended.
	deadLook = 250 * time.Millisecond
	// farLook is how often it is looked whether the owners of sessions whose GETs wait
	// live.
	farLook = loop.TicksPerSecond
)

// farRequests are the requests that have come here for sessions of others, and those
// of others for sessions of this process. The loop owns it, but for the jobs of crew.
//
//bound:far-requests
type farRequests struct {
	*Exchange

	door  *engineDoor
	polls *enginePolls
	crew  *crew // asks

	serial  uint64
	gets    map[uint64]*conn // GETs of sessions of others, by the number that they were asked for with
	owed    int              // GETs of others that wait for sessions of this process
	of      map[string]int   // requests under way of sessions of others
	looked  loop.Tick        // when it was last looked for the dead
	biggest int64            // bytes that may be asked; maxFarBytes

	carriers map[*conn]carrier // of GETs that are owed for longer than an ask, by session
	waits    atomic.Int64      // how many gets and carriers there are

	bytes atomic.Int64 // that are asked
}

// carrier is the process that has a GET of a session of this one, and the number that it
// has asked for it with.
type carrier struct {
	process hub.ProcessID
	id      uint64
}

func newFarRequests(x *Exchange, d *engineDoor) *farRequests {
	f := &farRequests{
		Exchange: x, door: d, polls: d.polls, crew: newCrew(maxFar), biggest: maxFarBytes,
		gets: map[uint64]*conn{}, of: map[string]int{}, carriers: map[*conn]carrier{},
	}
	x.far.Store(f)
	return f
}

// farPoll is a GET of a session of another process.
type farPoll struct {
	id    uint64
	owner hub.ProcessID
	sid   string
}

// name is the poll as processes name it to each other.
func (p *farPoll) name() []byte { return append(binary.AppendUvarint(nil, p.id), p.sid...) }

// ownerOf returns whose a session is that another process owns; empty: none's. f may
// be nil.
func (f *farRequests) ownerOf(sid string) hub.ProcessID {
	if f == nil || len(sid) <= hub.ProcessIDLen || len(sid) > maxSID {
		return ""
	}
	owner := hub.ProcessID(sid[:hub.ProcessIDLen])
	if owner == f.polls.process || owner.Check() != nil {
		return ""
	}
	return owner
}

// ask asks another process, and has done called by the loop with what comes of it. It
// reports false when too much is asked already.
func (f *farRequests) ask(to hub.ProcessID, method string, body []byte, done func(outcome)) bool {
	size := int64(len(body))
	if f.bytes.Add(size) <= f.biggest && f.crew.take(func(ctx context.Context) {
		defer f.bytes.Add(-size)
		ctx, cancel := context.WithTimeout(ctx, farTime)
		defer cancel()
		stop := f.whenDead(to, cancel)
		defer stop()
		o := outcome{status: statusUnknown}
		if b, err := f.asker.Ask(ctx, to, method, body); err == nil {
			o = parseOutcome(b)
		}
		f.polls.loop.Post(func() { done(o) }) // refused: the request's deadline ends it
	}) {
		return true
	}
	f.bytes.Add(-size)
	f.polls.sessions.m.polls.WithLabelValues("busy").Inc()
	return false
}

// whenDead calls cancel once a process is known not to live, unless stop is called before.
func (f *farRequests) whenDead(p hub.ProcessID, cancel func()) (stop func()) {
	var mu sync.Mutex
	var timer *time.Timer
	stopped := false
	mu.Lock() // the first look is after timer is set
	defer mu.Unlock()
	timer = time.AfterFunc(deadLook, func() {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case stopped:
		case f.dead(p):
			cancel()
		default:
			timer.Reset(deadLook)
		}
	})
	return func() {
		mu.Lock()
		defer mu.Unlock()
		stopped = true
		timer.Stop()
	}
}

// begin notes a request of a session of another process that c carries, or reports
// false when it has too many under way.
func (f *farRequests) begin(c *conn, sid string) bool {
	if f.of[sid] >= maxFarOfSession {
		f.polls.sessions.m.polls.WithLabelValues("busy").Inc()
		return false
	}
	f.of[sid]++
	c.State.extra.exchange.farSID = sid
	return true
}

// end is told that c's request is over.
func (f *farRequests) end(x *exchange) {
	if f == nil || x.farSID == "" {
		return
	}
	if f.of[x.farSID]--; f.of[x.farSID] == 0 {
		delete(f.of, x.farSID)
	}
	x.farSID = ""
}

// request serves a request of a session that owner owns.
func (f *farRequests) request(c *conn, req *http1.Request, sid string, owner hub.ProcessID) {
	switch {
	case f.dead(owner):
		f.door.decline(c, req, engineio.ErrSession)
	case !f.begin(c, sid):
		f.door.decline(c, req, engineio.ErrRequest)
	case req.Method == http.MethodPost:
		f.door.post(c, req, nil, func(payload []byte) { f.posting(c, sid, owner, payload) })
	default:
		f.getting(c, sid, owner)
	}
}

// getting has the owner of a session answer c's GET when there is something.
func (f *farRequests) getting(c *conn, sid string, owner hub.ProcessID) {
	f.serial++
	p := &farPoll{id: f.serial, owner: owner, sid: sid}
	f.door.await(c, nil)
	if !f.ask(owner, methodGet, p.name(), func(o outcome) { f.later(c, p, o) }) {
		f.done(c, outcome{status: http.StatusServiceUnavailable})
		return
	}
	c.State.extra.exchange.far = p
	f.gets[p.id] = c
	f.waits.Add(1)
	f.wait(c)
}

// wait has c wait for as long as a session may be silent.
func (f *farRequests) wait(c *conn) {
	l := f.polls.loop
	l.SetDeadline(c, l.Now()+f.polls.pingAfter+f.polls.pongTime)
}

// later goes on with a GET that the owner has heard of.
func (f *farRequests) later(c *conn, p *farPoll, o outcome) {
	if f.gets[p.id] != c {
		return // it has been answered, or its client is gone
	}
	if o.status != statusLater {
		f.answered(p.id, o)
		return
	}
	f.know(c, o)
	f.wait(c)
	if f.door.stopping() {
		f.release(c)
	}
}

// release gives a GET of c up that waits at another process: its client gets an answer
// that says nothing, and asks again, elsewhere.
func (f *farRequests) release(c *conn) {
	if x := c.State.extra; x != nil && x.exchange != nil && x.exchange.far != nil {
		p := x.exchange.far
		f.ask(p.owner, methodRelease, p.name(), func(outcome) {}) // refused: the client comes back when it is cut off
	}
}

// answered answers a GET with what its owner has sent.
func (f *farRequests) answered(id uint64, o outcome) outcome {
	c := f.gets[id]
	if c == nil || c.State.stage != stageExchange { // its time is over: the session is ended for that
		return outcome{status: statusUnknown}
	}
	delete(f.gets, id)
	f.waits.Add(-1)
	c.State.extra.exchange.far = nil
	f.done(c, o)
	return outcome{status: http.StatusOK}
}

// posting has the owner of a session take a payload.
func (f *farRequests) posting(c *conn, sid string, owner hub.ProcessID, payload []byte) {
	body := append(binary.AppendUvarint(nil, uint64(len(sid))), sid...)
	body = append(body, payload...)
	l := f.polls.loop
	f.door.await(c, nil)
	l.SetDeadline(c, l.Now()+2*loop.Ticks(farTime))
	if !f.ask(owner, methodPost, body, func(o outcome) {
		if o.status == http.StatusOK {
			o.body = okBody
		}
		f.done(c, o)
	}) {
		f.done(c, outcome{status: http.StatusServiceUnavailable})
	}
}

// know takes c in when the session that it has named has shown a token.
func (f *farRequests) know(c *conn, o outcome) {
	if x := c.State.extra.exchange; o.known && !x.known && !c.Gone() && c.State.stage < stageClosing {
		x.known = true
		f.polls.loop.TakeIn(c, 0)
	}
}

// done answers a request with what came of it at the owner.
func (f *farRequests) done(c *conn, o outcome) {
	if c.Gone() || c.State.stage != stageExchange {
		return
	}
	f.know(c, o)
	f.polls.sessions.m.polls.WithLabelValues("far").Inc()
	f.door.answer(c, o.status, o.body)
}

// ended takes leave of a connection that carried a request of another process's
// session.
func (f *farRequests) ended(x *exchange) {
	if f == nil {
		return
	}
	f.end(x)
	if p := x.far; p != nil {
		x.far = nil
		delete(f.gets, p.id)
		f.waits.Add(-1)
		f.ask(p.owner, methodAbort, []byte(p.sid), func(outcome) {}) // refused: the session's heartbeat ends it
	}
}

// tick answers GETs whose owners have died meanwhile, and ends sessions whose GET is lost
// with the process that had it.
func (f *farRequests) tick() {
	now := f.polls.loop.Now()
	if len(f.gets)+len(f.carriers) == 0 || now-f.looked < farLook {
		return
	}
	f.looked = now
	for session, by := range f.carriers {
		if f.dead(by.process) {
			f.polls.gone(session)
		}
	}
	dead := make(map[hub.ProcessID]bool)
	for id, c := range f.gets {
		owner := c.State.extra.exchange.far.owner
		is, looked := dead[owner]
		if !looked {
			is = f.dead(owner)
			dead[owner] = is
		}
		if is {
			f.answered(id, outcome{status: statusUnknown})
		}
	}
}

// takeGet has a session of this process be polled by a client of another one. What the
// session has for its client is given in an ask, never in what this one is answered
// with: whether that has come nobody would know, and the client may ask again elsewhere.
func (f *farRequests) takeGet(from hub.ProcessID, body []byte) (result outcome) {
	id, n := binary.Uvarint(body)
	if n <= 0 {
		return outcome{status: http.StatusBadRequest}
	}
	session := f.polls.byID[string(body[n:])]
	if session == nil || !f.polls.charge(session, loop.ReadCost) || f.owed >= maxFar {
		return outcome{status: statusUnknown}
	}
	within, answered := true, false
	f.owed++
	result = outcome{status: statusLater}
	f.polls.get(session, nil, func(status int, body []byte) {
		f.owed--
		o := outcome{status, session.State.stage >= stageRegister, body}
		if within && status != http.StatusOK {
			result = o
			return
		}
		if _, waited := f.carriers[session]; waited {
			delete(f.carriers, session)
			f.waits.Add(-1)
		}
		answered = true
		f.giveBack(session, from, id, o)
	})
	within = false
	if result.status == statusLater && !answered {
		f.carriers[session] = carrier{from, id}
		f.waits.Add(1)
	}
	result.known = session.State.stage >= stageRegister
	return result
}

// takeRelease answers a GET of another process with nothing, if it still waits.
func (f *farRequests) takeRelease(from hub.ProcessID, body []byte) outcome {
	id, n := binary.Uvarint(body)
	if n <= 0 {
		return outcome{status: http.StatusBadRequest}
	}
	if session := f.polls.byID[string(body[n:])]; session != nil && f.carriers[session] == (carrier{from, id}) {
		p := session.State.extra.polled
		get := p.get
		p.get = nil
		get(http.StatusOK, noopBody)
	}
	return outcome{status: http.StatusOK}
}

// giveBack answers a GET of another process. Until that has confirmed it, the next GET
// waits. If it does not, whoever has sent a next GET has not had this answer, because its
// request was lost with the process, and gets it then. A client that has not is gone.
func (f *farRequests) giveBack(session *conn, to hub.ProcessID, id uint64, o outcome) {
	if x := session.State.extra; x != nil && x.polled != nil {
		x.polled.sent = o.body
	}
	if !f.ask(to, methodAnswer, o.bytes(binary.AppendUvarint(nil, id)), func(given outcome) {
		if x := session.State.extra; session.Gone() || x == nil || x.polled == nil {
			return
		}
		p := session.State.extra.polled
		p.sent = nil
		switch {
		case given.status == http.StatusOK:
		case p.get == nil:
			f.polls.gone(session)
			return
		default:
			p.again = o.body
		}
		f.polls.serve(session)
	}) {
		l := f.polls.loop
		l.Post(func() { l.Drop(session, drop.Closed) }) // refused: its heartbeat ends it
	}
}

// takePost has a session of this process take a payload that has come to another one.
func (f *farRequests) takePost(_ hub.ProcessID, body []byte) outcome {
	length, n := binary.Uvarint(body)
	if n <= 0 || length > uint64(len(body)-n) {
		return outcome{status: http.StatusBadRequest}
	}
	end := n + int(length)
	session := f.polls.byID[string(body[n:end])]
	if session == nil {
		return outcome{status: statusUnknown}
	}
	if session.State.extra.polled.posting {
		f.polls.gone(session)
		return outcome{status: http.StatusBadRequest}
	}
	status := f.polls.posted(session, body[end:])
	return outcome{status: status, known: session.State.stage >= stageRegister && session.State.stage < stageClosing}
}

// takeAbort ends a session whose client has given a GET up.
func (f *farRequests) takeAbort(_ hub.ProcessID, sid []byte) outcome {
	if session := f.polls.byID[string(sid)]; session != nil {
		f.polls.gone(session)
	}
	return outcome{status: http.StatusOK}
}

// takeAnswer answers a GET that waits here.
func (f *farRequests) takeAnswer(_ hub.ProcessID, body []byte) outcome {
	id, n := binary.Uvarint(body)
	if n <= 0 {
		return outcome{status: http.StatusBadRequest}
	}
	return f.answered(id, parseOutcome(body[n:]))
}
