package ledger

import (
	"slices"
	"time"
)

// lane is the way from one API server to one worker.
type lane struct{ api, holder int }

// traffic is what happened on a lane.
type traffic struct {
	wanted  []time.Time // a notification for a connection there was due, accepted or not
	arrived []time.Time
	until   time.Time // the last connection's end, or the load's
}

// lanes collects traffic as a book is read.
type lanes map[lane]*traffic

func (l lanes) at(api, holder int) *traffic {
	k := lane{api, holder}
	if l[k] == nil {
		l[k] = &traffic{}
	}
	return l[k]
}

// longestGap returns the longest time for which a lane delivered nothing
// though something was wanted: from the first notification that was due after
// an arrival to the next arrival, or to the end. Refused notifications are
// wanted too, so that an API that refuses everything has a gap as well.
func (a *account) longestGap() time.Duration {
	l := make(lanes)
	for _, m := range a.messages {
		a.collectWanted(l, m)
	}
	for _, sheets := range a.sheets {
		for _, s := range sheets {
			a.collectArrived(l, s)
		}
	}
	var longest time.Duration
	for _, t := range l {
		longest = max(longest, t.longestGap())
	}
	return longest
}

// collectWanted enters a notification on the lane of every connection that
// was there for it.
func (a *account) collectWanted(l lanes, m *Message) {
	for _, u := range a.addressees(m) {
		for _, s := range a.sheets[u] {
			if s.holder != 0 && m.names(s.User, s.Service) && a.joined(s, m) && s.openAt(m.Due) {
				l.at(m.API, s.holder).want(m.Due, a.end(s))
			}
		}
	}
}

func (a *account) collectArrived(l lanes, s *sheet) {
	if s.holder == 0 {
		return
	}
	for _, r := range s.Receipts {
		if m := a.messages[r.Key]; m != nil {
			t := l.at(m.API, s.holder)
			t.arrived = append(t.arrived, r.At)
		}
	}
}

// end is when waiting for something on the connection ends.
func (a *account) end(s *sheet) time.Time {
	if s.closed.IsZero() || s.closed.After(a.rules.End) {
		return a.rules.End
	}
	return s.closed
}

func (t *traffic) want(due, until time.Time) {
	t.wanted = append(t.wanted, due)
	if until.After(t.until) {
		t.until = until
	}
}

// longestGap walks wanted and arrived side by side.
func (t *traffic) longestGap() time.Duration {
	slices.SortFunc(t.wanted, time.Time.Compare)
	slices.SortFunc(t.arrived, time.Time.Compare)
	var longest time.Duration
	wanted := t.wanted
	for _, at := range t.arrived {
		if len(wanted) > 0 && wanted[0].Before(at) {
			longest = max(longest, at.Sub(wanted[0]))
		}
		for len(wanted) > 0 && !wanted[0].After(at) {
			wanted = wanted[1:]
		}
	}
	if len(wanted) > 0 {
		longest = max(longest, t.until.Sub(wanted[0]))
	}
	return longest
}
