package room

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/homing/homing/hub"
)

// spy is an Outlet that keeps everything.
type spy struct {
	frames map[int][]string // by seat
	left   []string
	ended  EndReason
	result string
}

func (s *spy) Frame(seat int, frame []byte) {
	if s.frames == nil {
		s.frames = make(map[int][]string)
	}
	s.frames[seat] = append(s.frames[seat], string(frame))
}

func (s *spy) Left(_ int, m Member, why LeaveReason, reason string) {
	s.left = append(s.left, fmt.Sprintf("%s %s %s", m.User, why, reason))
}

func (s *spy) Ended(why EndReason, result []byte) { s.ended, s.result = why, string(result) }

// take returns what a seat has read since the last take.
func (s *spy) take(seat int) []string {
	got := s.frames[seat]
	delete(s.frames, seat)
	return got
}

// world is a room with a clock.
type world struct {
	*Room
	t   *testing.T
	out *spy
	now time.Duration
}

func class(change func(*Class)) *Class {
	c := DefaultClass()
	c.Name = "test"
	if change != nil {
		change(&c)
	}
	return &c
}

func open(t *testing.T, c *Class) *world {
	t.Helper()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, out: &spy{}, now: time.Hour}
	w.Room = New("r1", c, 7, w.out, w.now)
	return w
}

// ticks lets time pass, so many ticks.
func (w *world) ticks(n int) {
	for range n {
		w.now += w.class.period()
		w.Tick(w.now)
	}
}

// sit reserves and joins.
func (w *world) sit(user hub.UserID) (seat int, generation uint64) {
	w.t.Helper()
	if _, err := w.Reserve(user, w.now); err != nil {
		w.t.Fatal(err)
	}
	seat, generation, err := w.Join(user, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	return seat, generation
}

// greeted is sit for one that has read its first frame.
func (w *world) greeted(user hub.UserID) (seat int, generation uint64) {
	w.t.Helper()
	seat, generation = w.sit(user)
	w.ticks(1)
	w.out.take(seat)
	return seat, generation
}

func (w *world) want(seat int, frames ...string) {
	w.t.Helper()
	if got := w.out.take(seat); !slices.Equal(got, frames) {
		w.t.Errorf("seat %d read %q, want %q", seat, got, frames)
	}
}

func (w *world) say(seat int, generation uint64, text string) {
	w.t.Helper()
	if err := w.Message(seat, generation, []byte(text), w.now); err != nil {
		w.t.Errorf("say %s: %v", text, err)
	}
}

func TestARoomRelays(t *testing.T) {
	w := open(t, class(nil))
	ann, a := w.sit("ann")
	bob, b := w.sit("bob")
	w.ticks(1)
	w.want(ann, `{"t":"frame","tick":1,"recovered":true}`)
	w.want(bob, `{"t":"frame","tick":1,"recovered":true}`)
	w.say(ann, a, `1`)
	w.say(ann, a, `[2]`)
	w.say(bob, b, `"3"`)
	w.ticks(2)
	w.want(bob, `{"t":"frame","tick":2,"events":[{"n":1,"from":"ann","data":1},{"n":2,"from":"ann","data":[2]}]}`)
	w.want(ann, `{"t":"frame","tick":2,"events":[{"n":3,"from":"bob","data":"3"}]}`)
}

// Two joins at once for the last seat: the seat is one's from the reservation on.
func TestTheLastSeatIsOnes(t *testing.T) {
	w := open(t, class(func(c *Class) { c.Seats = 1 }))
	if _, err := w.Reserve("ann", w.now); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Reserve("bob", w.now); !errors.Is(err, ErrFull) || w.Free() != 0 {
		t.Errorf("%v, %d free", err, w.Free())
	}
	if _, _, err := w.Join("bob", 0); !errors.Is(err, ErrNoSeat) {
		t.Errorf("join without a seat: %v", err)
	}
	if again, err := w.Reserve("ann", w.now); err != nil || again != 0 {
		t.Errorf("reserving twice: %d, %v", again, err)
	}
	w.now += w.class.Reserve
	w.ticks(1) // nobody came
	if _, err := w.Reserve("bob", w.now); err != nil {
		t.Error(err)
	}
	if !slices.Equal(w.out.left, []string{"ann expired "}) {
		t.Errorf("%q", w.out.left)
	}
}

// The end of a stale connection does not throw the fresh one out.
func TestAStaleConnectionCountsNoMore(t *testing.T) {
	w := open(t, class(nil))
	seat, old := w.sit("ann")
	_, fresh, err := w.Join("ann", 0)
	if err != nil || fresh == old {
		t.Fatalf("%d, %v", fresh, err)
	}
	w.now += 5 * time.Second
	w.Gone(seat, old, w.now)
	w.Leave(seat, old)
	if err := w.Message(seat, old, []byte(`1`), w.now); !errors.Is(err, ErrStale) {
		t.Errorf("the old one speaks: %v", err)
	}
	w.now += time.Minute
	w.ticks(1)
	w.say(seat, fresh, `1`)
	if len(w.out.left) != 0 {
		t.Errorf("%q", w.out.left)
	}
}

// Who comes back within the grace gets the state and the events missed, once each.
func TestComingBack(t *testing.T) {
	w := open(t, class(func(c *Class) { c.New = func() Logic { return &setter{} } }))
	ann, a := w.sit("ann")
	bob, b := w.sit("bob")
	w.ticks(1)
	w.say(bob, b, `{"k":"x","v":1}`)
	w.say(bob, b, `"one"`)
	w.ticks(1)
	w.out.take(ann)
	w.Gone(ann, a, w.now)
	w.say(bob, b, `"two"`)
	w.say(bob, b, `{"k":"x","v":2}`)
	w.ticks(3)
	w.want(ann) // nothing is sent to who is away
	seat, _, err := w.Join("ann", 1)
	if err != nil || seat != ann {
		t.Fatalf("seat %d, %v", seat, err)
	}
	w.say(bob, b, `"three"`)
	w.ticks(1)
	w.want(ann, `{"t":"frame","tick":6,"recovered":true,"events":[{"n":2,"from":"bob","data":"two"},{"n":3,"from":"bob","data":"three"}],"state":{"x":2}}`)
	w.ticks(2)
	w.want(ann)
	if len(w.out.left) != 0 {
		t.Errorf("%q", w.out.left)
	}
	_, a, _ = w.Join("ann", 3)
	w.Gone(ann, a, w.now)
	w.now += w.class.Grace
	w.ticks(1)
	if !slices.Equal(w.out.left, []string{"ann gone "}) {
		t.Errorf("%q", w.out.left)
	}
}

// Events that the room has forgotten are not hidden.
func TestWhatIsForgottenIsSaid(t *testing.T) {
	w := open(t, class(func(c *Class) { c.LogBytes = 300 }))
	ann, a := w.sit("ann")
	bob, b := w.sit("bob")
	w.ticks(1)
	w.Gone(ann, a, w.now)
	for i := range 10 {
		w.say(bob, b, fmt.Sprint(i))
	}
	w.ticks(1)
	w.out.take(ann)
	if _, _, err := w.Join("ann", 0); err != nil {
		t.Fatal(err)
	}
	w.ticks(1)
	if got := w.out.take(ann); len(got) != 1 || !strings.Contains(got[0], `"recovered":false`) || !strings.Contains(got[0], `"n":10`) {
		t.Errorf("%q", got)
	}
}

// setter is logic in which members set states, and say anything else.
type setter struct {
	Plain

	ticks, timers int
	log           []string
}

func (s *setter) Join(_ *Table, m Member, back bool) { s.log = append(s.log, fmt.Sprint(m.User, back)) }

func (s *setter) Message(t *Table, m Member, data []byte) {
	var x struct {
		K, Only string
		V       json.RawMessage
		Do      string
		N       int64
	}
	if json.Unmarshal(data, &x) != nil || x.K == "" && x.Do == "" {
		t.Send(Others(m), m.User, data)
		return
	}
	switch to := Everyone(); x.Do {
	case "":
		if x.Only != "" {
			to = Only(m)
		}
		if x.V == nil {
			t.Delete(x.K)
		} else if !t.Set(to, x.K, x.V) {
			t.Send(Only(m), "", []byte(`"no room"`))
		}
	case "timer":
		t.After(x.N, x.K)
	case "panic":
		panic("on purpose")
	case "finish":
		t.Finish([]byte(`"won"`))
	case "kick":
		t.Kick(t.Members()[x.N], "cheat")
	case "flood":
		sent := 0
		for t.Send(Everyone(), "", []byte(strings.Repeat("1", 1000))) {
			sent++
		}
		t.Send(Only(m), "", []byte("1"))
		s.log = append(s.log, fmt.Sprint("sent ", sent))
		for i := int64(0); t.After(1, fmt.Sprint(i)); i++ {
		}
	case "roll":
		t.Send(Everyone(), "", fmt.Append(nil, t.Rand().IntN(1000)))
	case "meta":
		if !t.SetMetadata([]byte(`"` + strings.Repeat("x", int(x.N)) + `"`)) {
			t.Send(Only(m), "", []byte(`"too large"`))
		}
	}
}

func (s *setter) Tick(t *Table) { s.ticks += 1 + int(t.Skipped()) }

func (s *setter) Timer(t *Table, name string) {
	s.timers++
	t.Send(Everyone(), "", fmt.Appendf(nil, "%q", name))
}

func (s *setter) Snapshot() ([]byte, error) { return fmt.Append(nil, s.ticks), nil }

func (s *setter) Restore(_ *Table, b []byte) error {
	_, err := fmt.Sscan(string(b), &s.ticks)
	return err
}

func withSetter() (*Class, *setter) {
	s := &setter{}
	return class(func(c *Class) { c.New = func() Logic { return s } }), s
}

// Of several values of a state in one tick the last is told.
func TestStatesAreConflated(t *testing.T) {
	c, _ := withSetter()
	w := open(t, c)
	ann, a := w.greeted("ann")
	for v := range 5 {
		w.say(ann, a, fmt.Sprintf(`{"k":"x","v":%d}`, v))
	}
	w.say(ann, a, `{"k":"y","v":"z"}`)
	w.ticks(1)
	w.want(ann, `{"t":"frame","tick":2,"state":{"x":4,"y":"z"}}`)
	w.say(ann, a, `{"k":"x"}`)
	w.ticks(2)
	w.want(ann, `{"t":"frame","tick":3,"state":{"x":null}}`)
}

// A hidden key is in no byte that another member reads, not even later on the
// seat of who could read it.
func TestAHiddenKeyStaysHidden(t *testing.T) {
	c, _ := withSetter()
	w := open(t, c)
	ann, a := w.sit("ann")
	bob, b := w.sit("bob")
	w.ticks(1)
	const secret = "SECRET-HAND"
	w.say(ann, a, `{"k":"`+secret+`","v":"`+secret+`","only":"me"}`)
	w.say(bob, b, `"hi"`)
	w.ticks(1)
	if got := strings.Join(w.out.take(ann), ""); strings.Count(got, secret) != 2 {
		t.Errorf("ann does not read it: %s", got)
	}
	if _, _, err := w.Join("bob", 0); err != nil { // who comes back reads all states
		t.Fatal(err)
	}
	w.Leave(ann, a)
	carl, _ := w.sit("carl")
	w.ticks(1)
	if carl != ann {
		t.Fatalf("carl sits on %d", carl)
	}
	for _, seat := range []int{bob, carl} {
		if got := strings.Join(w.out.take(seat), ""); strings.Contains(got, secret) {
			t.Errorf("seat %d reads %s", seat, got)
		}
	}
}

// Equal views are encoded once.
func TestEqualViewsAreEncodedOnce(t *testing.T) {
	c, _ := withSetter()
	c.Seats = 20
	w := open(t, c)
	var generations []uint64
	for i := range 20 {
		_, g := w.sit(hub.UserID(fmt.Sprint("user", i)))
		generations = append(generations, g)
	}
	w.ticks(1)
	before := w.Stats()
	for i, g := range generations {
		w.say(i, g, fmt.Sprintf(`{"k":"p%d","v":[1,2]}`, i))
	}
	w.ticks(1)
	if now := w.Stats(); now.Frames-before.Frames != 20 || now.Encoded-before.Encoded != 1 {
		t.Errorf("%d frames, %d encoded", now.Frames-before.Frames, now.Encoded-before.Encoded)
	}
}

// A room that was late runs one tick, and says how many it left out.
func TestMissedTicksAreCoalesced(t *testing.T) {
	c, s := withSetter()
	w := open(t, c)
	ann, a := w.greeted("ann")
	w.say(ann, a, `{"do":"timer","k":"soon","n":2}`)
	w.now += 3 * c.period() // the logic took three ticks
	w.Tick(w.now)
	w.Tick(w.now)
	st := w.Stats()
	if st.Ticks != 2 || st.Skipped != 2 || s.ticks != 4 || s.timers != 1 {
		t.Errorf("%+v, the logic saw %d ticks and %d timers", st, s.ticks, s.timers)
	}
	w.want(ann, `{"t":"frame","tick":4,"events":[{"n":1,"data":"soon"}]}`)
	w.ticks(1)
	if w.Stats().Ticks != 3 || w.Stats().Skipped != 2 {
		t.Errorf("it runs behind: %+v", w.Stats())
	}
}

func TestPanicEndsTheRoomAlone(t *testing.T) {
	c, _ := withSetter()
	w, other := open(t, c), open(t, class(nil))
	ann, a := w.sit("ann")
	w.sit("bob")
	seat, g := other.sit("eve")
	w.say(ann, a, `{"do":"panic"}`)
	if w.out.ended != EndFailed || !strings.Contains(w.out.result, "on purpose") || w.Ended() != EndFailed {
		t.Errorf("ended %q, %s", w.out.ended, w.out.result)
	}
	if !slices.Equal(w.out.left, []string{"ann closed failed", "bob closed failed"}) {
		t.Errorf("%q", w.out.left)
	}
	if err := w.Message(ann, a, []byte(`1`), w.now); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	w.ticks(2)
	other.say(seat, g, `1`)
	other.ticks(1)
	if len(other.out.take(seat)) != 1 || other.Ended() != "" {
		t.Error("another room is harmed")
	}
}

func TestFinishEndsOnce(t *testing.T) {
	c, _ := withSetter()
	w := open(t, c)
	ann, a := w.greeted("ann")
	w.say(ann, a, `{"k":"x","v":1}`)
	w.say(ann, a, `{"do":"finish"}`)
	w.want(ann, `{"t":"frame","tick":1,"state":{"x":1}}`) // what was said is told
	w.Finish([]byte(`"later"`))
	if w.out.ended != EndFinished || w.out.result != `"won"` {
		t.Errorf("%s, %s", w.out.ended, w.out.result)
	}
}

func TestKickAndLock(t *testing.T) {
	c, _ := withSetter()
	w := open(t, c)
	ann, a := w.sit("ann")
	w.sit("bob")
	w.say(ann, a, `{"do":"kick","n":1}`)
	if !slices.Equal(w.out.left, []string{"bob kicked cheat"}) {
		t.Errorf("%q", w.out.left)
	}
	w.locked = true
	if _, err := w.Reserve("bob", w.now); !errors.Is(err, ErrLocked) || w.Free() != 0 {
		t.Errorf("%v, %d free", err, w.Free())
	}
	if _, err := w.Reserve("ann", w.now); err != nil { // who has a seat may come back
		t.Error(err)
	}
}

func TestIdleRoomsEnd(t *testing.T) {
	w := open(t, class(nil))
	ann, a := w.sit("ann")
	w.now += 2 * w.class.Idle
	w.ticks(1)
	w.Leave(ann, a)
	w.ticks(1)
	if w.Ended() != "" {
		t.Error("it ends at once")
	}
	w.now += w.class.Idle
	w.ticks(1)
	if w.out.ended != EndIdle {
		t.Errorf("ended %q", w.out.ended)
	}
}

func TestWhatMembersMayNotSend(t *testing.T) {
	c, _ := withSetter()
	c.MemberRate, c.StateKeys, c.StateBytes = 10, 3, 100
	w := open(t, c)
	ann, a := w.sit("ann")
	for _, bad := range []struct {
		data []byte
		err  error
	}{
		{[]byte{0xff, 0x00}, ErrNotJSON},
		{[]byte(`{"a":1`), ErrNotJSON},
		{nil, ErrNotJSON},
		{[]byte(`"` + strings.Repeat("x", MaxMessage) + `"`), ErrTooLarge},
	} {
		if err := w.Message(ann, a, bad.data, w.now); !errors.Is(err, bad.err) {
			t.Errorf("%.20q: %v, want %v", bad.data, err, bad.err)
		}
	}
	if err := w.Message(5, a, []byte(`1`), w.now); !errors.Is(err, ErrNoSeat) {
		t.Error(err)
	}
	w.now += time.Second
	sent := 0
	for range 50 {
		if w.Message(ann, a, []byte(`1`), w.now) == nil {
			sent++
		}
	}
	if sent != 10 {
		t.Errorf("%d of 50 at once were taken", sent)
	}
	w.now += time.Second
	for k := range 5 { // a flood of keys
		w.say(ann, a, fmt.Sprintf(`{"k":"k%d","v":1}`, k))
	}
	w.say(ann, a, `{"k":"k0","v":"`+strings.Repeat("x", 200)+`"}`)
	w.say(ann, a, `{"do":"meta","n":1000000}`)
	w.ticks(1)
	got := strings.Join(w.out.take(ann), "")
	if strings.Count(got, "no room") != 3 || !strings.Contains(got, "too large") || !strings.Contains(got, `"state":{"k0":1,"k1":1,"k2":1}`) {
		t.Error(got)
	}
}

// Logic that says too much in one tick is cut off, and the room goes on.
func TestAFloodOfEvents(t *testing.T) {
	c, s := withSetter()
	w := open(t, c)
	ann, a := w.sit("ann")
	w.say(ann, a, `{"do":"flood"}`)
	if n := len(w.timers.all); n != maxTimers || w.Stats().Dropped == 0 {
		t.Errorf("%d timers, %+v", n, w.Stats())
	}
	if last := s.log[len(s.log)-1]; last < "sent 900" || last > "sent 999" {
		t.Error(last)
	}
	w.ticks(1)
	if got := w.out.take(ann); len(got) != 1 || len(got[0]) > 2*maxTickBytes || w.Ended() != "" {
		t.Errorf("%d frames, ended %q", len(got), w.Ended())
	}
	w.say(ann, a, `"hi"`) // nobody else is there
	w.ticks(1)
}

func TestBinaryFrames(t *testing.T) {
	w := open(t, class(func(c *Class) { c.Binary = true }))
	ann, a := w.sit("ann")
	bob, _ := w.sit("b")
	w.ticks(1)
	w.want(bob, "\x01\x01\x00\x00")
	w.out.take(ann)
	if err := w.Message(ann, a, []byte{0xff, 0}, w.now); err != nil {
		t.Fatal(err)
	}
	w.ticks(1)
	w.want(bob, "\x02\x02\x01\x01\x03ann\x02\xff\x00\x00")
}

// A room that moves: every event reaches each member once and in order, on
// whichever side of the move, and the dice go on.
func TestMove(t *testing.T) {
	c, s := withSetter()
	w := open(t, c)
	ann, a := w.sit("ann")
	bob, b := w.sit("bob")
	if _, err := w.Reserve("carl", w.now); err != nil {
		t.Fatal(err)
	}
	w.ticks(3)
	w.say(ann, a, `{"k":"x","v":1}`)
	w.say(ann, a, `{"k":"mine","v":2,"only":"me"}`)
	w.say(ann, a, `{"do":"timer","k":"later","n":2}`)
	w.say(ann, a, `"before"`)
	snapshot, err := w.Snapshot(w.now)
	if err != nil {
		t.Fatal(err)
	}
	w.Move()
	if w.out.ended != EndMoved || len(w.out.left) != 3 {
		t.Errorf("%q, %q", w.out.ended, w.out.left)
	}
	if got := w.out.take(bob); !strings.Contains(strings.Join(got, ""), "before") {
		t.Errorf("bob has not read what was said before the move: %q", got)
	}
	there := &spy{}
	next := &setter{}
	c.New = func() Logic { return next }
	moved := &world{t: t, out: there, now: 5 * time.Second} // another clock
	if moved.Room, err = Restore(snapshot, c, there, moved.now); err != nil {
		t.Fatal(err)
	}
	if next.ticks != s.ticks || moved.Free() != 1 {
		t.Errorf("the logic has seen %d ticks, want %d; %d free", next.ticks, s.ticks, moved.Free())
	}
	if err := moved.Message(bob, b, []byte(`1`), moved.now); !errors.Is(err, ErrNotSeated) {
		t.Errorf("an old connection speaks: %v", err)
	}
	if _, b, err = moved.Join("bob", 1); err != nil { // bob has read it
		t.Fatal(err)
	}
	if _, _, err = moved.Join("ann", 0); err != nil {
		t.Fatal(err)
	}
	moved.say(bob, b, `"after"`)
	moved.ticks(1)
	moved.want(bob, `{"t":"frame","tick":4,"recovered":true,"state":{"x":1}}`)
	moved.want(ann, `{"t":"frame","tick":4,"recovered":true,"events":[{"n":2,"from":"bob","data":"after"}],"state":{"mine":2,"x":1}}`)
	moved.ticks(1)
	moved.want(bob, `{"t":"frame","tick":5,"events":[{"n":3,"data":"later"}]}`)
	moved.now += c.Grace // carl's seat was reserved for as long as was left
	moved.ticks(1)
	if !slices.Equal(there.left, []string{"carl expired "}) {
		t.Errorf("%q", there.left)
	}
}

// A place that the room has not reached hides nothing and shows nothing.
func TestALieAboutThePlace(t *testing.T) {
	w := open(t, class(nil))
	ann, a := w.sit("ann")
	w.ticks(1)
	w.say(ann, a, `"before eve"`)
	w.ticks(1)
	for _, after := range []uint64{0, 1, 2, 100, math.MaxUint64} {
		if _, err := w.Reserve("eve", w.now); err != nil {
			t.Fatal(err)
		}
		seat, g, err := w.Join("eve", after)
		if err != nil {
			t.Fatal(err)
		}
		w.now += time.Second
		w.say(ann, a, fmt.Sprintf(`"for eve %d"`, after))
		w.ticks(1)
		got := strings.Join(w.out.take(seat), "")
		if strings.Contains(got, "before eve") || !strings.Contains(got, fmt.Sprint("for eve ", after)) || after > 99 && !strings.Contains(got, `"recovered":false`) {
			t.Errorf("after %d: %s", after, got)
		}
		w.Leave(seat, g)
	}
}

// seater is logic that speaks of a member who is leaving.
type seater struct{ Plain }

func (seater) Join(t *Table, m Member, _ bool) {
	if m.User == "unwelcome" {
		t.Kick(m, "no")
	}
}

func (seater) Leave(t *Table, m Member, _ LeaveReason) {
	t.Set(Only(m), "hand", []byte(`"SECRET"`))
	t.Set(Others(m), "players", []byte(`1`))
}

// What is said of who has left is not for who sits there next.
func TestTheNextOnASeatIsAnother(t *testing.T) {
	w := open(t, class(func(c *Class) { c.New = func() Logic { return seater{} } }))
	ann, a := w.sit("ann")
	w.sit("carl")
	w.ticks(1)
	w.Leave(ann, a)
	if bob, _ := w.sit("bob"); bob != ann {
		t.Fatalf("bob sits on %d", bob)
	}
	w.out.take(ann)
	w.ticks(1)
	w.want(ann, `{"t":"frame","tick":2,"recovered":true,"state":{"players":1}}`)
	if _, err := w.Reserve("unwelcome", w.now); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.Join("unwelcome", 0); !errors.Is(err, ErrNoSeat) {
		t.Errorf("who was kicked in Join has joined: %v", err)
	}
}

// A state that becomes a secret is gone for the others, and one that is removed
// then too.
func TestAStateThatBecomesASecret(t *testing.T) {
	c, _ := withSetter()
	w := open(t, c)
	ann, a := w.sit("ann")
	bob, _ := w.sit("bob")
	w.say(ann, a, `{"k":"x","v":1}`)
	w.say(ann, a, `{"k":"y","v":1}`)
	w.ticks(1)
	w.out.take(ann)
	w.out.take(bob)
	w.say(ann, a, `{"k":"x","v":2,"only":"me"}`)
	w.say(ann, a, `{"k":"y","v":2,"only":"me"}`)
	w.say(ann, a, `{"k":"y"}`)
	w.ticks(1)
	w.want(bob, `{"t":"frame","tick":2,"state":{"x":null,"y":null}}`)
	w.want(ann, `{"t":"frame","tick":2,"state":{"x":2,"y":null}}`)
}

// timed is logic whose timers set others.
type timed struct {
	Plain

	fired []string
}

func (x *timed) Start(t *Table) {
	t.After(5, "late")
	t.After(2, "early")
	t.After(math.MaxInt64, "never")
}

func (x *timed) Timer(t *Table, name string) {
	x.fired = append(x.fired, name)
	t.After(math.MaxInt64, name)
	t.After(1, "again")
}

func TestTimersFireInOrderAndOnce(t *testing.T) {
	x := &timed{}
	w := open(t, class(func(c *Class) { c.New = func() Logic { return x } }))
	w.now += 10 * w.class.period()
	w.Tick(w.now)
	if !slices.Equal(x.fired, []string{"early", "late"}) {
		t.Errorf("%q", x.fired)
	}
	w.ticks(1)
	if !slices.Equal(x.fired, []string{"early", "late", "again"}) {
		t.Errorf("%q", x.fired)
	}
}

// A late tick does not end a room that was full a moment ago.
func TestALateTickIsNoIdleness(t *testing.T) {
	w := open(t, class(nil))
	ann, a := w.sit("ann")
	w.ticks(1)
	w.now += 2 * w.class.Idle
	w.Leave(ann, a)
	w.ticks(1)
	if w.Ended() != "" {
		t.Error("it has ended")
	}
	if _, err := w.Signal("go", nil); !errors.Is(err, ErrNotJSON) {
		t.Errorf("a signal of no JSON: %v", err)
	}
}

type forgetful struct{ Plain }

func (forgetful) Snapshot() ([]byte, error) { return nil, nil }

func TestSnapshotsThatCannotBe(t *testing.T) {
	w := open(t, class(func(c *Class) { c.New = func() Logic { return forgetful{} } }))
	if _, err := w.Snapshot(w.now); !errors.Is(err, errNoSnapshot) {
		t.Errorf("a nil snapshot: %v", err)
	}
	if w.Ended() != "" {
		t.Error("the room has ended")
	}
	good := open(t, class(nil))
	good.sit("ann")
	b, err := good.Snapshot(good.now)
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string][]byte{
		"cut off":      b[:len(b)/2],
		"nothing":      nil,
		"two of one":   bytes.Replace(b, []byte(`"seats":[`), []byte(`"seats":[{"seat":1,"user":"ann"},`), 1),
		"no such seat": bytes.Replace(b, []byte(`"seat":0`), []byte(`"seat":99`), 1),
		"other class":  bytes.Replace(b, []byte(`"class":"test"`), []byte(`"class":"other"`), 1),
		"no events":    bytes.Replace(b, []byte(`"next":1`), []byte(`"next":0`), 1),
		"far ticks":    bytes.Replace(b, []byte(`"tick":0`), []byte(`"tick":9223372036854775807`), 1),
		"no first":     bytes.Replace(b, []byte(`"first":1`), []byte(`"first":0`), 1),
		"no dice":      bytes.Replace(b, []byte(`"rand":"`), []byte(`"rand":"AAAA`), 1),
	} {
		if r, err := Restore(bad, good.class, &spy{}, 0); err == nil {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// A record, replayed, says the same to everybody.
func TestReplay(t *testing.T) {
	c, _ := withSetter()
	var record bytes.Buffer
	w := &world{t: t, out: &spy{}, now: time.Minute}
	recorder := NewRecorder(&record)
	w.Room = NewRecorded("r1", c, 42, w.out, w.now, recorder)
	if err := w.SetMetadata([]byte(`{"map":1}`)); err != nil {
		t.Fatal(err)
	}
	for _, user := range []hub.UserID{"eve", "fay"} { // fay keeps a seat, between others
		if _, err := w.Reserve(user, w.now); err != nil {
			t.Fatal(err)
		}
	}
	w.Unreserve(0)
	ann, a := w.sit("ann")
	bob, b := w.sit("bob")
	for i := range 20 {
		w.say(ann, a, `{"do":"roll"}`)
		w.say(bob, b, fmt.Sprintf(`{"k":"x","v":%d}`, i))
		w.ticks(1 + i%3)
	}
	w.Gone(ann, a, w.now)
	if _, err := w.Signal("hello", []byte(`"from the backend"`)); err != nil {
		t.Fatal(err)
	}
	w.ticks(1)
	w.Finish([]byte(`1`))
	if recorder.Err() != nil {
		t.Fatal(recorder.Err())
	}
	again := &spy{}
	c.New = func() Logic { return &setter{} }
	r, err := Replay(bytes.NewReader(record.Bytes()), c, again)
	if err != nil || r.Ended() != EndFinished {
		t.Fatalf("%v, %v", r, err)
	}
	for _, seat := range []int{ann, bob} {
		if len(again.frames[seat]) == 0 || !slices.Equal(again.frames[seat], w.out.frames[seat]) {
			t.Errorf("seat %d read %q, then %q", seat, w.out.frames[seat], again.frames[seat])
		}
	}
	if string(r.Metadata()) != `{"map":1}` {
		t.Errorf("metadata %s", r.Metadata())
	}
	if _, err := Replay(strings.NewReader(`{"op":"tick"}`), c, again); err == nil {
		t.Error("a record without a beginning")
	}
}

// TestReplayOfRestored records a room that goes on from a snapshot, whole or after a
// crash, and does it again.
func TestReplayOfRestored(t *testing.T) {
	for _, epoch := range []uint64{0, 2} {
		c, _ := withSetter()
		before := open(t, c)
		ann, a := before.sit("ann")
		before.say(ann, a, `{"k":"x","v":1}`)
		before.ticks(3)
		snapshot, err := before.Snapshot(before.now)
		if err != nil {
			t.Fatal(err)
		}
		var record bytes.Buffer
		w := &world{t: t, out: &spy{}, now: 5 * time.Minute}
		if epoch == 0 {
			w.Room, err = Restore(snapshot, c, w.out, w.now)
		} else {
			w.Room, err = Recover(snapshot, c, w.out, w.now, epoch)
		}
		if err != nil {
			t.Fatal(err)
		}
		NewRecorder(&record).Restored(w.Room, snapshot, w.now, epoch)
		_, a, err = w.Join("ann", 1)
		if err != nil {
			t.Fatal(err)
		}
		w.say(ann, a, `{"do":"roll"}`)
		w.ticks(3)
		again := &spy{}
		if _, err := Replay(&record, c, again); err != nil {
			t.Fatal(err)
		}
		if len(again.frames[ann]) == 0 || !slices.Equal(again.frames[ann], w.out.frames[ann]) {
			t.Errorf("epoch %d: read %q, then %q", epoch, w.out.frames[ann], again.frames[ann])
		}
	}
}

func TestTickets(t *testing.T) {
	key, other := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	now := time.Unix(1000, 0)
	x := Ticket{Room: "r1", Epoch: 3, User: "ann", Until: 1015}
	text := x.Sign(key)
	got, err := ParseTicket(text, [][]byte{other, key}, now)
	if err != nil || got != x {
		t.Fatalf("%+v, %v", got, err)
	}
	long := Ticket{Room: "r1", User: hub.UserID(strings.Repeat("<", 128)), Until: 2000}
	if _, err := ParseTicket(long.Sign(key), [][]byte{key}, now); err != nil {
		t.Errorf("a long one: %v", err)
	}
	forged := strings.Replace(text, ".", "A.", 1)
	for name, c := range map[string]struct {
		text string
		at   int64
		want error
	}{
		"forged":      {forged, 1000, ErrBadTicket},
		"another key": {x.Sign(bytes.Repeat([]byte{3}, 32)), 1000, ErrBadTicket},
		"no sum":      {strings.TrimSuffix(text, text[strings.Index(text, "."):]), 1000, ErrBadTicket},
		"empty":       {"", 1000, ErrBadTicket},
		"long":        {strings.Repeat("x", 5000) + "." + text, 1000, ErrBadTicket},
		"expired":     {text, 1015, ErrExpiredTicket},
	} {
		if _, err := ParseTicket(c.text, [][]byte{other, key}, time.Unix(c.at, 0)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestClassesThatCannotBe(t *testing.T) {
	for name, change := range map[string]func(*Class){
		"name":  func(c *Class) { c.Name = "Bad Name" },
		"seats": func(c *Class) { c.Seats = MaxSeats + 1 },
		"hz":    func(c *Class) { c.Hz = 0 },
		"grace": func(c *Class) { c.Grace = -1 },
		"rate":  func(c *Class) { c.MemberRate = 0 },
		"keys":  func(c *Class) { c.StateKeys = -1 },
	} {
		if err := class(change).Validate(); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// TestRecover has a room go on from a checkpoint after the death of its process: who
// has read what came after it is told that something is lost, and no number of an
// event comes again.
func TestRecover(t *testing.T) {
	c := DefaultClass()
	c.Name = "relay"
	var first, second, third sink
	r := New("r", &c, 1, &first, 0)
	for _, user := range []hub.UserID{"ann", "bob"} {
		if _, err := r.Reserve(user, 0); err != nil {
			t.Fatal(err)
		}
	}
	ann, g, _ := r.Join("ann", 0)
	say := func(r *Room, seat int, g uint64, text string, now time.Duration) {
		t.Helper()
		if err := r.Message(seat, g, []byte(text), now); err != nil {
			t.Fatal(err)
		}
	}
	_, _, _ = r.Join("bob", 0)
	say(r, ann, g, "1", 0)
	checkpoint, err := r.Snapshot(0)
	if err != nil {
		t.Fatal(err)
	}
	say(r, ann, g, "2", time.Second) // and then the process dies
	r.Tick(time.Second)

	again, err := Recover(checkpoint, &c, &second, 0, 2)
	if err != nil {
		t.Fatal(err)
	}
	ann, g, _ = again.Join("ann", 0)
	bob, _, _ := again.Join("bob", 2) // has read what is lost
	say(again, ann, g, "3", time.Second)
	again.Tick(time.Second)
	if got := second.last(bob); !strings.Contains(got, `"recovered":false`) || !strings.Contains(got, `"data":3`) || strings.Contains(got, `"n":2,`) {
		t.Errorf("bob reads %s", got)
	}
	cem, _, _ := again.Join("bob", 1) // had read all that is remembered
	again.Tick(2 * time.Second)
	if got := second.last(cem); !strings.Contains(got, `"recovered":true`) || !strings.Contains(got, `"data":3`) {
		t.Errorf("bob reads %s", got)
	}
	checkpoint, err = again.Snapshot(2 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if once, err := Restore(checkpoint, &c, &third, 0); err != nil || once.events.lost != again.events.lost || once.events.next != again.events.next {
		t.Errorf("%v: what is lost is not remembered", err)
	}
	if twice, err := Recover(checkpoint, &c, &third, 0, 3); err != nil || twice.events.next <= again.events.next {
		t.Errorf("%v: numbers come again", err)
	}
}

// sink keeps the last frame of each seat.
type sink struct{ frames map[int]string }

func (s *sink) Frame(seat int, frame []byte) {
	if s.frames == nil {
		s.frames = make(map[int]string)
	}
	s.frames[seat] = string(frame)
}
func (*sink) Left(int, Member, LeaveReason, string) {}
func (*sink) Ended(EndReason, []byte)               {}
func (s *sink) last(seat int) string                { return s.frames[seat] }

// TestRecoverAgain has a room go on after one crash after the other.
func TestRecoverAgain(t *testing.T) {
	c := DefaultClass()
	c.Name = "relay"
	r := New("r", &c, 1, silent{}, 0)
	for epoch := uint64(2); epoch < 6; epoch++ {
		if _, err := r.Reserve("ann", 0); err != nil {
			t.Fatal(err)
		}
		_, g, err := r.Join("ann", 0)
		if err != nil || r.Message(0, g, []byte("1"), 0) != nil {
			t.Fatal(err)
		}
		snapshot, err := r.Snapshot(0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Restore(snapshot, &c, silent{}, 0); err != nil {
			t.Errorf("epoch %d: it cannot move: %v", epoch, err)
		}
		if r, err = Recover(snapshot, &c, silent{}, 0, epoch); err != nil {
			t.Fatalf("epoch %d: %v", epoch, err)
		}
	}
}

// TestRestoreNarrower has a room go on where its class has narrower bounds by now.
func TestRestoreNarrower(t *testing.T) {
	c := DefaultClass()
	c.Name, c.New = "latest", func() Logic { return Latest{} }
	r := New("r", &c, 1, silent{}, 0)
	_, _ = r.Reserve("ann", 0)
	_, g, err := r.Join("ann", 0)
	if err != nil || r.Message(0, g, []byte("1"), 0) != nil {
		t.Fatal(err)
	}
	snapshot, err := r.Snapshot(0)
	if err != nil {
		t.Fatal(err)
	}
	narrow := c
	narrow.Grace, narrow.Reserve, narrow.StateKeys, narrow.StateBytes = time.Second, time.Second, 0, 0
	if _, err := Restore(snapshot, &narrow, silent{}, 0); err != nil {
		t.Error(err)
	}
}
