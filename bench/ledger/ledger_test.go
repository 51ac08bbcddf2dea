package ledger

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/homing/homing/hub"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var t0 = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func at(ms int) time.Time { return t0.Add(time.Duration(ms) * time.Millisecond) }

// dead is a holder that the system takes for alive for another second.
const dead = 2

func rules() Rules {
	return Rules{
		Joined: 500 * time.Millisecond, Stayed: 2 * time.Second, End: at(10_000), Window: 5 * time.Second,
		Owed: func(holder int, closed time.Time) time.Time {
			if holder != dead {
				return time.Time{}
			}
			return closed.Add(time.Second)
		},
	}
}

// world builds books by hand: times in milliseconds.
type world struct{ Book }

func (w *world) conn(user hub.UserID, service hub.Service, opened, closed int) *Conn {
	c := w.Open(user, service)
	c.Opened, c.holder = at(opened), 1
	if closed > 0 {
		c.end.At = at(closed)
	}
	return c
}

func (w *world) send(sender, n, due int, o Outcome, service hub.Service, users ...hub.UserID) {
	w.Enter(&Message{Key: Key{sender, n}, Users: users, Service: service, Due: at(due), Answered: at(due + 5), Outcome: o})
}

func (c *Conn) got(sender, n, ms int) {
	c.Receipts = append(c.Receipts, Receipt{Key: Key{sender, n}, At: at(ms)})
}

func TestSettle(t *testing.T) {
	cases := map[string]struct {
		build func(w *world)
		want  Entry // without the gap and the instants of loss
	}{
		"exact": {func(w *world) {
			a, a2, b := w.conn("a", "", 0, 0), w.conn("a", "", 0, 0), w.conn("b", "", 0, 0)
			w.send(0, 0, 1000, Accepted, "", "a", "b", "nobody")
			w.send(0, 1, 1100, Accepted, "", "b")
			for _, c := range []*Conn{a, a2, b} {
				c.got(0, 0, 1010)
			}
			b.got(0, 1, 1110)
		}, Entry{Notifications: 2, Accepted: 4, Written: 4}},

		"lost on one of two devices": {func(w *world) {
			a := w.conn("a", "", 0, 0)
			w.conn("a", "", 0, 0)
			w.send(0, 0, 1000, Accepted, "", "a")
			a.got(0, 0, 1010)
		}, Entry{Notifications: 1, Accepted: 2, Written: 1, Lost: 1}},

		"twice on one connection": {func(w *world) {
			a := w.conn("a", "", 0, 0)
			w.send(0, 0, 1000, Accepted, "", "a")
			a.got(0, 0, 1010)
			a.got(0, 0, 1020)
			a.got(0, 0, 1030)
		}, Entry{Notifications: 1, Accepted: 1, Written: 1, Duplicated: 2}},

		"once on each of two connections is no duplicate": {func(w *world) {
			w.conn("a", "", 0, 1500).got(0, 0, 1010)
			w.conn("a", "", 1600, 0).got(0, 0, 1700)
			w.send(0, 0, 1000, Accepted, "", "a")
		}, Entry{Notifications: 1, HandedOver: 1}},

		"handed over to the next connection, late and twice": {func(w *world) {
			a := w.conn("a", "", 1100, 0)
			w.send(0, 0, 1000, Accepted, "", "a")
			w.send(0, 1, 2000, Accepted, "", "a")
			a.got(0, 0, 1200)
			a.got(0, 1, 2010)
			a.got(0, 0, 2500)
		}, Entry{Notifications: 2, Accepted: 1, Written: 1, HandedOver: 2}},

		"out of order": {func(w *world) {
			a := w.conn("a", "", 0, 0)
			for n := range 4 {
				w.send(0, n, 1000+n, Accepted, "", "a")
			}
			for _, n := range []int{0, 2, 1, 3} {
				a.got(0, n, 1010+n)
			}
		}, Entry{Notifications: 4, Accepted: 4, Written: 4, Reordered: 1}},

		"owed to a user who comes back": {func(w *world) {
			w.conn("a", "", 0, 1500).holder = dead
			b := w.conn("a", "", 2000, 0)
			w.send(0, 0, 1000, Accepted, "", "a") // lost with the connection
			w.send(0, 1, 1700, Accepted, "", "a")
			w.send(0, 2, 1600, Refused, "", "a")
			w.send(0, 3, 2900, Accepted, "", "a") // the dead are known by now
			b.got(0, 1, 2010)
			b.got(0, 3, 2910)
		}, Entry{Notifications: 3, Refused: 1, Accepted: 3, Owed: 2, Written: 2, Lost: 1, HandedOver: 1}},

		"not owed, but told, when the user was away": {func(w *world) {
			w.conn("a", "", 0, 1500)
			b := w.conn("a", "", 2000, 0)
			w.send(0, 0, 1600, Accepted, "", "a")
			w.send(0, 1, 1700, Accepted, "", "a") // waited for the user all the same
			w.send(0, 2, 1400, Accepted, "", "a") // on its way when the connection ended
			b.got(0, 1, 2010)
		}, Entry{Notifications: 3, Away: 1, HandedOver: 1}},

		"not owed to one who stays away or comes late": {func(w *world) {
			w.conn("a", "", 0, 1500).holder = dead
			w.conn("b", "", 0, 1500).holder = dead
			w.conn("b", "", 9000, 0)
			w.send(0, 0, 1600, Accepted, "", "a", "b")
		}, Entry{Notifications: 1}},

		"owed only where no other connection was due": {func(w *world) {
			w.conn("a", "", 0, 1500).holder = dead
			w.conn("a", "", 0, 0).got(0, 0, 1610)
			w.conn("a", "", 2000, 0)
			w.send(0, 0, 1600, Accepted, "", "a")
		}, Entry{Notifications: 1, Accepted: 1, Written: 1}},

		"two senders have no order between them": {func(w *world) {
			a := w.conn("a", "", 0, 0)
			w.send(0, 1, 1000, Accepted, "", "a")
			w.send(1, 0, 1001, Accepted, "", "a")
			a.got(0, 1, 1010)
			a.got(1, 0, 1011)
		}, Entry{Notifications: 2, Accepted: 2, Written: 2}},

		"an unanswered one may come late, once": {func(w *world) {
			a := w.conn("a", "", 0, 0)
			w.send(0, 0, 1000, Unknown, "", "a")
			w.send(0, 1, 1100, Accepted, "", "a")
			a.got(0, 1, 1110)
			a.got(0, 0, 1200)
			a.got(0, 0, 1210)
		}, Entry{Notifications: 1, Unanswered: 1, Accepted: 1, Written: 1, Duplicated: 1}},

		"a refused one may stay away": {func(w *world) {
			w.conn("a", "", 0, 0)
			w.send(0, 0, 1000, Refused, "", "a")
		}, Entry{Refused: 1}},

		"at the wrong user": {func(w *world) {
			a, b := w.conn("a", "", 0, 0), w.conn("b", "", 0, 0)
			w.send(0, 0, 1000, Accepted, "", "a")
			a.got(0, 0, 1010)
			b.got(0, 0, 1010)
		}, Entry{Notifications: 1, Accepted: 1, Written: 1, Misdelivered: 1}},

		"at the wrong service": {func(w *world) {
			chess, poker, none := w.conn("a", "chess", 0, 0), w.conn("a", "poker", 0, 0), w.conn("a", "", 0, 0)
			w.send(0, 0, 1000, Accepted, "chess", "a")
			chess.got(0, 0, 1010)
			poker.got(0, 0, 1010)
			none.got(0, 0, 1010)
		}, Entry{Notifications: 1, Accepted: 1, Written: 1, Misdelivered: 2}},

		"never sent": {func(w *world) {
			w.conn("a", "", 0, 0).got(7, 7, 1000)
		}, Entry{Misdelivered: 1}},

		"joined too late, left too soon": {func(w *world) {
			w.conn("a", "", 600, 0)
			w.conn("a", "", 0, 2000)
			w.conn("a", "", 0, 3006)
			w.send(0, 0, 1000, Accepted, "", "a")
		}, Entry{Notifications: 1, Accepted: 1, Lost: 1}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var w world
			c.build(&w)
			got := w.Settle(rules())
			if c.want.Lost > 0 && (!got.LostFrom.Equal(at(1000)) || !got.LostLast.Equal(at(1000))) {
				t.Errorf("lost from %v to %v", got.LostFrom, got.LostLast)
			}
			faults := got.Lost + got.Duplicated + got.Reordered + got.Misdelivered
			if len(got.Examples) != min(faults, maxExamples) {
				t.Errorf("%d examples of %d faults: %q", len(got.Examples), faults, got.Examples)
			}
			if got = counts(got); !reflect.DeepEqual(got, c.want) {
				t.Errorf("entry = %+v\nwant    %+v", got, c.want)
			}
			broken := c.want.Lost+c.want.Duplicated+c.want.Reordered+c.want.Misdelivered > 0
			if got.Clean() == broken {
				t.Errorf("Clean = %v", got.Clean())
			}
		})
	}
}

func TestGap(t *testing.T) {
	cases := map[string]struct {
		build func(w *world)
		want  time.Duration
	}{
		"steady": {func(w *world) {
			a := w.conn("a", "", 0, 0)
			for n := range 50 {
				w.send(0, n, 1000+n*100, Accepted, "", "a")
				a.got(0, n, 1003+n*100)
			}
		}, 3 * time.Millisecond},
		"quiet is no gap": {func(w *world) {
			a := w.conn("a", "", 0, 0)
			w.send(0, 0, 1000, Accepted, "", "a")
			w.send(0, 1, 9000, Accepted, "", "a")
			a.got(0, 0, 1002)
			a.got(0, 1, 9002)
		}, 2 * time.Millisecond},
		"outage, refused meanwhile": {func(w *world) {
			a := w.conn("a", "", 0, 0)
			for n := range 40 {
				due := 1000 + n*100
				if due >= 2000 && due < 4000 {
					w.send(0, n, due, Refused, "", "a")
					continue
				}
				w.send(0, n, due, Accepted, "", "a")
				a.got(0, n, due+1)
			}
		}, 2001 * time.Millisecond},
		"one worker of two silent": {func(w *world) {
			a, b := w.conn("a", "", 0, 0), w.conn("b", "", 0, 0)
			b.holder = 2
			for n := range 40 {
				w.send(0, n, 1000+n*100, Accepted, "", "a", "b")
				b.got(0, n, 1000+n*100+1)
				if n < 10 || n >= 25 {
					a.got(0, n, 1000+n*100+1)
				}
			}
		}, 1501 * time.Millisecond},
		"silent to the end": {func(w *world) {
			w.conn("a", "", 0, 0)
			w.send(0, 0, 4000, Accepted, "", "a")
		}, 6 * time.Second},
		"the dead worker's lane ends with its connections": {func(w *world) {
			w.conn("a", "", 0, 4010)
			w.send(0, 0, 4000, Accepted, "", "a")
			w.send(0, 1, 5000, Accepted, "", "a")
		}, 10 * time.Millisecond},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var w world
			c.build(&w)
			if got := w.Settle(rules()).LongestGap; got != c.want {
				t.Errorf("gap = %v, want %v", got, c.want)
			}
		})
	}
}

// TestSettleFindsEveryFault makes random faults in a random exact run and
// expects each to be counted.
func TestSettleFindsEveryFault(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		var w world
		conns := make(map[hub.UserID][]*Conn)
		var users []hub.UserID
		for i := range 20 {
			u := hub.UserID(fmt.Sprint("u", i))
			users = append(users, u)
			for range 1 + r.IntN(3) {
				conns[u] = append(conns[u], w.conn(u, "", 0, 0))
			}
		}
		var want Entry
		for n := range 100 {
			u := users[r.IntN(len(users))]
			w.send(n%3, n, 1000+n, Accepted, "", u)
			want.Notifications++
			for _, c := range conns[u] {
				want.Accepted++
				switch r.IntN(10) {
				case 0:
					want.Lost++
				case 1:
					want.Written++
					want.Duplicated++
					c.got(n%3, n, 1000+n)
					c.got(n%3, n, 1000+n)
				case 2:
					want.Written++
					want.Misdelivered++
					c.got(n%3, n, 1000+n)
					stranger := conns[users[(indexOf(users, u)+1)%len(users)]][0]
					stranger.got(n%3, n, 1000+n)
				default:
					want.Written++
					c.got(n%3, n, 1000+n)
				}
			}
		}
		if got := counts(w.Settle(rules())); !reflect.DeepEqual(got, want) {
			t.Fatalf("seed %d: entry = %+v\nwant %+v", seed, got, want)
		}
	}
}

// TestWhoNoticesLateThatItsHolderWasKilled had no connection meanwhile.
func TestWhoNoticesLateThatItsHolderWasKilled(t *testing.T) {
	for name, c := range map[string]struct {
		holder int
		roams  bool
		due    int
		want   Entry
	}{
		"before the kill":              {dead, false, 2800, Entry{Accepted: 1, Owed: 1, Lost: 1}},
		"before the kill, it roams":    {dead, true, 2800, Entry{}}, // it may have waited for the client to ask
		"after the kill":               {dead, true, 3100, Entry{Accepted: 1, Owed: 1, Lost: 1}},
		"its holder was not killed":    {1, true, 2800, Entry{Accepted: 1, Lost: 1}},
		"long before, it was received": {dead, true, 500, Entry{Accepted: 1, Lost: 1}},
	} {
		var w world
		gone := w.conn("a", "", 0, 6000) // it notices after three seconds
		gone.holder, gone.Roams = c.holder, c.roams
		w.conn("a", "", 6500, 0)
		w.send(0, 0, c.due, Accepted, "", "a")
		r := rules()
		r.Taken = at(3000)
		r.Died = func(e Ending) time.Time {
			if e.Holder == dead {
				return at(3000)
			}
			return time.Time{}
		}
		r.Owed = func(holder int, _ time.Time) time.Time {
			if holder == dead {
				return at(4000)
			}
			return time.Time{}
		}
		compare(t, settled(w.Settle(r)), c.want)
		if t.Failed() {
			t.Fatal(name)
		}
	}
}

// TestHowLongItTook is of first arrivals on connections that were there.
func TestHowLongItTook(t *testing.T) {
	var w world
	c := w.conn("a", "", 0, 0)
	late := w.conn("a", "", 1900, 0)
	for n := range 101 {
		w.send(0, n, 1000+10*n, Accepted, "", "a")
		c.got(0, n, 1000+10*n+n)
		c.got(0, n, 9000) // again
	}
	late.got(0, 0, 9000) // handed over
	if got := w.Settle(rules()); got.P50 != 50*time.Millisecond || got.P99 != 99*time.Millisecond {
		t.Errorf("p50 %v, p99 %v", got.P50, got.P99)
	}
}

// counts is e without instants, gap and examples.
func counts(e Entry) Entry {
	e.LongestGap, e.LostFrom, e.LostLast, e.Examples = 0, time.Time{}, time.Time{}, nil
	e.P50, e.P99 = 0, 0
	return e
}

func indexOf(users []hub.UserID, u hub.UserID) int {
	for i := range users {
		if users[i] == u {
			return i
		}
	}
	return -1
}

// TestWhatWaitedInAHolderThatWasKilled is not owed to who roams, unless it was sent later.
func TestWhatWaitedInAHolderThatWasKilled(t *testing.T) {
	for name, c := range map[string]struct {
		roams bool
		due   int
		lost  int
	}{
		"it roams":          {true, 2990, 0},
		"it does not":       {false, 2990, 1},
		"it was sent after": {true, 3010, 1},
	} {
		var w world
		gone := w.conn("a", "", 0, 3500)
		gone.holder, gone.Roams = dead, c.roams
		w.conn("a", "", 4000, 0)
		w.send(0, 0, c.due, Accepted, "", "a")
		r := rules()
		r.Taken = at(3000)
		if got := w.Settle(r); got.Lost != c.lost || got.Owed != c.lost {
			t.Errorf("%s: %d lost, %d owed, want %d", name, got.Lost, got.Owed, c.lost)
		}
	}
	for _, roams := range []bool{true, false} {
		var w world
		w.conn("a", "", 0, 3500).holder = dead
		between := w.conn("a", "", 4000, 7000)
		between.Roams, between.end.Left = roams, true
		w.conn("a", "", 8000, 0)
		w.send(0, 0, 3100, Accepted, "", "a")
		if got := w.Settle(rules()); (got.Lost == 1) == roams {
			t.Errorf("handed over to one that has left and roams (%v): %d lost", roams, got.Lost)
		}
	}
	for name, c := range map[string]struct {
		roams bool
		again int
		want  int // duplicated
	}{
		"given again": {true, 3010, 0}, "twice before that": {true, 2950, 1}, "it does not roam": {false, 3010, 1},
	} {
		var w world
		conn := w.conn("a", "", 0, 0)
		conn.Roams = c.roams
		w.send(0, 0, 2900, Accepted, "", "a")
		conn.got(0, 0, 2910)
		conn.got(0, 0, c.again)
		r := rules()
		r.Taken = at(3000)
		if got := w.Settle(r); got.Duplicated != c.want || got.Repeated != 1-c.want {
			t.Errorf("%s: %d duplicated, %d repeated", name, got.Duplicated, got.Repeated)
		}
	}
}

func TestClosedByHolder(t *testing.T) {
	var w world
	w.conn("a", "", 0, 1000)
	w.conn("b", "", 0, 3000)
	w.conn("d", "", 0, 3000).holder = 0
	w.conn("e", "", 0, 3000).Roams = true
	c := w.conn("c", "", 0, 0)
	c.HeldBy(9)
	if c.Holder() != 9 {
		t.Error("holder not kept")
	}
	if got := w.Closed(at(2000)); len(got) != 1 || got[1] != 1 {
		t.Errorf("Closed = %v", got)
	}
	c.Close(End{At: time.Now()})
	if got := w.Closed(at(4000)); got[9] != 1 {
		t.Errorf("Closed = %v", got)
	}
}

// TestBroadcasts: a broadcast is due once on every connection that was there.
func TestBroadcasts(t *testing.T) {
	var w world
	w.conn("a", "", 0, 0).got(1, 1, 2010)
	w.conn("b", "chess", 0, 0)
	twice := w.conn("c", "", 0, 0)
	twice.got(1, 1, 2010)
	twice.got(1, 1, 2020)
	w.conn("late", "", 3000, 0)
	w.Enter(&Message{Key: Key{1, 1}, Everybody: true, Due: at(2000), Answered: at(2005), Outcome: Accepted})
	if e := w.Settle(rules()); e.Accepted != 3 || e.Written != 2 || e.Lost != 1 || e.Duplicated != 1 || e.Misdelivered != 0 {
		t.Errorf("%+v", e)
	}
}

// TestGivenUp: what is lost while nothing is carried is counted apart, for each
// connection, and only then.
func TestGivenUp(t *testing.T) {
	var w world
	w.conn("a", "", 0, 0)
	w.conn("a", "", 0, 0).got(1, 1, 2010)
	w.send(1, 1, 2000, Accepted, "", "a")
	w.send(1, 2, 4000, Accepted, "", "a")
	r := rules()
	r.GivesUp = []Span{{From: at(1000), To: at(3000)}}
	if e := w.Settle(r); e.Accepted != 3 || e.Written != 1 || e.GivenUp != 1 || e.Lost != 2 {
		t.Errorf("%+v", e)
	}
}

// TestPartlyExcused: only what another connection of the user has read.
func TestPartlyExcused(t *testing.T) {
	var w world
	w.conn("a", "", 0, 0)
	w.conn("a", "", 0, 0).got(1, 1, 2010)
	w.conn("b", "", 0, 0)
	w.send(1, 1, 2000, Accepted, "", "a", "b")
	r := rules()
	for partly, want := range map[bool]Entry{true: {Excused: 1, Lost: 1}, false: {Lost: 2}} {
		r.Excused = []Span{{From: at(1000), To: at(3000), Partly: partly}}
		if e := w.Settle(r); e.Written != 1 || e.Excused != want.Excused || e.Lost != want.Lost {
			t.Errorf("partly %v: %+v", partly, e)
		}
	}
}
