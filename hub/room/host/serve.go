package host

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/call"
	"github.com/homing/homing/hub/room"
	"github.com/homing/homing/hub/room/asks"
	"github.com/homing/homing/hub/room/directory"
)

// Methods are what other processes may ask for; see asks.
func (h *Host) Methods() map[string]call.Handler {
	return map[string]call.Handler{
		asks.MethodOpen:    handler(h.open),
		asks.MethodSeats:   handler(h.giveSeats),
		asks.MethodInfo:    handler(h.info),
		asks.MethodSignal:  handler(h.signal),
		asks.MethodFinish:  handler(h.finish),
		asks.MethodMove:    handler(h.moveAway),
		asks.MethodRestore: handler(h.restore),
		asks.MethodLate:    handler(h.late),
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
func (h *Host) open(ctx context.Context, _ hub.ProcessID, ask *asks.Open) (*asks.Opened, error) {
	if r := h.find(ask.Room); r != nil {
		o, err := h.giveSeats(ctx, "", &asks.Seats{Room: ask.Room, Users: ask.Users})
		if err == nil {
			o.Existed = true
		}
		return o, err
	}
	class, err := h.hasRoom(ask.Class, len(ask.Users))
	if err != nil {
		return nil, err
	}
	r := h.prepare(ask.Room, class, time.Now())
	if err := h.start(ctx, r, func() (*room.Room, error) { return h.make(r) }, func(ctx context.Context) (uint64, error) {
		rec := r.rec()
		return 1, h.deps.Directory.Open(ctx, rec)
	}); err != nil {
		return nil, refusalOf(err)
	}
	o, err := h.furnish(ctx, r, ask)
	if err != nil {
		r.control(input{kind: inputCommand, do: func() { r.room.Close() }}) // nobody knows of it
		return nil, err
	}
	h.event("room.created", r.id, Created{Room: r.id, Class: class.Name, Users: ask.Users, Process: h.deps.Process})
	return o, nil
}

// Created is the data of the event room.created.
type Created struct {
	Room    string        `json:"room"`
	Class   string        `json:"class"`
	Users   []hub.UserID  `json:"users"`
	Process hub.ProcessID `json:"process"`
}

// hasRoom returns a class of which one more room can be opened with so many seats
// taken.
func (h *Host) hasRoom(name string, users int) (*room.Class, error) {
	class := h.classes[name]
	h.mu.Lock()
	rooms, draining := len(h.rooms), h.draining
	h.mu.Unlock()
	switch {
	case class == nil:
		return nil, &call.RefusalError{Code: asks.CodeClass, Detail: name}
	case users > class.Seats:
		return nil, &call.RefusalError{Code: asks.CodeFull}
	case draining:
		return nil, &call.RefusalError{Code: asks.CodeTooMany, Detail: "the process stops"}
	case rooms >= h.cfg.MaxRooms || h.reserved()+users > h.cfg.MaxSeats:
		return nil, &call.RefusalError{Code: asks.CodeTooMany}
	}
	return class, nil
}

// make makes a new room.
func (h *Host) make(r *running) (*room.Room, error) {
	seed := rand.Uint64()
	if h.cfg.RecordDir == "" {
		return room.New(r.id, r.class, seed, outlet{r}, h.now()), nil
	}
	file, err := newRecordFile(h.cfg.RecordDir, r.id)
	if err != nil {
		return nil, err
	}
	r.record = file
	return room.NewRecorded(r.id, r.class, seed, outlet{r}, h.now(), room.NewRecorder(file)), nil
}

// furnish gives a new room what was asked for.
func (h *Host) furnish(ctx context.Context, r *running, ask *asks.Open) (*asks.Opened, error) {
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
		return r.reserve(ask.Users)
	})
}

// reserve gives every user a seat, or none that had none before.
func (r *running) reserve(users []hub.UserID) (*asks.Opened, error) {
	epoch := r.epoch.Load()
	o := &asks.Opened{Room: r.id, Class: r.class.Name, Process: r.h.deps.Process, Epoch: epoch, URL: r.h.cfg.URL, Seats: []asks.Seat{}}
	var fresh []int
	for _, user := range users {
		had := slices.ContainsFunc(r.room.Seats(), func(x room.SeatInfo) bool { return x.User == user })
		seat, err := r.room.Reserve(user, r.h.now())
		if err != nil {
			for _, seat := range fresh {
				r.room.Unreserve(seat)
			}
			return nil, refusalOf(err)
		}
		if !had {
			fresh = append(fresh, seat)
		}
		o.Seats = append(o.Seats, asks.Seat{User: user, Seat: seat, Ticket: r.h.ticket(r.id, epoch, user)})
	}
	r.show()
	return o, nil
}

func (h *Host) giveSeats(ctx context.Context, _ hub.ProcessID, ask *asks.Seats) (*asks.Opened, error) {
	r := h.find(ask.Room)
	switch {
	case r == nil:
		return nil, errNotHere
	case ask.Epoch != 0 && ask.Epoch != r.epoch.Load():
		return nil, &call.RefusalError{Code: asks.CodeEpoch}
	case h.reserved()+len(ask.Users) > h.cfg.MaxSeats:
		return nil, &call.RefusalError{Code: asks.CodeTooMany}
	}
	return get(ctx, r, func() (*asks.Opened, error) { return r.reserve(ask.Users) })
}

func (h *Host) signal(ctx context.Context, _ hub.ProcessID, ask *asks.Signal) (*asks.Reply, error) {
	r := h.find(ask.Room)
	if r == nil {
		return nil, errNotHere
	}
	return get(ctx, r, func() (*asks.Reply, error) {
		reply, err := r.room.Signal(ask.Name, ask.Data)
		return &asks.Reply{Reply: reply}, refusalOf(err)
	})
}

func (h *Host) finish(ctx context.Context, _ hub.ProcessID, ask *asks.Finish) (*nothing, error) {
	r := h.find(ask.Room)
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

func (h *Host) info(ctx context.Context, _ hub.ProcessID, ask *asks.Room) (*asks.Info, error) {
	r := h.find(ask.Room)
	if r == nil {
		return nil, errNotHere
	}
	return get(ctx, r, func() (*asks.Info, error) { return r.info(), nil })
}

func (r *running) info() *asks.Info {
	stats := r.room.Stats()
	i := &asks.Info{
		Room: r.id, Class: r.class.Name, Epoch: r.epoch.Load(), Process: r.h.deps.Process, URL: r.h.cfg.URL, Made: r.made,
		Seats: []asks.Member{}, Free: r.room.Free(), Locked: r.room.Locked(), Metadata: r.room.Metadata(),
		Tick: r.room.TickNumber(), Hz: r.class.Hz, Ticks: stats.Ticks, Overruns: stats.Skipped,
		Messages: stats.Messages, Refused: stats.Refused, Frames: stats.Frames,
	}
	i.P50, i.P99 = r.times.quantile(0.5), r.times.quantile(0.99)
	for _, s := range r.room.Seats() {
		i.Seats = append(i.Seats, asks.Member{Seat: s.Seat, User: s.User, State: s.State})
	}
	return i
}

// quantile is in milliseconds; 0: nothing was added.
func (d *durations) quantile(q float64) float64 {
	all := slices.Sorted(slices.Values(d.ring[:min(d.n, len(d.ring))]))
	if len(all) == 0 {
		return 0
	}
	return all[min(int(q*float64(len(all))), len(all)-1)].Seconds() * 1000
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

// reserved is how many seats of the rooms here are reserved or taken.
func (h *Host) reserved() int { return int(h.taken.Load()) }
