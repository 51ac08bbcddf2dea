package front

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"

	"github.com/homing/homing/front/auth"
	"github.com/homing/homing/front/ws"
	"github.com/homing/homing/hub"
)

// protocol is what clients speak on one path. Its methods are called by the
// loop.
type protocol interface {
	// upgrade answers a request for its path: it switches c to WebSocket, has
	// its token checked first, or returns why not, as a *ws.RequestError.
	upgrade(w *Worker, c *conn, req *ws.Request) error
	// message takes one text or binary message. The payload is only lent.
	message(w *Worker, c *conn, msg *ws.Message)
	// farewell returns the frame that tells a client to come back after the
	// given ticks; nil when there is none.
	farewell(after uint32) []byte
}

// subprotocol is what homing.v1 clients offer in Sec-WebSocket-Protocol, and
// bearerPrefix begins the second one, which carries the token.
const (
	subprotocol  = "homing.v1"
	bearerPrefix = "bearer."
)

// The refusals that are the worker's own; the rest come from ws and auth.
var (
	errHeaderTooLarge = &ws.RequestError{Status: http.StatusRequestHeaderFieldsTooLarge, Code: "header_too_large", Detail: "The request's head is longer than this server reads."}
	errNotFound       = &ws.RequestError{Status: http.StatusNotFound, Code: "not_found", Detail: "There is nothing at this path; WebSocket clients connect to /ws."}
	errOrigin         = &ws.RequestError{Status: http.StatusForbidden, Code: "origin_not_allowed", Detail: "Pages of this origin may not connect."}
	errSubprotocol    = &ws.RequestError{Status: http.StatusBadRequest, Code: "unsupported_subprotocol", Detail: "Of the subprotocols offered none is homing.v1."}
	errTimeout        = &ws.RequestError{Status: http.StatusRequestTimeout, Code: "handshake_timeout", Detail: "The handshake took too long."}
)

// uncheckedFor is the longest time in seconds after which a client comes back
// whose token could not be checked.
const uncheckedFor = 4

// unchecked refuses a client whose token cannot be checked now. The time to come
// back is drawn: the others are told the same, and would be a herd.
func unchecked(code, detail string) error {
	return &ws.RequestError{
		Status: http.StatusServiceUnavailable, Code: code, Detail: detail,
		Header: fmt.Sprintf("Retry-After: %d", 1+rand.N(uncheckedFor)),
	}
}

func authBusy() error {
	return unchecked("busy", "Too many connections are being checked; try again.")
}

func authUnavailable() error {
	return unchecked("auth_unavailable", "The token cannot be checked now; try again.")
}

// request takes bytes of the request until it is whole, and answers it.
func (w *Worker) request(c *conn, data []byte) {
	if c.side == nil {
		c.side = &side{}
	}
	if len(c.side.head) > 0 {
		c.side.head = append(c.side.head, data...)
		data = c.side.head
	}
	c.side.noBody = bytes.HasPrefix(data, []byte("HEAD "))
	req, n, err := ws.ParseRequest(data)
	switch {
	case errors.Is(err, ws.ErrIncomplete) && len(data) < w.cfg.HandshakeLimit:
		if len(c.side.head) == 0 {
			c.side.head = bytes.Clone(data)
		}
		return
	case errors.Is(err, ws.ErrIncomplete), err == nil && n > w.cfg.HandshakeLimit:
		err = errHeaderTooLarge
	case err == nil:
		c.side.head = bytes.Clone(data[n:])
		err = w.route(c, req)
	}
	if err != nil {
		w.refuse(c, err)
	}
}

func (w *Worker) route(c *conn, req *ws.Request) error {
	if err := w.forwarded(c, req); err != nil {
		return err
	}
	if w.health(c, req) {
		return nil
	}
	if i, ok := w.paths[req.Path]; ok {
		c.protocol = i
	} else if !w.anyPath {
		return errNotFound
	}
	if err := req.CheckUpgrade(); err != nil {
		return err
	}
	if !w.origins.allow(req.Origin, req.Host) {
		return errOrigin
	}
	if w.Standing() != hub.StandingGood {
		return unreachable()
	}
	if err := w.pace.check(); err != nil {
		return err
	}
	return w.protocols[c.protocol].upgrade(w, c, req)
}

// refuse answers with a problem document and closes the connection once the
// client has read it. In front of TLS there is nothing that it would understand.
func (w *Worker) refuse(c *conn, err error) {
	result := "internal"
	if re, ok := errors.AsType[*ws.RequestError](err); ok {
		result = re.Code
	}
	w.m.handshakes.WithLabelValues(result).Inc()
	w.trace(c, "client refused", "code", result)
	if c.state == stateProxy {
		w.drop(c, dropClosed)
		return
	}
	w.endRequest(c, ws.Problem(err))
}

// endRequest answers a request that does not lead to a WebSocket.
func (w *Worker) endRequest(c *conn, reply []byte) {
	if c.side != nil && c.side.noBody {
		reply = ws.Bodiless(reply)
	}
	w.endWith(c, reply)
}

// verifyJob is a token that waits for a fresh key set.
type verifyJob struct {
	c     *conn
	token string
}

// tokenOf takes the token from ?token= or from the subprotocols.
func tokenOf(req *ws.Request) string {
	for _, p := range req.Protocols {
		if token, ok := strings.CutPrefix(p, bearerPrefix); ok {
			return token
		}
	}
	return req.Query("token")
}

// authenticate checks the request's token; verified follows. It is checked on
// the loop: goroutines that do nothing else would, when many clients come at
// once, keep the one that receives deliveries from a CPU. What needs a fresh
// key set goes to those who may wait for one.
func (w *Worker) authenticate(c *conn, req *ws.Request) error {
	selected := ""
	if len(req.Protocols) > 0 {
		if selected = subprotocol; !slices.Contains(req.Protocols, subprotocol) {
			return errSubprotocol
		}
	}
	accept, err := req.Accept(selected)
	if err != nil {
		return err
	}
	c.side.accept = accept
	c.state = stateVerify
	token := tokenOf(req)
	id, err := w.deps.Auth.VerifyNow(token)
	if err == nil || !w.deps.Auth.MayWait() || !auth.Curable(err) {
		w.verified(c, id, err)
		return nil
	}
	if len(c.side.head) > w.cfg.HandshakeLimit { // what came with the request waits, too
		return errHeaderTooLarge
	}
	select {
	case w.waiting <- verifyJob{c, token}:
		return nil
	default:
		return authBusy()
	}
}

// verifyPatiently checks tokens for which a key set has to be fetched, until
// ctx ends.
func (w *Worker) verifyPatiently(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case job := <-w.waiting:
			id, err := w.verifyOne(ctx, job.token)
			w.Post(func() { w.verified(job.c, id, err) })
		}
	}
}

func (w *Worker) verifyOne(ctx context.Context, token string) (auth.Identity, error) {
	ctx, cancel := context.WithTimeout(ctx, w.cfg.HandshakeTimeout)
	defer cancel()
	return w.deps.Auth.Verify(ctx, token)
}

// verified goes on with a connection whose token has been checked: it switches
// to WebSocket, and hello follows once the index names the user.
func (w *Worker) verified(c *conn, id auth.Identity, err error) {
	if c.state != stateVerify {
		return // it has gone or timed out meanwhile
	}
	if err != nil {
		w.refuse(c, refusalOf(err))
		return
	}
	if w.Standing() != hub.StandingGood {
		w.refuse(c, unreachable())
		return
	}
	used, err := w.admit(c, id.User)
	if err != nil {
		w.refuse(c, err)
		return
	}
	w.trace(c, "token accepted", "sub", id.User)
	early, ok := w.switchProtocols(c, stateRegister)
	if !ok {
		return
	}
	c.deadline = w.now + w.limits.register
	c.opened = w.now
	w.join(c, id, used)
	w.arm(c)
	w.deps.Presence.Set(c.user, w.users.counts(c.user), func(err error) {
		w.Post(func() { w.registered(c, err) })
	})
	if exceeded := w.charge(c, useBytes, len(early)); exceeded != "" {
		w.overspent(c, exceeded)
		return
	}
	w.frames(c, early)
}

// admit lets a client with a valid token in, or refuses it because of its
// address, of its user, or of all who come. It returns what the user has used.
func (w *Worker) admit(c *conn, user hub.UserID) (used usage, err error) {
	if err := w.admitAddress(c); err != nil {
		return used, err
	}
	if used, err = w.admitUser(user); err == nil {
		err = w.pace.admit()
	}
	return used, err
}

// switchProtocols writes the 101 reply and returns what the client sent after
// its request, or false when the connection broke.
func (w *Worker) switchProtocols(c *conn, next state) (early []byte, ok bool) {
	w.takeIn(c)
	early = c.side.head
	reply := message{data: c.side.accept, control: true}
	c.settle()
	w.send(c, &reply)
	if c.state == stateGone {
		return nil, false
	}
	w.m.handshakes.WithLabelValues("ok").Inc()
	c.state = next
	return early, true
}

func refusalOf(err error) error {
	e, ok := errors.AsType[*auth.Error](err)
	if !ok {
		return authUnavailable()
	}
	return &ws.RequestError{
		Status: http.StatusUnauthorized, Code: e.Code(), Detail: e.Error(),
		Header: `WWW-Authenticate: Bearer error="invalid_token"`,
	}
}

// registered greets a connection whose user the index names now, or in a time
// of doubt has it wait on, within its time to register.
func (w *Worker) registered(c *conn, err error) {
	if c.state != stateRegister {
		return
	}
	if err != nil {
		w.log.Warn("register a user", "conn", string(w.appendName(nil, c)), "user", c.user, "err", err)
		w.close(c, ws.CloseTryAgainLater, "the hub is not available")
		return
	}
	if w.Standing() != hub.StandingGood {
		w.standing.registered = append(w.standing.registered, c)
		return
	}
	w.greet(c)
}
