package ledger

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/homing/homing/hub"
)

// maxExamples is how many faults of one kind are told in words.
const maxExamples = 4

// account is a book being settled.
type account struct {
	rules    Rules
	messages map[Key]*Message
	sheets   map[hub.UserID][]*sheet
	attempts map[hub.UserID][]attempt
	entry    Entry
	examples map[string]int // told so far, by kind
	delays   []time.Duration
}

// sheet is one connection with its arrivals counted.
type sheet struct {
	*Conn

	arrived  map[Key]int
	replayed map[Key]bool
	closed   time.Time // nothing was due on it from then on; zero: to the end
	sentAway bool      // it was out of reach between closed and its end
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
		attempts: b.attempts,
		examples: make(map[string]int),
	}
	for _, m := range b.messages {
		a.messages[m.Key] = m
	}
	for _, c := range b.conns {
		s := a.sheet(c)
		a.sheets[c.User] = append(a.sheets[c.User], s)
		a.read(s)
	}
	for _, m := range b.messages {
		a.demand(m)
	}
	a.settleStored(b.devices)
	a.entry.LongestGap = a.longestGap()
	slices.Sort(a.delays)
	a.entry.P50, a.entry.P99 = quantile(a.delays, 0.5), quantile(a.delays, 0.99)
	return a.entry
}

// quantile is the value of sorted below which a part of it is; 0 when there is none.
func quantile(sorted []time.Duration, part float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[int(part*float64(len(sorted)-1))]
}

func (a *account) sheet(c *Conn) *sheet {
	s := &sheet{Conn: c, arrived: make(map[Key]int, len(c.Receipts)), replayed: make(map[Key]bool), closed: c.end.At}
	if !c.end.Silent.IsZero() {
		s.closed = c.end.Silent
	}
	if c.end.At.IsZero() {
		return s
	}
	ending := Ending{User: c.User, Service: c.Service, Holder: c.holder, Roams: c.Roams, Opened: c.Opened, End: c.end}
	if a.rules.Died != nil {
		if died := a.rules.Died(ending); !died.IsZero() && died.Before(s.closed) {
			s.closed = died
		}
	}
	if a.rules.SentAway != nil && !c.end.Left {
		since := a.rules.SentAway(ending)
		if !since.IsZero() && since.Before(s.closed) {
			s.closed, s.sentAway = since, true
		}
	}
	return s
}

// source is what keeps order: notifications of one sender through one API server.
type source struct{ sender, api int }

// read counts what arrived on a connection.
func (a *account) read(s *sheet) {
	newest := make(map[source]int) // the highest N so far
	for _, r := range s.Receipts {
		m := a.messages[r.Key]
		if m == nil || !m.names(s.User, s.Service) {
			a.entry.Misdelivered++
			a.example(s, r.Key, "misdelivered", r.At)
			continue
		}
		again := s.arrived[r.Key] > 0
		s.arrived[r.Key]++
		switch {
		case r.Replayed:
			s.replayed[r.Key] = true
			if again {
				a.entry.Replayed++
			}
		case s.replayed[r.Key]:
			a.entry.Duplicated++
			a.example(s, r.Key, "arrived after it was replayed", r.At)
		default:
			a.readLive(s, m, r, again, newest)
		}
	}
}

// readLive counts one arrival that is no replay.
func (a *account) readLive(s *sheet, m *Message, r Receipt, again bool, newest map[source]int) {
	if !again && m.Outcome == Accepted && a.joined(s, m) {
		a.delays = append(a.delays, r.At.Sub(m.Due))
	}
	switch from := (source{r.Sender, m.API}); {
	case !a.joined(s, m):
		// What an earlier connection had not confirmed: at least once, and
		// after what is newer. The client's ids put that right.
		if s.Opened.After(m.Due) {
			a.entry.HandedOver++
		}
	case again && (m.Tries > 1 || s.Roams && !a.rules.Taken.IsZero() && r.At.After(a.rules.Taken)):
		a.entry.Repeated++
	case again:
		a.entry.Duplicated++
		a.example(s, r.Key, "duplicated", r.At)
	case m.Roamed:
	case r.N < newest[from]:
		if m.Outcome == Accepted {
			a.entry.Reordered++
			a.example(s, r.Key, fmt.Sprintf("reordered: after %d", newest[from]), r.At)
		}
	default:
		newest[from] = r.N
	}
}

// names reports whether the message is for a user's connections of a service.
func (m *Message) names(u hub.UserID, service hub.Service) bool {
	return (m.Service == "" || m.Service == service) && (m.Everybody || slices.Contains(m.Users, u))
}

// addressees are the users that a message is for.
func (a *account) addressees(m *Message) []hub.UserID {
	if !m.Everybody {
		return m.Users
	}
	return slices.Sorted(maps.Keys(a.sheets))
}

// target is one user of a notification, and what is known of the two.
type target struct {
	user    hub.UserID
	sheets  []*sheet // connections that are meant
	held    []*sheet // of those, held throughout
	limbo   []*sheet // of those, out of the system's reach meanwhile
	reached bool     // it arrived on any
	tried   bool     // to connect meanwhile, and failed
	absent  bool     // had no connection meanwhile, nor shortly before
}

// leased is longer than the system may take a user for connected whose
// process has died.
const leased = 15 * time.Second

func (a *account) target(u hub.UserID, m *Message) target {
	t := target{user: u, absent: true}
	for _, try := range a.attempts[u] {
		t.tried = t.tried || try.from.Before(m.Answered) && try.to.After(m.Due)
		t.absent = t.absent && (!try.from.Before(m.Answered) || !try.to.After(m.Due.Add(-leased)))
	}
	for _, s := range a.sheets[u] {
		if m.Service != "" && m.Service != s.Service {
			continue
		}
		t.sheets = append(t.sheets, s)
		t.reached = t.reached || s.arrived[m.Key] > 0
		t.absent = t.absent && !s.overlaps(m.Due.Add(-leased), m.Answered)
		switch {
		case !a.joined(s, m):
		case s.openAt(m.Answered.Add(a.patience(s))):
			t.held = append(t.held, s)
		case s.sentAway && s.end.At.After(m.Answered):
			t.limbo = append(t.limbo, s)
		}
	}
	return t
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
	users := a.addressees(m)
	targets := make([]target, len(users))
	for i, u := range users {
		targets[i] = a.target(u, m)
	}
	// What the answer counts as offline is credited to those held throughout first.
	slices.SortStableFunc(targets, func(t, u target) int { return len(u.held) - len(t.held) })
	told := m.told(targets)
	for i := range targets {
		a.settle(m, &targets[i], told)
	}
	a.checkReply(m, targets, told)
}

// settle counts what was due to one target.
func (a *account) settle(m *Message, t *target, told *told) {
	switch {
	case !t.reached && told.unavailable(t):
		a.entry.Unavailable++
	case len(t.held) > 0:
		a.settleHeld(m, t, told)
	case len(t.limbo) > 0:
		a.settleLimbo(m, t, told)
	case a.rules.Owed != nil:
		a.settleOwed(m, t, told)
	}
}

func (a *account) settleHeld(m *Message, t *target, told *told) {
	offline := !t.reached && told.offline(t)
	if offline {
		told.heldOffline++
	}
	givesUp := a.rules.givesUp(m)
	for _, s := range t.held {
		arrived := s.arrived[m.Key] > 0
		if givesUp && !arrived {
			a.entry.GivenUp++
			continue
		}
		if offline && a.rules.excused(m) || !arrived && t.reached && a.rules.partly(m) {
			a.entry.Excused++
			continue
		}
		a.charge(m, s, arrived)
		if offline {
			a.entry.ToldOffline++
		}
	}
}

// settleLimbo counts what was accepted while the user's connection was out of
// reach.
func (a *account) settleLimbo(m *Message, t *target, told *told) {
	switch {
	case t.reached:
		a.entry.Owed++
		a.charge(m, t.limbo[0], true)
	case told.offline(t):
		a.entry.ToldOfflineAway++
	case m.Stored: // the devices say whether it was found
	case !a.back(m, t):
	case t.limbo[0].Roams: // what carried it was lost, as a client's network is
		a.entry.Away++
	default:
		a.entry.Owed++
		a.charge(m, t.limbo[0], false)
	}
}

func (a *account) settleOwed(m *Message, t *target, told *told) {
	if !a.back(m, t) {
		return
	}
	s, left := a.owedOn(m, t)
	switch {
	case s == nil:
	case !t.reached && left < a.rules.Noticed && told.offline(t):
		a.entry.ToldOfflineAway++
		return
	case !t.reached && (s.Roams && !m.Due.After(a.rules.Taken) || t.leftUnnoticed(s)):
	default:
		a.entry.Owed++
		a.charge(m, s, t.reached)
		return
	}
	if away(m, t) && !t.reached {
		a.entry.Away++
	}
}

// owedOn is the connection that ended for which m is owed, and for how long it still was
// when m was answered; nil: there is none.
func (a *account) owedOn(m *Message, t *target) (*sheet, time.Duration) {
	for _, s := range t.sheets {
		if s.end.Left || s.closed.IsZero() || !a.joined(s, m) {
			continue
		}
		if left := a.rules.Owed(s.holder, s.closed).Sub(m.Answered); left > 0 {
			return s, left
		}
	}
	return nil, 0
}

// leftUnnoticed reports whether the user has left a connection that roams, after s: what
// is handed over may have gone there, before it was noticed.
func (t *target) leftUnnoticed(s *sheet) bool {
	return slices.ContainsFunc(t.sheets, func(later *sheet) bool {
		return later.Roams && later.end.Left && later.Opened.After(s.Opened)
	})
}

// back reports whether the user came back in time for m, and stayed.
func (a *account) back(m *Message, t *target) bool {
	return slices.ContainsFunc(t.sheets, func(s *sheet) bool {
		return s.Opened.After(m.Due) && s.Opened.Before(m.Due.Add(a.rules.Window)) && s.openAt(s.Opened.Add(a.rules.Stayed))
	})
}

// away reports whether the user had had a connection for m, which it did not
// end itself, and has none while m is accepted.
func away(m *Message, t *target) bool {
	before := false
	for _, s := range t.sheets {
		if s.Opened.After(m.Answered) {
			continue
		}
		if s.openAt(m.Due) {
			return false
		}
		before = before || !s.end.Left
	}
	return before
}

// charge counts m, which was due on s.
func (a *account) charge(m *Message, s *sheet, arrived bool) {
	a.entry.Accepted++
	if arrived {
		a.entry.Written++
		return
	}
	a.entry.Lost++
	a.example(s, m.Key, "lost", m.Due)
	if a.entry.LostFrom.IsZero() || m.Due.Before(a.entry.LostFrom) {
		a.entry.LostFrom = m.Due
	}
	if m.Due.After(a.entry.LostLast) {
		a.entry.LostLast = m.Due
	}
}

// joined reports whether the connection had been there for long enough when
// the message was sent.
func (a *account) joined(s *sheet, m *Message) bool {
	return !s.Opened.Add(a.rules.Joined).After(m.Due)
}

// patience is how long after an answer s must have lasted.
func (a *account) patience(s *sheet) time.Duration {
	if s.end.Left {
		return max(a.rules.Stayed, a.rules.Patience)
	}
	return a.rules.Stayed
}

// openAt reports whether something was due on the connection at t.
func (s *sheet) openAt(t time.Time) bool { return s.closed.IsZero() || s.closed.After(t) }

// overlaps reports whether the connection was there at any moment of a span of
// time, as far as the system can know.
func (s *sheet) overlaps(from, to time.Time) bool {
	began := s.Opened
	if !s.Dialed.IsZero() {
		began = s.Dialed
	}
	return !began.After(to) && (s.end.At.IsZero() || s.end.At.After(from))
}

const clock = "15:04:05.000"

// example describes one fault at a connection. What stands before the first
// colon is its kind.
func (a *account) example(s *sheet, k Key, fault string, at time.Time) {
	a.tell(fault, k, fmt.Sprintf("at %s, connection %p of worker %d since %s, at %s",
		s.User, s.Conn, s.holder, s.Opened.Format(clock), at.Format(clock)), s.User)
}

// tell describes one fault of a notification for a user.
func (a *account) tell(fault string, k Key, where string, u hub.UserID) {
	kind, _, _ := strings.Cut(fault, ":")
	if a.examples[kind]++; a.examples[kind] > maxExamples {
		return
	}
	var text strings.Builder
	fmt.Fprintf(&text, "%s: notification %d of sender %d %s", fault, k.N, k.Sender, where)
	m := a.messages[k]
	if m != nil {
		fmt.Fprintf(&text, "; due at %s, answered by %d at %s", m.Due.Format(clock), m.API, m.Answered.Format(clock))
		if m.Stored {
			text.WriteString(", stored")
		}
		if m.Tries > 1 {
			fmt.Fprintf(&text, ", sent %d times", m.Tries)
		}
		if m.Reply != nil {
			fmt.Fprintf(&text, ", %d online, %d offline", m.Reply.Online, m.Reply.Offline)
		}
	}
	for _, s := range a.sheets[u] {
		if m != nil && !s.overlaps(m.Due.Add(-leased), m.Answered.Add(leased)) {
			continue
		}
		fmt.Fprintf(&text, "; the user had %p at worker %d (%q) from %s to %s", s.Conn, s.holder, s.Service, s.Opened.Format(clock), s.end.At.Format(clock))
	}
	a.entry.Examples = append(a.entry.Examples, text.String())
}
