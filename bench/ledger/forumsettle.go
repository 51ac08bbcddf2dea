package ledger

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/homing/homing/hub"
)

// ForumRules say what was promised to members.
type ForumRules struct {
	Joined   time.Duration // how long before a post a member must have become one
	Stayed   time.Duration // how long after the answer it must have stayed one: see Rules.Stayed
	Patience time.Duration // Stayed for members that leave by themselves or a backend's word

	// Owed and Window are as in Rules: what was accepted while the system still took a
	// connection for a member's is owed to its client, if that is a member again soon.
	Owed   func(holder int, closed time.Time) time.Time
	Window time.Duration

	// Keeps reports whether a topic keeps what it was told: its members are owed all
	// of that from when they first joined until they leave, whatever ends meanwhile.
	Keeps func(hub.Topic) bool
	// Forgets is as in Rules.
	Forgets bool
	// SentAway is as in Rules, and is asked about connections that their clients ended,
	// too: from then on nothing is due on the connection. What topics keep is found later.
	SentAway func(Ending) time.Time
}

// forumAccount is a forum being settled.
type forumAccount struct {
	rules    ForumRules
	posts    map[Key]*Post
	entry    Entry
	examples map[string]int
}

// hearing is what one listener has heard.
type hearing struct {
	*Listener

	given   map[Key]time.Time // first, on any connection
	arrived []map[Key]int     // by sitting
	latest  map[int]int       // by sender, the last of class latest, on any connection
}

// SettleForum accounts for every post entered. Senders and clients must have stopped.
// Of the Entry, Stored counts what topics keep for a member that was not connected
// throughout.
func (f *Forum) SettleForum(rules ForumRules) Entry {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := &forumAccount{rules: rules, posts: make(map[Key]*Post, len(f.posts)), examples: make(map[string]int)}
	for _, p := range f.posts {
		a.posts[p.Key] = p
		switch p.Outcome {
		case Accepted:
			a.entry.Notifications++
		case Refused:
			a.entry.Refused++
		default:
			a.entry.Unanswered++
		}
	}
	for _, l := range f.listeners {
		l.mu.Lock()
		a.sendAway(l)
		h := a.hear(l)
		for _, p := range f.posts {
			if p.Outcome == Accepted && l.suits(p) {
				a.demand(h, p)
			}
		}
		a.checkCatchUps(h)
		l.mu.Unlock()
	}
	return a.entry
}

// sendAway notes which connections of a listener were out of reach before they ended.
func (a *forumAccount) sendAway(l *Listener) {
	for _, s := range l.sittings {
		if a.rules.SentAway != nil && !s.end.At.IsZero() {
			s.away = a.rules.SentAway(Ending{User: l.User, Service: l.Service, Holder: s.holder, Opened: s.opened, End: s.end})
		}
	}
}

// hear counts what arrived on a listener's connections.
func (a *forumAccount) hear(l *Listener) *hearing {
	h := &hearing{Listener: l, given: make(map[Key]time.Time), latest: make(map[int]int)}
	for _, s := range l.sittings {
		arrived := make(map[Key]int)
		h.arrived = append(h.arrived, arrived)
		replayed, newest := make(map[Key]bool), make(map[source]int)
		for _, r := range s.heard {
			p := a.posts[r.Key]
			if p == nil || !s.mayHear(p, r.At) {
				a.entry.Misdelivered++
				a.example("misdelivered", s, p, r.Key, r.At)
				continue
			}
			again := arrived[r.Key] > 0
			arrived[r.Key]++
			if p.Latest {
				h.latest[p.Sender] = max(h.latest[p.Sender], p.N)
			}
			if _, had := h.given[r.Key]; !had {
				h.given[r.Key] = r.At
			}
			if r.Replayed {
				replayed[r.Key] = true
				if again {
					a.entry.Replayed++
				}
				continue
			}
			a.hearLive(s, p, r, again, replayed[r.Key], newest)
		}
	}
	return h
}

// hearLive counts one arrival that is no part of an answer to subscribe.
func (a *forumAccount) hearLive(s *Sitting, p *Post, r Receipt, again, replayed bool, newest map[source]int) {
	from := source{p.Sender, p.By}
	switch {
	case replayed:
		a.entry.Duplicated++
		a.example("arrived after it was replayed", s, p, r.Key, r.At)
	case again:
		a.entry.Duplicated++
		a.example("duplicated", s, p, r.Key, r.At)
	case s.opened.After(p.Due):
		a.entry.HandedOver++
	case !s.isFor(p, a.rules.Joined): // a late hand-over, for somebody else
	case r.N < newest[from]:
		if p.Outcome == Accepted {
			a.entry.Reordered++
			a.example(fmt.Sprintf("reordered: after %d", newest[from]), s, p, r.Key, r.At)
		}
	default:
		newest[from] = r.N
		if p.Outcome == Accepted {
			a.entry.LongestGap = max(a.entry.LongestGap, r.At.Sub(p.Due))
		}
	}
}

// inviteTime is how long after a backend asked for it a client may hear of a topic
// before it is told that it has joined.
const inviteTime = 10 * time.Second

// mayHear reports whether p belongs on the connection at a moment.
func (s *Sitting) mayHear(p *Post, at time.Time) bool {
	if !s.listener.suits(p) {
		return false
	}
	if slices.Contains(p.Users, s.listener.User) {
		return true
	}
	return slices.ContainsFunc(p.Topics, func(t hub.Topic) bool {
		invited := s.listener.invited[t]
		if invited.Before(at) && at.Before(invited.Add(inviteTime)) {
			return true
		}
		return slices.ContainsFunc(s.stays[t], func(x *Stay) bool {
			return x.asked.Before(at) && (x.left.IsZero() || x.left.After(p.Due))
		})
	})
}

// isFor reports whether p, when it was sent, was for the connection, which had then
// been a member for a while.
func (s *Sitting) isFor(p *Post, joined time.Duration) bool {
	return slices.Contains(p.Users, s.listener.User) && s.opened.Add(joined).Before(p.Due) ||
		slices.ContainsFunc(p.Topics, func(t hub.Topic) bool { return s.memberAt(t, p.Due, joined) != nil })
}

// memberAt is the stay that had lasted for a while at a moment; nil: there is none.
func (s *Sitting) memberAt(t hub.Topic, at time.Time, joined time.Duration) *Stay {
	for _, x := range s.stays[t] {
		if !x.joined.IsZero() && x.joined.Add(joined).Before(at) && (x.leaving.IsZero() || x.leaving.After(at)) {
			return x
		}
	}
	return nil
}

// openAt reports whether something was due on the connection at t.
func (s *Sitting) openAt(t time.Time) bool {
	return (s.end.At.IsZero() || s.end.At.After(t)) && (s.away.IsZero() || s.away.After(t))
}

// holds reports whether p was due on the connection: it was there throughout, and
// named or a member.
func (a *forumAccount) holds(s *Sitting, p *Post) bool {
	stayed := a.rules.Stayed
	if s.end.Left {
		stayed = max(stayed, a.rules.Patience)
	}
	if !s.openAt(p.Answered.Add(stayed)) || !s.opened.Before(p.Due) {
		return false
	}
	if slices.Contains(p.Users, s.listener.User) && s.opened.Add(a.rules.Joined).Before(p.Due) {
		return true
	}
	return slices.ContainsFunc(p.Topics, func(t hub.Topic) bool {
		x := s.memberAt(t, p.Due, a.rules.Joined)
		return x != nil && (x.leaving.IsZero() || x.leaving.After(p.Answered.Add(max(a.rules.Stayed, a.rules.Patience))))
	})
}

// demand counts what p was due to a listener. What a later one stands for is due no more.
func (a *forumAccount) demand(h *hearing, p *Post) {
	if _, given := h.given[p.Key]; !given && h.superseded(p) {
		a.entry.Superseded++
		return
	}
	held := false
	for i, s := range h.sittings {
		if a.holds(s, p) {
			held = true
			a.charge(s, p, h.arrived[i][p.Key] > 0)
		}
	}
	if held {
		return
	}
	_, given := h.given[p.Key]
	for _, t := range p.Topics {
		if a.rules.Keeps(t) && a.keptFor(h, t, p) {
			a.entry.Stored++
			if !given {
				a.entry.StoredLost++
				a.example("kept and lost", h.sittings[len(h.sittings)-1], p, p.Key, p.Due)
			}
			return
		}
	}
	a.demandOwed(h, p, given)
}

// superseded reports whether the listener heard a later one of class latest of the same
// sender.
func (h *hearing) superseded(p *Post) bool { return p.Latest && h.latest[p.Sender] > p.N }

// demandOwed counts what was due on a connection that ended, to a client that was a
// member again soon.
func (a *forumAccount) demandOwed(h *hearing, p *Post, given bool) {
	for i, s := range h.sittings {
		if s.end.At.IsZero() || s.end.Left || !s.isFor(p, a.rules.Joined) || !s.openAt(p.Due) && !a.owes(s, p) {
			continue
		}
		if !a.back(h.sittings[i+1:], p, s.end.At) {
			continue
		}
		if a.owes(s, p) {
			a.entry.Owed++
			a.charge(s, p, given)
		} else if !given {
			a.entry.Away++
		}
		return
	}
}

// owes reports whether the system still took s for p's.
func (a *forumAccount) owes(s *Sitting, p *Post) bool {
	return a.rules.Owed != nil && a.rules.Owed(s.holder, s.end.At).After(p.Answered)
}

// back reports whether one of the connections that came later is for p, soon after
// another's end, and lasts.
func (a *forumAccount) back(later []*Sitting, p *Post, end time.Time) bool {
	until := end.Add(a.rules.Window)
	return slices.ContainsFunc(later, func(s *Sitting) bool {
		lasts := func(at time.Time) bool {
			return !at.IsZero() && at.Before(until) && s.openAt(at.Add(a.rules.Stayed))
		}
		if slices.Contains(p.Users, s.listener.User) {
			return lasts(s.opened)
		}
		return slices.ContainsFunc(p.Topics, func(t hub.Topic) bool {
			return slices.ContainsFunc(s.stays[t], func(x *Stay) bool {
				return lasts(x.joined) && x.leaving.IsZero() && !s.tooLate(x, p)
			})
		})
	})
}

// rejoinTime is how soon after it has connected a client that comes back must be a member
// of its topics again.
const rejoinTime = 2 * time.Second

// tooLate reports whether x was asked for after p was sent, on a connection that was
// there already, and did not begin soon after that: what is handed over passes it by.
func (s *Sitting) tooLate(x *Stay, p *Post) bool {
	return s.opened.Before(p.Due) && x.asked.After(p.Due) && x.joined.After(s.dialed.Add(rejoinTime))
}

// keptFor reports whether topic t keeps p for the listener: it was a member before, has
// not left, and has asked for what it missed, or is connected still, in the end.
func (a *forumAccount) keptFor(h *hearing, t hub.Topic, p *Post) bool {
	first := time.Time{}
	for _, s := range h.sittings {
		for _, x := range s.stays[t] {
			if first.IsZero() && !x.joined.IsZero() {
				first = x.joined
			}
			if !x.leaving.IsZero() {
				return false // who leaves of its own will is told nothing more of here
			}
			caught := x.after && !x.caughtUp.IsZero() && (x.asked.After(p.Answered) || s.openAt(p.Answered.Add(a.rules.Stayed)))
			if caught && !first.IsZero() && first.Add(a.rules.Joined).Before(p.Due) {
				return true
			}
		}
	}
	return false
}

// checkCatchUps compares what answers to subscribe said with what was missing then.
func (a *forumAccount) checkCatchUps(h *hearing) {
	first := make(map[hub.Topic]time.Time)
	for _, s := range h.sittings {
		for t, stays := range s.stays {
			for _, x := range stays {
				if !x.leaving.IsZero() && x.after {
					delete(first, t)
				}
				if x.after && !x.caughtUp.IsZero() {
					a.checkCatchUp(h, s, t, x, first[t])
				}
				if first[t].IsZero() {
					first[t] = x.joined
				}
			}
		}
	}
}

func (a *forumAccount) checkCatchUp(h *hearing, s *Sitting, t hub.Topic, x *Stay, first time.Time) {
	a.entry.Resumes++
	missing := a.missingAt(h, t, x, first)
	switch {
	case missing != nil && x.recovered:
		a.entry.RecoveredWrong++
		a.example("recovered, and it was missing", s, missing, missing.Key, x.asked)
	case missing == nil && !x.recovered && !a.rules.Forgets:
		a.entry.RecoveredNeedless++
		a.example("not recovered, and nothing was missing", s, nil, Key{}, x.asked)
	}
}

// missingAt is one of what t had been told since the listener first joined it that the
// listener had not heard when x had caught up; nil: there is none.
func (a *forumAccount) missingAt(h *hearing, t hub.Topic, x *Stay, first time.Time) (missing *Post) {
	if first.IsZero() {
		return nil
	}
	for _, p := range a.posts {
		if p.Outcome != Accepted || !slices.Contains(p.Topics, t) || !p.Answered.Before(x.asked) ||
			!first.Add(a.rules.Joined).Before(p.Due) || !h.suits(p) || h.superseded(p) {
			continue
		}
		if at, got := h.given[p.Key]; !got || at.After(x.caughtUp) {
			missing = p
		}
	}
	return missing
}

// charge counts p, which was due on s.
func (a *forumAccount) charge(s *Sitting, p *Post, arrived bool) {
	a.entry.Accepted++
	if arrived {
		a.entry.Written++
		return
	}
	a.entry.Lost++
	a.example("lost", s, p, p.Key, p.Due)
	if a.entry.LostFrom.IsZero() || p.Due.Before(a.entry.LostFrom) {
		a.entry.LostFrom = p.Due
	}
	if p.Due.After(a.entry.LostLast) {
		a.entry.LostLast = p.Due
	}
}

// example describes one fault. What stands before the first colon is its kind.
func (a *forumAccount) example(fault string, s *Sitting, p *Post, k Key, at time.Time) {
	kind, _, _ := strings.Cut(fault, ":")
	if a.examples[kind]++; a.examples[kind] > maxExamples {
		return
	}
	var text strings.Builder
	fmt.Fprintf(&text, "%s: post %d of sender %d at %s, at %s", fault, k.N, k.Sender, s.listener.User, at.Format(clock))
	if p != nil {
		fmt.Fprintf(&text, "; sent at %s, answered by %d at %s, for %v and %d users", p.Due.Format(clock), p.By, p.Answered.Format(clock), p.Topics, len(p.Users))
	}
	for _, o := range s.listener.sittings {
		fmt.Fprintf(&text, "; connected to worker %d from %s to %s", o.holder, o.opened.Format(clock), o.end.At.Format(clock))
		if p == nil {
			continue
		}
		for _, t := range p.Topics {
			for _, x := range o.stays[t] {
				fmt.Fprintf(&text, ", in %s: asked %s joined %s leaving %s left %s caught up %s", t, x.asked.Format(clock), x.joined.Format(clock),
					x.leaving.Format(clock), x.left.Format(clock), x.caughtUp.Format(clock))
			}
		}
	}
	a.entry.Examples = append(a.entry.Examples, text.String())
}
