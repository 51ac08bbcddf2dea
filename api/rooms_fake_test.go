package api

import (
	"context"
	"sync"
	"time"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/room/asks"
	"github.com/homing/homing/hub/room/directory"
	"github.com/homing/homing/hub/room/remote"
)

// roomsFront is who runs all rooms of a fakeRooms.
const roomsFront = hub.ProcessID("AAAAAAAAAAA")

// fakeRooms has a room r-7 that is open and a room r-6 that has ended. Other ids
// are free. It keeps what it was asked for.
type fakeRooms struct {
	mu    sync.Mutex
	err   error // answer of every method, when set
	reply []byte
	asked []any // an asks.Open, asks.Seats, …, or a listing
}

// listing is what List was asked for.
type listing struct {
	Class  string
	Limit  int
	Cursor string
}

var endedRecord = directory.Record{
	Room: "r-6", Class: "arena", Owner: roomsFront, Epoch: 2, Ended: "finished", Result: []byte(`{"winner":"ann"}`),
}

// ask notes what a room was asked for, and returns why it cannot answer.
func (f *fakeRooms) ask(room string, what any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, what)
	switch {
	case f.err != nil:
		return f.err
	case room == endedRecord.Room:
		return &remote.EndedError{Record: endedRecord}
	case room != "r-7" && room != "":
		return remote.ErrNotFound
	}
	return nil
}

// fail has every method answer err from now on.
func (f *fakeRooms) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

// last is what was asked for last; nil: nothing was.
func (f *fakeRooms) last() any {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.asked) == 0 {
		return nil
	}
	return f.asked[len(f.asked)-1]
}

func seatsFor(room, class string, users []hub.UserID) *asks.Opened {
	o := &asks.Opened{Room: room, Class: class, Process: roomsFront, Epoch: 1, URL: "ws://front/ws", Seats: []asks.Seat{}}
	for i, u := range users {
		o.Seats = append(o.Seats, asks.Seat{User: u, Seat: i, Ticket: "ticket-of-" + string(u)})
	}
	return o
}

func (f *fakeRooms) Open(_ context.Context, o asks.Open) (*asks.Opened, error) {
	room := o.Room
	if room != "r-7" && room != endedRecord.Room {
		room = "" // it is free
	}
	if err := f.ask(room, o); err != nil {
		return nil, err
	}
	if o.Room == "" {
		o.Room = "drawn"
	}
	opened := seatsFor(o.Room, o.Class, o.Users)
	opened.Existed = room != ""
	return opened, nil
}

func (f *fakeRooms) List(_ context.Context, class string, limit int, cursor string) ([]directory.Record, string, error) {
	if err := f.ask("", listing{class, limit, cursor}); err != nil {
		return nil, "", err
	}
	made := time.Date(2026, 9, 21, 14, 13, 20, 0, time.FixedZone("there", 3600))
	return []directory.Record{
		{Room: "r-7", Class: "arena", Owner: roomsFront, Epoch: 1, URL: "ws://front/ws", Made: made, Seats: 4, Taken: 2, Metadata: []byte(`{"map":"desert"}`)},
		{Room: "r-8", Class: "relay", Owner: roomsFront, Epoch: 3, URL: "ws://front/ws", Made: made, Seats: 16},
	}, "0-2", nil
}

func (f *fakeRooms) Info(_ context.Context, id string) (*asks.Info, error) {
	if err := f.ask(id, asks.Room{Room: id}); err != nil {
		return nil, err
	}
	return &asks.Info{
		Room: id, Class: "arena", Epoch: 1, Process: roomsFront, URL: "ws://front/ws", Made: time.Unix(1_790_000_000, 0).UTC(),
		Seats: []asks.Member{{Seat: 0, User: "ann", State: "seated"}}, Free: 3, Metadata: []byte(`[1]`),
		Tick: 12, Hz: 20, Ticks: 10, Overruns: 2, P50: 0.1, P99: 2, Messages: 7, Refused: 1, Frames: 9,
	}, nil
}

func (f *fakeRooms) Seats(_ context.Context, id string, users []hub.UserID) (*asks.Opened, error) {
	if err := f.ask(id, asks.Seats{Room: id, Users: users}); err != nil {
		return nil, err
	}
	return seatsFor(id, "arena", users), nil
}

func (f *fakeRooms) Signal(_ context.Context, id, name string, data []byte) ([]byte, error) {
	return f.reply, f.ask(id, asks.Signal{Room: id, Name: name, Data: data})
}

func (f *fakeRooms) Finish(_ context.Context, id string, result []byte) error {
	return f.ask(id, asks.Finish{Room: id, Why: "finished", Result: result})
}

func (f *fakeRooms) Close(_ context.Context, id string) error {
	return f.ask(id, asks.Finish{Room: id, Why: "closed"})
}

func (f *fakeRooms) Move(_ context.Context, id string, to hub.ProcessID) (*asks.Moved, error) {
	if err := f.ask(id, asks.Move{Room: id, To: to}); err != nil {
		return nil, err
	}
	return &asks.Moved{Process: "BBBBBBBBBBB", Epoch: 2, URL: "ws://other/ws"}, nil
}
