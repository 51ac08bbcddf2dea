package front

import (
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

	id string
}

// give sends c a message of the hub with the given notification id, which is
// only lent: at once, or after the replay, or not at all if it was in that. With
// StatusQueued, m's bytes are kept. It may end c.
func (s *sessions) give(c *conn, m *loop.Message, id []byte) hub.Status {
	r := c.State.resuming()
	switch {
	case r == nil:
		return s.send(c, m)
	case r.active():
		return s.hold(c, r, m, id)
	}
	if s.repeats(r, id) {
		s.m.repeats.Inc()
		return hub.StatusWritten
	}
	return s.send(c, m)
}

// hold keeps m until the replay has gone. When too much is held, the connection is
// closed as a slow consumer, and its client resumes again.
func (s *sessions) hold(c *conn, r *resume, m *loop.Message, id []byte) hub.Status {
	if r.remove(m) {
		s.m.drop(drop.Replaced, m.Class)
	}
	if r.bytes+len(m.Data) > s.held.bytes || len(r.held) >= s.held.messages {
		s.m.drop(drop.SlowConsumer, m.Class)
		s.cut(c, drop.SlowConsumer, closeSlowConsumer, "slow consumer")
		return hub.StatusDropped
	}
	r.held = append(r.held, held{*m, string(id)})
	r.bytes += len(m.Data)
	return hub.StatusQueued
}

// remove takes out the held message that m makes obsolete, if there is one.
func (r *resume) remove(m *loop.Message) bool {
	i := slices.IndexFunc(r.held, func(h held) bool { return h.ObsoleteBy(m) })
	if i < 0 {
		return false
	}
	r.bytes -= len(r.held[i].Data)
	r.held = slices.Delete(r.held, i, i+1)
	return true
}

// release sends what was held, as far as the connection lives.
func (s *sessions) release(c *conn, r *resume) {
	waiting := r.held
	r.held, r.bytes = nil, 0
	for i := range waiting {
		switch m := &waiting[i]; {
		case c.State.stage != stageOpen:
			s.m.drop(drop.Closed, m.Class)
		case s.repeats(r, []byte(m.id)):
			s.m.repeats.Inc()
		default:
			s.send(c, &m.Message)
		}
	}
}

// giveUpHeld counts as given up what waits for a replay to go first.
func (s *sessions) giveUpHeld(c *conn, why drop.Reason) {
	if r := c.State.resuming(); r != nil {
		for i := range r.held {
			s.m.drop(why, r.held[i].Class)
		}
		r.held, r.bytes = nil, 0
	}
}

// remember notes what need not be sent again. As every connection that resumed
// keeps it for a while, that is a hash of each id, see heard.
func (s *sessions) remember(r *resume, entries []hub.Stored) {
	r.replayed = make([]uint64, len(entries))
	for i := range entries {
		r.replayed[i] = s.hash.of([]byte(entries[i].ID), nil)
	}
	slices.Sort(r.replayed)
}

// repeats reports whether the notification with the given id, which is only
// lent, was replayed to r.
func (s *sessions) repeats(r *resume, id []byte) bool {
	if len(r.replayed) == 0 {
		return false
	}
	_, known := slices.BinarySearch(r.replayed, s.hash.of(id, nil))
	return known
}

// endResume ends the resume of a connection that ends.
func (s *sessions) endResume(c *conn) {
	if r := c.State.resuming(); r != nil {
		s.giveUpHeld(c, drop.Closed)
		s.forgetResume(c, r)
	}
}

// forgetResume ends c's resume.
func (s *sessions) forgetResume(c *conn, r *resume) {
	r.ended = true
	s.replays.leave(c, r)
	c.State.extra.resume = nil
	c.State.spare()
}
