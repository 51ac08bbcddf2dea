package client

import (
	"encoding/json"
	"errors"
	"time"
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
		s.phase, s.replay, s.last = catchUp, m.Resumed.Count, m.Resumed.Last
		s.caughtUp()
	case m.Resumed != nil: // nobody asked
	case m.Error != nil && m.Error.Of == "resume" && s.waiting():
		s.refused(m.Error.Code)
	case m.Error != nil && m.Error.Of == "ack": // it is kept, replayed, and acknowledged again
	case h.Other != nil:
		h.Other(m)
	}
	return nil
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
	s.phase = behind
	s.release()
	if before == behind || code == "unavailable" {
		s.askAgain()
	}
}

// askAgain asks once more after a while, however often it was refused.
func (s *session) askAgain() {
	if s.retry != nil {
		s.retry.Stop()
	}
	s.retry = time.AfterFunc(resumeAgain+jitter(resumeAgain), s.ask)
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
	return fresh
}
