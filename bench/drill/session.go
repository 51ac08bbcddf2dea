package drill

import (
	"encoding/json"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/homing/homing/bench/ledger"
	client "github.com/homing/homing/client/go"
)

// follower is a device's place in what is stored for its user, over all its
// connections. It does what docs/protocol.md asks of a client under "Catching
// up", by itself: the client library is among what is drilled elsewhere.
// Owned by the goroutine that reads the device's connection.
type follower struct {
	record *ledger.Device
	acks   bool   // acknowledges what asks for it
	after  string // the place
	seen   map[string]struct{}
}

func newFollower(book *ledger.Book, d *device, acks bool) *follower {
	return &follower{record: book.Device(d.user, d.service), acks: acks, seen: make(map[string]struct{})}
}

// phase is how far a session has caught up.
type phase uint8

const (
	live    phase = iota // caught up, or did not ask
	asking               // resume is sent
	replay               // what was missed arrives
	loosely              // the inbox could not be read: messages pass, and it is asked again
)

// speaker is what a session needs of its connection.
type speaker interface {
	Hello() client.Hello
	Send(text []byte) error
}

// session is one connection of a follower.
type session struct {
	*follower

	conn     speaker
	sheet    *ledger.Conn
	caughtUp func() // is called when a replay was given in full

	phase    phase
	asked    atomic.Pointer[time.Time] // when resume was sent last
	again    *time.Timer               // sends it again; nil: was not needed so far
	expected int                       // of the replay, still to come
	last     string                    // the place after the replay
	aside    []client.Notification     // arrived before the answer
	unacked  []string
}

// begin asks what was missed. A connection that cannot be written to says so
// when it is read.
func (s *session) begin() {
	if !s.conn.Hello().Resume {
		s.caughtUp()
		return
	}
	s.phase = asking
	s.ask()
}

func (s *session) ask() {
	now := time.Now()
	s.asked.Store(&now)
	after, _ := json.Marshal(s.after) // a string always marshals
	_ = s.conn.Send([]byte(`{"t":"resume","after":` + string(after) + `}`))
}

// end stops what would go on after the connection.
func (s *session) end() {
	if s.again != nil {
		s.again.Stop()
	}
}

// take handles one message of the server.
func (s *session) take(m client.Message) {
	switch {
	case m.Notification != nil:
		s.notification(m.Notification)
	case m.Resumed != nil:
		s.record.Resumes = append(s.record.Resumes, ledger.Resume{Asked: *s.asked.Load(), Recovered: m.Resumed.Recovered})
		s.phase, s.expected, s.last = replay, m.Resumed.Count, m.Resumed.Last
		s.advance()
	case m.Error != nil && m.Error.Of == "resume":
		s.refused()
	}
}

func (s *session) notification(n *client.Notification) {
	r := receipt(n)
	r.Replayed = s.phase == replay
	s.sheet.Receipts = append(s.sheet.Receipts, r)
	switch s.phase {
	case asking:
		s.aside = append(s.aside, *n)
	case replay:
		s.give(n)
		s.expected--
		s.advance()
	case live, loosely:
		s.giveLive(n)
		s.acknowledge()
	}
}

// advance goes live once the whole replay has been given.
func (s *session) advance() {
	if s.expected > 0 {
		return
	}
	s.phase, s.after = live, s.last
	s.record.Resumes[len(s.record.Resumes)-1].Done = time.Now()
	s.release()
	s.caughtUp()
}

// release gives what was set aside.
func (s *session) release() {
	aside := s.aside
	s.aside = nil
	for i := range aside {
		s.giveLive(&aside[i])
	}
	s.acknowledge()
}

// refused lets messages pass, and asks again a while later.
func (s *session) refused() {
	s.phase = loosely
	s.release()
	s.again = time.AfterFunc(time.Second+rand.N(time.Second), s.ask)
}

// giveLive gives what is not part of a replay. What is stored moves the place,
// unless something before it may be missing.
func (s *session) giveLive(n *client.Notification) {
	if s.give(n) && n.Stored && s.phase == live {
		s.after = n.ID
	}
}

// give hands n to the application, unless it has had it, and reports whether
// it was fresh.
func (s *session) give(n *client.Notification) (fresh bool) {
	if n.Ack && s.acks {
		s.unacked = append(s.unacked, n.ID)
	}
	if _, had := s.seen[n.ID]; had {
		return false
	}
	s.seen[n.ID] = struct{}{}
	r := receipt(n)
	s.record.Given = append(s.record.Given, ledger.Given{Key: r.Key, At: r.At, Loose: s.phase == loosely})
	return true
}

// ackBatch is how many ids one acknowledgement may name.
const ackBatch = 256

// acknowledge lets go of what was given. What cannot be sent comes again.
func (s *session) acknowledge() {
	for len(s.unacked) > 0 {
		n := min(len(s.unacked), ackBatch)
		ids, _ := json.Marshal(s.unacked[:n]) // strings always marshal
		_ = s.conn.Send([]byte(`{"t":"ack","ids":` + string(ids) + `}`))
		s.unacked = s.unacked[n:]
	}
}
