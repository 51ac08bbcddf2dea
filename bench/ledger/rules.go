package ledger

import (
	"slices"
	"time"

	"github.com/homing/homing/hub"
)

// Rules say what was promised: above all, which connections count as held
// throughout a notification.
type Rules struct {
	// Joined is how long before the notification the connection's hello must
	// have been read. 0: hello is enough.
	Joined time.Duration
	// Stayed is how long after the answer the connection must have lasted: one
	// that ends sooner may have ended with the message still on its way.
	Stayed time.Duration
	// Patience is Stayed for connections that their clients end, who leave
	// whether or not something is on its way: the longest that delivery may
	// take. Less than Stayed counts as Stayed.
	Patience time.Duration
	// End is when the load ended; gaps are counted up to here.
	End time.Time
	// Owed says up to when the system still took a user to be on a connection
	// that ended, by its holder and its end. What is accepted by then and due
	// on no other connection is owed to the user's next one. nil, or the zero
	// time: nothing is. A connection that its client ended is not asked about.
	Owed func(holder int, closed time.Time) time.Time
	// Noticed is how late a client, or the system, may notice that a connection has
	// ended. What the system said that it has written may have gone there until then. What is
	// accepted so shortly before the end of what Owed says, and told to be offline then,
	// is owed no more: the system knew of the end, and the client did not yet.
	Noticed time.Duration
	// Taken is when a holder was killed. What was sent by then to a connection that roams
	// may have waited in that for the client to ask: of it nothing is owed but what was
	// stored. What arrives on such a connection from then on may be an answer that is given
	// again, because the process that carried it did not live to confirm it. Zero: none was.
	Taken time.Time
	// Window is how soon a user must be back to be owed anything.
	Window time.Duration
	// Died says when the holder of a connection was killed that ended after that: from
	// then on nothing is due on it, however late its client notices. nil, or the zero
	// time: it was not.
	Died func(Ending) time.Time
	// SentAway says since when a connection that ended had been out of the
	// system's reach, so that it was ended for it: it was held until then only.
	// What was accepted from then until it ended is owed to the user's next
	// connection, or was told to be offline, or was stored and is found there.
	// nil, or the zero time: it was not sent away. A connection that its client
	// ended is not asked about.
	SentAway func(Ending) time.Time
	// Excused are the times of bounded losses that are documented. What is
	// lost in one is excused if the answer told so, and only then.
	Excused []Span
	// GivesUp are the times in which nothing was carried for longer than the
	// system keeps it. What is lost in one to a connection that was held
	// throughout was given up; nobody can be told, but it must be counted. What
	// was stored comes with a resume, after what is newer.
	GivesUp []Span
	// Forgets says that inboxes lost their memory, so that a resume may say
	// that it has not recovered although nothing is missing.
	Forgets bool
}

// Ending is a connection that ended.
type Ending struct {
	User    hub.UserID
	Service hub.Service
	Holder  int // the worker that held it; 0: not known
	Roams   bool
	Opened  time.Time

	End
}

// Span is a time in which some loss is excused.
type Span struct {
	From time.Time
	To   time.Time // zero: to the end
	Why  string
	// Partly excuses what reached some connections of a user and not the others,
	// of which nobody can be told: an answer counts users.
	Partly bool
}

// excused reports whether m was under way in a span of excused losses.
func (r *Rules) excused(m *Message) bool { return m.within(r.Excused) }

// partly reports whether m was under way in such a span that excuses it for
// some of a user's connections.
func (r *Rules) partly(m *Message) bool {
	return m.within(slices.DeleteFunc(slices.Clone(r.Excused), func(s Span) bool { return !s.Partly }))
}

// givesUp reports whether m was under way when nothing was carried.
func (r *Rules) givesUp(m *Message) bool { return m.within(r.GivesUp) }

func (m *Message) within(spans []Span) bool {
	for _, s := range spans {
		if m.Answered.After(s.From) && (s.To.IsZero() || m.Due.Before(s.To)) {
			return true
		}
	}
	return false
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
	ToldOffline  int // of the lost, those for users of whom the answer said that they were offline
	Duplicated   int // arrivals beyond the first on one connection, and notifications given twice to an application
	Reordered    int // arrivals after a later one of the same sender
	Misdelivered int // arrivals where they did not belong
	Repeated     int // arrivals beyond the first of what its caller sent more than once
	Replayed     int // arrivals by a resume of what had arrived before
	Away         int // accepted while the user had no connection, who came back within the window and never got it; nothing is due
	HandedOver   int // arrivals on a connection made after the notification was sent
	Superseded   int // of class latest, and not given because a later one of its sender was; nothing is due

	GivenUp         int // deliveries lost where that is so because the system gave them up
	Excused         int // deliveries lost where that is excused, and told
	Unavailable     int // users of whom the answer said that nothing was sent to them; nothing is due
	ToldOfflineAway int // users told offline while the connection that they held was out of reach, or had ended unnoticed; nothing is due but what was stored

	ToldWrong   int // things that an answer said of its targets and that were not so
	ToldUnknown int // targets of whom a report said that it does not know

	Stored            int // accepted to be kept, once for each device that asked for it in the end
	StoredLost        int // of those, never given to the device's application
	StoredReordered   int // given after a later one of the same sender
	Resumes           int // that were answered
	RecoveredWrong    int // of those, said recovered, and something was missing
	RecoveredNeedless int // of those, said not recovered, and nothing was missing; see Rules.Forgets

	LongestGap         time.Duration // see gaps
	P50, P99           time.Duration // of the first arrivals on connections that were there, since they were due
	LostFrom, LostLast time.Time     // when the first and the last lost one was due; zero: none

	Examples []string // the first faults found of each kind, in words, for whoever looks for the cause
}

// Clean reports whether every accepted notification arrived exactly once, in
// order, and only where it belonged, everything stored was found again, and
// all that was told was true.
func (e Entry) Clean() bool {
	return e.Lost+e.Duplicated+e.Reordered+e.Misdelivered == 0 &&
		e.StoredLost+e.StoredReordered+e.RecoveredWrong+e.RecoveredNeedless == 0 && e.ToldWrong == 0
}
