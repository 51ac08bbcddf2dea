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
	m, err := get(ctx, r, func() (*move, error) { return r.beginMove(to) }) //nolint:contextcheck // a move that has begun goes on without whoever asked for it
	if err != nil {
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
	switch {
	case err == nil:
		now := *rec
		now.Owner, now.Epoch, now.URL = moved.Process, moved.Epoch, moved.URL
		return outcome{moved: &now}
	case notBegun(err):
		return outcome{err: err}
	}
	return h.settle(r, rec, err)
}

// notBegun reports whether err says that a process has not even tried to own a room.
func notBegun(err error) bool {
	var refused *call.RefusalError
	if !errors.As(err, &refused) {
		return false
	}
	switch refused.Code {
	case asks.CodeTooMany, asks.CodeClass, asks.CodeLogic, call.CodeBusy, call.CodeUnknown:
		return true
	}
	return false
}

// settle finds out whose room it is that another process was asked to go on with,
// without a clear answer. It takes the room back by a new epoch, unless that process
// has it. It tries for as long as this process is believed to live, and works: who
// is not has no rooms.
func (h *Host) settle(r *running, rec *directory.Record, why error) outcome {
	for {
		if o, ok := h.trySettle(rec, why); ok {
			return o
		}
		select {
		case <-r.gone:
			return outcome{err: why}
		case <-h.drained:
			return outcome{err: why}
		case <-time.After(settlePause):
		}
		if h.deps.Standing() == hub.StandingLost {
			return outcome{err: why}
		}
	}
}

// trySettle reports false when nothing is certain yet.
func (h *Host) trySettle(rec *directory.Record, why error) (o outcome, ok bool) {
	ctx, cancel := context.WithTimeout(context.Background(), restoreTimeout)
	defer cancel()
	epoch, err := h.deps.Directory.TakeOver(ctx, rec, h.deps.Process, h.cfg.URL, true)
	if err == nil {
		return outcome{epoch: epoch, err: why}, true
	}
	if !errors.Is(err, directory.ErrFenced) {
		return o, false
	}
	now, err := h.deps.Directory.Find(ctx, rec.Room)
	switch {
	case err != nil && !errors.Is(err, directory.ErrNotFound):
		return o, false
	case err != nil || now.Epoch < rec.Epoch, now.Owner == h.deps.Process && now.Epoch == rec.Epoch && now.Ended == "":
		// A failover has lost it, or this process has no lease now.
		_, _ = h.deps.Directory.Note(ctx, []*directory.Record{rec}) // it is tried again
		return o, false
	case now.Ended != "":
		return outcome{moved: &now}, true
	case now.Owner == h.deps.Process: // an attempt before was carried out
		return outcome{epoch: now.Epoch, err: why}, true
	}
	return h.settleWith(ctx, &now, why)
}

// settleWith asks the process that owns the room now whether it runs it. When that is
// dead, the room comes back: what it is, is known here.
func (h *Host) settleWith(ctx context.Context, now *directory.Record, why error) (o outcome, ok bool) {
	if h.knownDead(now.Owner) {
		epoch, err := h.deps.Directory.TakeOver(ctx, now, h.deps.Process, h.cfg.URL, false)
		return outcome{epoch: epoch, err: why}, err == nil
	}
	err := h.ask(ctx, now.Owner, asks.MethodInfo, &asks.Room{Room: now.Room}, new(asks.Info))
	return outcome{moved: now}, err == nil
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
	return h.start(ctx, r, open, func(ctx context.Context) (uint64, error) { return h.takeOver(ctx, rec, planned) })
}

// takeOver makes a room this process's, and knows in the end whether it is: also when
// Redis has not answered at first.
func (h *Host) takeOver(ctx context.Context, rec *directory.Record, planned bool) (uint64, error) {
	for {
		epoch, err := h.deps.Directory.TakeOver(ctx, rec, h.deps.Process, h.cfg.URL, planned)
		if errors.Is(err, directory.ErrFenced) {
			now, findErr := h.deps.Directory.Find(ctx, rec.Room)
			if findErr == nil && now.Owner == h.deps.Process && now.Epoch == rec.Epoch+1 && now.Ended == "" {
				return now.Epoch, nil // the attempt before was carried out
			}
			if findErr == nil || errors.Is(findErr, directory.ErrNotFound) {
				return 0, err
			}
		}
		if err == nil || !pause(ctx, settlePause) {
			return epoch, err
		}
	}
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
