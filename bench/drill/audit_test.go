package drill

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/homing/homing/bench/ledger"
	"github.com/homing/homing/bench/load"
	"github.com/homing/homing/hub"
)

func TestWhoWasSentAway(t *testing.T) {
	fault := time.Now()
	in := func(s int) time.Time { return fault.Add(time.Duration(s) * time.Second) }
	a := audit{journal: &journal{}, gap: 7 * time.Second, loadEnd: in(60)}
	a.sendsAway(fault, 20*time.Second, 7)
	a.sendsAway(in(30), 10*time.Second)
	ends := func(holder, opened, ended, code int) ledger.Ending {
		return ledger.Ending{Holder: holder, Opened: in(opened), End: ledger.End{At: in(ended), Code: code}}
	}
	for name, c := range map[string]struct {
		e    ledger.Ending
		want time.Time
	}{
		"by its worker":              {ends(7, -1, 5, comeBack), fault},
		"cut off":                    {ends(7, -1, 5, 0), fault},
		"of a worker not known":      {ends(0, -1, 5, 0), fault},
		"for being slow":             {ends(7, -1, 5, slowConsumer), time.Time{}},
		"by another worker":          {ends(8, -1, 5, comeBack), time.Time{}},
		"before the fault":           {ends(7, -2, -1, comeBack), time.Time{}},
		"long after it":              {ends(7, -1, 21, comeBack), time.Time{}},
		"opened after it":            {ends(7, 1, 5, comeBack), time.Time{}},
		"by the next fault, anybody": {ends(8, 1, 35, comeBack), in(30)},
	} {
		if got := a.sentAway(c.e); !got.Equal(c.want) {
			t.Errorf("%s: since %v, want %v", name, got, c.want)
		}
	}
	a.excuse(fault, in(3), "why")
	if r := a.rules(); len(r.Excused) != 1 || r.Joined != 0 || !r.End.Equal(in(60)) || r.SentAway == nil || r.Patience != 8*time.Second {
		t.Errorf("rules %+v", r)
	}
}

func TestKindsOfSenders(t *testing.T) {
	s := newSenders(&ledger.Book{}, users("player", 30), []string{"http://a", "http://b"}, "", 320, 32)
	defer s.wait()
	s.guests = users("guest", 5)
	seen := make(map[string]int)
	for n := range s.count {
		c := s.caller(n)
		m := &ledger.Message{Key: ledger.Key{Sender: n, N: 3}, Users: c.pick()}
		var body struct{ ID, Wait, Store, Class string }
		if err := json.Unmarshal(request(m, c.form(m), 0), &body); err != nil {
			t.Fatal(err)
		}
		seen[fmt.Sprintf("%d: id %v, wait %q, store %q %s", c.api, body.ID != "", body.Wait, body.Store, body.Class)]++
		guests := len(slices.DeleteFunc(slices.Clone(m.Users), func(u hub.UserID) bool { return !strings.HasPrefix(string(u), "guest") }))
		if len(m.Users) != targets+strangers || guests != 1+len(body.Store)/3 {
			t.Errorf("sender %d names %v", n, m.Users)
		}
	}
	if len(seen) != 8 {
		t.Errorf("%d of 8 ways to send: %v", len(seen), seen)
	}
	for how, n := range seen {
		if n != 4 {
			t.Errorf("%d senders %s", n, how)
		}
	}
	if s.each(plainly) != 10 || s.each(withStore) != 10 {
		t.Errorf("each sends %v", s.each(plainly))
	}
	if s.rate = 640; s.each(withStore) != storeRate {
		t.Errorf("each stores %v", s.each(withStore))
	}
}

func users(name string, n int) (all []hub.UserID) {
	for i := range n {
		all = append(all, hub.UserID(fmt.Sprintf("%s%d", name, i)))
	}
	return all
}

func TestWhatIsRepeated(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{io.ErrUnexpectedEOF, true},
		{&load.RefusedError{Status: http.StatusServiceUnavailable}, true},
		{&load.RefusedError{Status: http.StatusConflict}, true},
		{&load.RefusedError{Status: http.StatusGatewayTimeout}, true},
		{&load.RefusedError{Status: http.StatusInternalServerError}, false},
		{&load.RefusedError{Status: http.StatusBadRequest}, false},
	} {
		if got := repeatable(errors.Join(c.err)); got != c.want {
			t.Errorf("repeatable(%v) = %v", c.err, got)
		}
	}
}

// TestWhoseWorkerWasKilled has clients notice late that their worker is dead: nothing was
// due on their connections from its death on, and what is owed to them does not grow.
func TestWhoseWorkerWasKilled(t *testing.T) {
	fault := time.Now()
	in := func(s int) time.Time { return fault.Add(time.Duration(s) * time.Second) }
	a := audit{journal: &journal{}}
	ends := func(holder, ended int) ledger.Ending {
		return ledger.Ending{Holder: holder, Opened: in(-9), End: ledger.End{At: in(ended)}}
	}
	if got := a.diedAt(ends(0, 1)); !got.IsZero() {
		t.Errorf("nobody was killed, and a connection's worker died %v", got)
	}
	a.dies(7, fault)
	for name, c := range map[string]struct {
		e          ledger.Ending
		died, owed time.Time
	}{
		"noticed late":     {ends(7, 3), fault, fault.Add(leaseAtLeast)},
		"ended before":     {ends(7, -1), time.Time{}, fault.Add(leaseAtLeast)},
		"of another one":   {ends(8, 3), time.Time{}, time.Time{}},
		"of one not known": {ends(0, 3), time.Time{}, time.Time{}},
	} {
		if got := a.diedAt(c.e); !got.Equal(c.died) {
			t.Errorf("%s: died %v, want %v", name, got, c.died)
		}
		if got := a.owed(c.e.Holder, c.e.At); !got.Equal(c.owed) {
			t.Errorf("%s: owed until %v, want %v", name, got, c.owed)
		}
	}
}
