package index

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/lease"
	"github.com/homing/homing/redisx/redistest"
)

// story is what was told of users, in order: "+a" came, "-a" went, "/a" left.
type story struct {
	g    *Registrar
	deaf bool // nobody hears of it
	mu   sync.Mutex
	told []string
}

func (s *story) tell(m Moves) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range m.Came {
		s.told = append(s.told, "+"+string(a.User))
	}
	for _, d := range m.Went {
		s.told = append(s.told, "-"+string(d.User))
	}
	for _, u := range m.Left {
		s.told = append(s.told, "/"+string(u))
	}
	if s.deaf {
		return
	}
	var came, went []hub.UserID
	for _, a := range m.Came {
		came = append(came, a.User)
	}
	for _, d := range m.Went {
		went = append(went, d.User)
	}
	s.g.Told(came, went)
}

func (s *story) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.told)
}

func (s *story) wants(t *testing.T, want ...string) {
	t.Helper()
	eventually(t, 5*time.Second, "what was told", func() bool { return len(s.all()) >= len(want) })
	if diff := cmp.Diff(want, s.all()); diff != "" {
		t.Fatalf("told (-want +got):\n%s", diff)
	}
}

// teller runs a Registrar that tells s.
func (w *world) teller(timing timing, linger time.Duration, s *story) process {
	w.t.Helper()
	return w.processWith(timing, func(g *Registrar) {
		s.g = g
		g.Tell(linger, s.tell)
	})
}

// bare is a user's value without the time when the user came, and of marks.
func bare(value string) string {
	return strings.TrimSpace(times.ReplaceAllString(value, "$1"))
}

var times = regexp.MustCompile(`(?:^| )[+?]\d+|(!)\d+`)

var oneConnection = hub.ServiceCount{Service: "chess", Count: 1}

func TestMovesOfOneProcess(t *testing.T) {
	w := onServer(t)
	var s story
	p := w.teller(quick, 100*time.Millisecond, &s)
	p.set(t, "a", oneConnection)
	p.set(t, "a", hub.ServiceCount{Service: "chess", Count: 2}) // a second device makes no move
	s.wants(t, "+a")
	topic := hub.Topic("guild").Address() // of which nothing is told, and which does not linger
	p.set(t, topic, oneConnection)
	p.set(t, topic)
	if _, others := w.dump(); slices.Contains(others, w.keys.User(topic)) {
		t.Error("a topic lingers")
	}
	p.set(t, "a")
	if users, _ := w.dump(); bare(users["a"]) != string(p.id)+"=~" {
		t.Errorf("after the last device: %q, want a place that is kept", users["a"])
	}
	s.wants(t, "+a", "-a")
	eventually(t, time.Second, "the entry is gone", func() bool { users, _ := w.dump(); return users["a"] == "" })
}

func TestWhoLingersIsNotOnline(t *testing.T) {
	w := onServer(t)
	ix := w.index(quick)
	var s story
	p := w.teller(quick, time.Hour, &s)
	p.set(t, "a", oneConnection)
	p.set(t, "a")
	if got := where(t, ix, "a"); len(got) != 0 {
		t.Errorf("Locate finds %q", got)
	}
	ps, err := ix.Presence(t.Context(), []hub.UserID{"a"})
	if err != nil || len(ps[0].Processes) != 0 {
		t.Errorf("Presence: %v, %v", ps, err)
	}
	// But by what is told of moves it is: it may come back without a word.
	all, err := ix.Entries(t.Context(), []hub.UserID{"a"})
	if err != nil || len(all[0].Processes) != 1 || len(all[0].Processes[0].Services) > 0 || time.Since(all[0].Since).Abs() > time.Hour {
		t.Errorf("Entries: %v, %v", all, err)
	}
	if online, err := ix.Online(t.Context(), 10); err != nil || len(online) != 0 {
		t.Errorf("Online: %v, %v", online, err)
	}
}

// TestQuickReturnIsNoMove has a user come back within its linger: to the same
// process, then to another one.
func TestQuickReturnIsNoMove(t *testing.T) {
	w := onServer(t)
	var s1, s2 story
	p1, p2 := w.teller(quick, 300*time.Millisecond, &s1), w.teller(quick, 300*time.Millisecond, &s2)
	p1.set(t, "a", oneConnection)
	p1.set(t, "a")
	p1.set(t, "a", oneConnection)
	p1.set(t, "a")
	p2.set(t, "a", oneConnection)
	s1.wants(t, "+a", "/a") // when its place at the first is given up
	p2.set(t, "a")
	s2.wants(t, "-a")
	s1.wants(t, "+a", "/a")
}

// TestCloseLetsUsersLinger has a process end while its user goes to another one.
func TestCloseLetsUsersLinger(t *testing.T) {
	w := onServer(t)
	var s1, s2 story
	p1, p2 := w.teller(quick, 300*time.Millisecond, &s1), w.teller(quick, 300*time.Millisecond, &s2)
	p1.set(t, "stays", oneConnection)
	p1.set(t, "goes", oneConnection)
	closed := make(chan error, 1)
	go func() { closed <- p1.Close(context.WithoutCancel(t.Context())) }()
	eventually(t, 5*time.Second, "the entry lingers", func() bool {
		users, _ := w.dump()
		return bare(users["stays"]) == string(p1.id)+"=~"
	})
	p2.set(t, "stays", oneConnection)
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	if got := s1.all(); !slices.Contains(got, "-goes") || slices.Contains(got, "-stays") || len(s2.all()) > 0 {
		t.Errorf("told %q and %q", got, s2.all())
	}
	if users, _ := w.dump(); bare(users["stays"]) != string(p2.id)+"=chess*1" {
		t.Errorf("the index has %q", users["stays"])
	}
}

// TestMovesAreToldWhenAWriteWasInDoubt has the script run without the process
// hearing of it.
func TestMovesAreToldWhenAWriteWasInDoubt(t *testing.T) {
	redistest.OnEach(t, func(t *testing.T, c *redis.Client) {
		ctx := t.Context()
		run := func(holds, tells string) (came, went int) {
			t.Helper()
			cmd := putScript.Run(ctx, c, []string{"k", "clock"}, string(pidA), holds, tells, "moves")
			m, err := (&call{[]hub.UserID{"k"}, []string{holds}, cmd}).moves()
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range m.Came {
				if at := a.At.UnixMicro(); at != 5 && time.Since(a.At).Abs() > time.Hour {
					t.Fatalf("came at %v", a.At)
				}
			}
			for _, d := range m.Went {
				if at := d.At.UnixMicro(); at != 7 && time.Since(d.At).Abs() > time.Hour {
					t.Fatalf("went at %v", d.At)
				}
			}
			return len(m.Came), len(m.Went)
		}
		for _, tc := range []struct {
			name, before, holds, tells string
			came, went                 int
			after                      string // bare
		}{
			{"comes", "", "a*1", "t", 1, 0, a1},
			{"is there", a1 + " +5", "a*1", "t", 0, 0, a1},
			{"may have come", a1 + " ?5", "a*1", "d", 1, 0, a1},
			{"may have come, and somebody else has it", b1 + " " + a1 + " +5", "a*1", "d", 1, 0, b1 + " " + a1},
			{"may have come before another device", a1 + " +5", "a*2", "d", 1, 0, a2},
			{"may have come, and has left", a1 + " ?5", "~", "d", 1, 0, aLeft},
			{"leaves", a1 + " +5", "~", "t", 0, 0, aLeft},
			{"comes to another process", b1 + " +5", "a*1", "t", 0, 0, b1 + " " + a1},
			{"comes to another process, when nobody has heard", b1 + " ?5", "a*1", "t", 1, 0, b1 + " " + a1},
			{"another device, when nobody has heard", a1 + " ?5", "a*2", "t", 0, 0, a2},
			{"others have heard", a1 + " ?5", "a*1", "h", 0, 0, a1},
			{"others have heard, and it comes", "", "a*1", "h", 1, 0, a1},
			{"may never have come", a1 + " ?5", "a*1", "u", 1, 0, a1},
			{"may never have come, and goes", "", gone, "u", 0, 0, ""},
			{"may never have come, and another has it", b1 + " +5", gone, "u", 0, 0, b1},
			{"has come after all, and goes", aLeft + " ?5", gone, "u", 1, 1, aGone},
			{"goes", aLeft + " +5", gone, "t", 0, 1, aGone},
			{"may have gone", aGone + "7", gone, "d", 0, 1, aGone},
			{"was lost", "", gone, "t", 0, 1, aGone},
			{"another has it", b1 + " " + aLeft + " +5", gone, "t", 0, 0, b1},
			{"others have heard that it went", aGone + "7", "", "-", 0, 0, ""},
			{"others have heard, and another has it", aGone + "7 " + b1 + " +5", "", "-", 0, 0, b1},
			{"was never there", "", "", "-", 0, 0, ""},
			{"a topic gets its first member", "", "a*1", "-", 0, 0, a1},
			{"a topic loses its last", a1, "", "-", 0, 0, ""},
			{"comes while an end is told", string(pidB) + "=!1", "a*1", "t", 1, 0, string(pidB) + "=! " + a1},
			{"comes beside one", b1 + " " + c1[:12] + "!1 +5", "a*1", "t", 0, 0, b1 + " " + c1[:12] + "! " + a1},
			{"goes while an end is told", string(pidB) + "=!1 " + a1 + " +5", gone, "t", 0, 1, string(pidB) + "=! " + aGone},
		} {
			setOrDel(ctx, t, c, "k", tc.before)
			if came, went := run(tc.holds, tc.tells); came != tc.came || went != tc.went {
				t.Errorf("%s: %d came, %d went; want %d, %d", tc.name, came, went, tc.came, tc.went)
			}
			if got := bare(get(ctx, t, c, "k")); got != tc.after {
				t.Errorf("%s: %q, want %q", tc.name, got, tc.after)
			}
		}
	})
}

const aLeft, aGone = string(pidA) + "=~", string(pidA) + "=!"

// TestTimesOfMovesNeverGoBack has a master whose clock is behind that of the one
// before, and one that is far behind.
func TestTimesOfMovesNeverGoBack(t *testing.T) {
	redistest.OnEach(t, func(t *testing.T, c *redis.Client) {
		ctx := t.Context()
		comes := func(clock time.Time) time.Time {
			t.Helper()
			setOrDel(ctx, t, c, "clock", strconv.FormatInt(clock.UnixMicro(), 10))
			setOrDel(ctx, t, c, "k", "")
			cmd := putScript.Run(ctx, c, []string{"k", "clock"}, string(pidA), "a*1", "t", "moves")
			m, err := (&call{[]hub.UserID{"k"}, []string{"a*1"}, cmd}).moves()
			if err != nil {
				t.Fatal(err)
			}
			if got := get(ctx, t, c, "clock"); got != strconv.FormatInt(m.Came[0].At.UnixMicro(), 10) {
				t.Errorf("the clock says %s after %v", got, m.Came[0].At.UnixMicro())
			}
			return m.Came[0].At
		}
		ahead := time.Now().Add(5 * time.Minute)
		if at := comes(ahead); !at.Equal(ahead.Truncate(time.Microsecond).Add(time.Microsecond)) {
			t.Errorf("after %v comes %v", ahead, at)
		}
		if at := comes(time.Now().Add(time.Hour)); time.Since(at).Abs() > time.Minute {
			t.Errorf("a clock that is an hour ahead is followed to %v", at)
		}
		setOrDel(ctx, t, c, "clock", strconv.FormatInt(ahead.UnixMicro(), 10))
		setOrDel(ctx, t, c, "k", b1)
		reply, err := sweepScript.Run(ctx, c, []string{"none", "k", "clock"}, 1, string(pidB), "tell").Slice()
		if err != nil {
			t.Fatal(err)
		}
		want := strconv.FormatInt(ahead.UnixMicro()+1, 10)
		if got := reply[1].([]any)[0].([]any)[2]; got != want {
			t.Errorf("a sweep after %v tells of %v, want %v", ahead.UnixMicro(), got, want)
		}
	})
}

// TestDoubtfulWriteIsToldOnce stops Redis in the middle of a write.
func TestDoubtfulWriteIsToldOnce(t *testing.T) {
	var l ledger
	l.linger = time.Second
	l.set("a", []hub.ServiceCount{oneConnection}, nil)
	var r round
	l.take(&r, 10)
	if string(r.tells) != "t" {
		t.Fatalf("asked %q", r.tells)
	}
	l.putBack(&r)
	l.take(&r, 10)
	if string(r.tells) != "u" {
		t.Fatalf("asked %q after a first write in doubt", r.tells)
	}
	l.settle(&r, time.Now())
	r.finish()
	l.set("a", []hub.ServiceCount{oneConnection, {Service: "go", Count: 1}}, nil)
	l.take(&r, 10)
	l.putBack(&r)
	l.take(&r, 10)
	if string(r.tells) != "d" {
		t.Fatalf("asked %q after a later write in doubt", r.tells)
	}
	l.settle(&r, time.Now())
	r.finish()
	l.set("a", nil, nil)
	l.take(&r, 10)
	if string(r.tells) != "t" || r.holds[0] != lingering {
		t.Errorf("asked %q for %q", r.tells, r.holds)
	}
}

// TestWhoWasNeverThereIsNotToldOf has a client come and go while nothing can be written.
func TestWhoWasNeverThereIsNotToldOf(t *testing.T) {
	w := onServer(t)
	var s story
	p := w.teller(quick, 50*time.Millisecond, &s)
	w.lead().Do(t.Context(), "CLIENT", "PAUSE", "1500", "WRITE")
	p.Set("first", []hub.ServiceCount{oneConnection}, nil) // its write waits
	time.Sleep(3 * gatherFor)
	p.Set("a", []hub.ServiceCount{oneConnection}, nil)
	p.set(t, "a")
	p.set(t, "b", oneConnection)
	s.wants(t, "+first", "+b")
}

// TestWorkerThatDiesUntoldLosesNobody ends a process before others have heard of its
// users: of who went a sweep tells, with the same time, and of who came the next
// process that it comes to.
func TestWorkerThatDiesUntoldLosesNobody(t *testing.T) {
	w := onServer(t)
	s1, s2 := story{deaf: true}, story{}
	dies, lives := w.teller(quick, 50*time.Millisecond, &s1), w.teller(quick, time.Hour, &s2)
	dies.set(t, "went", oneConnection)
	dies.set(t, "went")
	s1.wants(t, "+went", "-went")
	dies.set(t, "came", oneConnection)
	s1.wants(t, "+went", "-went", "+came")
	users, _ := w.dump()
	at, _, _ := strings.Cut(strings.TrimPrefix(users["went"], string(dies.id)+"=!"), " ?")
	if users["went"] == at {
		t.Fatalf("who went is %q", users["went"])
	}
	dies.end()
	lives.set(t, "came", oneConnection)
	s2.wants(t, "+came")
	eventually(t, 5*time.Second, "that is known", func() bool { users, _ := w.dump(); return strings.Contains(users["came"], " +") })
	third := story{}
	w.teller(quick, time.Hour, &third).set(t, "came", oneConnection) // a second device tells nobody
	var e ends
	w.indexWith(quick, func(ix *Index) { ix.Tell(e.tell) })
	eventually(t, 10*time.Second, "the sweep tells", func() bool { return len(e.all()) > 0 })
	got := e.all()[0]
	if len(got) != 1 || got[0].User != "went" || got[0].Came.IsZero() || !got[0].Came.Before(got[0].At) || strconv.FormatInt(got[0].At.UnixMicro(), 10) != at {
		t.Errorf("the sweep tells of %+v, want of went at %s", got, at)
	}
	if len(third.all()) > 0 {
		t.Errorf("the third process tells %q", third.all())
	}
}

// TestRetireWaitsForWhoWent ends a process in two steps.
func TestRetireWaitsForWhoWent(t *testing.T) {
	w := onServer(t)
	s := story{deaf: true}
	p := w.teller(quick, 50*time.Millisecond, &s)
	p.set(t, "a", oneConnection)
	if err := p.Retire(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.wants(t, "+a", "-a")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := p.Close(ctx); err == nil {
		t.Error("it closes before others have heard of a")
	}
	p.Told(nil, []hub.UserID{"a"})
	if err := p.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if users, _ := w.dump(); len(users) > 0 {
		t.Errorf("left: %q", users)
	}
}

// TestLostRemovalIsToldAgain has a removed entry come back, as after a failover.
func TestLostRemovalIsToldAgain(t *testing.T) {
	w := onServer(t)
	var s story
	p := w.teller(quick, 50*time.Millisecond, &s)
	p.set(t, "a", oneConnection)
	p.set(t, "a")
	s.wants(t, "+a", "-a")
	eventually(t, 5*time.Second, "the entry is gone", func() bool { users, _ := w.dump(); return users["a"] == "" })
	w.master(0).Set(t.Context(), w.keys.User("a"), string(p.id)+"=chess*1", 0)
	for _, sw := range p.writers {
		sw.ledger.compare([]hub.UserID{"a"}, []string{string(p.id) + "=chess*1"}, p.id)
		sw.kick()
	}
	s.wants(t, "+a", "-a", "-a")
	eventually(t, 5*time.Second, "the entry is gone", func() bool { users, _ := w.dump(); return users["a"] == "" })
}

// ends are what an Index tells of the dead.
type ends struct {
	mu   sync.Mutex
	told [][]Ended
	fail error
}

func (e *ends) tell(_ context.Context, some []Ended) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.told = append(e.told, slices.Clone(some))
	return e.fail
}

func (e *ends) all() [][]Ended {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.told)
}

func (e *ends) mend() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.fail = nil
}

// TestSweepTellsWhoWent kills a process of many users, some of whom come back
// elsewhere before the sweep.
func TestSweepTellsWhoWent(t *testing.T) {
	w := onServer(t)
	var s1, s2 story
	dead, alive := w.teller(quick, time.Hour, &s1), w.teller(quick, time.Hour, &s2)
	for i := range 200 {
		dead.Set(hub.UserID("u"+string(rune('A'+i%26))+string(rune('a'+i/26))), []hub.ServiceCount{oneConnection}, nil)
	}
	dead.set(t, "back", oneConnection)
	dead.set(t, "lingers", oneConnection)
	dead.set(t, "lingers")
	topic := hub.Topic("guild").Address()
	dead.set(t, topic, oneConnection)
	dead.end()
	alive.set(t, "back", oneConnection)

	var e ends
	e.fail = errors.New("not now")
	w.indexWith(quick, func(ix *Index) { ix.Tell(e.tell) })
	eventually(t, 10*time.Second, "it tells twice", func() bool { return len(e.all()) >= 2 })
	// Who comes while the end is being told, comes anew.
	alive.set(t, "uAa", oneConnection)
	s2.wants(t, "+uAa")
	before := len(e.all())
	eventually(t, 10*time.Second, "it tells after that", func() bool { return len(e.all()) >= before+2 })
	e.mend()
	eventually(t, 10*time.Second, "the entries are gone", func() bool { users, _ := w.dump(); return len(users) == 2 })

	if _, others := w.dump(); slices.Contains(others, w.keys.User(topic)) {
		t.Error("a topic of the dead is left")
	}
	all := e.all()
	ignore := cmpopts.IgnoreFields(Ended{}, "Back")
	if diff := cmp.Diff(all[0], all[1], ignore); diff != "" || len(all[0]) != 201 {
		t.Errorf("%d told first; told otherwise again:\n%s", len(all[0]), diff)
	}
	for _, x := range all[0] {
		if x.User == "back" || x.Process != dead.id || time.Since(x.At).Abs() > time.Hour || x.Back {
			t.Errorf("told of %+v", x)
		}
	}
	if got := len(all[len(all)-1]); got != 200 {
		t.Errorf("the last time %d were told of, want all but who is back", got)
	}
	var back int
	for _, some := range all {
		for _, x := range some {
			if x.Back {
				back++
			}
		}
	}
	if back != 1 {
		t.Errorf("%d times somebody was told to be back, want 1", back)
	}
}

// TestSweeperThatDiesLosesNothing has a first sweeper end between marking and
// telling.
func TestSweeperThatDiesLosesNothing(t *testing.T) {
	w := onServer(t)
	var s story
	dead := w.teller(quick, time.Hour, &s)
	dead.set(t, "a", oneConnection)
	dead.end()
	ctx, cancel := context.WithCancel(t.Context())
	census := lease.NewCensus(w.r, w.keys, nil, quick.lease, discard, nil)
	ix := New(w.r, census, w.keys, discard, nil)
	ix.timing = quick
	var first []Ended
	ix.Tell(func(_ context.Context, some []Ended) error { first = some; cancel(); return errors.New("it dies") })
	var runs sync.WaitGroup
	runs.Go(func() { _ = census.Run(ctx) })
	runs.Go(func() { _ = ix.Run(ctx) })
	<-ctx.Done()
	runs.Wait()
	if users, _ := w.dump(); len(users["a"]) < 14 || users["a"][12:13] != gone {
		t.Fatalf("the index has %q, want a mark", users["a"])
	}
	var e ends
	w.indexWith(quick, func(ix *Index) { ix.Tell(e.tell) })
	eventually(t, 10*time.Second, "the next one tells", func() bool { return len(e.all()) > 0 })
	if diff := cmp.Diff(first, e.all()[0]); diff != "" {
		t.Errorf("told otherwise:\n%s", diff)
	}
	eventually(t, 10*time.Second, "the entry is gone", func() bool { users, _ := w.dump(); return len(users) == 0 })
}

// TestWhoComesBackLingersAnew has a user leave, come back and leave again: its place is
// kept from the second time on.
func TestWhoComesBackLingersAnew(t *testing.T) {
	var l ledger
	l.linger = time.Minute
	start := time.Now()
	var r round
	l.set("a", []hub.ServiceCount{oneConnection}, nil)
	l.take(&r, 1)
	l.settle(&r, start)
	l.set("a", nil, nil)
	l.set("a", []hub.ServiceCount{oneConnection}, nil)
	l.set("a", nil, nil)
	l.leavers[0].due, l.leavers[1].due = start, start.Add(time.Hour)
	l.expire(start.Add(time.Minute))
	if got := l.texts.get(l.held["a"].text); got != lingering {
		t.Errorf("after the first time it holds %q", got)
	}
	if due := l.expires(); !due.Equal(start.Add(time.Hour)) {
		t.Errorf("the next is due at %v", due)
	}
	l.expire(start.Add(time.Hour))
	if got := l.texts.get(l.held["a"].text); got != gone || !l.expires().IsZero() {
		t.Errorf("after the second time it holds %q", got)
	}
}
