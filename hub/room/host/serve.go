package host

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/call"
	"github.com/homing/homing/hub/room"
	"github.com/homing/homing/hub/room/asks"
	"github.com/homing/homing/hub/room/directory"
)

// server does what other processes ask for.
type server struct {
	*env
	table   *table
	guide   *guide
	starter *starter
	mover   *mover
}

// methods is Host.Methods.
func (s *server) methods() map[string]call.Handler {
	return map[string]call.Handler{
		asks.MethodOpen:    handler(s.open),
		asks.MethodSeats:   handler(s.giveSeats),
		asks.MethodInfo:    handler(s.info),
		asks.MethodSignal:  handler(s.signal),
		asks.MethodFinish:  handler(s.finish),
		asks.MethodMove:    handler(s.mover.serveMove),
		asks.MethodRestore: handler(s.mover.restore),
		asks.MethodLate:    handler(s.mover.late),
	}
}

// Urgent are the methods that a room stands still for.
var Urgent = []string{asks.MethodRestore, asks.MethodLate, asks.MethodInfo}

// handler is f as a call.Handler: bodies are JSON.
func handler[Ask, Answer any](f func(context.Context, hub.ProcessID, *Ask) (Answer, error)) call.Handler {
	return func(ctx context.Context, from hub.ProcessID, body []byte) ([]byte, error) {
		ask := new(Ask)
		if err := json.Unmarshal(body, ask); err != nil {
			return nil, hub.Invalid("body", "%v", err)
		}
		answer, err := f(ctx, from, ask)
		if err != nil {
			return nil, err
		}
		return json.Marshal(answer)
	}
}

// nothing is the answer to asks that have none.
type nothing struct{}

// open opens a room, or gives the seats of the one there is.
func (s *server) open(ctx context.Context, _ hub.ProcessID, ask *asks.Open) (*asks.Opened, error) {
	if r := s.table.find(ask.Room); r != nil {
		o, err := s.giveSeats(ctx, "", &asks.Seats{Room: ask.Room, Users: ask.Users})
		if err == nil {
			o.Existed = true
		}
		return o, err
	}
	class, err := s.starter.hasRoom(ask.Class, len(ask.Users))
	if err != nil {
		return nil, err
	}
	r := s.starter.prepare(ask.Room, class, time.Now())
	if err := s.starter.open(ctx, r, firstRecord(r, ask)); err != nil {
		return nil, refusalOf(err)
	}
	o, err := s.furnish(ctx, r, ask)
	if err != nil {
		r.inputs.control(input{kind: inputCommand, do: func() { r.room.Close() }}) // nobody knows of it
		return nil, err
	}
	s.event("room.created", r.id, Created{Room: r.id, Class: class.Name, Users: ask.Users, Process: s.Process})
	return o, nil
}

// firstRecord is the record of a room that is being opened, with the seats and the
// metadata that it is to have: it is listed so from the first moment on.
func firstRecord(r *running, ask *asks.Open) *directory.Record {
	rec := r.rec()
	users := slices.Clone(ask.Users)
	slices.Sort(users)
	rec.Taken = len(slices.Compact(users))
	if len(ask.Metadata) <= room.MaxMetadata && ask.Metadata.IsValid() {
		rec.Metadata = ask.Metadata // else the room is refused it, and ends
	}
	return rec
}

// Created is the data of the event room.created.
type Created struct {
	Room    string        `json:"room"`
	Class   string        `json:"class"`
	Users   []hub.UserID  `json:"users"`
	Process hub.ProcessID `json:"process"`
}

// furnish gives a new room what was asked for.
func (s *server) furnish(ctx context.Context, r *running, ask *asks.Open) (*asks.Opened, error) {
	return get(ctx, r, func() (*asks.Opened, error) {
		if len(ask.Metadata) > 0 {
			if err := r.room.SetMetadata(ask.Metadata); err != nil {
				return nil, hub.Invalid("metadata", "%v", err)
			}
		}
		if len(ask.Data) > 0 {
			if _, err := r.room.Signal(room.SignalCreate, ask.Data); err != nil {
				return nil, &call.RefusalError{Code: asks.CodeLogic, Detail: err.Error()}
			}
		}
		return s.reserve(r, ask.Users)
	})
}

// reserve gives every user a seat, or none that had none before.
func (s *server) reserve(r *running, users []hub.UserID) (*asks.Opened, error) {
	epoch := r.epoch.Load()
	o := &asks.Opened{Room: r.id, Class: r.class.Name, Process: s.Process, Epoch: epoch, URL: s.cfg.URL, Seats: []asks.Seat{}}
	var fresh []int
	for _, user := range users {
		had := slices.ContainsFunc(r.room.Seats(), func(x room.SeatInfo) bool { return x.User == user })
		seat, err := r.room.Reserve(user, s.now())
		if err != nil {
			for _, seat := range fresh {
				r.room.Unreserve(seat)
			}
			return nil, refusalOf(err)
		}
		if !had {
			fresh = append(fresh, seat)
		}
		o.Seats = append(o.Seats, asks.Seat{User: user, Seat: seat, Ticket: s.guide.ticket(r.id, epoch, user)})
	}
	r.show()
	return o, nil
}

func (s *server) giveSeats(ctx context.Context, _ hub.ProcessID, ask *asks.Seats) (*asks.Opened, error) {
	r := s.table.find(ask.Room)
	switch {
	case r == nil:
		return nil, errNotHere
	case ask.Epoch != 0 && ask.Epoch != r.epoch.Load():
		return nil, &call.RefusalError{Code: asks.CodeEpoch}
	case !s.table.fits(len(ask.Users)):
		return nil, &call.RefusalError{Code: asks.CodeTooMany}
	}
	return get(ctx, r, func() (*asks.Opened, error) { return s.reserve(r, ask.Users) })
}

func (s *server) signal(ctx context.Context, _ hub.ProcessID, ask *asks.Signal) (*asks.Reply, error) {
	r := s.table.find(ask.Room)
	if r == nil {
		return nil, errNotHere
	}
	return get(ctx, r, func() (*asks.Reply, error) {
		reply, err := r.room.Signal(ask.Name, ask.Data)
		return &asks.Reply{Reply: reply}, refusalOf(err)
	})
}

func (s *server) finish(ctx context.Context, _ hub.ProcessID, ask *asks.Finish) (*nothing, error) {
	r := s.table.find(ask.Room)
	if r == nil {
		return nil, errNotHere
	}
	err := r.do(ctx, func() error {
		if ask.Why == string(room.EndFinished) {
			r.room.Finish(ask.Result)
		} else {
			r.room.Close()
		}
		return nil
	})
	return &nothing{}, err
}

func (s *server) info(ctx context.Context, _ hub.ProcessID, ask *asks.Room) (*asks.Info, error) {
	r := s.table.find(ask.Room)
	if r == nil {
		return nil, errNotHere
	}
	return get(ctx, r, func() (*asks.Info, error) { return infoOf(r), nil })
}

func infoOf(r *running) *asks.Info {
	stats := r.room.Stats()
	i := &asks.Info{
		Room: r.id, Class: r.class.Name, Epoch: r.epoch.Load(), Process: r.Process, URL: r.cfg.URL, Made: r.made,
		Seats: []asks.Member{}, Free: r.room.Free(), Locked: r.room.Locked(), Metadata: r.room.Metadata(),
		Tick: r.room.TickNumber(), Hz: r.class.Hz, Ticks: stats.Ticks, Overruns: stats.Skipped,
		Messages: stats.Messages, Refused: stats.Refused, Frames: stats.Frames,
	}
	i.P50, i.P99 = r.times.quantile(0.5), r.times.quantile(0.99)
	for _, x := range r.room.Seats() {
		i.Seats = append(i.Seats, asks.Member{Seat: x.Seat, User: x.User, State: x.State})
	}
	return i
}

// refusalOf is err as whoever has asked gets it.
func refusalOf(err error) error {
	code := ""
	switch {
	case err == nil:
		return nil
	case errors.As(err, new(*call.RefusalError)), errors.As(err, new(*hub.FieldError)), errors.Is(err, hub.ErrUnavailable):
		return err
	case errors.Is(err, directory.ErrExists):
		code = asks.CodeExists
	case errors.Is(err, directory.ErrFenced), errors.Is(err, room.ErrClosed):
		code = asks.CodeEnded
	case errors.Is(err, room.ErrFull), errors.Is(err, room.ErrLocked):
		code = asks.CodeFull
	case errors.Is(err, room.ErrTooLarge), errors.Is(err, room.ErrNotJSON):
		return hub.Invalid("data", "%v", err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return err
	default:
		code = asks.CodeLogic
	}
	return &call.RefusalError{Code: cmp.Or(code, asks.CodeLogic), Detail: err.Error()}
}
