package ledger

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/homing/homing/hub"
)

// Rules say which connections count as held throughout a notification.
type Rules struct {
	// Joined is how long before the notification the connection's hello must
	// have been read: look-ups read replicas, which are a moment behind.
	Joined time.Duration
	// Stayed is how long after the answer the connection must have lasted: one
	// that ends sooner may have ended with the message still on its way.
	Stayed time.Duration
	// End is when the load ended; gaps are counted up to here.
	End time.Time
	// Owed says up to when the system still took a user to be on a connection
	// that ended, by its holder and its end. What is accepted by then and due
	// on no other connection is owed to the user's next one. nil, or the zero
	// time: nothing is.
	Owed func(holder int, closed time.Time) time.Time
	// Window is how soon a user must be back to be owed anything.
	Window time.Duration
}

// Entry is the result of settling a book. Accepted, Written and Lost count
// deliveries: a notification once for each connection that it was due on.
type Entry struct {
	Notifications int // accepted by the API
	Refused       int // answered with an error
	Unanswered    int // not answered

	Accepted     int // due: accepted, and the connection held throughout, or owed
	Owed         int // of those, owed to a user whose connection had ended or was about to
	Written      int // of those, arrived
	Lost         int // of those, never arrived
	Duplicated   int // arrivals beyond the first on one connection
	Reordered    int // arrivals after a later one of the same sender
	Misdelivered int // arrivals where they did not belong
	Away         int // accepted while the user had no connection, who came back within the window and never got it; nothing is due
	HandedOver   int // arrivals on a connection made after the notification was sent

	LongestGap         time.Duration // see gaps
	LostFrom, LostLast time.Time     // when the first and the last lost one was due; zero: none

	Examples []string // the first faults found, in words, for whoever looks for the cause
}

// Clean reports whether every accepted notification arrived exactly once, in
// order, and only where it belonged.
func (e Entry) Clean() bool {
	return e.Lost == 0 && e.Duplicated == 0 && e.Reordered == 0 && e.Misdelivered == 0
}

// maxExamples is how many faults are told in words.
const maxExamples = 10

// example describes one fault at a connection.
func (a *account) example(c *Conn, k Key, fault string, at time.Time) {
	if len(a.entry.Examples) == maxExamples {
		return
	}
	var text strings.Builder
	fmt.Fprintf(&text, "%s: notification %d of sender %d at %s, connection %p of worker %d since %s, at %s",
		fault, k.N, k.Sender, c.User, c, c.holder, c.Opened.Format(clock), at.Format(clock))
	if m := a.messages[k]; m != nil {
		fmt.Fprintf(&text, "; due at %s, answered at %s", m.Due.Format(clock), m.Answered.Format(clock))
	}
	for _, s := range a.sheets[c.User] {
		fmt.Fprintf(&text, "; the user had %p at worker %d (%q)", s.Conn, s.holder, s.Service)
	}
	a.entry.Examples = append(a.entry.Examples, text.String())
}

const clock = "15:04:05.000"

// account is a book being settled.
type account struct {
	rules    Rules
	messages map[Key]*Message
	sheets   map[hub.UserID][]*sheet
	entry    Entry
}

// sheet is one connection with its arrivals counted.
type sheet struct {
	*Conn
	arrived map[Key]int
}

// Settle accounts for every message entered. Callers and clients must have
// stopped.
func (b *Book) Settle(rules Rules) Entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	a := &account{
		rules:    rules,
		messages: make(map[Key]*Message, len(b.messages)),
		sheets:   make(map[hub.UserID][]*sheet),
	}
	for _, m := range b.messages {
		a.messages[m.Key] = m
	}
	for _, c := range b.conns {
		a.read(c)
	}
	for _, m := range b.messages {
		a.demand(m)
	}
	a.entry.LongestGap = a.longestGap()
	return a.entry
}

// read counts what arrived on a connection.
func (a *account) read(c *Conn) {
	s := &sheet{Conn: c, arrived: make(map[Key]int, len(c.Receipts))}
	a.sheets[c.User] = append(a.sheets[c.User], s)
	newest := make(map[int]int) // by sender, the highest N so far
	for _, r := range c.Receipts {
		m := a.messages[r.Key]
		if m == nil || !m.names(c) {
			a.entry.Misdelivered++
			a.example(c, r.Key, "misdelivered", r.At)
			continue
		}
		s.arrived[r.Key]++
		if !a.joined(c, m) {
			// What an earlier connection had not confirmed: at least once, and
			// after what is newer. The client's ids put that right.
			if c.Opened.After(m.Due) {
				a.entry.HandedOver++
			}
			continue
		}
		if s.arrived[r.Key] > 1 {
			a.entry.Duplicated++
			a.example(c, r.Key, "duplicated", r.At)
			continue
		}
		if last, ok := newest[r.Sender]; ok && r.N < last {
			if m.Outcome == Accepted {
				a.entry.Reordered++
				a.example(c, r.Key, fmt.Sprintf("after %d", last), r.At)
			}
			continue
		}
		newest[r.Sender] = r.N
	}
}

// names reports whether the message is for the connection.
func (m *Message) names(c *Conn) bool {
	return (m.Service == "" || m.Service == c.Service) && slices.Contains(m.Users, c.User)
}

// demand counts on which connections a message was due and whether it came.
func (a *account) demand(m *Message) {
	switch m.Outcome {
	case Accepted:
		a.entry.Notifications++
	case Refused:
		a.entry.Refused++
		return
	default:
		a.entry.Unanswered++
		return
	}
	for _, u := range m.Users {
		held := false
		for _, s := range a.sheets[u] {
			if m.names(s.Conn) && a.heldThroughout(s.Conn, m) {
				a.charge(m, s, s.arrived[m.Key] > 0)
				held = true
			}
		}
		if held || a.rules.Owed == nil {
			continue
		}
		switch s, back := a.owed(u, m); {
		case !back:
		case s != nil:
			a.entry.Owed++
			a.charge(m, s, a.reached(u, m))
		case a.away(u, m) && !a.reached(u, m):
			a.entry.Away++
		}
	}
}

// owed returns a connection on which the system still took the user to be when
// it accepted m, if there is one, and whether the user came back in time for m.
func (a *account) owed(u hub.UserID, m *Message) (ended *sheet, back bool) {
	for _, s := range a.sheets[u] {
		switch {
		case !m.names(s.Conn):
		case s.Opened.After(m.Due):
			back = back || s.Opened.Before(m.Due.Add(a.rules.Window)) && s.openAt(s.Opened.Add(a.rules.Stayed))
		case !s.closed.IsZero() && a.joined(s.Conn, m) && a.rules.Owed(s.holder, s.closed).After(m.Answered):
			ended = s
		}
	}
	return ended, back
}

// away reports whether the user had had a connection for m, and has none while
// m is accepted.
func (a *account) away(u hub.UserID, m *Message) bool {
	before := false
	for _, s := range a.sheets[u] {
		if !m.names(s.Conn) || s.Opened.After(m.Answered) {
			continue
		}
		if s.openAt(m.Due) {
			return false
		}
		before = true
	}
	return before
}

// reached reports whether m arrived on any connection of the user.
func (a *account) reached(u hub.UserID, m *Message) bool {
	return slices.ContainsFunc(a.sheets[u], func(s *sheet) bool { return s.arrived[m.Key] > 0 })
}

// charge counts m, which was due on s.
func (a *account) charge(m *Message, s *sheet, arrived bool) {
	a.entry.Accepted++
	if arrived {
		a.entry.Written++
		return
	}
	a.entry.Lost++
	a.example(s.Conn, m.Key, "lost", m.Due)
	if a.entry.LostFrom.IsZero() || m.Due.Before(a.entry.LostFrom) {
		a.entry.LostFrom = m.Due
	}
	if m.Due.After(a.entry.LostLast) {
		a.entry.LostLast = m.Due
	}
}

func (a *account) heldThroughout(c *Conn, m *Message) bool {
	return a.joined(c, m) && (c.closed.IsZero() || c.closed.After(m.Answered.Add(a.rules.Stayed)))
}

// joined reports whether the connection had been there for long enough when
// the message was sent.
func (a *account) joined(c *Conn, m *Message) bool {
	return !c.Opened.Add(a.rules.Joined).After(m.Due)
}
