package ledger

import (
	"reflect"
	"testing"
	"time"

	"github.com/homing/homing/hub"
)

// hall builds forums by hand: times in milliseconds. Topics that begin with k keep.
type hall struct{ Forum }

func (h *hall) sit(l *Listener, opened, closed int) *Sitting {
	s := l.Open(at(opened), nil)
	s.dialed, s.opened, s.holder = at(opened), at(opened), 1
	if closed > 0 {
		s.end.At = at(closed)
	}
	return s
}

// stay has a membership begin and end; 0: not.
func (s *Sitting) stay(t hub.Topic, from, until int) *Stay {
	x := &Stay{asked: at(from), joined: at(from)}
	if until > 0 {
		x.leaving, x.left = at(until), at(until)
	}
	s.stays[t] = append(s.stays[t], x)
	return x
}

func (h *hall) post(n, due int, o Outcome, topics ...hub.Topic) *Post {
	p := &Post{Key: Key{1, n}, Topics: topics, Due: at(due), Answered: at(due + 5), Outcome: o}
	h.Enter(p)
	return p
}

func (s *Sitting) got(n, ms int) { s.Hear(Receipt{Key: Key{1, n}, At: at(ms)}) }

func (s *Sitting) replayed(n, ms int) { s.Hear(Receipt{Key: Key{1, n}, At: at(ms), Replayed: true}) }

func forumRules() ForumRules {
	r := rules()
	return ForumRules{
		Joined: time.Second, Stayed: r.Stayed, Patience: 3 * time.Second, Owed: r.Owed, Window: r.Window,
		Keeps: func(t hub.Topic) bool { return t[0] == 'k' },
		SentAway: func(e Ending) time.Time {
			if e.Code != 1012 {
				return time.Time{}
			}
			return at(4000)
		},
	}
}

func TestSettleForum(t *testing.T) {
	cases := map[string]struct {
		build func(h *hall)
		want  Entry // without examples, the gap and the instants of loss
	}{
		"exact": {func(h *hall) {
			s := h.sit(h.Listen("ann", ""), 0, 0)
			s.stay("a", 0, 0)
			h.post(1, 2000, Accepted, "a")
			s.got(1, 2010)
		}, Entry{Notifications: 1, Accepted: 1, Written: 1}},
		"lost": {func(h *hall) {
			h.sit(h.Listen("ann", ""), 0, 0).stay("a", 0, 0)
			h.post(1, 2000, Accepted, "b", "a")
			h.post(2, 2000, Refused, "a")
			h.post(3, 2000, Unknown, "a")
		}, Entry{Notifications: 1, Refused: 1, Unanswered: 1, Accepted: 1, Lost: 1}},
		"named besides": {func(h *hall) {
			h.sit(h.Listen("ann", ""), 0, 0)
			h.post(1, 2000, Accepted, "b").Users = []hub.UserID{"ann"}
		}, Entry{Notifications: 1, Accepted: 1, Lost: 1}},
		"not throughout": {func(h *hall) {
			s := h.sit(h.Listen("ann", ""), 0, 0)
			s.stay("a", 1500, 0) // since too short a time
			s.stay("b", 0, 4000) // left too soon after
			s.stay("c", 0, 1900) // had left
			s.stay("d", 2100, 0) // not yet
			s.stay("e", 0, 9000) // that long
			h.post(1, 2000, Accepted, "a", "b", "c", "d")
			h.post(2, 2000, Accepted, "e")
		}, Entry{Notifications: 2, Accepted: 1, Lost: 1}},
		"duplicated": {func(h *hall) {
			s := h.sit(h.Listen("ann", ""), 0, 0)
			s.stay("a", 0, 0)
			h.post(1, 2000, Accepted, "a")
			s.got(1, 2010)
			s.got(1, 2020)
		}, Entry{Notifications: 1, Accepted: 1, Written: 1, Duplicated: 1}},
		"replayed, then live": {func(h *hall) {
			s := h.sit(h.Listen("ann", ""), 0, 0)
			s.stay("k", 0, 0)
			h.post(1, 2000, Accepted, "k")
			s.replayed(1, 2010)
			s.got(1, 2020)
		}, Entry{Notifications: 1, Accepted: 1, Written: 1, Duplicated: 1}},
		"live, then replayed": {func(h *hall) {
			s := h.sit(h.Listen("ann", ""), 0, 0)
			s.stay("k", 0, 0)
			h.post(1, 2000, Accepted, "k")
			s.got(1, 2010)
			s.replayed(1, 2020)
		}, Entry{Notifications: 1, Accepted: 1, Written: 1, Replayed: 1}},
		"reordered": {func(h *hall) {
			s := h.sit(h.Listen("ann", ""), 0, 0)
			s.stay("a", 0, 0)
			h.post(1, 2000, Accepted, "a")
			h.post(2, 2010, Accepted, "a")
			h.post(3, 2010, Accepted, "a").By = 7 // another way
			s.got(3, 2020)
			s.got(2, 2020)
			s.got(1, 2030)
		}, Entry{Notifications: 3, Accepted: 3, Written: 3, Reordered: 1}},
		"misdelivered": {func(h *hall) {
			l := h.Listen("ann", "")
			l.invited["d"] = at(1990)
			s := h.sit(l, 0, 0)
			s.stay("a", 0, 1900)
			s.stay("b", 0, 2005) // it may have been on its way
			h.post(1, 2000, Accepted, "a")
			h.post(2, 2000, Accepted, "b")
			h.post(3, 2000, Accepted, "c")
			h.post(4, 2000, Accepted, "d") // a backend has her join
			for n := 1; n <= 5; n++ {      // the last of which nobody has sent
				s.got(n, 2010)
			}
		}, Entry{Notifications: 4, Misdelivered: 3}},
		"owed, and handed over": {func(h *hall) {
			l := h.Listen("ann", "")
			dying := h.sit(l, 0, 2500)
			dying.holder = dead
			dying.stay("a", 0, 0)
			s := h.sit(l, 3100, 0)
			s.stay("a", 3200, 0)
			h.post(1, 3000, Accepted, "a")
			s.got(1, 3300)
			h.post(2, 3000, Accepted, "a")
			h.post(3, 3550, Accepted, "a") // nobody takes her for connected, or not long enough
		}, Entry{Notifications: 3, Accepted: 2, Written: 1, Lost: 1, Owed: 2, HandedOver: 1}},
		"handed over to members of then": {func(h *hall) {
			l := h.Listen("ann", "")
			dying := h.sit(l, 0, 2500)
			dying.holder = dead
			dying.stay("a", 0, 0)
			dying.stay("b", 0, 0)
			s := h.sit(l, 2900, 0)
			s.stay("a", 4901, 0)
			s.stay("b", 4900, 0)
			h.post(1, 3000, Accepted, "a") // she is there, and joins much later
			h.post(2, 2890, Accepted, "a") // she is not there yet
			h.post(3, 3000, Accepted, "b") // she joins soon
		}, Entry{Notifications: 3, Accepted: 2, Lost: 2, Owed: 2}},
		"handed over to who has asked": {func(h *hall) {
			l := h.Listen("ann", "")
			dying := h.sit(l, -9000, 0)
			dying.end.At, dying.holder = at(500), dead
			dying.stay("a", -9000, 0)
			x := h.sit(l, 600, 0).stay("a", 900, 0)
			x.joined = at(2800)
			h.post(1, 950, Accepted, "a")
		}, Entry{Notifications: 1, Accepted: 1, Lost: 1, Owed: 1}},
		"kept": {func(h *hall) {
			l := h.Listen("ann", "")
			h.sit(l, 0, 2500).stay("k", 0, 0)
			s := h.sit(l, 4000, 0)
			x := s.stay("k", 4100, 0)
			x.after, x.recovered, x.caughtUp = true, true, at(4200)
			h.post(1, 3000, Accepted, "k")
			s.replayed(1, 4150)
		}, Entry{Notifications: 1, Stored: 1, Resumes: 1}},
		"kept and lost, and told the contrary": {func(h *hall) {
			l := h.Listen("ann", "")
			h.sit(l, 0, 2500).stay("k", 0, 0)
			x := h.sit(l, 4000, 0).stay("k", 4100, 0)
			x.after, x.recovered, x.caughtUp = true, true, at(4200)
			h.post(1, 3000, Accepted, "k")
			h.post(2, 500, Accepted, "k") // before she was a member
		}, Entry{Notifications: 2, Stored: 1, StoredLost: 1, Resumes: 1, RecoveredWrong: 1}},
		"for a service": {func(h *hall) {
			red, blue := h.sit(h.Listen("ann", "red"), 0, 0), h.sit(h.Listen("bob", "blue"), 0, 0)
			red.stay("a", 0, 0)
			blue.stay("a", 0, 0)
			h.post(1, 2000, Accepted, "a").Services = []hub.Service{"red"}
			h.post(2, 2000, Accepted, "a").Services = []hub.Service{"red"}
			red.got(1, 2010)
			blue.got(2, 2010)
		}, Entry{Notifications: 2, Accepted: 2, Written: 1, Lost: 1, Misdelivered: 1}},
		"superseded": {func(h *hall) {
			s := h.sit(h.Listen("ann", ""), 0, 0)
			s.stay("a", 0, 0)
			for n := 1; n <= 4; n++ {
				h.post(n, 2000+n, Accepted, "a").Latest = n != 2
			}
			s.got(3, 2010) // for 1, and not for 2, which is of another class, or 4
		}, Entry{Notifications: 4, Accepted: 3, Written: 1, Lost: 2, Superseded: 1}},
		"sent away": {func(h *hall) {
			l := h.Listen("ann", "")
			s := h.sit(l, 0, 9000)
			s.end.Code = 1012
			s.stay("k", 0, 0)
			s.stay("a", 0, 0)
			again := h.sit(l, 9500, 0)
			x := again.stay("k", 9600, 0)
			x.after, x.recovered, x.caughtUp = true, true, at(9700)
			h.post(1, 5000, Accepted, "a") // while it was out of reach
			h.post(2, 5000, Accepted, "k")
			h.post(3, 1500, Accepted, "a") // before
			again.replayed(2, 9650)
		}, Entry{Notifications: 3, Accepted: 1, Lost: 1, Stored: 1, Resumes: 1}},
		"told needlessly": {func(h *hall) {
			x := h.sit(h.Listen("ann", ""), 4000, 0).stay("k", 4100, 0)
			x.after, x.caughtUp = true, at(4200)
		}, Entry{Resumes: 1, RecoveredNeedless: 1}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			h := &hall{}
			c.build(h)
			got := h.SettleForum(forumRules())
			got.Examples, got.LongestGap, got.LostFrom, got.LostLast = nil, 0, time.Time{}, time.Time{}
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
		})
	}
}

// TestForumIsWrittenDown has a client and a backend write down a membership each.
func TestForumIsWrittenDown(t *testing.T) {
	f := &Forum{}
	l := f.Listen("ann", "")
	s := l.Open(time.Now(), []hub.Topic{"a"})
	s.Asks("b", true)
	s.Joined("b", true)
	s.CaughtUp("b")
	l.Invite("c")
	s.Joined("c", true)
	s.Asks("d", false)
	s.Left("d") // refused
	for topic, want := range map[hub.Topic]int{"a": 1, "b": 1, "c": 1, "d": 0} {
		if got := f.Members(topic); got != want {
			t.Errorf("%s has %d members, want %d", topic, got, want)
		}
	}
	s.Leaves("b")
	s.Left("b")
	l.Dismiss("c")
	s.Left("c")
	if now, ever := f.Memberships(); now != 1 || ever != 4 || f.Members("b")+f.Members("c") != 0 {
		t.Errorf("%d memberships of %d", now, ever)
	}
	for topic, stays := range s.stays {
		if topic != "a" && (stays[0].leaving.IsZero() || stays[0].left.Before(stays[0].leaving)) {
			t.Errorf("%s: %+v", topic, stays[0])
		}
	}
	s.HeldBy(7)
	s.Close(End{At: time.Now()})
	if f.Members("a") != 0 || s.holder != 7 {
		t.Error("a member of a connection that has ended")
	}
}
