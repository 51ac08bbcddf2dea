package drill

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/homing/homing/bench/ledger"
	client "github.com/homing/homing/client/go"
)

// line is a connection that keeps what is sent on it.
type line struct {
	deaf bool // its server keeps nothing
	sent []string
}

func (l *line) Hello() client.Hello { return client.Hello{Resume: !l.deaf} }

func (l *line) Send(text []byte) error {
	l.sent = append(l.sent, string(text))
	return nil
}

// said returns what was sent since the last call.
func (l *line) said() string {
	all := strings.Join(l.sent, " ")
	l.sent = nil
	return all
}

// stored is a stored notification, n-th of sender 1.
func stored(n int) client.Message {
	return client.Message{Notification: &client.Notification{
		ID: fmt.Sprintf("id%d", n), Data: fmt.Appendf(nil, `{"s":1,"n":%d}`, n), Stored: true, Ack: true,
	}}
}

// tail is a device with one connection.
func tail(t *testing.T, acks bool) (*session, *line) {
	t.Helper()
	book := &ledger.Book{}
	d := &device{user: "ann"}
	l := &line{}
	s := &session{follower: newFollower(book, d, acks), conn: l, sheet: book.Open("ann", ""), caughtUp: func() {}}
	t.Cleanup(s.end)
	return s, l
}

// given returns what the application was given, in order.
func (s *session) given() (all []int) {
	for _, g := range s.record.Given {
		all = append(all, g.N)
	}
	return all
}

func TestSessionCatchesUp(t *testing.T) {
	s, l := tail(t, true)
	caughtUp := 0
	s.caughtUp = func() { caughtUp++ }
	s.after = "id0"
	if s.begin(); l.said() != `{"t":"resume","after":"id0"}` {
		t.Error("did not resume at its place")
	}
	s.take(stored(3)) // newer than what was missed
	if len(s.given()) != 0 {
		t.Error("given before what was missed")
	}
	s.take(client.Message{Resumed: &client.Resumed{Recovered: true, Count: 2, Last: "id2"}})
	s.take(stored(1))
	if caughtUp != 0 || s.after != "id0" {
		t.Error("caught up before the replay is complete")
	}
	s.take(stored(2))
	if caughtUp != 1 || s.after != "id3" || l.said() != `{"t":"ack","ids":["id1","id2","id3"]}` {
		t.Errorf("caught up %d times, at %s", caughtUp, s.after)
	}
	s.take(stored(4))
	s.take(stored(2))
	s.take(client.Message{Notification: &client.Notification{ID: "x", Data: []byte(`{"s":2,"n":7}`)}})
	if l.said() != `{"t":"ack","ids":["id4"]} {"t":"ack","ids":["id2"]}` || s.after != "id4" {
		t.Errorf("at %s", s.after)
	}
	if got := s.given(); !slices.Equal(got, []int{1, 2, 3, 4, 7}) {
		t.Errorf("given %v", got)
	}
	var replays []int
	for _, r := range s.sheet.Receipts {
		if r.Replayed {
			replays = append(replays, r.N)
		}
	}
	if !slices.Equal(replays, []int{1, 2}) || len(s.sheet.Receipts) != 6 {
		t.Errorf("%d receipts, replayed %v", len(s.sheet.Receipts), replays)
	}
	if r := s.record.Resumes; len(r) != 1 || !r[0].Recovered || r[0].Asked.IsZero() || r[0].Done.Before(r[0].Asked) {
		t.Errorf("resumes %+v", r)
	}
}

func TestSessionAsksAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, l := tail(t, false)
		s.begin()
		l.said()
		s.take(stored(5))
		s.take(client.Message{Error: &client.ServerError{Of: "resume", Code: "unavailable"}})
		s.take(stored(6))
		if !slices.Equal(s.given(), []int{5, 6}) || s.after != "" || !s.record.Given[1].Loose {
			t.Errorf("given %v, at %q", s.given(), s.after)
		}
		refused := time.Now()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if l.said() != `{"t":"resume","after":""}` || s.asked.Load().Sub(refused) < time.Second {
			t.Error("did not ask again, or too soon")
		}
		s.take(client.Message{Resumed: &client.Resumed{Count: 2, Last: "id6"}})
		s.take(stored(4))
		s.take(stored(6))
		if !slices.Equal(s.given(), []int{5, 6, 4}) || s.after != "id6" || s.record.Given[2].Loose || l.said() != "" {
			t.Errorf("given %v, at %q", s.given(), s.after)
		}
		if r := s.record.Resumes; len(r) != 1 || r[0].Recovered {
			t.Errorf("resumes %+v", r)
		}
	})
}

func TestSessionDoesNotAskOneThatKeepsNothing(t *testing.T) {
	s, l := tail(t, true)
	caughtUp := false
	s.caughtUp = func() { caughtUp = true }
	l.deaf = true
	if s.begin(); l.said() != "" || !caughtUp {
		t.Error("asked, or did not go on")
	}
	if s.take(stored(1)); !slices.Equal(s.given(), []int{1}) {
		t.Errorf("given %v", s.given())
	}
}

func TestGuestsComeBackWhenCalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(&ledger.Book{}, &entrance{}, 20)
		if len(f.guests.users()) != guestCount || !f.guests.devices[0].record.CameBack || f.devices[0].record.CameBack {
			t.Fatalf("%d guests", len(f.guests.users()))
		}
		start := time.Now()
		time.AfterFunc(time.Second, f.guests.recall)
		if f.guests.stayAway(t.Context(), time.Hour); time.Since(start) != time.Second {
			t.Errorf("stayed away for %v", time.Since(start))
		}
		if f.guests.stayAway(t.Context(), time.Hour); time.Since(start) != 2*time.Second {
			t.Errorf("called back, it took its time: %v", time.Since(start))
		}
		for _, d := range f.guests.devices[1:] {
			d.back.Store(true)
		}
		if err := f.callBack(t.Context()); err == nil || !strings.Contains(err.Error(), "1 of 60") {
			t.Errorf("callBack = %v", err)
		}
		f.guests.devices[0].back.Store(true)
		if err := f.callBack(t.Context()); err != nil {
			t.Errorf("callBack = %v", err)
		}
	})
}
