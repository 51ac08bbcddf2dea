package front

import (
	"context"
	"errors"
	"log/slog"
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
	origins  http1.Origins
	limiter  *admission.Limiter
	auth     Authenticator
	m        *metrics
	log      *slog.Logger
	opened   func(*conn) // told of every connection that is in service from now on

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

// lets says why the page that sends req may not connect, or nobody may now, as a
// *http1.Error; nil: it may try. A protocol asks it when it has found nothing
// wrong with the request.
func (e *entry) lets(req *http1.Request) error {
	if !e.origins.Allow(req.Origin, req.Host) {
		return errOrigin
	}
	if !e.standing.good() {
		return errUnreachable()
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
	early, ok := e.switchProtocols(c, stageRegister, e.loop.Now()+e.registerTime)
	if !ok {
		return
	}
	e.loop.Cork(c)
	e.sessions.register(c, id, used, func(err error) {
		e.loop.Post(func() { e.registered(c, err) }) // refused: the registration times out
	})
	if exceeded := e.sessions.charge(c, useBytes, len(early)); exceeded != "" {
		e.sessions.overspent(c, exceeded)
		return
	}
	e.sessions.protocols.of(c).received(c, early)
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
	e.loop.Send(c, &loop.Message{Data: req.reply})
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
	if c.Handshaking() {
		e.loop.Drop(c, drop.Closed)
		return
	}
	var headers []string
	if req := c.State.request(); req != nil {
		headers = http1.AllowOrigin(req.origin)
	}
	e.answer(c, http1.Problem(err, headers...))
}

// answer answers a request that leads to no protocol.
func (e *entry) answer(c *conn, reply []byte) {
	if req := c.State.request(); req != nil && req.noBody {
		reply = http1.Bodiless(reply)
	}
	e.sessions.finish(c, reply, false)
}
