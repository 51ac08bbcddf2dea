package client

import (
	"encoding/json"
	"errors"
	"sync"
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

	asked  string // the position that was resumed from
	phase  phase
	replay int            // notifications of the replay that are still to come
	last   string         // the position after the replay
	aside  []Notification // what arrived before the answer
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
	// asideLimit bounds what may arrive between hello and the answer. The
	// server holds back what comes once it has read the request.
	asideLimit = 4096
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
func (s *session) begin() error {
	if !s.conn.Hello().Resume {
		return nil
	}
	s.phase, s.asked = asking, s.client.Position()
	return s.ask()
}

func (s *session) ask() error { return s.conn.Send(resumeText(s.asked)) }

func resumeText(after string) []byte {
	id, _ := json.Marshal(after) // a string always marshals
	return append(append([]byte(`{"t":"resume","after":`), id...), '}')
}

// end stops what would go on after the connection.
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
	case m.Resumed != nil:
		if h.Resumed != nil {
			h.Resumed(*m.Resumed)
		}
		s.phase, s.replay, s.last = catchUp, m.Resumed.Count, m.Resumed.Last
		s.caughtUp()
	case m.Error != nil && m.Error.Of == "resume" && s.phase == asking:
		s.refused(m.Error.Code)
	case m.Error != nil && m.Error.Of == "resume" && s.phase == behind:
		s.askAgain()
	case m.Error != nil && m.Error.Of == "ack": // it is kept, replayed, and acknowledged again
	case h.Other != nil:
		h.Other(m)
	}
	return nil
}

func (s *session) notification(n *Notification) error {
	if s.phase == asking {
		if len(s.aside) >= asideLimit {
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
	s.aside = nil
	for i := range aside {
		if s.give(&aside[i]) && aside[i].Stored && s.phase == live {
			s.client.setPosition(aside[i].ID)
		}
	}
}

// refused lets messages pass although what was missed is not here. The
// position stays, so that nothing is skipped when the server can tell again.
func (s *session) refused(code string) {
	s.phase = behind
	s.release()
	if code == "unavailable" {
		s.askAgain()
	}
}

// askAgain asks once more after a while. A failed write shows at the next
// read.
func (s *session) askAgain() {
	s.retry = time.AfterFunc(resumeAgain+jitter(resumeAgain), func() { _ = s.ask() })
}

// give hands n to the application, unless it has had it, and acknowledges it
// in either case: an earlier acknowledgement may have been lost. It reports
// whether it was fresh.
func (s *session) give(n *Notification) (fresh bool) {
	fresh = !s.client.seen.add(n.ID)
	if notify := s.client.handler.Notify; fresh && notify != nil {
		notify(*n)
	}
	if n.Ack {
		s.acks.add(n.ID)
	}
	return fresh
}

// acks gathers acknowledgements, so that a flood of messages is answered by a
// few. Safe for concurrent use.
type acks struct {
	conn *Conn

	mu      sync.Mutex
	ids     []string    // guarded by mu
	timer   *time.Timer // guarded by mu; set while ids wait
	stopped bool        // guarded by mu
}

const (
	ackBatch = 64
	ackDelay = 50 * time.Millisecond
)

func (a *acks) add(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ids = append(a.ids, id)
	switch {
	case len(a.ids) >= ackBatch:
		a.flushLocked()
	case a.timer == nil && !a.stopped:
		a.timer = time.AfterFunc(ackDelay, a.flush)
	}
}

func (a *acks) flush() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.flushLocked()
}

// flushLocked sends what waits. When that fails the connection is lost, and
// the notifications come again.
func (a *acks) flushLocked() {
	if a.timer != nil {
		a.timer.Stop()
		a.timer = nil
	}
	if len(a.ids) == 0 || a.stopped {
		return
	}
	ids, _ := json.Marshal(a.ids) // strings always marshal
	a.ids = a.ids[:0]
	_ = a.conn.Send(append(append([]byte(`{"t":"ack","ids":`), ids...), '}'))
}

// stop sends what waits, as far as the connection takes it, and no more.
func (a *acks) stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.flushLocked()
	a.stopped = true
}
