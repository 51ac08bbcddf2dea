package host

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/call"
	"github.com/homing/homing/hub/room"
	"github.com/homing/homing/hub/room/asks"
	"github.com/homing/homing/hub/room/directory"
	"github.com/homing/homing/hub/room/remote"
)

func TestPlay(t *testing.T) {
	w := newWorld(t)
	p := w.process(class("relay", nil))
	o := w.open(p, "relay", "ann", "bob")
	ann, bob := w.join(p, o, 0, 0), w.join(p, o, 1, 0)
	if code := ann.Say([]byte(`"hello"`)); code != "" {
		t.Fatal(code)
	}
	w.eventually("bob hears", func() bool { all, _ := heard(p, bob); return slices.Equal(all, []string{`"hello"`}) })
	if code := ann.Say([]byte(`no JSON`)); code != "" {
		t.Fatal(code)
	}
	if note := w.told(p, ann, KindNotSaid); note.Code != CodeNotJSON || note.Count != 1 {
		t.Errorf("told %+v", note)
	}
	rooms := w.rooms(p)
	if err := rooms.Finish(t.Context(), o.Room, []byte(`{"winner":"ann"}`)); err != nil {
		t.Fatal(err)
	}
	if note := w.told(p, bob, KindLeft); note.Why != "closed" || note.Reason != "finished" {
		t.Errorf("told %+v", note)
	}
	var ended *remote.EndedError
	w.eventually("the end is known", func() bool { return errors.As(rooms.Finish(t.Context(), o.Room, nil), &ended) })
	if string(ended.Record.Result) != `{"winner":"ann"}` || ended.Record.Ended != "finished" {
		t.Errorf("ended with %+v", ended.Record)
	}
	if e := <-p.events; e.kind != "room.created" {
		t.Errorf("event %+v", e)
	}
	e := <-p.events
	if data, ok := e.data.(Ended); !ok || string(data.Result) != `{"winner":"ann"}` || len(data.Members) != 2 {
		t.Errorf("event %+v", e)
	}
	// Nothing of the room is left but the word of its end.
	w.eventually("the room is gone", func() bool { return p.table.find(o.Room) == nil })
	if n := p.table.reserved(); n != 0 {
		t.Errorf("%d seats are counted of no room", n)
	}
	if n := w.master().ZCard(t.Context(), w.keys.Rooms()).Val() + w.master().Exists(t.Context(), w.keys.RoomsOf(p.id)).Val(); n != 0 {
		t.Errorf("%d keys are left", n)
	}
	if note := w.told(p, p.Join(nil, "ann", o.Seats[0].Ticket, 0), KindNotIn); note.Code != CodeEnded || note.Reason != "finished" {
		t.Errorf("told %+v", note)
	}
}

func TestTicketsThatDoNotAdmit(t *testing.T) {
	w := newWorld(t)
	p := w.process(class("relay", nil))
	o := w.open(p, "relay", "ann", "bob")
	w.eventually("nothing may be lost", p.env.Census.Steady)
	sign := func(x room.Ticket, key []byte) string { return x.Sign(key) }
	hour := time.Now().Add(time.Hour).Unix()
	for name, tc := range map[string]struct {
		user   hub.UserID
		ticket string
		code   string
	}{
		"forged":                  {"ann", sign(room.Ticket{Room: o.Room, Epoch: 1, User: "ann", Until: hour}, []byte("another secret of 32 characters ..")), CodeBadTicket},
		"cut off":                 {"ann", o.Seats[0].Ticket[:20], CodeBadTicket},
		"no ticket":               {"ann", "x", CodeBadTicket},
		"expired":                 {"ann", sign(room.Ticket{Room: o.Room, Epoch: 1, User: "ann", Until: time.Now().Unix() - 1}, secret), CodeExpiredTicket},
		"another user's":          {"eve", o.Seats[0].Ticket, CodeOtherTicket},
		"of a user without seat":  {"eve", sign(room.Ticket{Room: o.Room, Epoch: 1, User: "eve", Until: hour}, secret), CodeNoSeat},
		"of a room that is not":   {"ann", sign(room.Ticket{Room: "nowhere", Epoch: 1, User: "ann", Until: hour}, secret), CodeEnded},
		"of an epoch that is not": {"ann", sign(room.Ticket{Room: o.Room, Epoch: 9, User: "ann", Until: hour}, secret), CodeUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			if note := w.told(p, p.Join(nil, tc.user, tc.ticket, 0), KindNotIn); note.Code != tc.code {
				t.Errorf("told %+v, want %s", note, tc.code)
			}
		})
	}
	w.join(p, o, 0, 0)
	w.join(p, o, 1, 0) // nobody was harmed
}

// TestJoinTwice has a user come with a second connection: it has the seat, and the
// end of the first, which comes 5 s later or whenever, changes nothing.
func TestJoinTwice(t *testing.T) {
	w := newWorld(t)
	p := w.process(class("relay", func(c *room.Class) { c.Grace = 0 }))
	o := w.open(p, "relay", "ann", "bob")
	first, bob := w.join(p, o, 0, 0), w.join(p, o, 1, 0)
	second := w.join(p, o, 0, 0) // the ticket is used again
	if note := w.told(p, first, KindLeft); note.Why != whyReplaced {
		t.Errorf("told %+v", note)
	}
	first.Say([]byte("1"))
	first.Leave()
	first.Gone()
	second.Say([]byte("2"))
	w.eventually("bob hears", func() bool { all, _ := heard(p, bob); return len(all) > 0 })
	if all, _ := heard(p, bob); !slices.Equal(all, []string{"2"}) {
		t.Errorf("bob heard %v", all)
	}
	info, err := p.server.info(t.Context(), "", &asks.Room{Room: o.Room})
	if err != nil || len(info.Seats) != 2 || info.Seats[0].State != "seated" {
		t.Errorf("%+v, %v", info, err)
	}
}

// TestListedAtOnce has a room be listed with its seats as soon as it is open.
func TestListedAtOnce(t *testing.T) {
	w := newWorld(t)
	p := w.process(class("relay", func(c *room.Class) { c.Reserve = time.Hour }))
	for range 9 { // notes are written each second
		o := w.openWith(p, &asks.Open{Class: "relay", Users: []hub.UserID{"ann", "bob", "ann"}, Metadata: []byte("7")})
		rec, err := directory.New(w.r, w.keys).Find(t.Context(), o.Room)
		if err != nil || rec.Taken != 2 || string(rec.Metadata) != "7" {
			t.Fatalf("%+v, %v", rec, err)
		}
	}
}

func TestFullRoom(t *testing.T) {
	w := newWorld(t)
	p := w.process(class("small", func(c *room.Class) { c.Seats = 2; c.Reserve = time.Hour }))
	o := w.open(p, "small", "ann")
	_, err := p.server.giveSeats(t.Context(), "", &asks.Seats{Room: o.Room, Users: []hub.UserID{"bob", "cem"}})
	var refused *call.RefusalError
	if !errors.As(err, &refused) || refused.Code != asks.CodeFull {
		t.Fatalf("%v", err)
	}
	// Nobody has got a seat, so one is free still.
	if _, err := p.server.giveSeats(t.Context(), "", &asks.Seats{Room: o.Room, Users: []hub.UserID{"cem"}}); err != nil {
		t.Error(err)
	}
	// The last seat is one player's, however many ask for it at once.
	o = w.open(p, "small", "ann")
	results := make(chan error, 20)
	for i := range 20 {
		go func() {
			_, err := p.server.giveSeats(t.Context(), "", &asks.Seats{Room: o.Room, Users: []hub.UserID{hub.UserID(rune('a' + i))}})
			results <- err
		}()
	}
	given := 0
	for range 20 {
		if <-results == nil {
			given++
		}
	}
	if given != 1 {
		t.Errorf("the last seat was given %d times", given)
	}
}

func TestOpenIsBounded(t *testing.T) {
	w := newWorld(t)
	p := w.process(class("relay", func(c *room.Class) { c.Seats = 30; c.Reserve = time.Hour }))
	rooms := w.rooms(p)
	for name, o := range map[string]asks.Open{
		"metadata":  {Room: "x", Class: "relay", Metadata: []byte(`"` + strings.Repeat("x", 1<<20) + `"`)},
		"data":      {Room: "x", Class: "relay", Data: []byte(`"` + strings.Repeat("x", 1<<20) + `"`)},
		"id":        {Room: "x y", Class: "relay"},
		"users[0]":  {Room: "x", Class: "relay", Users: []hub.UserID{""}},
		"users":     {Room: "x", Class: "relay", Users: make([]hub.UserID, 257)},
		"no class ": {Room: "x", Class: "nonsense"},
	} {
		if _, err := rooms.Open(t.Context(), o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	users := make([]hub.UserID, 30)
	for i := range users {
		users[i] = hub.UserID(rune('a'+i%26)) + hub.UserID(rune('a'+i/26))
	}
	for range 3 {
		w.open(p, "relay", users...)
	}
	_, err := rooms.Open(t.Context(), asks.Open{Class: "relay", Users: users})
	var refused *call.RefusalError
	if !errors.As(err, &refused) || refused.Code != asks.CodeTooMany {
		t.Errorf("the seat above the limit: %v", err)
	}
}

// TestFirstOffer has a process that has just started wait until it knows one that
// takes rooms, within its caller's time.
func TestFirstOffer(t *testing.T) {
	w := newWorld(t)
	p := w.process(class("relay", nil))
	var asked atomic.Int32
	fresh := remote.New(directory.New(w.r, w.keys), p.peer, func(hub.ProcessID) bool { return asked.Add(1) == 3 })
	if _, err := fresh.Open(t.Context(), asks.Open{Class: "relay"}); err != nil {
		t.Fatal(err)
	}
	// Later, none is none.
	if _, err := fresh.Open(t.Context(), asks.Open{Class: "relay"}); !errors.Is(err, directory.ErrNoProcess) {
		t.Error(err)
	}
	if n := asked.Load(); n != 4 {
		t.Errorf("asked %d times", n)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	never := remote.New(directory.New(w.r, w.keys), p.peer, func(hub.ProcessID) bool { return false })
	if _, err := never.Open(ctx, asks.Open{Class: "relay"}); !errors.Is(err, directory.ErrNoProcess) || ctx.Err() != nil {
		t.Errorf("%v, %v", err, ctx.Err())
	}
}

// TestSameID opens the same room many times at once.
func TestSameID(t *testing.T) {
	w := newWorld(t)
	p, q := w.process(class("relay", nil)), w.process(class("relay", nil))
	opened := make(chan *asks.Opened, 10)
	for i := range 10 {
		go func() {
			rooms := w.rooms([]*process{p, q}[i%2])
			o, err := rooms.Open(t.Context(), asks.Open{Room: "same", Class: "relay", Users: []hub.UserID{"ann"}})
			if err != nil {
				t.Error(err)
			}
			opened <- o
		}()
	}
	var first *asks.Opened
	fresh := 0
	for range 10 {
		o := <-opened
		if o == nil {
			continue
		}
		if first == nil {
			first = o
		}
		if !o.Existed {
			fresh++
		}
		if o.Process != first.Process || len(o.Seats) != 1 || o.Seats[0].Seat != 0 {
			t.Errorf("%+v beside %+v", o, first)
		}
	}
	if fresh != 1 {
		t.Errorf("it was opened %d times", fresh)
	}
}

func TestMove(t *testing.T) {
	w := newWorld(t)
	p, q := w.process(class("relay", nil)), w.process(class("relay", nil))
	o := w.open(p, "relay", "ann", "bob")
	ann, bob := w.join(p, o, 0, 0), w.join(p, o, 1, 0)
	ann.Say([]byte("1"))
	w.eventually("bob hears", func() bool { all, _ := heard(p, bob); return len(all) == 1 })
	moved, err := w.rooms(q).Move(t.Context(), o.Room, "")
	if err != nil || moved.Process != q.id || moved.Epoch != 2 {
		t.Fatalf("%+v, %v", moved, err)
	}
	note := w.told(p, bob, KindMoved)
	if note.URL != q.env.cfg.URL {
		t.Errorf("told %+v", note)
	}
	ann.Say([]byte("2")) // ann has not read yet that the room has moved
	_, numbers := heard(p, bob)
	bob2 := q.Join(nil, "bob", note.Ticket, numbers[len(numbers)-1])
	w.told(q, bob2, KindJoined)
	ann2 := q.Join(nil, "ann", o.Seats[0].Ticket, 0) // with the ticket from before
	w.told(q, ann2, KindJoined)
	ann2.Say([]byte("3"))
	w.eventually("bob hears the rest", func() bool { all, _ := heard(q, bob2); return slices.Equal(all, []string{"2", "3"}) })
	if p.table.find(o.Room) != nil || q.table.find(o.Room) == nil {
		t.Error("the room is not where it should be")
	}
	// Whoever comes to the process before is told the way.
	if note := w.told(p, p.Join(nil, "bob", o.Seats[1].Ticket, 0), KindMoved); note.URL != q.env.cfg.URL || note.Epoch != 2 {
		t.Errorf("told %+v", note)
	}
}

// TestMoveEarly asks for a move before there is anybody to move to: a process that has
// just started waits for the other, within the asker's time.
func TestMoveEarly(t *testing.T) {
	w := newWorld(t)
	p := w.process(class("relay", nil))
	o := w.open(p, "relay", "ann")
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	var refused *call.RefusalError
	if _, err := p.mover.serveMove(ctx, "", &asks.Move{Room: o.Room}); !errors.As(err, &refused) || refused.Code != asks.CodeNobody || ctx.Err() != nil {
		t.Fatalf("%v, %v", err, ctx.Err())
	}
	type answer struct {
		moved *asks.Moved
		err   error
	}
	answers := make(chan answer, 1)
	go func() {
		moved, err := p.mover.serveMove(t.Context(), "", &asks.Move{Room: o.Room})
		answers <- answer{moved, err}
	}()
	q := w.process(class("relay", nil))
	if a := <-answers; a.err != nil || a.moved.Process != q.id {
		t.Errorf("%+v, %v", a.moved, a.err)
	}
}

// TestMoveThatFails has the room go on where it is.
func TestMoveThatFails(t *testing.T) {
	w := newWorld(t)
	bad := class("bad", func(c *room.Class) { c.New = func() room.Logic { return noSnapshot{} } })
	p, q := w.process(class("relay", nil), bad), w.process()
	rooms := w.rooms(p)
	gone := hub.NewProcessID() // nobody answers there
	for name, tc := range map[string]struct {
		class string
		to    hub.ProcessID
	}{
		"to itself":                 {"relay", p.id},
		"to a front without it":     {"relay", q.id},
		"of logic with no snapshot": {"bad", q.id},
		"to nobody":                 {"relay", gone},
	} {
		t.Run(name, func(t *testing.T) {
			o := w.open(p, tc.class, "ann", "bob")
			ann, bob := w.join(p, o, 0, 0), w.join(p, o, 1, 0)
			_, err := p.mover.moveAway(t.Context(), "", &asks.Move{Room: o.Room, To: tc.to})
			var refused *call.RefusalError
			if !errors.As(err, &refused) || refused.Code != asks.CodeMove {
				t.Errorf("%v", err)
			}
			ann.Say([]byte("1"))
			w.eventually("bob hears", func() bool { all, _ := heard(p, bob); return len(all) == 1 })
			if tc.to == gone { // who was asked may wake up: the room is not for it any more
				rec, err := directory.New(w.r, w.keys).Find(t.Context(), o.Room)
				if err != nil || rec.Owner != p.id || rec.Epoch != 2 {
					t.Errorf("%+v, %v", rec, err)
				}
			}
			if err := rooms.Close(t.Context(), o.Room); err != nil {
				t.Error(err)
			}
		})
	}
}

type noSnapshot struct{ room.Plain }

func (noSnapshot) Snapshot() ([]byte, error) { return nil, nil }

// TestLogicThatDoesNotReturn ends its room, and no other.
func TestLogicThatDoesNotReturn(t *testing.T) {
	w := newWorld(t)
	release := make(chan struct{})
	defer close(release)
	stuck := class("stuck", func(c *room.Class) { c.New = func() room.Logic { return blocks{until: release} } })
	p := w.process(stuck, class("relay", nil))
	o, other := w.open(p, "stuck", "ann", "bob"), w.open(p, "relay", "ann", "bob")
	ann := w.join(p, o, 0, 0)
	a, b := w.join(p, other, 0, 0), w.join(p, other, 1, 0)
	ann.Say([]byte("1"))
	a.Say([]byte("1"))
	w.eventually("the others play on", func() bool { all, _ := heard(p, b); return len(all) == 1 })
	if note := w.told(p, ann, KindLeft); note.Why != "closed" || note.Reason != "stuck" {
		t.Errorf("told %+v", note)
	}
	w.eventually("it is said to have ended", func() bool {
		rec, err := directory.New(w.r, w.keys).Find(t.Context(), o.Room)
		return err == nil && rec.Ended == "stuck" && p.table.find(o.Room) == nil
	})
	if len(ann.Say([]byte("2"))) == 0 {
		t.Error("a room that has ended takes messages")
	}
}

type blocks struct {
	room.Plain
	until chan struct{}
}

func (b blocks) Message(*room.Table, room.Member, []byte) { <-b.until }

func TestLogicThatPanics(t *testing.T) {
	w := newWorld(t)
	bad := class("bad", func(c *room.Class) { c.New = func() room.Logic { return panics{} } })
	p := w.process(bad, class("relay", nil))
	o, other := w.open(p, "bad", "ann", "bob"), w.open(p, "relay", "ann", "bob")
	ann, bob := w.join(p, o, 0, 0), w.join(p, o, 1, 0)
	a, b := w.join(p, other, 0, 0), w.join(p, other, 1, 0)
	<-p.events
	<-p.events
	ann.Say([]byte("1"))
	for _, s := range []*Seat{ann, bob} {
		if note := w.told(p, s, KindLeft); note.Why != "closed" || note.Reason != "failed" {
			t.Errorf("told %+v", note)
		}
	}
	if e := <-p.events; e.kind != "room.ended" || e.data.(Ended).Reason != "failed" {
		t.Errorf("event %+v", e)
	}
	a.Say([]byte("1"))
	w.eventually("the others play on", func() bool { all, _ := heard(p, b); return len(all) == 1 })
}

type panics struct{ room.Plain }

func (panics) Message(*room.Table, room.Member, []byte) { panic("a fault of the game") }

// TestLogicThatTakesThreeTicks has ticks left out, and none run behind.
func TestLogicThatTakesThreeTicks(t *testing.T) {
	w := newWorld(t)
	slow := class("slow", func(c *room.Class) { c.New = func() room.Logic { return &takesLong{} } })
	p := w.process(slow)
	o := w.open(p, "slow", "ann")
	ann := w.join(p, o, 0, 0)
	time.Sleep(time.Second)
	info, err := p.server.info(t.Context(), "", &asks.Room{Room: o.Room})
	if err != nil || info.Overruns < info.Ticks || info.Tick < 30 || info.Tick != info.Ticks+info.Overruns {
		t.Errorf("%+v, %v", info, err)
	}
	if frames := len(p.outbox.of(ann)); frames > 30 {
		t.Errorf("%d frames in a second of ticks that take 60 ms", frames)
	}
}

type takesLong struct{ room.Plain }

func (*takesLong) Tick(t *room.Table) {
	time.Sleep(60 * time.Millisecond)
	t.SetJSON(room.Everyone(), "tick", t.Tick())
}

// TestConnectionsThatAreBehind leaves ticks out as long as the sockets have not
// taken the last one.
func TestConnectionsThatAreBehind(t *testing.T) {
	w := newWorld(t)
	busy := class("busy", func(c *room.Class) { c.New = func() room.Logic { return counts{} } })
	p := w.process(busy)
	o := w.open(p, "busy", "ann")
	w.join(p, o, 0, 0)
	p.outbox.hold()
	w.eventually("a batch waits", func() bool {
		p.outbox.mu.Lock()
		defer p.outbox.mu.Unlock()
		return len(p.outbox.held) > 0
	})
	time.Sleep(500 * time.Millisecond)
	p.outbox.mu.Lock()
	held := p.outbox.held
	p.outbox.holds = false
	p.outbox.mu.Unlock()
	if len(held) != 1 {
		t.Fatalf("%d batches wait for the sockets", len(held))
	}
	before := p.outbox.frames
	held[0].Done()
	w.eventually("the room goes on", func() bool {
		p.outbox.mu.Lock()
		defer p.outbox.mu.Unlock()
		return p.outbox.frames > before+3
	})
	info, err := p.server.info(t.Context(), "", &asks.Room{Room: o.Room})
	if err != nil || info.Overruns < 10 {
		t.Errorf("%+v, %v", info, err)
	}
}

type counts struct{ room.Plain }

func (counts) Tick(t *room.Table) { t.SetJSON(room.Everyone(), "n", t.Tick()) }

// TestStanding has a process that may have been taken for dead say nothing.
func TestStanding(t *testing.T) {
	w := newWorld(t)
	p := w.process(class("busy", func(c *room.Class) { c.New = func() room.Logic { return counts{} } }))
	o := w.open(p, "busy", "ann")
	ann := w.join(p, o, 0, 0)
	p.standing.Store(uint32(hub.StandingDoubt))
	time.Sleep(100 * time.Millisecond)
	before := len(p.outbox.of(ann))
	time.Sleep(300 * time.Millisecond)
	if n := len(p.outbox.of(ann)) - before; n > 0 {
		t.Errorf("%d frames in doubt", n)
	}
	p.standing.Store(uint32(hub.StandingGood))
	w.eventually("frames come again", func() bool { return len(p.outbox.of(ann)) > before })
	p.standing.Store(uint32(hub.StandingLost))
	time.Sleep(100 * time.Millisecond)
	before = len(p.outbox.of(ann))
	time.Sleep(300 * time.Millisecond)
	if n := len(p.outbox.of(ann)) - before; n > 0 {
		t.Errorf("%d frames after the death was declared", n)
	}
}

// TestOwnerDies has rooms of a dead process go on from their checkpoints, and end
// where they have none.
func TestOwnerDies(t *testing.T) {
	w := newWorld(t)
	saved := class("saved", func(c *room.Class) { c.Checkpoint = time.Second; c.Grace = time.Minute })
	plain := class("plain", nil)
	p, q := w.process(saved, plain), w.process(saved, plain)
	o, lost := w.open(p, "saved", "ann", "bob"), w.open(p, "plain", "cem")
	ann, bob := w.join(p, o, 0, 0), w.join(p, o, 1, 0)
	w.join(p, lost, 0, 0)
	ann.Say([]byte("1"))
	w.eventually("bob hears", func() bool { all, _ := heard(p, bob); return len(all) == 1 })
	w.eventually("it is saved with that", func() bool {
		c, err := p.env.Store.Load(t.Context(), o.Room)
		return err == nil && c != nil && strings.Contains(string(c.Snapshot), `"next":2`)
	})
	w.dies(p)
	w.eventually("it goes on elsewhere", func() bool { return q.table.find(o.Room) != nil })
	w.eventually("the other room is said to be lost", func() bool {
		s := q.Join(nil, "cem", lost.Seats[0].Ticket, 0)
		w.eventually("told", func() bool { return len(q.outbox.of(s)) > 0 })
		told := q.outbox.of(s)[0]
		return told.Kind == KindNotIn && told.Note.Code == CodeEnded && told.Note.Reason == "lost"
	})
	bob2, ann2 := w.join(q, o, 1, 1), w.join(q, o, 0, 0)
	ann2.Say([]byte("2"))
	w.eventually("bob hears the rest", func() bool { all, _ := heard(q, bob2); return slices.Equal(all, []string{"2"}) })
	var kinds []string
	for len(kinds) < 2 {
		e := <-q.events
		kinds = append(kinds, e.kind)
	}
	if slices.Sort(kinds); !slices.Equal(kinds, []string{"room.ended", "room.moved"}) {
		t.Errorf("events %v", kinds)
	}
	// The owner before wakes: what it does in the room's name comes to nothing.
	d := directory.New(w.r, w.keys)
	if ended, err := d.End(t.Context(), &directory.Record{Room: o.Room, Owner: p.id, Epoch: 1}, "finished", nil, false); ended || err != nil {
		t.Errorf("the owner before has ended the room: %v", err)
	}
	w.eventually("the dead is forgotten", func() bool {
		owners, err := d.Owners(t.Context())
		return err == nil && !slices.Contains(owners, p.id)
	})
}

// TestTwoOwners has a room found to be another's end here without a word, but for
// where it is.
func TestTwoOwners(t *testing.T) {
	w := newWorld(t)
	p, q := w.process(class("relay", nil)), w.process(class("relay", nil))
	o := w.open(p, "relay", "ann")
	ann := w.join(p, o, 0, 0)
	d := directory.New(w.r, w.keys)
	if _, err := d.TakeOver(t.Context(), &directory.Record{Room: o.Room, Owner: p.id, Epoch: 1}, q.id, q.env.cfg.URL, true); err != nil {
		t.Fatal(err)
	}
	if err := w.rooms(p).Finish(t.Context(), o.Room, nil); err == nil {
		t.Error("a room that nobody runs was finished")
	}
	if note := w.told(p, ann, KindMoved); note.URL != q.env.cfg.URL {
		t.Errorf("told %+v", note)
	}
	<-p.events
	select {
	case e := <-p.events:
		t.Errorf("event %+v", e)
	default:
	}
	// The process that is said to own it does not know it: the record goes.
	w.eventually("the record is struck", func() bool {
		rec, err := d.Find(t.Context(), o.Room)
		return err == nil && rec.Ended == "lost"
	})
}

// TestRecordLost has what a failover has lost written again.
func TestRecordLost(t *testing.T) {
	w := newWorld(t)
	p := w.process(class("relay", nil))
	o := w.open(p, "relay", "ann")
	if err := w.master().Del(t.Context(), w.keys.Room(o.Room), w.keys.Rooms(), w.keys.RoomsOf(p.id), w.keys.RoomOwners()).Err(); err != nil {
		t.Fatal(err)
	}
	d := directory.New(w.r, w.keys)
	w.eventually("the record is there again", func() bool {
		rec, err := d.Find(t.Context(), o.Room)
		rooms, _, listErr := d.List(t.Context(), "", 10, "")
		return err == nil && rec.Owner == p.id && rec.Epoch == 1 && listErr == nil && len(rooms) == 1
	})
}

func TestDrain(t *testing.T) {
	w := newWorld(t)
	p, q := w.process(class("relay", nil), class("here", nil)), w.process(class("relay", nil))
	o, here := w.open(p, "relay", "ann"), w.open(p, "here", "bob")
	ann, bob := w.join(p, o, 0, 0), w.join(p, here, 0, 0)
	p.stop()
	<-p.done
	if note := w.told(p, ann, KindMoved); note.URL != q.env.cfg.URL || q.table.find(o.Room) == nil {
		t.Errorf("told %+v", note)
	}
	if note := w.told(p, bob, KindLeft); note.Reason != "lost" { // no other front has that class
		t.Errorf("told %+v", note)
	}
	if n := w.master().ZScore(context.Background(), w.keys.RoomOffers(), string(p.id)).Err(); n == nil {
		t.Error("the process still offers itself")
	}
}

func TestRecord(t *testing.T) {
	w := newWorld(t)
	c := class("relay", nil)
	p := w.process(c)
	o := w.openWith(p, &asks.Open{Class: "relay", Users: []hub.UserID{"ann", "bob"}, Metadata: []byte(`{"map":1}`)})
	ann, bob := w.join(p, o, 0, 0), w.join(p, o, 1, 0)
	ann.Say([]byte("1"))
	w.eventually("bob hears", func() bool { all, _ := heard(p, bob); return len(all) == 1 })
	if err := w.rooms(p).Finish(t.Context(), o.Room, []byte("2")); err != nil {
		t.Fatal(err)
	}
	again := w.replay(p, o.Room, c)
	if again.room.Ended() != room.EndFinished || string(again.result) != "2" || string(again.room.Metadata()) != `{"map":1}` {
		t.Errorf("replayed to %v, %q, %q", again.room.Ended(), again.result, again.room.Metadata())
	}
	if first := framesOf(p, bob); !slices.Equal(first, again.frames) {
		t.Errorf("bob read %q, and replayed %q", first, again.frames)
	}
}

// TestRecordOfRoomThatMoved has each process record what it saw of a room.
func TestRecordOfRoomThatMoved(t *testing.T) {
	w := newWorld(t)
	c := class("relay", nil)
	p, q := w.process(c), w.process(c)
	o := w.open(p, "relay", "ann", "bob")
	ann := w.join(p, o, 0, 0)
	ann.Say([]byte("1"))
	w.join(p, o, 1, 0)
	if _, err := w.rooms(p).Move(t.Context(), o.Room, ""); err != nil {
		t.Fatal(err)
	}
	ann, bob := w.join(q, o, 0, 0), w.join(q, o, 1, 0)
	ann.Say([]byte("2"))
	w.eventually("bob hears", func() bool { all, _ := heard(q, bob); return slices.Contains(all, "2") })
	if err := w.rooms(q).Finish(t.Context(), o.Room, []byte("3")); err != nil {
		t.Fatal(err)
	}
	w.replay(p, o.Room, c)
	again := w.replay(q, o.Room, c)
	if again.room.Ended() != room.EndFinished || string(again.result) != "3" {
		t.Errorf("replayed to %v, %q", again.room.Ended(), again.result)
	}
	if first := framesOf(q, bob); !slices.Equal(first, again.frames) {
		t.Errorf("bob read %q, and replayed %q", first, again.frames)
	}
}

// TestRecordOfRoomThatDoesNotBegin leaves no file.
func TestRecordOfRoomThatDoesNotBegin(t *testing.T) {
	w := newWorld(t)
	p := w.process(class("relay", nil))
	rec := &directory.Record{Room: "there", Class: "relay", Owner: p.id, Made: time.Now()}
	if err := directory.New(w.r, w.keys).Open(t.Context(), rec); err != nil {
		t.Fatal(err)
	}
	_, err := p.server.open(t.Context(), "", &asks.Open{Room: "there", Class: "relay"})
	var refused *call.RefusalError
	if !errors.As(err, &refused) || refused.Code != asks.CodeExists {
		t.Fatal(err)
	}
	if files, err := os.ReadDir(p.env.cfg.RecordDir); err != nil || len(files) > 0 {
		t.Errorf("%v, %v", files, err)
	}
}

// replay replays what a process has recorded of a room, once it is gone.
func (w *world) replay(p *process, id string, c *room.Class) *replayed {
	w.t.Helper()
	w.eventually("the room is gone", func() bool { return p.table.find(id) == nil })
	files, err := filepath.Glob(filepath.Join(p.env.cfg.RecordDir, id+"-*.ndjson"))
	if err != nil || len(files) != 1 {
		w.t.Fatal(files, err)
	}
	f, err := os.Open(files[0])
	if err != nil {
		w.t.Fatal(err)
	}
	defer f.Close()
	again := new(replayed)
	if again.room, err = room.Replay(f, c, again); err != nil {
		w.t.Fatal(err)
	}
	return again
}

// framesOf lists the frames that a seat was told, as text.
func framesOf(p *process, s *Seat) (all []string) {
	for _, x := range p.outbox.of(s) {
		if x.Kind == KindFrame {
			all = append(all, string(x.Frame))
		}
	}
	return all
}

type replayed struct {
	room   *room.Room
	frames []string // of seat 1
	result []byte
}

func (r *replayed) Frame(seat int, frame []byte) {
	if seat == 1 {
		r.frames = append(r.frames, string(frame))
	}
}
func (*replayed) Left(int, room.Member, room.LeaveReason, string) {}
func (r *replayed) Ended(_ room.EndReason, result []byte)         { r.result = result }

// TestFloods bounds what waits for a room, and what one member says, with the others
// unharmed.
func TestFloods(t *testing.T) {
	w := newWorld(t)
	var got atomic.Int64
	c := class("relay", func(c *room.Class) {
		c.MemberRate = 10
		c.New = func() room.Logic { return &tallies{got: &got} }
	})
	p := w.process(c)
	o := w.open(p, "relay", "ann", "bob")
	ann, bob := w.join(p, o, 0, 0), w.join(p, o, 1, 0)
	refused := 0
	for range 20_000 {
		if ann.Say([]byte(`"flood"`)) == CodeTooMuch {
			refused++
		}
	}
	bob.Say([]byte("1"))
	w.told(p, ann, KindNotSaid)
	if refused == 0 || got.Load() > 100 {
		t.Errorf("%d refused at once, %d taken", refused, got.Load())
	}
	told := 0
	for _, x := range p.outbox.of(ann) {
		if x.Kind == KindNotSaid {
			told++
		}
	}
	if told > 50 {
		t.Errorf("told of %d refusals", told)
	}
	w.eventually("bob is heard", func() bool { bob.Say([]byte("1")); return got.Load() > 1 })
}

type tallies struct {
	room.Plain
	got *atomic.Int64
}

func (*tallies) Snapshot() ([]byte, error) { return []byte{}, nil }

func (c *tallies) Message(*room.Table, room.Member, []byte) { c.got.Add(1) }

// TestLack has matchmaking hear that a room lacks players, and that it lacks nobody
// any more.
func TestLack(t *testing.T) {
	w := newWorld(t)
	p := w.process(class("lacking", func(c *room.Class) {
		c.Seats, c.Reserve = 2, time.Hour
		c.New = func() room.Logic { return lacking{} }
	}))
	o := w.open(p, "lacking", "ann")
	said := <-p.lacks
	if said.room != o.Room || said.epoch != 1 || said.queue != "duel" || said.lack == nil || !slices.Equal(said.lack.Free, []int{1}) {
		t.Errorf("%+v", said)
	}
	if _, err := p.server.giveSeats(t.Context(), "", &asks.Seats{Room: o.Room, Epoch: 1, Users: []hub.UserID{"bob"}}); err != nil {
		t.Fatal(err)
	}
	if said = <-p.lacks; said.queue != "duel" || said.lack != nil {
		t.Errorf("%+v", said)
	}
	_, err := p.server.giveSeats(t.Context(), "", &asks.Seats{Room: o.Room, Epoch: 2, Users: []hub.UserID{"bob"}})
	var refused *call.RefusalError
	if !errors.As(err, &refused) || refused.Code != asks.CodeEpoch {
		t.Errorf("%v", err)
	}
}

type lacking struct{ room.Plain }

func (lacking) Start(t *room.Table) { t.Lack(&room.Lack{Queue: "duel", Free: []int{1}}) }

// TestEvacuate has rooms go elsewhere once somebody takes them, and others come back
// after the order was taken back.
func TestEvacuate(t *testing.T) {
	w := newWorld(t)
	game := class("game", nil)
	a := w.process(game)
	o := w.open(a, "game", "ann")
	s := w.join(a, o, 0, 0)
	a.Evacuate(time.Now().Add(time.Minute))
	w.eventually("the offer is withdrawn", func() bool {
		offers, err := a.env.Directory.Offers(t.Context())
		return err == nil && len(offers) == 0
	})
	if _, err := a.server.open(t.Context(), "", &asks.Open{Room: "late", Class: "game"}); err == nil {
		t.Error("a room was opened by a process that is emptied")
	}
	time.Sleep(2 * evacuatePause)
	if rooms, _ := a.Count(); rooms != 1 || !s.Here() {
		t.Fatalf("%d rooms are here, and nobody else takes any", rooms)
	}
	b := w.process(game)
	if n := w.told(a, s, KindMoved); n.Room != o.Room || n.URL != "ws://"+string(b.id)+"/ws" {
		t.Errorf("told %+v", n)
	}
	w.eventually("the room has gone", func() bool { rooms, seats := a.Count(); return rooms == 0 && seats == 0 && !s.Here() })
	a.Stay()
	w.eventually("it takes rooms again", func() bool {
		offers, err := a.env.Directory.Offers(t.Context())
		return err == nil && len(offers) == 2
	})
	w.open(a, "game", "bob")
	b.Evacuate(time.Now().Add(time.Minute))
	w.eventually("the room comes back", func() bool { rooms, _ := a.Count(); return rooms == 2 })
}

// TestEvacuateEndsAtTheDeadline has rooms that nobody takes be ended then, and not when
// the order is taken back before.
func TestEvacuateEndsAtTheDeadline(t *testing.T) {
	w := newWorld(t)
	a := w.process(class("game", nil))
	s := w.join(a, w.open(a, "game", "ann"), 0, 0)
	a.Evacuate(time.Now().Add(500 * time.Millisecond))
	a.Stay()
	time.Sleep(time.Second)
	if !s.Here() {
		t.Fatal("the room ended although the order was taken back")
	}
	a.Evacuate(time.Now().Add(500 * time.Millisecond))
	if n := w.told(a, s, KindLeft); n.Reason != string(room.EndLost) {
		t.Errorf("told %+v", n)
	}
	if rooms, _ := a.Count(); rooms != 0 {
		t.Errorf("%d rooms are left", rooms)
	}
}
