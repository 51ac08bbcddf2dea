package client

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// session is one connection of a Client. But for acks it is owned by Run.
//
// After hello it asks for what was missed. What arrives before the answer is
// newer and is set aside until the replay has been given to the application.
type session struct {
	client *Client
	conn   *Conn
	acks   acks
	retry  *time.Timer // asks again; nil unless the server's inbox was away

	asked      string // the position that was resumed from
	phase      phase
	replay     int            // notifications of the replay that are still to come
	last       string         // the position after the replay
	aside      []Notification // what arrived before the answer
	asideBytes int            // of its data
}

// phase is how far a session has caught up.
type phase uint8

const (
	live    phase = iota // caught up, or nothing to catch up with
	asking               // resume is sent
	catchUp              // the replay arrives
	behind               // the server could not look: messages pass, and it is asked again
)

const (
	// asideLimit and asideMost, in bytes, bound what may arrive between hello
	// and the answer. The server holds back what comes once it has read the
	// request.
	asideLimit = 4096
	asideMost  = 8 << 20
	// resumeAgain is how long a server whose inbox is away is left alone, up
	// to twice.
	resumeAgain = time.Second
)

// errTooMuchAside ends a session whose server does not answer resume.
var errTooMuchAside = errors.New("no answer to resume, and too much came meanwhile")

func newSession(c *Client, conn *Conn) *session {
	return &session{client: c, conn: conn, acks: acks{conn: conn}}
}

// begin asks for what was missed, of a server that can tell.
func (s *session) begin() {
	if !s.conn.Hello().Resume {
		s.client.topics.up(s.conn)
		return
	}
	s.phase, s.asked = asking, s.client.Position()
	s.ask()
}

// ask sends resume. A failed write shows where the connection is read, after
// what the server said before: a reconnect, perhaps.
func (s *session) ask() { _ = s.conn.Send(resumeText(s.asked)) }

// waiting reports whether an answer to resume may come.
func (s *session) waiting() bool { return s.phase == asking || s.phase == behind }

func resumeText(after string) []byte {
	id, _ := json.Marshal(after) // a string always marshals
	return append(append([]byte(`{"t":"resume","after":`), id...), '}')
}

// end acknowledges what was dealt with, as far as the connection takes it, and
// stops what would go on after it.
func (s *session) end() {
	s.acks.stop()
	s.client.topics.down()
	s.client.outbox.set(nil)
	if s.retry != nil {
		s.retry.Stop()
	}
}

// take handles one message of the server.
func (s *session) take(m Message) error {
	h := &s.client.handler
	switch {
	case m.Notification != nil:
		return s.notification(m.Notification)
	case m.Resumed != nil && s.waiting():
		if h.Resumed != nil {
			h.Resumed(*m.Resumed)
		}
		s.answered()
		s.phase, s.replay, s.last = catchUp, m.Resumed.Count, m.Resumed.Last
		s.caughtUp()
	case m.Resumed != nil: // nobody asked
	case m.Error != nil && m.Error.Of == "resume" && s.waiting():
		s.refused(m.Error.Code)
	case m.Error != nil && m.Error.Of == "ack": // it is kept, replayed, and acknowledged again
	default:
		s.other(m)
	}
	return nil
}

// other handles what is about topics and friends, and gives the rest away. So it does
// with what has fields of other types than are known here: a later server's, perhaps.
func (s *session) other(m Message) {
	c, h := s.client, &s.client.handler
	var err error
	switch {
	case m.Kind == "subscribed":
		err = s.subscribed(m.Raw)
	case m.Kind == "unsubscribed":
		err = s.unsubscribed(m.Raw)
	case m.Kind == "published":
		err = s.published(m.Raw)
	case m.Error != nil && m.Error.Of == "publish":
		c.outbox.answered(m.ref, published{err: m.Error})
	case m.Error != nil && m.Error.Of == "subscribe":
		if name := c.topics.refused(m.ref, m.Error.Code); name != "" && h.Ended != nil {
			h.Ended(name, m.Error.Code)
		}
	case m.Kind == "friends", m.Kind == "presence":
		err = s.friends(m)
	default:
		call(h.Other, m)
	}
	if err != nil {
		call(h.Other, m)
	}
}

func (s *session) subscribed(raw []byte) error {
	var x Subscribed
	if err := parse(raw, &x); err != nil {
		return err
	}
	s.client.topics.subscribed(&x)
	call(s.client.handler.Subscribed, x)
	return nil
}

func (s *session) published(raw []byte) error {
	var x struct {
		ID  string `json:"id"`
		Ref string `json:"ref"`
	}
	if err := parse(raw, &x); err != nil {
		return err
	}
	s.client.outbox.answered(x.Ref, published{id: x.ID})
	return nil
}

func (s *session) friends(m Message) error {
	c := s.client
	read := c.friends.moved
	if m.Kind == "friends" {
		read = readFriends
	}
	online, err := read(m.Raw)
	if err != nil {
		return err
	}
	c.friends = online
	call(c.handler.Friends, c.friends)
	return nil
}

// unsubscribed tells of a topic that a backend has taken the client out of. The
// answer to the client's own wish has a ref.
func (s *session) unsubscribed(raw []byte) error {
	var x struct {
		Topic string         `json:"topic"`
		Ref   jsontext.Value `json:"ref"`
	}
	if err := parse(raw, &x); err != nil || len(x.Ref) > 0 {
		return err
	}
	if s.client.topics.ended(x.Topic) && s.client.handler.Ended != nil {
		s.client.handler.Ended(x.Topic, "unsubscribed")
	}
	return nil
}

// call calls f unless it is nil.
func call[T any](f func(T), x T) {
	if f != nil {
		f(x)
	}
}

// answered has topics asked for once resume is: what comes meanwhile is set aside.
func (s *session) answered() {
	if s.phase == asking {
		s.client.topics.up(s.conn)
	}
}

func (s *session) notification(n *Notification) error {
	if s.phase == asking {
		if s.asideBytes += len(n.Data); len(s.aside) >= asideLimit || s.asideBytes > asideMost {
			return errTooMuchAside
		}
		s.aside = append(s.aside, *n)
		return nil
	}
	fresh := s.give(n)
	switch {
	case s.phase == catchUp:
		s.replay--
		s.caughtUp()
	case s.phase == live && fresh && n.Stored:
		s.client.setPosition(n.ID)
	}
	return nil
}

// caughtUp goes live once the whole replay has been given.
func (s *session) caughtUp() {
	if s.phase != catchUp || s.replay > 0 {
		return
	}
	s.phase = live
	s.client.setPosition(s.last)
	s.release()
	if caughtUp := s.client.handler.CaughtUp; caughtUp != nil {
		caughtUp()
	}
}

// release gives what was set aside.
func (s *session) release() {
	aside := s.aside
	s.aside, s.asideBytes = nil, 0
	for i := range aside {
		if s.give(&aside[i]) && aside[i].Stored && s.phase == live {
			s.client.setPosition(aside[i].ID)
		}
	}
}

// refused lets messages pass although what was missed is not here. The
// position stays, so that nothing is skipped when the server can tell again.
func (s *session) refused(code string) {
	before := s.phase
	s.answered()
	s.phase = behind
	s.release()
	if before == behind || code == "unavailable" || code == "rate_limited" {
		s.askAgain()
	}
}

// askAgain asks once more after a while, however often it was refused.
func (s *session) askAgain() {
	if s.retry != nil {
		s.retry.Stop()
	}
	s.retry = time.AfterFunc(soon(), s.ask)
}

// give hands n to the application, unless it has had it, and acknowledges it
// in either case: an earlier acknowledgement may have been lost. What Notify
// panics at counts as not had. It reports whether n was fresh.
func (s *session) give(n *Notification) (fresh bool) {
	fresh = !s.client.seen.has(n.ID)
	if notify := s.client.handler.Notify; fresh && notify != nil {
		notify(*n)
	}
	s.client.seen.add(n.ID)
	if n.Ack {
		s.acks.add(n.ID)
	}
	s.client.topics.dealt(n, fresh)
	return fresh
}
