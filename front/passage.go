package front

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/homing/homing/front/handoff"
	"github.com/homing/homing/front/http1"
	"github.com/homing/homing/front/loop"
	"github.com/homing/homing/hub"
)

// roomParam is the parameter of a request that holds a ticket for a room.
const roomParam = "room"

// maxPassages is how many connections may wait at a time for their room to be
// found and its process to take them.
const maxPassages = 1024

// passed is what became of a connection that asked for a room: the label of a
// metric. All but the first two are served here, or have ended.
type passed string

// The results.
const (
	passedOn      passed = "passed"    // the room's process on this machine has it
	passedPiped   passed = "piped"     // the room's process has the far end of a pipe: the client's TLS ends here
	passedHere    passed = "here"      // the room is this process's
	passedUnknown passed = "unknown"   // nobody is known to run the room, or that was not known in time
	passedFar     passed = "elsewhere" // the room's process is not on this machine
	passedRefused passed = "refused"   // the process takes no connections now
	passedSilent  passed = "silent"    // the process did not answer in time
	passedError   passed = "error"     // the process could not be reached for another reason, which the log tells
	passedBusy    passed = "busy"      // as many as may be were under way
	passedLong    passed = "too_long"  // too much came with the request
	passedGone    passed = "gone"      // the client left meanwhile, or sent more than is kept
	passedLost    passed = "lost"      // the process ended or stood still while it took it: the client has lost its connection
)

var passedResults = []passed{
	passedOn, passedPiped, passedHere, passedUnknown, passedFar, passedRefused, passedSilent,
	passedError, passedBusy, passedLong, passedGone, passedLost,
}

// passages bring a connection that asks for a room to the worker of this machine
// that runs it. Whatever stands in the way, the client is served here then, and
// told when it joins where the room is. The loop owns it, but for what says
// otherwise; it is nil when the worker knows no rooms.
type passages struct {
	tracer

	loop      *loop.Loop[client]
	entry     *entry
	protocols *protocols
	pipes     *pipes
	m         *metrics
	rooms     Rooms        // nil: there are none
	far       *farRequests // nil: no session of Engine.IO is another process's
	receiver  *handoff.Receiver
	headLimit int
	timeout   time.Duration // to find the room, and then for the process to answer

	crew *crew // finds rooms, and passes connections on
}

// passage is a connection that waits for its room to be found.
//
//bound:passages
type passage struct {
	c      *conn
	ticket string
	owner  hub.ProcessID // of the session that is named; empty: a ticket is
}

// hold keeps c, whose request asks for a room, until the room is found, and
// reports whether it does. data is the request and what came with it.
func (p *passages) hold(c *conn, req *http1.Request, data []byte) bool {
	if p == nil || c.State.request().passed {
		return false
	}
	next := p.wanted(c, req)
	switch {
	case next.ticket == "" && next.owner == "":
		return false
	case len(data) > p.headLimit:
		p.count(passedLong)
		return false
	case !p.crew.take(func(ctx context.Context) { p.count(p.pass(ctx, next)) }):
		p.count(passedBusy)
		return false
	}
	c.State.request().head = bytes.Clone(data)
	c.State.stage = stageLocate
	return true
}

// wanted is what a request asks for that another process may have: a session of
// Engine.IO that goes over to a WebSocket, or a room. Other requests of sessions are
// answered where they come to.
func (p *passages) wanted(c *conn, req *http1.Request) passage {
	next := passage{c: c}
	sid := req.Query("sid")
	switch {
	case sid != "" && p.far != nil && req.Query("transport") == "websocket":
		next.owner = p.far.ownerOf(sid)
	case sid == "" && p.rooms != nil:
		next.ticket = req.Query(roomParam)
	}
	return next
}

// early keeps what a client sends while it is held.
func (p *passages) early(c *conn, data []byte) {
	req := c.State.request()
	req.head = append(req.head, data...)
	if len(req.head) > p.headLimit {
		p.goOn(c)
	}
}

// goOn has the client served here: its request is answered as if it asked for no
// room.
func (p *passages) goOn(c *conn) {
	if c.State.stage != stageLocate {
		return // it has gone or timed out meanwhile
	}
	req := c.State.request()
	head, n, err := http1.ParseRequest(req.head)
	if err == nil { // as it was before
		req.head = req.head[n:]
		err = p.protocols.of(c).upgrade(c, head)
	}
	if err != nil {
		p.entry.refuse(c, err)
	}
}

// found has the client served here, for what has come of looking for its room.
func (p *passages) found(c *conn, result passed) {
	if r := c.State.request(); r != nil {
		r.room = result != passedUnknown
	}
	p.goOn(c)
}

// pass brings one connection to where its room is, or has it served here.
func (p *passages) pass(ctx context.Context, next passage) passed {
	line, result := p.reach(ctx, next)
	if line == nil {
		p.loop.Post(func() { p.found(next.c, result) }) // refused: the handshake times out
		return result
	}
	// Only now that it is awaited does the loop give it up.
	var out handoff.Passed
	given := make(chan passed, 1)
	if !p.loop.Post(func() {
		var result passed
		out, result = p.give(next.c)
		given <- result
	}) {
		given <- passedGone
	}
	if result = <-given; result != passedOn && result != passedPiped {
		line.Close()
		return result
	}
	if err := line.Pass(out); err != nil {
		p.log.Warn("a client is lost on its way to its room", "client", out.Client, "err", err)
		return passedLost
	}
	return result
}

// reach finds what next is for and asks its process to take a connection. Without a
// line, the result says why.
func (p *passages) reach(ctx context.Context, next passage) (*handoff.Line, passed) {
	owner, err := next.owner, error(nil)
	if owner == "" {
		owner, err = p.locate(ctx, next.ticket)
	}
	switch {
	case err != nil || owner == "":
		return nil, passedUnknown
	case owner == p.process:
		return nil, passedHere
	}
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	line, err := handoff.Dial(ctx, owner)
	switch {
	case err == nil:
		return line, passedOn
	case errors.Is(err, handoff.ErrNotHere):
		return nil, passedFar
	case errors.Is(err, handoff.ErrRefused):
		return nil, passedRefused
	case errors.Is(err, handoff.ErrSilent), ctx.Err() != nil:
		return nil, passedSilent
	}
	p.log.Error("pass a client to its room", "process", owner, "err", err)
	return nil, passedError
}

func (p *passages) locate(ctx context.Context, ticket string) (hub.ProcessID, error) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	return p.rooms.Locate(ctx, ticket)
}

// give takes c from the loop, or makes a pipe of it. With another result than
// passedOn or passedPiped it has done neither.
func (p *passages) give(c *conn) (handoff.Passed, passed) {
	if c.State.stage != stageLocate {
		return handoff.Passed{}, passedGone
	}
	out := handoff.Passed{Head: c.State.request().head, Client: c.Addr()}
	p.trace(c, "passed to the process of its room")
	var ok bool
	if out.FD, ok = p.loop.Release(c); ok {
		return out, passedOn
	}
	var err error
	if out.FD, err = p.pipes.open(c); err != nil {
		p.log.Error("pipe a client to its room", "err", err)
		p.found(c, passedError)
		return out, passedError
	}
	return out, passedPiped
}

// take gives the loop a connection that another process has passed. It may be
// called from any goroutine.
func (p *passages) take(in handoff.Passed) bool {
	p.m.receivedConns.Inc()
	var st client
	st.more().request = &request{passed: true}
	return p.loop.AdoptPassed(in.FD, in.Head, in.Client, st)
}

func (p *passages) count(result passed) { p.m.passed.WithLabelValues(string(result)).Inc() }
