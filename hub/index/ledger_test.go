package index

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/homing/homing/hub"
)

func one(service hub.Service) []hub.ServiceCount {
	return []hub.ServiceCount{{Service: service, Count: 1}}
}

// recorder makes callbacks that note what they were told.
type recorder map[string][]error

func (r recorder) done(name string) func(error) {
	return func(err error) { r[name] = append(r[name], err) }
}

func TestLedgerWritesTheLastOfManySets(t *testing.T) {
	var l ledger
	var r round
	rec := recorder{}
	l.set("anna", one("a"), rec.done("first"))
	l.set("bob", one("a"), nil)
	l.set("anna", one("b"), rec.done("second"))
	l.set("anna", one("c"), nil)
	l.take(&r, 10)
	if diff := cmp.Diff([]hub.UserID{"anna", "bob"}, r.users); diff != "" {
		t.Fatal(diff)
	}
	if diff := cmp.Diff([]string{"c*1", "a*1"}, r.holds); diff != "" {
		t.Fatal(diff)
	}
	l.settle(&r, time.Now())
	r.finish()
	if diff := cmp.Diff(recorder{"first": {nil}, "second": {nil}}, rec); diff != "" {
		t.Error(diff)
	}
	if l.pending() != 0 || len(l.held) != 2 {
		t.Errorf("%d pending, %d held", l.pending(), len(l.held))
	}
}

func TestLedgerKeepsAFailedRoundInOrder(t *testing.T) {
	var l ledger
	var r round
	rec := recorder{}
	l.set("anna", one("a"), rec.done("anna"))
	l.set("bob", one("a"), rec.done("bob"))
	l.take(&r, 1)
	l.set("anna", nil, rec.done("anna again")) // while the first is on its way
	l.putBack(&r)
	l.take(&r, 10)
	if diff := cmp.Diff([]hub.UserID{"anna", "bob"}, r.users); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"", "a*1"}, r.holds); diff != "" {
		t.Error(diff)
	}
	l.settle(&r, time.Now())
	r.finish()
	if diff := cmp.Diff(recorder{"anna": {nil}, "anna again": {nil}, "bob": {nil}}, rec); diff != "" {
		t.Error(diff)
	}
}

func TestLedgerForgetsWhoIsGone(t *testing.T) {
	var l ledger
	var r round
	l.set("anna", one("a"), nil)
	l.set("anna", nil, nil)
	now := time.Now()
	l.take(&r, 10)
	l.settle(&r, now)
	if len(l.held) != 0 || len(l.texts.ids) != 0 {
		t.Errorf("%d held, %d texts", len(l.held), len(l.texts.ids))
	}
	if got := l.everyone(); !slices.Equal(got, []hub.UserID{"anna"}) {
		t.Errorf("to be verified: %q, want the departed anna", got)
	}
	l.forgetDepartures(now.Add(time.Nanosecond))
	if got := l.everyone(); len(got) != 0 {
		t.Errorf("to be verified after a while: %q", got)
	}
}

func TestLedgerCompare(t *testing.T) {
	var l ledger
	var r round
	for _, u := range []hub.UserID{"right", "lost", "stale", "gone", "queued"} {
		l.set(u, one("a"), nil)
	}
	l.set("gone", nil, nil)
	l.take(&r, 10)
	l.settle(&r, time.Now())
	r.finish()
	l.set("queued", one("b"), nil)
	mine := string(pidA) + "=a*1"
	wrong := l.compare(
		[]hub.UserID{"right", "lost", "stale", "gone", "queued"},
		[]string{string(pidB) + "=*1 " + mine, string(pidB) + "=a*1", string(pidA) + "=b*1", mine, ""}, pidA)
	if wrong != 3 {
		t.Errorf("%d wrong, want 3", wrong)
	}
	l.take(&r, 10)
	got := map[hub.UserID]string{}
	for i, u := range r.users {
		got[u] = r.holds[i]
	}
	want := map[hub.UserID]string{"lost": "a*1", "stale": "a*1", "gone": "", "queued": "b*1"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestLedgerGivesUpTheOldestCallbacksAndNoState(t *testing.T) {
	var l ledger
	var r round
	calls := 0
	for i := range 10 {
		for u := range 3 {
			l.set(hub.UserID(fmt.Sprint("u", u)), one(hub.Service(fmt.Sprint("s", i))), func(err error) {
				if err != nil {
					calls++
				}
			})
		}
	}
	for _, done := range l.giveUp(3) {
		done(errors.New("away"))
	}
	if calls != 27 {
		t.Errorf("%d callbacks given up, want 27", calls)
	}
	if n := l.pending(); n > 6 {
		t.Errorf("%d changes kept for 3 users and 3 callbacks", n)
	}
	l.take(&r, 100)
	if diff := cmp.Diff([]string{"s9*1", "s9*1", "s9*1"}, r.holds); diff != "" {
		t.Error(diff)
	}
}

// TestLedgerAgainstModel applies random sets, failures and verifications, and
// checks that what was written in the end is what was set last, that every
// callback was called once, and none before its state or a later one was.
func TestLedgerAgainstModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var l ledger
	var r round
	written, want := map[hub.UserID]string{}, map[hub.UserID]string{}
	sets, called := 0, 0
	flush := func(limit int) {
		l.take(&r, limit)
		if rng.IntN(3) == 0 {
			l.putBack(&r)
			return
		}
		for i, u := range r.users {
			written[u] = r.holds[i]
		}
		l.settle(&r, time.Now())
		r.finish()
	}
	for range 20_000 {
		u := hub.UserID(fmt.Sprint("u", rng.IntN(20)))
		switch rng.IntN(4) {
		case 0:
			flush(1 + rng.IntN(8))
		case 1:
			written[u] = "lost*1" // the shard lost a write
			l.compare([]hub.UserID{u}, []string{string(pidA) + "=lost*1"}, pidA)
		default:
			var services []hub.ServiceCount
			if n := rng.IntN(4); n > 0 {
				services = []hub.ServiceCount{{Service: "s", Count: n}}
			}
			state := string(appendHolds(nil, services))
			want[u] = state
			sets++
			version := sets
			l.set(u, services, func(error) {
				called++
				if version == 0 {
					t.Error("called twice")
				}
				version = 0
			})
		}
	}
	for l.pending() > 0 {
		flush(8)
	}
	for u, state := range want {
		if written[u] != state {
			t.Errorf("%s: wrote %q, want %q", u, written[u], state)
		}
	}
	if called != sets {
		t.Errorf("%d callbacks of %d called", called, sets)
	}
}

func TestLedgerBytesPerUser(t *testing.T) {
	const users = 20_000 // of one worker
	ids := make([]hub.UserID, users)
	for i := range ids {
		ids[i] = hub.UserID(fmt.Sprintf("player-%09d", i))
	}
	var l ledger
	var r round
	before := heap()
	for i, u := range ids {
		l.set(u, one(hub.Service(fmt.Sprint("game", i%5))), nil)
		if i%1000 == 999 {
			l.take(&r, 1000)
			l.settle(&r, time.Now())
			r.finish()
		}
	}
	per := float64(heap()-before) / users
	t.Logf("%.1f bytes per user beside the id", per)
	if per > 100 {
		t.Errorf("%.1f bytes per user, want at most 100", per)
	}
	runtime.KeepAlive(&l)
	runtime.KeepAlive(ids)
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
