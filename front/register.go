package front

import (
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/homing/homing/front/auth"
	"github.com/homing/homing/front/loop"
	"github.com/homing/homing/hub"
)

// What becomes of a connection beyond the limit of its user.
const (
	overflowOldest = "oldest" // the oldest is closed for it
	overflowNewest = "newest" // it is refused
)

// admitUser charges user for one more connection, or refuses it. It returns
// what the user has used then.
func (s *sessions) admitUser(user hub.UserID) (used usage, err error) {
	if s.refuseNewest && s.surplus(user) >= 0 {
		s.m.surplus.Inc()
		return used, errTooManyConnections()
	}
	used = s.users.used(user)
	if !used.take(s.loop.Now(), &s.perUser, useBytes, connectCost) {
		s.m.overBudget.WithLabelValues("connects").Inc()
		return used, errTooManyConnects()
	}
	return used, nil
}

// surplus is how many connections more than it may have a user has; negative
// when there is room. Without a limit there always is.
func (s *sessions) surplus(user hub.UserID) int {
	if s.maxPerUser == 0 {
		return -1
	}
	return s.users.count(user) - s.maxPerUser
}

// register registers c under its user, who has used what admitUser returned, and
// closes the user's oldest connection if it has too many then. done is called
// once, from any goroutine, when others can find c. It is a member of topics from then
// on that its token names.
func (s *sessions) register(c *conn, id auth.Identity, used usage, done func(error)) {
	c.State.opened = s.loop.Now()
	s.users.add(c, id)
	if g := c.State.group(); g != nil {
		g.used, c.State.used = used, usage{} // what the handshake took is in connectCost
	} else {
		c.State.used = used
	}
	if s.surplus(id.User) > 0 {
		s.m.surplus.Inc()
		s.close(s.users.oldest(id.User), closeReplaced, "too many connections of this user")
	}
	s.friends.register(c, id)
	s.presence.Set(c.State.user, s.users.counts(c.State.user), done)
}

// unregister makes c's user forget c, and the index learn of it.
func (s *sessions) unregister(c *conn) {
	user := c.State.user
	s.endResumes(c)
	if user == "" {
		return
	}
	c.State.leaveRoom()
	c.State.leaveLobby()
	s.friends.leave(c)
	s.topics.leaveAll(c)
	s.m.forgottenUsage.Add(float64(s.users.remove(c, s.loop.Now())))
	s.presence.Set(user, s.users.counts(user), nil)
}

// greet sends hello, and then what has waited for it.
func (s *sessions) greet(c *conn) {
	c.State.stage = stageOpen
	s.trace(c, "player connected")
	s.loop.SetDeadline(c, 0)
	s.loop.Uncork(c, s.message(c, outgoing{kind: kindHello, body: s.hello(c), to: c}, loop.Control))
	if c.State.stage == stageOpen {
		s.protocols.of(c).greeted(c)
		if r := c.State.resuming(); r == nil || r.pull == nil { // who polls is told of no friends
			s.friends.opened(c)
		}
	}
}

func (s *sessions) hello(c *conn) []byte {
	b := append(make([]byte, 0, 96+len(c.State.user)), `{"t":"hello","user":`...)
	b, _ = jsontext.AppendQuote(b, string(c.State.user)) // a user id is ASCII
	b = append(b, `,"conn":"`...)
	b = s.appendName(b, c)
	b = append(b, '"')
	if s.canResume {
		b = append(b, `,"resume":true`...)
	}
	b = append(b, `,"ping":`...)
	b = strconv.AppendInt(b, int64(s.protocols.of(c).silence())*loop.TickLength.Milliseconds(), 10)
	return append(b, '}')
}
