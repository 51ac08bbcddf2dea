package ledger

import (
	"testing"
	"time"

	"github.com/homing/homing/hub"
)

// keep enters a notification to be kept.
func (w *world) keep(n, due int, o Outcome, users ...hub.UserID) *Message {
	m := &Message{Key: Key{0, n}, Users: users, Due: at(due), Answered: at(due + 5), Outcome: o, Stored: true, Tries: 1}
	w.Enter(m)
	return m
}

func (d *Device) gave(n, ms int) { d.Given = append(d.Given, Given{Key: Key{0, n}, At: at(ms)}) }

func (d *Device) resumed(asked, done int, recovered bool) {
	r := Resume{Asked: at(asked), Recovered: recovered}
	if done > 0 {
		r.Done = at(done)
	}
	d.Resumes = append(d.Resumes, r)
}

func (c *Conn) replayed(n, ms int) {
	c.Receipts = append(c.Receipts, Receipt{Key: Key{0, n}, At: at(ms), Replayed: true})
}

func TestStored(t *testing.T) {
	cases := map[string]struct {
		build func(w *world, a *Device)
		want  Entry
	}{
		"found on resume": {func(w *world, a *Device) {
			w.keep(0, 1000, Accepted, "a")
			w.keep(1, 1100, Accepted, "a")
			a.gave(0, 2010)
			a.gave(1, 2010)
			a.resumed(2000, 2020, true)
		}, Entry{Stored: 2}},

		"never found, and said to be recovered": {func(w *world, a *Device) {
			w.keep(0, 1000, Accepted, "a")
			w.keep(1, 1100, Accepted, "a")
			a.gave(1, 2010)
			a.resumed(2000, 2020, true)
		}, Entry{Stored: 2, StoredLost: 1, RecoveredWrong: 1}},

		"never found, and said so": {func(w *world, a *Device) {
			w.keep(0, 1000, Accepted, "a")
			a.resumed(2000, 2020, false)
		}, Entry{Stored: 1, StoredLost: 1}},

		"found later than it was said to be recovered": {func(w *world, a *Device) {
			w.keep(0, 1000, Accepted, "a")
			a.gave(0, 3010)
			a.resumed(2000, 2020, true)
			a.resumed(3000, 3020, true)
		}, Entry{Stored: 1, RecoveredWrong: 1}},

		"not recovered, needlessly": {func(w *world, a *Device) {
			w.keep(0, 1000, Accepted, "a")
			a.gave(0, 1500)
			a.resumed(2000, 2020, false)
		}, Entry{Stored: 1, RecoveredNeedless: 1}},

		"accepted while it was asked": {func(w *world, a *Device) {
			w.keep(0, 1999, Accepted, "a")
			a.gave(0, 2100)
			a.resumed(2000, 2020, true)
		}, Entry{Stored: 1}},

		"an answer that was cut off": {func(w *world, a *Device) {
			w.keep(0, 1000, Accepted, "a")
			a.resumed(2000, 0, true)
		}, Entry{}},

		"not asked for by one who stayed": {func(w *world, _ *Device) {
			w.keep(0, 1000, Accepted, "a")
		}, Entry{}},

		"not asked for by one who should have": {func(w *world, a *Device) {
			w.keep(0, 1000, Accepted, "a")
			a.CameBack = true
		}, Entry{Stored: 1, StoredLost: 1}},

		"for somebody else, or another service": {func(w *world, a *Device) {
			w.keep(0, 1000, Accepted, "b")
			w.keep(1, 1000, Accepted, "a").Service = "chess"
			a.resumed(2000, 2020, true)
		}, Entry{}},

		"refused, it may be there or not": {func(w *world, a *Device) {
			w.keep(0, 1000, Refused, "a")
			w.keep(1, 1000, Unknown, "a")
			a.gave(1, 2010)
			a.resumed(2000, 2020, true)
		}, Entry{Refused: 1, Unanswered: 1}},

		"given twice": {func(w *world, a *Device) {
			w.keep(0, 1000, Accepted, "a")
			a.gave(0, 2010)
			a.gave(0, 3010)
		}, Entry{Stored: 1, Duplicated: 1}},

		"out of order": {func(w *world, a *Device) {
			for n := range 4 {
				w.keep(n, 1000+n, Accepted, "a")
			}
			for _, n := range []int{0, 2, 1, 3} {
				a.gave(n, 2000+n)
			}
		}, Entry{Stored: 4, StoredReordered: 1}},

		"no order while the inbox is away, nor through two servers": {func(w *world, a *Device) {
			for n := range 6 {
				w.keep(n, 1000+n, Accepted, "a")
			}
			w.messages[4].Roamed = true
			w.messages[1].API = 1
			for _, n := range []int{4, 3, 5, 0, 2, 1} {
				a.gave(n, 2000+n)
				a.Given[len(a.Given)-1].Loose = n == 3 || n == 5
			}
		}, Entry{Stored: 6}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var w world
			c.build(&w, w.Device("a", ""))
			got := w.Settle(rules())
			broken := c.want.StoredLost+c.want.StoredReordered+c.want.RecoveredWrong+c.want.RecoveredNeedless+c.want.Duplicated > 0
			if got.Clean() == broken || broken != (len(got.Examples) > 0) {
				t.Errorf("Clean = %v, examples %q", got.Clean(), got.Examples)
			}
			compare(t, settled(got), c.want)
		})
	}
}

func TestForgettingInboxesMayNotRecover(t *testing.T) {
	var w world
	w.Device("a", "").resumed(2000, 2020, false)
	r := rules()
	if got := w.Settle(r); got.RecoveredNeedless != 1 || got.Resumes != 1 {
		t.Errorf("entry = %+v", got)
	}
	r.Forgets = true
	if got := w.Settle(r); !got.Clean() {
		t.Errorf("entry = %+v", got)
	}
}

// TestExcusedLossHasNoOrder: what was lost live in a span of excused losses is
// found later, after what is newer.
func TestExcusedLossHasNoOrder(t *testing.T) {
	var w world
	d := w.Device("a", "")
	w.keep(0, 1000, Accepted, "a")
	w.keep(1, 3000, Accepted, "a")
	d.gave(1, 3010)
	d.gave(0, 4010)
	r := rules()
	if got := w.Settle(r); got.StoredReordered != 1 {
		t.Errorf("entry = %+v", got)
	}
	r.Excused = []Span{{From: at(900), To: at(2000)}}
	compare(t, settled(w.Settle(r)), Entry{Stored: 2})
}

// TestReplays: what a resume brings again is no duplicate, and has no order
// with what is live.
func TestReplays(t *testing.T) {
	cases := map[string]struct {
		opened int
		build  func(c *Conn)
		want   Entry
	}{
		"replayed after it came": {0, func(c *Conn) {
			c.got(0, 0, 1010)
			c.got(0, 1, 1110)
			c.replayed(0, 1200)
		}, Entry{Accepted: 2, Written: 2, Replayed: 1}},
		"replayed instead of coming": {0, func(c *Conn) {
			c.got(0, 1, 1110)
			c.replayed(0, 1200)
		}, Entry{Accepted: 2, Written: 2}},
		"came after it was replayed": {0, func(c *Conn) {
			c.replayed(0, 1010)
			c.got(0, 0, 1020)
			c.got(0, 1, 1110)
		}, Entry{Accepted: 2, Written: 2, Duplicated: 1}},
		"came to the next connection after it was replayed": {1500, func(c *Conn) {
			c.replayed(0, 1510)
			c.got(0, 0, 1520)
			c.got(0, 1, 1530)
		}, Entry{HandedOver: 1, Duplicated: 1}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var w world
			w.keep(0, 1000, Accepted, "a")
			w.keep(1, 1100, Accepted, "a")
			c.build(w.conn("a", "", c.opened, 0))
			compare(t, settled(w.Settle(rules())), c.want)
		})
	}
}

// TestSentMoreThanOnce: what its caller sent again may come again, and has no
// order if it went through two servers.
func TestSentMoreThanOnce(t *testing.T) {
	var w world
	a := w.conn("a", "", 0, 0)
	w.keep(0, 1000, Accepted, "a").Tries = 2
	w.keep(1, 1100, Accepted, "a").Roamed = true
	w.keep(2, 1200, Accepted, "a")
	w.keep(3, 1300, Accepted, "a").API = 1
	for _, n := range []int{0, 0, 3, 2, 1} {
		a.got(0, n, 1400)
	}
	compare(t, settled(w.Settle(rules())), Entry{Accepted: 4, Written: 4, Repeated: 1})
}

// TestSlowAndLeaving: nothing was due on a connection since its client stopped
// reading, and nothing is owed to one who left.
func TestSlowAndLeaving(t *testing.T) {
	var w world
	w.conn("a", "", 0, 5000).end.Silent = at(2000)
	w.conn("b", "", 0, 1100).end.Left = true
	w.conn("b", "", 1500, 0)
	w.conns[1].holder = dead
	w.keep(0, 1000, Accepted, "a", "b")
	w.keep(2, 1300, Accepted, "b")
	compare(t, settled(w.Settle(rules())), Entry{})
	w.conn("c", "", 0, 5000).end.Left = true
	w.keep(1, 1000, Accepted, "c")
	r := rules()
	if got := w.Settle(r); got.Lost != 1 {
		t.Errorf("left 4 s later, and lost %d", got.Lost)
	}
	r.Patience = 5 * time.Second
	compare(t, settled(w.Settle(r)), Entry{})
	if n := w.Closed(at(0)); n[dead] != 0 || n[1] != 1 || len(n) != 1 {
		t.Errorf("Closed = %v", n)
	}
}
