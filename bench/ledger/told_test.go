package ledger

import (
	"maps"
	"reflect"
	"testing"
	"time"

	"github.com/homing/homing/hub"
)

// tell enters an accepted notification with its answer, and returns it.
func (w *world) tell(n, due int, r Reply, users ...hub.UserID) *Message {
	m := &Message{Key: Key{0, n}, Users: users, Due: at(due), Answered: at(due + 5), Outcome: Accepted, Reply: &r}
	m.Reply.Targets = len(users)
	w.Enter(m)
	return m
}

// tried enters a connect that failed.
func (w *world) tried(u hub.UserID, from, to int) {
	w.Attempt(u, at(from))
	w.attempts[u][len(w.attempts[u])-1].to = at(to)
}

// fates is an answer with a report that names each target's fate.
func fates(online int, users map[hub.UserID]string) Reply {
	r := &Report{Users: users}
	for f := range maps.Values(users) {
		switch f {
		case "written":
			r.Written++
		case "queued":
			r.Queued++
		case "dropped_slow":
			r.DroppedSlow++
		case "offline":
			r.Offline++
		case "moved":
			r.Moved++
		case "stored":
			r.Stored++
		case "unavailable":
			r.Unavailable++
		default:
			r.Unknown++
		}
	}
	return Reply{Online: online, Offline: len(users) - online - r.Unavailable, Unavailable: r.Unavailable, Report: r}
}

func fate(f string) Reply {
	online := 1
	if f == "offline" || f == "unavailable" {
		online = 0
	}
	return fates(online, map[hub.UserID]string{"a": f})
}

// settled is what e says beside what every notification is counted as.
func settled(e Entry) Entry {
	e = counts(e)
	e.Notifications, e.Resumes = 0, 0
	return e
}

func TestWhatAnswersSay(t *testing.T) {
	cases := map[string]struct {
		build func(w *world)
		want  Entry
	}{
		"the numbers are right": {func(w *world) {
			w.conn("a", "", 0, 0).got(0, 0, 1010)
			w.tell(0, 1000, Reply{Online: 1, Offline: 1}, "a", "nobody")
		}, Entry{Accepted: 1, Written: 1}},

		"the numbers do not add up": {func(w *world) {
			w.conn("a", "", 0, 0).got(0, 0, 1010)
			w.tell(0, 1000, Reply{Online: 1}, "a", "nobody")
		}, Entry{Accepted: 1, Written: 1, ToldWrong: 1}},

		"offline though connected throughout": {func(w *world) {
			w.conn("a", "", 0, 0)
			w.conn("b", "", 0, 0).got(0, 0, 1010)
			w.tell(0, 1000, Reply{Online: 1, Offline: 2}, "a", "b", "nobody")
		}, Entry{Accepted: 2, Written: 1, Lost: 1, ToldOffline: 1}},

		"lost though online": {func(w *world) {
			w.conn("a", "", 0, 0)
			w.tell(0, 1000, Reply{Online: 1, Offline: 1}, "a", "nobody")
		}, Entry{Accepted: 1, Lost: 1}},

		"too few online, though all heard": {func(w *world) {
			w.conn("a", "", 0, 0).got(0, 0, 1010)
			w.tell(0, 1000, Reply{Offline: 1}, "a")
		}, Entry{Accepted: 1, Written: 1, ToldWrong: 1}},

		"more online than can have been": {func(w *world) {
			w.conn("a", "", 0, 0).got(0, 0, 1010)
			w.conn("b", "", 2000, 0)
			w.tell(0, 1000, Reply{Online: 3}, "a", "b", "nobody")
		}, Entry{Accepted: 1, Written: 1, ToldWrong: 2}},

		"online for a while after the connection ended": {func(w *world) {
			w.conn("a", "", 0, 900)
			w.tell(0, 1000, Reply{Online: 1}, "a")
		}, Entry{}},

		"unavailable is not due": {func(w *world) {
			w.conn("a", "", 0, 0)
			w.conn("b", "", 0, 0).got(0, 0, 1010)
			w.tell(0, 1000, Reply{Online: 1, Unavailable: 1}, "a", "b")
		}, Entry{Accepted: 1, Written: 1, Unavailable: 1}},

		"written and read": {func(w *world) {
			w.conn("a", "", 0, 0).got(0, 0, 1010)
			w.tell(0, 1000, fate("written"), "a")
		}, Entry{Accepted: 1, Written: 1}},

		"written and not read": {func(w *world) {
			w.conn("a", "", 0, 0)
			w.tell(0, 1000, fate("written"), "a")
		}, Entry{Accepted: 1, Lost: 1, ToldWrong: 1}},

		"written on a connection that ended soon after": {func(w *world) {
			w.conn("a", "", 0, 1500)
			w.tell(0, 1000, fate("written"), "a")
		}, Entry{}},

		"written on one that nobody read": {func(w *world) {
			w.tried("a", 800, 1003)
			w.tell(0, 1000, fate("written"), "a")
			w.tell(1, 2000, fate("offline"), "a")
		}, Entry{}},

		"written long after somebody tried to connect": {func(w *world) {
			w.tried("a", 800, 900)
			w.tell(0, 1000, fate("written"), "a")
		}, Entry{ToldWrong: 1}},

		"online before the client knew": {func(w *world) {
			w.conn("a", "", 1020, 0).Dialed = at(900)
			w.tell(0, 1000, Reply{Online: 1}, "a")
		}, Entry{}},

		"written on one that ended long after": {func(w *world) {
			w.conn("a", "", 0, 5000)
			w.tell(0, 1000, fate("written"), "a")
		}, Entry{Accepted: 1, Lost: 1, ToldWrong: 1}},

		"queued and given up with the connection": {func(w *world) {
			w.conn("a", "", 900, 5000)
			w.tell(0, 1000, fate("queued"), "a")
		}, Entry{}},

		"queued and never read": {func(w *world) {
			w.conn("a", "", 900, 0)
			w.tell(0, 1000, fate("queued"), "a")
		}, Entry{ToldWrong: 1}},

		"offline, a lie": {func(w *world) {
			w.conn("a", "", 0, 0).got(0, 0, 1010)
			w.tell(0, 1000, fate("offline"), "a")
		}, Entry{Accepted: 1, Written: 1, ToldWrong: 2}}, // by name and by number

		"offline, and it was": {func(w *world) {
			w.conn("a", "", 0, 900)
			w.tell(0, 1000, fate("offline"), "a")
		}, Entry{}},

		"moved and told there": {func(w *world) {
			w.conn("a", "", 0, 900)
			w.conn("a", "", 1002, 0).got(0, 0, 1100)
			w.tell(0, 1000, fate("moved"), "a")
		}, Entry{HandedOver: 1}},

		"moved and not told there": {func(w *world) {
			w.conn("a", "", 1002, 0)
			w.tell(0, 1000, fate("moved"), "a")
		}, Entry{ToldWrong: 1}},

		"dropped and read": {func(w *world) {
			w.conn("a", "", 900, 0).got(0, 0, 1010)
			w.tell(0, 1000, fate("dropped_slow"), "a")
		}, Entry{ToldWrong: 1}},

		"dropped": {func(w *world) {
			w.conn("a", "", 900, 1100)
			w.tell(0, 1000, fate("dropped_slow"), "a")
		}, Entry{}},

		"stored without a wish": {func(w *world) {
			w.conn("a", "", 900, 1100)
			w.tell(0, 1000, fate("stored"), "a")
		}, Entry{ToldWrong: 1}},

		"stored": {func(w *world) {
			w.conn("a", "", 900, 1100)
			w.tell(0, 1000, fate("stored"), "a").Stored = true
		}, Entry{}},

		"unavailable and nothing sent": {func(w *world) {
			w.conn("a", "", 0, 0)
			w.tell(0, 1000, fate("unavailable"), "a")
		}, Entry{Unavailable: 1}},

		"unavailable and read": {func(w *world) {
			w.conn("a", "", 0, 0).got(0, 0, 1010)
			w.tell(0, 1000, fate("unavailable"), "a")
		}, Entry{Accepted: 1, Written: 1, ToldWrong: 1}},

		"unknown": {func(w *world) {
			w.conn("a", "", 900, 0)
			w.tell(0, 1000, fate("unknown"), "a")
		}, Entry{ToldUnknown: 1}},

		"no fate at all": {func(w *world) {
			w.conn("a", "", 900, 0)
			r := fate("unknown")
			r.Report.Users = map[hub.UserID]string{"b": "unknown"}
			w.tell(0, 1000, r, "a")
		}, Entry{ToldWrong: 1}},

		"a report that does not add up": {func(w *world) {
			w.conn("a", "", 0, 0).got(0, 0, 1010)
			r := fate("written")
			r.Report.Queued++
			w.tell(0, 1000, r, "a")
		}, Entry{Accepted: 1, Written: 1, ToldWrong: 1}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var w world
			c.build(&w)
			got := w.Settle(rules())
			if got.Clean() == (c.want.ToldWrong+c.want.Lost > 0) {
				t.Errorf("Clean = %v", got.Clean())
			}
			if got.ToldWrong > 0 && len(got.Examples) == 0 {
				t.Error("no example")
			}
			compare(t, settled(got), c.want)
		})
	}
}

func TestExcused(t *testing.T) {
	r := rules()
	r.Excused = []Span{{From: at(900), To: at(2000), Why: "the index is being mended"}}
	var w world
	w.conn("a", "", 0, 0)
	w.conn("b", "", 0, 0).got(0, 3, 1310)
	w.tell(0, 1000, Reply{Offline: 1}, "a")                                               // told
	w.tell(1, 1100, fate("offline"), "a")                                                 // told
	w.tell(2, 1200, Reply{Online: 1}, "a")                                                // not told
	w.tell(3, 1300, Reply{Online: 1, Offline: 2}, "a", "b", "nobody")                     // told
	w.tell(4, 1400, fates(1, map[hub.UserID]string{"a": "offline", "b": "written"}), "b") // of somebody else
	w.tell(6, 1500, Reply{Offline: 1}, "b")                                               // and it was read
	w.conns[1].got(0, 6, 1510)
	w.tell(5, 2100, Reply{Offline: 1}, "a") // after it
	compare(t, settled(w.Settle(r)), Entry{
		Accepted: 5, Written: 2, Lost: 3, ToldOffline: 1, Excused: 3,
		ToldWrong: 3, // of message 4: it was not read, and both its report and its counts name more
	})
}

// sentAway sends everybody away whose worker is dead: it stood still from 2 s on.
func sentAway(e Ending) time.Time {
	if e.Holder != dead {
		return time.Time{}
	}
	return at(2000)
}

// TestWrittenToWhoHadJustGone is of a connection whose end the system had not noticed yet.
func TestWrittenToWhoHadJustGone(t *testing.T) {
	for noticed, wrong := range map[time.Duration]int{0: 1, 40 * time.Millisecond: 1, 500 * time.Millisecond: 0} {
		var w world
		w.conn("a", "", 0, 3000).end.Left = true
		w.tell(0, 3050, fate("written"), "a")
		r := rules()
		r.Noticed = noticed
		if got := w.Settle(r); got.ToldWrong != wrong {
			t.Errorf("noticed within %v: %d told wrong, want %d: %v", noticed, got.ToldWrong, wrong, got.Examples)
		}
	}
}

// TestToldOfflineAtTheEnd is of a connection that the system knew to have ended before
// its client did.
func TestToldOfflineAtTheEnd(t *testing.T) {
	for name, c := range map[string]struct {
		due   int
		reply Reply
		want  Entry
	}{
		"told":                  {5800, Reply{Offline: 1}, Entry{ToldOfflineAway: 1}},
		"told online":           {5800, Reply{Online: 1}, Entry{Accepted: 1, Owed: 1, Lost: 1}},
		"told long before":      {5000, Reply{Offline: 1}, Entry{Accepted: 1, Owed: 1, Lost: 1}},
		"told of somebody else": {5800, Reply{Online: 1, Offline: 1}, Entry{Accepted: 1, Owed: 1, Lost: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			r := rules()
			r.Noticed = 500 * time.Millisecond
			r.Owed = func(_ int, closed time.Time) time.Time { return closed }
			var w world
			w.conn("a", "", -2000, 6000)
			w.conn("a", "", 6050, 0)
			users := []hub.UserID{"a"}
			if c.reply.Online+c.reply.Offline > 1 {
				users = []hub.UserID{"nobody", "a"}
			}
			w.tell(0, c.due, c.reply, users...)
			compare(t, settled(w.Settle(r)), c.want)
		})
	}
}

func TestSentAway(t *testing.T) {
	cases := map[string]struct {
		build func(w *world)
		want  Entry
	}{
		"before the fault it was due": {func(w *world) {
			w.tell(0, -500, Reply{Online: 1}, "a")
		}, Entry{Accepted: 1, Lost: 1}},
		"handed over": {func(w *world) {
			w.tell(0, 2500, Reply{Online: 1}, "a")
			w.conns[1].got(0, 0, 6100)
		}, Entry{Accepted: 1, Written: 1, Owed: 1, HandedOver: 1}},
		"heard before it was known": {func(w *world) {
			w.tell(0, 1900, Reply{Online: 1}, "a")
			w.conns[0].got(0, 0, 1950)
		}, Entry{Accepted: 1, Written: 1, Owed: 1}},
		"twice on the connection": {func(w *world) {
			w.tell(0, 2500, Reply{Online: 1}, "a")
			w.conns[0].got(0, 0, 2510)
			w.conns[0].got(0, 0, 5500)
		}, Entry{Accepted: 1, Written: 1, Owed: 1, Duplicated: 1}},
		"owed and lost": {func(w *world) {
			w.tell(0, 2500, Reply{Online: 1}, "a")
		}, Entry{Accepted: 1, Owed: 1, Lost: 1}},
		"it roams: what carried it was lost": {func(w *world) {
			w.conns[0].Roams = true
			w.tell(0, 2500, Reply{Online: 1}, "a")
		}, Entry{Away: 1}},
		"it roams, and was out of nobody's reach": {func(w *world) {
			w.conns[0].Roams = true
			w.tell(0, -500, Reply{Online: 1}, "a")
		}, Entry{Accepted: 1, Lost: 1}},
		"told offline": {func(w *world) {
			w.tell(0, 2500, Reply{Offline: 1}, "a")
			w.tell(1, 2600, fate("offline"), "a")
			w.tell(2, 2700, Reply{Online: 0, Offline: 2}, "nobody", "a")
		}, Entry{ToldOfflineAway: 3}},
		"told of somebody else": {func(w *world) {
			w.tell(0, 2500, Reply{Online: 1, Offline: 1}, "nobody", "a")
		}, Entry{Accepted: 1, Owed: 1, Lost: 1}},
		"told unavailable": {func(w *world) {
			w.tell(0, 2500, Reply{Offline: 1, Unavailable: 1}, "nobody", "a")
		}, Entry{Unavailable: 1}},
		"one offline, and another held throughout": {func(w *world) {
			w.conn("b", "", 0, 0)
			w.tell(0, 2500, Reply{Online: 1, Offline: 1}, "a", "b")
		}, Entry{Accepted: 2, Owed: 1, Lost: 2, ToldOffline: 1}},
		"it ended before the fault": {func(w *world) {
			w.conns[0].end.At = at(1900)
			w.tell(0, 1890, Reply{Online: 1}, "a")
		}, Entry{}},
		"stored: the devices know": {func(w *world) {
			w.tell(0, 2500, Reply{Online: 1}, "a").Stored = true
		}, Entry{}},
		"to those who had stayed away it is not owed": {func(w *world) {
			w.conns[1].Opened = at(9000)
			w.tell(0, 2500, Reply{Online: 1}, "a")
		}, Entry{}},
		"to one that left by itself it is not owed": {func(w *world) {
			w.conns[0].end.Left, w.conns[0].end.At = true, at(4000)
			w.tell(0, 2500, Reply{Online: 1}, "a")
		}, Entry{}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := rules()
			r.Owed, r.SentAway = nil, sentAway
			var w world
			w.conn("a", "", -2000, 6000).holder = dead
			w.conn("a", "", 6050, 0)
			c.build(&w)
			compare(t, settled(w.Settle(r)), c.want)
		})
	}
}

// TestWhoRoamsIsMissedLate: of a client that has gone without a connection that ends, the
// system may say for a while that something waits for it.
func TestWhoRoamsIsMissedLate(t *testing.T) {
	for name, c := range map[string]struct {
		roams bool
		ended int
		fate  string
		want  int // told wrong
	}{
		"it roams":              {true, 1000, "queued", 0},
		"it roams, written":     {true, 1000, "written", 0},
		"another does not":      {false, 1000, "queued", 1},
		"too long ago":          {true, -40_000, "queued", 1},
		"it has not ended":      {true, 0, "queued", 1},
		"moved is another tale": {true, 1000, "moved", 0},
	} {
		var w world
		conn := w.conn("a", "", -60_000, c.ended)
		conn.Roams, conn.end.Left = c.roams, true
		w.conn("a", "", 9000, 0)
		w.tell(0, 3000, fate(c.fate), "a")
		if got := w.Settle(rules()).ToldWrong; got != c.want {
			t.Errorf("%s: %d told wrong, want %d", name, got, c.want)
		}
	}
}

func compare(t *testing.T, got, want Entry) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("entry = %+v\nwant    %+v", got, want)
	}
}
