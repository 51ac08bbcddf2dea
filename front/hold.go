package front

import (
	"bytes"
	"slices"

	"github.com/homing/homing/front/loop"
	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/drop"
)

// heldBounds say how much may be held for one connection until its replay has gone.
type heldBounds struct{ bytes, messages int }

// held is a live message that waits for the replay to go first.
//
//bound:held
type held struct {
	loop.Message
	original
}

// original is the notification that a message was made of; the zero original: none.
type original struct {
	id, body []byte
	kept     bool // an inbox or a topic keeps it
}

// holding is what is held for a connection until it has caught up with everything that
// it is to catch up with.
type holding struct {
	messages []held
	bytes    int
}

// give sends c a message of the hub, made of the given notification, which is only
// lent: at once, or after the replay, or not at all if c was given it before. With
// StatusQueued, m's bytes are kept. It may end c.
func (s *sessions) give(c *conn, m *loop.Message, of original) hub.Status {
	if c.State.extra != nil && c.State.catching() {
		return s.hold(c, m, of)
	}
	return s.giveNow(c, m, of)
}

// giveNow is give for a connection that has caught up.
func (s *sessions) giveNow(c *conn, m *loop.Message, of original) hub.Status {
	if c.State.extra != nil && s.repeats(c, of) {
		s.m.repeats.Inc()
		return hub.StatusWritten
	}
	if _, own := s.protocols.of(c).(personal); own && of.kept {
		x := *m
		x.Data = s.protocols.of(c).appendMessage(nil, outgoing{id: of.id, body: of.body, to: c})
		m = &x
	}
	return s.send(c, m)
}

// giveSoon is give for a message that is no notification and can wait for a moment: what
// comes meanwhile is written with it.
func (s *sessions) giveSoon(c *conn, m *loop.Message) {
	if c.State.catching() {
		s.hold(c, m, original{})
		return
	}
	s.came(c, s.loop.SendSoon(c, m))
}

// hold keeps m until the replay has gone. When too much is held, the connection is
// closed as a slow consumer, and its client resumes again.
func (s *sessions) hold(c *conn, m *loop.Message, of original) hub.Status {
	if len(m.Data) == 0 { // nothing, in its protocol
		return hub.StatusWritten
	}
	h := c.State.extra.holding
	if h == nil {
		h = &holding{}
		c.State.extra.holding = h
	}
	if i := slices.IndexFunc(h.messages, func(h held) bool { return h.ObsoleteBy(m) }); i >= 0 {
		s.m.drop(drop.Replaced, m.Class)
		if m.Outdated(&h.messages[i].Message) {
			return hub.StatusDropped
		}
		h.remove(i)
	}
	if h.bytes+len(m.Data) > s.held.bytes || len(h.messages) >= s.held.messages {
		s.m.drop(drop.SlowConsumer, m.Class)
		s.cut(c, drop.SlowConsumer, closeSlowConsumer, "slow consumer")
		return hub.StatusDropped
	}
	of.id = bytes.Clone(of.id)
	if _, own := s.protocols.of(c).(personal); own && of.kept {
		of.body = bytes.Clone(of.body)
	} else {
		of.body = nil // m has it
	}
	h.messages = append(h.messages, held{*m, of})
	h.bytes += len(m.Data)
	c.State.resuming().hears()
	return hub.StatusQueued
}

// remove takes out message i.
func (h *holding) remove(i int) {
	h.bytes -= len(h.messages[i].Data)
	h.messages = slices.Delete(h.messages, i, i+1)
}

// release sends what was held, as far as the connection lives, unless it still catches up
// with something.
func (s *sessions) release(c *conn) {
	if c.State.extra == nil || c.State.extra.holding == nil || c.State.catching() {
		return
	}
	waiting := c.State.extra.holding.messages
	c.State.extra.holding = nil
	for i := range waiting {
		switch m := &waiting[i]; {
		case c.State.stage != stageOpen:
			s.m.drop(drop.Closed, m.Class)
		default:
			s.giveNow(c, &m.Message, m.original)
		}
	}
	c.State.spare()
}

// giveUpHeld counts as given up what waits for replays to go first.
func (s *sessions) giveUpHeld(c *conn, why drop.Reason) {
	if c.State.extra == nil || c.State.extra.holding == nil {
		return
	}
	for _, m := range c.State.extra.holding.messages {
		s.m.drop(why, m.Class)
	}
	c.State.extra.holding = nil
}

// remember notes what need not be sent again: what is replayed, and what the client has
// named as its place. As every connection that resumed
// keeps it for a while, that is a hash of each id, see heard.
func (s *sessions) remember(r *resume, entries []hub.Stored) {
	r.replayed = append(make([]uint64, 0, len(r.replayed)+len(entries)+min(1, len(r.after))), r.replayed...)
	for i := range entries {
		r.replayed = append(r.replayed, s.hash.of([]byte(entries[i].ID), nil))
	}
	if r.after != "" {
		r.replayed = append(r.replayed, s.hash.of([]byte(r.after), nil))
	}
	slices.Sort(r.replayed)
}

// repeats reports whether a notification, which is only lent, was replayed to c, or
// was given to its client before.
func (s *sessions) repeats(c *conn, of original) bool {
	if of.kept && c.State.trail().has(of.id) {
		return true
	}
	e := c.State.extra
	if e == nil || e.resume == nil && (e.topics == nil || len(e.topics.catching) == 0) {
		return false
	}
	hash := s.hash.of(of.id, nil)
	if e.resume.replays(hash) {
		return true
	}
	return e.topics != nil && slices.ContainsFunc(e.topics.catching, func(r *resume) bool { return r.replays(hash) })
}

// replayedBeside returns what reports whether a notification was replayed to x's
// connection by another of its resumes, as what several topics keep. What was replayed of
// the same topic comes again: the client has asked for it.
func (s *sessions) replayedBeside(x *resume) func(id string) bool {
	others := slices.DeleteFunc(x.c.State.allResumes(), func(r *resume) bool { return r == x || len(r.replayed) == 0 })
	return func(id string) bool {
		if len(others) == 0 {
			return false
		}
		hash := s.hash.of([]byte(id), nil)
		known := slices.ContainsFunc(others, func(r *resume) bool { return r.replays(hash) })
		if known {
			s.m.repeats.Inc()
		}
		return known
	}
}

// replays reports whether the notification whose id has the hash was replayed.
func (r *resume) replays(hash uint64) bool {
	if r == nil {
		return false
	}
	_, known := slices.BinarySearch(r.replayed, hash)
	return known
}

// endResumes ends the resumes of a connection that ends.
func (s *sessions) endResumes(c *conn) {
	s.giveUpHeld(c, drop.Closed)
	for _, r := range c.State.allResumes() {
		s.forgetResume(r)
	}
}

// forgetResume ends r.
func (s *sessions) forgetResume(r *resume) {
	r.ended = true
	s.replays.leave(r)
	e := r.c.State.extra
	switch {
	case e == nil: // the connection has ended
		return
	case r.ofInbox():
		e.resume = nil
	case e.topics != nil:
		e.topics.catching = slices.DeleteFunc(e.topics.catching, func(x *resume) bool { return x == r })
	}
	r.c.State.spare()
}
