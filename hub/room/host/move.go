package host

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/call"
	"github.com/homing/homing/hub/room"
	"github.com/homing/homing/hub/room/asks"
	"github.com/homing/homing/hub/room/directory"
)

const (
	// restoreTimeout is how long the other process may take to go on with a room.
	restoreTimeout = 3 * time.Second
	// settlePause is the time between two attempts to find out whose a room is.
	settlePause = 200 * time.Millisecond
	lateTimeout = 3 * time.Second
)

// move is a room on its way to another process. It stands still meanwhile, and what
// comes for it waits.
type move struct {
	to      hub.ProcessID
	began   time.Duration
	outcome atomic.Pointer[outcome]
	settled chan error // whoever asked for it; it has room for one

	moved *directory.Record // where the room is now; nil: it has not moved (yet)
}

// outcome is what has come of a move.
type outcome struct {
	moved *directory.Record // nil: the room goes on here
	epoch uint64            // with a new epoch; 0: with the same
	err   error             // why it does
}

// Moved is the data of the event room.moved.
type Moved struct {
	Room  string        `json:"room"`
	From  hub.ProcessID `json:"from"`
	To    hub.ProcessID `json:"to"`
	Epoch uint64        `json:"epoch"`
}

// moveAway hands a room over to the process that the ask names, or to the one with
// the fewest seats.
func (h *Host) moveAway(ctx context.Context, _ hub.ProcessID, ask *asks.Move) (*asks.Moved, error) {
	r := h.find(ask.Room)
	if r == nil {
		return nil, errNotHere
	}
	to := ask.To
	if to == "" {
		var err error
		if to, err = h.deps.Directory.Place(ctx, r.shown.Load().taken, h.fitToMove); err != nil {
			return nil, err
		}
	}
	if to == h.deps.Process {
		return nil, &call.RefusalError{Code: asks.CodeMove, Detail: "the room is there already"}
	}
	var m *move
	if err := r.do(ctx, func() (err error) { m, err = r.beginMove(to); return err }); err != nil { //nolint:contextcheck // a move that has begun goes on without whoever asked for it
		return nil, err
	}
	select {
	case err := <-m.settled:
		if err != nil {
			return nil, &call.RefusalError{Code: asks.CodeMove, Detail: err.Error()}
		}
		return &asks.Moved{Process: m.moved.Owner, Epoch: m.moved.Epoch, URL: m.moved.URL}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// fitToMove reports whether a room may be handed over to p.
func (h *Host) fitToMove(p hub.ProcessID) bool { return p != h.deps.Process && h.lives(p) }

// beginMove stops the room between two ticks, and has it handed over.
func (r *running) beginMove(to hub.ProcessID) (*move, error) {
	now := r.h.now()
	snapshot, err := r.room.Snapshot(now)
	if err != nil {
		return nil, &call.RefusalError{Code: asks.CodeMove, Detail: err.Error()}
	}
	r.move = &move{to: to, began: now, settled: make(chan error, 1)}
	m, rec := r.move, r.rec()
	r.h.routines.Go(func() {
		o := r.h.handOver(r, rec, to, snapshot)
		m.outcome.Store(&o)
		r.poke()
	})
	return m, nil
}

// handOver has another process go on with a room, and finds out whether it does.
func (h *Host) handOver(r *running, rec *directory.Record, to hub.ProcessID, snapshot []byte) outcome {
	ctx, cancel := context.WithTimeout(context.Background(), restoreTimeout)
	defer cancel()
	ask := asks.Restore{Room: rec.Room, Epoch: rec.Epoch, Made: rec.Made, Class: rec.Class, Snapshot: snapshot}
	var moved asks.Moved
	err := h.ask(ctx, to, asks.MethodRestore, &ask, &moved)
	var refused *call.RefusalError
	switch {
	case err == nil:
		now := *rec
		now.Owner, now.Epoch, now.URL = moved.Process, moved.Epoch, moved.URL
		return outcome{moved: &now}
	case errors.As(err, &refused):
		return outcome{err: err}
	}
	return h.settle(r, rec, err)
}

// settle finds out whose room it is that another process was asked to go on with,
// and has not answered. It takes the room back by a new epoch, unless that process
// has it. It tries for as long as this process is believed to live: who is not has
// no rooms.
func (h *Host) settle(r *running, rec *directory.Record, why error) outcome {
	for {
		ctx, cancel := context.WithTimeout(context.Background(), restoreTimeout)
		epoch, err := h.deps.Directory.TakeOver(ctx, rec, h.deps.Process, h.cfg.URL, true)
		var now directory.Record
		if errors.Is(err, directory.ErrFenced) {
			now, err = h.deps.Directory.Find(ctx, rec.Room)
			if err == nil && now.Owner == h.deps.Process && now.Ended == "" && now.Epoch > rec.Epoch {
				epoch = now.Epoch // an attempt before was carried out
			}
		}
		cancel()
		switch {
		case err == nil && epoch != 0:
			return outcome{epoch: epoch, err: why}
		case err == nil || errors.Is(err, directory.ErrNotFound):
			return outcome{moved: &now}
		case h.deps.Standing() == hub.StandingLost:
			return outcome{err: why}
		}
		select {
		case <-r.gone:
			return outcome{err: why}
		case <-time.After(settlePause):
		}
	}
}

// goOnMoving ends the move once its outcome is known.
func (r *running) goOnMoving() {
	m := r.move
	o := m.outcome.Load()
	if o == nil {
		return
	}
	h := r.h
	h.met.moveSeconds.Observe((h.now() - m.began).Seconds())
	if m.moved = o.moved; m.moved == nil {
		h.met.moves.WithLabelValues("refused").Inc()
		h.deps.Log.Warn("room: not moved", "room", r.id, "to", m.to, "err", o.err)
		if r.move = nil; o.epoch != 0 {
			r.epoch.Store(o.epoch)
		}
		m.settled <- o.err
		return
	}
	h.met.moves.WithLabelValues("moved").Inc()
	r.movedTo.Store(m.moved)
	h.event("room.moved", r.id, Moved{Room: r.id, From: h.deps.Process, To: m.moved.Owner, Epoch: m.moved.Epoch})
	r.room.Move()
	m.settled <- nil
}

// restore goes on with a room that another process hands over.
func (h *Host) restore(ctx context.Context, from hub.ProcessID, ask *asks.Restore) (*asks.Moved, error) {
	class, err := h.hasRoom(ask.Class, 0)
	if err != nil {
		return nil, err
	}
	rec := &directory.Record{Room: ask.Room, Owner: from, Epoch: ask.Epoch}
	r := h.prepare(ask.Room, class, ask.Made)
	if err := h.resume(ctx, r, func() (*room.Room, error) { return room.Restore(ask.Snapshot, class, outlet{r}, h.now()) }, rec, true); err != nil {
		return nil, refusalOf(err)
	}
	return &asks.Moved{Process: h.deps.Process, Epoch: r.epoch.Load(), URL: h.cfg.URL}, nil
}

// resume has r go on as open makes it, as the owner after that of rec.
func (h *Host) resume(ctx context.Context, r *running, open func() (*room.Room, error), rec *directory.Record, planned bool) error {
	return h.start(ctx, r, open, func(ctx context.Context) (uint64, error) {
		return h.deps.Directory.TakeOver(ctx, rec, h.deps.Process, h.cfg.URL, planned)
	})
}

// sendLate sends messages after a room that has moved.
func (h *Host) sendLate(id string, to *directory.Record, said []input) {
	if to == nil {
		return
	}
	late := asks.Late{Room: id, Epoch: to.Epoch}
	for _, in := range said {
		late.Said = append(late.Said, asks.Said{User: in.seat.user, Data: in.data})
	}
	h.routines.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), lateTimeout)
		defer cancel()
		if err := h.ask(ctx, to.Owner, asks.MethodLate, &late, new(nothing)); err != nil {
			h.met.refused.WithLabelValues(CodeMoved).Add(float64(len(said)))
			h.deps.Log.Warn("room: messages did not follow the room", "room", id, "messages", len(said), "err", err)
		}
	})
}

func (h *Host) late(ctx context.Context, _ hub.ProcessID, ask *asks.Late) (*nothing, error) {
	r := h.find(ask.Room)
	if r == nil || r.epoch.Load() < ask.Epoch {
		return nil, errNotHere
	}
	return &nothing{}, r.do(ctx, func() error {
		for _, s := range ask.Said {
			r.room.Late(s.User, s.Data)
		}
		return nil
	})
}

// ask asks another process, with bodies as JSON.
func (h *Host) ask(ctx context.Context, to hub.ProcessID, method string, ask, answer any) error {
	body, err := json.Marshal(ask)
	if err != nil {
		return err
	}
	b, err := h.peer.Ask(ctx, to, method, body)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, answer)
}

// redirect has a connection that came too late be told where its room is.
func (h *Host) redirect(s *Seat, id string) {
	select {
	case h.lookups <- lookup{s, id}:
	default:
		h.notIn(s, CodeUnavailable, "")
	}
}
