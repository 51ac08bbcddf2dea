package host

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/room"
	"github.com/homing/homing/hub/room/asks"
	"github.com/homing/homing/hub/room/directory"
)

// TestTakeOverUnheard has Redis stand still just as the other process takes a room
// over, so that nobody hears that it has.
func TestTakeOverUnheard(t *testing.T) {
	w := newWorld(t)
	c := class("relay", func(c *room.Class) { c.New = func() room.Logic { return &stalls{w: w} } })
	p, q := w.process(c), w.process(c)
	o := w.open(p, "relay", "ann")
	ann := w.join(p, o, 0, 0)
	_, _ = p.mover.moveAway(t.Context(), "", &asks.Move{Room: o.Room, To: q.id}) // what comes of it is seen
	w.eventually("the room is at one of the two", func() bool {
		rec, err := p.env.Directory.Find(t.Context(), o.Room)
		at := map[hub.ProcessID]bool{p.id: p.table.find(o.Room) != nil, q.id: q.table.find(o.Room) != nil}
		return err == nil && rec.Ended == "" && at[rec.Owner] && at[p.id] != at[q.id]
	})
	if q.table.find(o.Room) != nil {
		if note := w.told(p, ann, KindMoved); note.URL != q.env.cfg.URL {
			t.Errorf("told %+v", note)
		}
	}
}

// stalls has Redis stand still for longer than anybody waits for it.
type stalls struct {
	room.Plain
	w *world
}

func (*stalls) Snapshot() ([]byte, error) { return []byte{}, nil }
func (x *stalls) Restore(*room.Table, []byte) error {
	const script = "local t=redis.call('TIME') local e=t[1]*1000000+t[2]+1200000 " +
		"for i=1,1000000000 do if i%1000==0 then t=redis.call('TIME') if t[1]*1000000+t[2]>e then return 1 end end end"
	m := x.w.master()
	go m.Do(context.Background(), "EVAL", script, 0)
	time.Sleep(50 * time.Millisecond)
	return nil
}

// TestMoveUnsettled has the lease, or the record, be gone while nobody knows what has
// become of a move: the room goes on where it is.
func TestMoveUnsettled(t *testing.T) {
	w := newWorld(t)
	p := w.process(class("relay", nil))
	for name, lose := range map[string]func(room string){
		"lease":  func(string) { w.master().Del(context.Background(), w.keys.Lease(p.id)) },
		"record": func(room string) { w.master().Del(context.Background(), w.keys.Room(room)) },
	} {
		t.Run(name, func(t *testing.T) {
			o := w.open(p, "relay", "ann")
			w.join(p, o, 0, 0)
			time.AfterFunc(restoreTimeout-200*time.Millisecond, func() { lose(o.Room) })
			if m, err := p.mover.moveAway(t.Context(), "", &asks.Move{Room: o.Room, To: hub.NewProcessID()}); err == nil {
				t.Errorf("moved to %+v", m)
			}
			rec, err := p.env.Directory.Find(t.Context(), o.Room)
			if err != nil || rec.Owner != p.id || p.table.find(o.Room) == nil {
				t.Errorf("%+v, %v", rec, err)
			}
		})
	}
}

// TestMovesTakeTurns has more rooms move than players may follow at once: those that wait
// go on meanwhile.
func TestMovesTakeTurns(t *testing.T) {
	w := newWorld(t)
	p, q := w.process(class("relay", nil)), w.process(class("relay", nil))
	p.mover.pace = rate.NewLimiter(rate.Every(time.Hour), 1)
	first, second := w.open(p, "relay", "ann"), w.open(p, "relay", "bob")
	if _, err := p.mover.moveAway(t.Context(), "", &asks.Move{Room: first.Room, To: q.id}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := p.mover.moveAway(ctx, "", &asks.Move{Room: second.Room, To: q.id}); !errors.Is(err, hub.ErrUnavailable) {
		t.Errorf("%v, want that others move first", err)
	}
	w.join(p, second, 0, 0)
	p.mover.hurry(10 * time.Millisecond)
	if _, err := p.mover.moveAway(t.Context(), "", &asks.Move{Room: second.Room, To: q.id}); err != nil {
		t.Error(err)
	}
}

// TestDeadOffers has many processes be dead that once took rooms.
func TestDeadOffers(t *testing.T) {
	w := newWorld(t)
	p := w.process(class("relay", nil))
	w.open(p, "relay", "ann")
	d := directory.New(w.r, w.keys)
	for range 100 {
		if err := d.Offer(t.Context(), hub.NewProcessID(), 0); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.rooms(p).Open(t.Context(), asks.Open{Class: "relay"}); err != nil {
		t.Error(err)
	}
	w.eventually("they are forgotten", func() bool {
		offers, err := d.Offers(t.Context())
		return err == nil && slices.Equal(offers, []hub.ProcessID{p.id})
	})
	leaver := hub.NewProcessID()
	if err := d.Offer(t.Context(), leaver, 0); err != nil {
		t.Fatal(err)
	}
	_, err := d.Place(t.Context(), 1, func(x hub.ProcessID) bool { return x == leaver && d.Withdraw(t.Context(), leaver) == nil })
	if offers, _ := d.Offers(t.Context()); !errors.Is(err, directory.ErrNoProcess) || slices.Contains(offers, leaver) {
		t.Errorf("%v, and %s is among %v", err, leaver, offers)
	}
}

// TestEndUnheard tells the backend of an end that Redis has noted and not answered.
func TestEndUnheard(t *testing.T) {
	w := newWorld(t)
	p := w.process(class("relay", nil))
	o := w.open(p, "relay", "ann")
	<-p.events
	result := []byte(`{"won":1}`)
	if _, err := p.env.Directory.End(t.Context(), p.table.find(o.Room).rec(), "finished", result, false); err != nil {
		t.Fatal(err)
	}
	if _, err := p.server.finish(t.Context(), "", &asks.Finish{Room: o.Room, Why: "finished", Result: result}); err != nil {
		t.Fatal(err)
	}
	if e := <-p.events; e.kind != "room.ended" || string(e.data.(Ended).Result) != string(result) {
		t.Errorf("%+v", e)
	}
}

// TestRestoreThatHangs ends the room, once.
func TestRestoreThatHangs(t *testing.T) {
	w := newWorld(t)
	var tries atomic.Int32
	until := make(chan struct{})
	defer close(until)
	c := class("hangs", func(c *room.Class) {
		c.Checkpoint, c.Reserve = time.Second, time.Hour
		c.New = func() room.Logic { return hangs{tries: &tries, until: until} }
	})
	p, q := w.process(c), w.process(c)
	o := w.open(p, "hangs", "ann")
	w.eventually("it is saved", func() bool {
		b, err := p.env.Store.Load(t.Context(), o.Room)
		return err == nil && b != nil
	})
	w.dies(p)
	w.eventually("it is lost", func() bool {
		rec, err := q.env.Directory.Find(t.Context(), o.Room)
		return err == nil && rec.Ended == "lost"
	})
	if n := tries.Load(); n != 1 {
		t.Errorf("%d tries", n)
	}
}

type hangs struct {
	room.Plain
	tries *atomic.Int32
	until chan struct{}
}

func (hangs) Snapshot() ([]byte, error) { return []byte{}, nil }
func (x hangs) Restore(*room.Table, []byte) error {
	x.tries.Add(1)
	<-x.until
	return errors.New("no")
}

// TestLateCheckpoint has an owner that was held up come after the next one: what the
// next one has saved stands.
func TestLateCheckpoint(t *testing.T) {
	w := newWorld(t)
	store := NewStore(w.r, w.keys)
	made := time.UnixMilli(time.Now().UnixMilli())
	at := func(later time.Duration, epoch uint64, tick int64) *Checkpoint {
		return &Checkpoint{made.Add(later), epoch, tick, fmt.Appendf(nil, "%v\n%d\n%d", later, epoch, tick)}
	}
	stands := func(want *Checkpoint) {
		t.Helper()
		if c, err := store.Load(t.Context(), "r"); err != nil || !reflect.DeepEqual(c, want) {
			t.Fatalf("%+v stands, want %+v: %v", c, want, err)
		}
	}
	stands(nil)
	var last *Checkpoint
	for _, tc := range []struct {
		*Checkpoint
		saved bool
	}{
		{at(0, 9, 7), true},
		{at(0, 9, 7), true},
		{at(0, 9, 100), true},
		{at(0, 9, 99), false},   // the same owner, before
		{at(0, 8, 2000), false}, // the owner before
		{at(0, 10, 50), true},   // the next one, which went on from a checkpoint
		{at(0, 9, 101), false},
		{at(time.Hour, 1, 1), true}, // another room that has the id now
		{at(0, 11, 5000), false},
	} {
		saved, err := store.Save(t.Context(), "r", tc.Checkpoint)
		if err != nil || saved != tc.saved {
			t.Errorf("%s: saved %v, want %v: %v", tc.Snapshot, saved, tc.saved, err)
		}
		if tc.saved {
			last = tc.Checkpoint
		}
		stands(last)
	}
	drop := func(made time.Time, epoch uint64) {
		if err := store.Drop(t.Context(), "r", made, epoch); err != nil {
			t.Error(err)
		}
	}
	drop(made, 11)
	stands(last)
	drop(last.Made, 0)
	stands(last)
	drop(last.Made, 1)
	stands(nil)
}

// TestLeaveWhileMoving frees the seat where the room has gone.
func TestLeaveWhileMoving(t *testing.T) {
	w := newWorld(t)
	c := class("relay", func(c *room.Class) { c.Grace = time.Minute })
	p, q := w.process(c), w.process(c)
	o := w.open(p, "relay", "ann", "bob")
	ann := w.join(p, o, 0, 0)
	m, err := get(t.Context(), p.table.find(o.Room), func() (*move, error) {
		m, err := p.mover.begin(p.table.find(o.Room), q.id)
		ann.Leave()
		return m, err
	})
	if err != nil || <-m.settled != nil {
		t.Fatal(err)
	}
	w.eventually("ann has left", func() bool {
		i, err := q.server.info(t.Context(), "", &asks.Room{Room: o.Room})
		return err == nil && len(i.Seats) == 1 && i.Seats[0].User == "bob"
	})
}

// TestLateFlood holds what follows a room to what its member may say.
func TestLateFlood(t *testing.T) {
	w := newWorld(t)
	var got atomic.Int64
	c := class("few", func(c *room.Class) {
		c.Grace, c.MemberRate = time.Minute, 10
		c.New = func() room.Logic { return &tallies{got: &got} }
	})
	p, q := w.process(c), w.process(c)
	o := w.open(p, "few", "ann")
	ann := w.join(p, o, 0, 0)
	if _, err := p.mover.moveAway(t.Context(), "", &asks.Move{Room: o.Room, To: q.id}); err != nil {
		t.Fatal(err)
	}
	for range 500 {
		ann.Say([]byte("1"))
	}
	w.eventually("some are heard", func() bool { return got.Load() > 0 })
	w.eventually("then none is any more", func() bool { return ann.Say([]byte("1")) == CodeMoved })
	if n := got.Load(); n > 50 {
		t.Errorf("%d messages of a member who may say 10 a second", n)
	}
}

// TestSayWhileItEnds says something to a room that ends as its member joins.
func TestSayWhileItEnds(t *testing.T) {
	w := newWorld(t)
	p := w.process(class("relay", func(c *room.Class) { c.Reserve = time.Hour }))
	for range 5 {
		o := w.open(p, "relay", "ann")
		r := p.table.find(o.Room)
		var s *Seat
		_ = r.do(t.Context(), func() error { // it ends before it answers
			r.room.Close()
			s = p.Join(nil, "ann", o.Seats[0].Ticket, 0)
			return nil
		})
		for range 200 {
			s.Say([]byte("1"))
		}
	}
}

// TestSayWhileItMoves says something at each moment of a move: the room has not ended
// for whoever has not read yet that it is elsewhere.
func TestSayWhileItMoves(t *testing.T) {
	w := newWorld(t)
	c := class("relay", func(c *room.Class) { c.Grace = time.Minute })
	p, q := w.process(c), w.process(c)
	for range 5 {
		o := w.open(p, "relay", "ann")
		ann := w.join(p, o, 0, 0)
		over := make(chan struct{})
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for {
					select {
					case <-over:
						return
					default:
					}
					if ann.Say([]byte("1")) == CodeEnded {
						t.Error("a member of a room that moves is told that it has ended")
						return
					}
				}
			})
		}
		_, err := p.mover.moveAway(t.Context(), "", &asks.Move{Room: o.Room, To: q.id})
		for deadline := time.Now().Add(10 * time.Second); err == nil && p.table.find(o.Room) != nil; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				err = errors.New("the room that has moved is here still")
			}
		}
		close(over)
		wg.Wait()
		if err != nil {
			t.Fatal(err)
		}
	}
}
