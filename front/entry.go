package front

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/homing/homing/front/admission"
	"github.com/homing/homing/front/auth"
	"github.com/homing/homing/front/http1"
	"github.com/homing/homing/front/loop"
	"github.com/homing/homing/front/ws"
	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/drop"
)

// entry lets clients in: it checks the token, applies the limits of address,
// user and worker, gives the connection its protocol, has the index name the
// user, and greets. The loop owns it, but for waiting.
type entry struct {
	tracer

	loop     *loop.Loop[client]
	sessions *sessions
	standing *standing
	node     *nodeDrain
	origins  http1.Origins
	limiter  *admission.Limiter
	auth     Authenticator
	m        *metrics
	log      *slog.Logger
	arrived  func(ticket string) // told of the tickets of those who are let in; nil: nobody is
	opened   func(*conn)         // told of every connection that is in service from now on

	headLimit    int
	timeout      time.Duration // of a check that waits for a key set
	registerTime loop.Tick
	waiting      chan verifyJob

	registeredInDoubt []*conn // named by the index in a time of doubt: they wait for hello
}

// verifyJob is a token that waits for a fresh key set.
//
//bound:tokens
type verifyJob struct {
	c     *conn
	token string
}

// lets says why the page that sends req over c may not connect, or nobody may now, as
// a *http1.Error; nil: it may try. A protocol asks it when it has found nothing
// wrong with the request.
func (e *entry) lets(c *conn, req *http1.Request) error {
	if !e.origins.Allow(req.Origin, req.Host) {
		return errOrigin
	}
	if !e.standing.good() {
		return errUnreachable()
	}
	if e.node.on.Load() && !c.State.seeksRoom() {
		return errDraining()
	}
	if after, ok := e.limiter.Check(); !ok {
		return errCrowded(after)
	}
	return nil
}

// authenticate checks the token of c, whose request is whole. A client that is
// let in is sent reply, and c speaks its protocol from then on. The error is a
// *http1.Error: the client is refused.
//
// The token is checked on the loop: goroutines that do nothing else would, when
// many clients come at once, keep the one that receives deliveries from a CPU.
// What needs a fresh key set goes to those who may wait for one.
func (e *entry) authenticate(c *conn, token string, reply []byte) error {
	req := c.State.request()
	req.reply = reply
	c.State.stage = stageVerify
	id, err := e.auth.VerifyNow(token)
	if err == nil || !e.auth.MayWait() || !auth.Curable(err) {
		e.verified(c, id, err)
		return nil
	}
	if len(req.head) > e.headLimit { // what came with the request waits, too
		return errHeaderTooLarge
	}
	select {
	case e.waiting <- verifyJob{c, token}:
		return nil
	default:
		return errAuthBusy()
	}
}

// ticketParam is how a client shows the ticket by which it was assigned to a node.
const ticketParam = "node_ticket"

// longestTicket bounds what is kept of one: none of ours is so long.
const longestTicket = 513

// ticketOf is the ticket that a request shows; empty: none, or nobody is told of it.
func (e *entry) ticketOf(req *http1.Request) string {
	if e.arrived == nil {
		return ""
	}
	text := req.Query(ticketParam)
	return strings.Clone(text[:min(len(text), longestTicket)]) // which is part of the request
}

// takeTicket keeps the ticket that c shows until it is let in.
func (e *entry) takeTicket(c *conn, req *http1.Request) {
	if ticket := e.ticketOf(req); ticket != "" {
		c.State.request().assigned = ticket
	}
}

// verifyPatiently checks tokens that need a key set to be fetched, until ctx
// ends.
func (e *entry) verifyPatiently(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case job := <-e.waiting:
			id, err := e.verifyOne(ctx, job.token)
			e.loop.Post(func() { e.verified(job.c, id, err) }) // refused: the handshake times out
		}
	}
}

func (e *entry) verifyOne(ctx context.Context, token string) (auth.Identity, error) {
	ctx, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	return e.auth.Verify(ctx, token)
}

// verified goes on with a connection whose token has been checked: it gets its
// protocol, and hello follows once the index names the user.
func (e *entry) verified(c *conn, id auth.Identity, err error) {
	if c.State.stage != stageVerify {
		return // it has gone or timed out meanwhile
	}
	if err != nil {
		e.refuse(c, refusalOf(err))
		return
	}
	if !e.standing.good() {
		e.refuse(c, errUnreachable())
		return
	}
	used, err := e.admit(c, id.User)
	if err != nil {
		e.refuse(c, err)
		return
	}
	e.trace(c, "token accepted", "sub", id.User)
	if by, ok := e.sessions.protocols.of(c).(caller); ok {
		switch served, err := by.calls(c, id, used); {
		case err != nil:
			e.refuse(c, err)
			return
		case served:
			return
		}
	}
	assigned := ""
	if req := c.State.request(); req != nil {
		assigned = req.assigned
	}
	early, ok := e.switchProtocols(c, stageRegister, e.loop.Now()+e.registerTime)
	if !ok {
		return
	}
	e.loop.Cork(c)
	e.register(c, id, used)
	if assigned != "" {
		e.arrived(assigned)
	}
	if exceeded := e.sessions.charge(c, useBytes, len(early)); exceeded != "" {
		e.sessions.overspent(c, exceeded)
		return
	}
	e.sessions.protocols.of(c).received(c, early)
}

// register has the index name c's user, and c be a member of the topics of its token,
// and goes on when all of that can be found.
func (e *entry) register(c *conn, id auth.Identity, used usage) {
	done := func(err error) { e.registered(c, err) }
	if id.Topics != nil {
		done = e.joinTopics(c, id.Topics, done)
	}
	e.sessions.register(c, id, used, func(err error) {
		e.loop.Post(func() { done(err) }) // refused: the registration times out
	})
}

// joinTopics makes c a member of the topics of its token. It returns what is to be
// called, by the loop, when the index names c's user; done is called when it names the
// topics, too, or with an error, perhaps more than once.
func (e *entry) joinTopics(c *conn, rights *auth.Topics, done func(error)) func(error) {
	left := 1
	one := func(err error) {
		if left--; left == 0 || err != nil {
			done(err)
		}
	}
	topics := e.sessions.topics
	topics.permit(c, rights)
	for _, name := range rights.Member {
		if !topics.member(c, name) {
			left++
			topics.join(c, name, one)
		}
	}
	return one
}

// admit lets a client with a valid token in, or refuses it because of its
// address, of its user, or of all who come. It returns what the user has used.
func (e *entry) admit(c *conn, user hub.UserID) (used usage, err error) {
	if e.loop.AddressFull(c) {
		return used, errTooManyOfAddress()
	}
	if used, err = e.sessions.admitUser(user); err != nil {
		return used, err
	}
	if after, ok := e.limiter.Admit(); !ok {
		return used, errCrowded(after)
	}
	return used, nil
}

// switchProtocols sends the reply that gives c its protocol and returns what the
// client sent after its request, or false when the connection broke. c is in the
// next stage then, until the deadline; 0: it has none.
func (e *entry) switchProtocols(c *conn, next stage, deadline loop.Tick) (early []byte, ok bool) {
	e.loop.TakeIn(c, deadline)
	req := c.State.request()
	c.State.extra.request = nil
	c.State.spare()
	if len(req.reply) > 0 {
		e.loop.Send(c, &loop.Message{Data: req.reply})
	}
	if c.Gone() {
		return nil, false
	}
	e.m.handshakes.WithLabelValues("ok").Inc()
	c.State.stage = next
	return req.head, true
}

// registered greets a connection whose user the index names now, or in a time
// of doubt has it wait on, within its time to register.
func (e *entry) registered(c *conn, err error) {
	if c.State.stage != stageRegister {
		return
	}
	if err != nil {
		e.log.Warn("register a user", "conn", string(e.appendName(nil, c)), "user", c.State.user, "err", err)
		e.sessions.close(c, ws.CloseTryAgainLater, "the hub is not available")
		return
	}
	if !e.standing.good() {
		e.registeredInDoubt = append(e.registeredInDoubt, c)
		return
	}
	e.sessions.greet(c)
	e.opened(c)
	e.loop.Arm(c)
}

// greetRegistered lets those in for whom the index had been told in a time of
// doubt, a limited number per turn.
func (e *entry) greetRegistered() {
	waiting := e.registeredInDoubt
	e.registeredInDoubt = nil
	for _, c := range waiting {
		e.loop.Post(func() { e.registered(c, nil) }) // refused: the registration times out
	}
}

// refuse answers with a problem document and closes the connection once the
// client has read it. A client whose PROXY header or TLS handshake is not over
// would not understand it.
func (e *entry) refuse(c *conn, err error) {
	result := "internal"
	if re, ok := errors.AsType[*http1.Error](err); ok {
		result = re.Code
	}
	e.m.handshakes.WithLabelValues(result).Inc()
	e.trace(c, "client refused", "code", result)
	if by, ok := e.sessions.protocols.of(c).(refuser); ok && c.State.stage >= stageConnect {
		by.refuse(c, err)
		return
	}
	if c.Handshaking() {
		e.loop.Drop(c, drop.Closed)
		return
	}
	var headers []string
	if req := c.State.request(); req != nil {
		if headers = http1.AllowOrigin(req.origin); headers != nil { // a page may not read these otherwise
			headers = append(headers, "Access-Control-Expose-Headers: Retry-After, Date")
		}
	}
	e.answer(c, http1.Problem(err, headers...))
}

// refuser is a protocol whose clients show their token in it. refuse tells c, which
// has its protocol, why it is not let in.
type refuser interface{ refuse(c *conn, err error) }

// caller is a protocol with clients that come for one answer: nothing is to reach them.
// calls serves c, which has been let in and whose user has used so much, or reports
// false when it is none of these.
type caller interface {
	calls(c *conn, id auth.Identity, used usage) (served bool, err error)
}

// answer answers a request that leads to no protocol.
func (e *entry) answer(c *conn, reply []byte) {
	if req := c.State.request(); req != nil && req.noBody {
		reply = http1.Bodiless(reply)
	}
	e.sessions.finish(c, reply, false)
}
