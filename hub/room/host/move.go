package host

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/call"
	"github.com/homing/homing/hub/room/asks"
	"github.com/homing/homing/hub/room/directory"
)

const (
	// restoreTimeout is how long the other process may take to go on with a room.
	restoreTimeout = 3 * time.Second
	// settlePause is the time between two attempts to find out whose a room is.
	settlePause = 200 * time.Millisecond
	// firstOffers is how long after its start a process waits for another one to take
	// a room: those that came with it may not have offered themselves yet.
	firstOffers = 10 * time.Second
	placePause  = 50 * time.Millisecond
	answerTime  = 500 * time.Millisecond // what is left of the asker's time
)

// mover hands rooms over to other processes, and takes those that others hand over.
type mover struct {
	*env
	table   *table
	starter *starter
	pace    *rate.Limiter // of seats
}

// wait blocks until r may move: as many of its players will be at another worker's door
// at once. It goes on meanwhile.
func (m *mover) wait(ctx context.Context, r *running) error {
	seats := max(1, min(r.shown.Load().taken, m.pace.Burst()))
	if err := m.pace.WaitN(ctx, seats); err != nil {
		return fmt.Errorf("%w: other rooms are to move first", hub.ErrUnavailable)
	}
	return nil
}

// hurry has all rooms that are here move within some time.
func (m *mover) hurry(within time.Duration) {
	if least := rate.Limit(float64(m.table.reserved()) / within.Seconds()); least > m.pace.Limit() {
		m.pace.SetLimit(least)
	}
}

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
func (m *mover) moveAway(ctx context.Context, _ hub.ProcessID, ask *asks.Move) (*asks.Moved, error) {
	r := m.table.find(ask.Room)
	if r == nil {
		return nil, errNotHere
	}
	if ask.To != m.Process {
		if err := m.wait(ctx, r); err != nil {
			return nil, err
		}
	}
	to := ask.To
	if to == "" {
		var err error
		if to, err = m.place(ctx, r); err != nil {
			return nil, err
		}
	}
	if to == m.Process {
		return nil, &call.RefusalError{Code: asks.CodeMove, Detail: "the room is there already"}
	}
	way, err := get(ctx, r, func() (*move, error) { return m.begin(r, to) }) //nolint:contextcheck // a move that has begun goes on without whoever asked for it
	if err != nil {
		return nil, err
	}
	select {
	case err := <-way.settled:
		if err != nil {
			return nil, &call.RefusalError{Code: asks.CodeMove, Detail: err.Error()}
		}
		return &asks.Moved{Process: way.moved.Owner, Epoch: way.moved.Epoch, URL: way.moved.URL}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// serveMove is moveAway for other processes. That nobody takes the room is no outage.
func (m *mover) serveMove(ctx context.Context, from hub.ProcessID, ask *asks.Move) (*asks.Moved, error) {
	moved, err := m.moveAway(ctx, from, ask)
	if errors.Is(err, directory.ErrNoProcess) {
		return nil, &call.RefusalError{Code: asks.CodeNobody, Detail: "no other front takes rooms now"}
	}
	return moved, err
}

// place chooses the process that r moves to. One that has just come may not be known
// here yet: so the leases are read anew before the answer is that there is none.
func (m *mover) place(ctx context.Context, r *running) (hub.ProcessID, error) {
	for again := true; ; {
		to, err := m.Directory.Place(ctx, r.shown.Load().taken, m.fitToMove)
		if !errors.Is(err, directory.ErrNoProcess) || !again {
			return to, err
		}
		_ = m.Census.Refresh(ctx) // when it fails, the last reading stays in use
		again = m.mayCome(ctx) && m.pause(ctx, placePause)
	}
}

// mayCome reports whether it is too early to say that nobody takes a room.
func (m *mover) mayCome(ctx context.Context) bool {
	end, ok := ctx.Deadline()
	return m.now() < firstOffers && (!ok || time.Until(end) > answerTime)
}

// fitToMove reports whether a room may be handed over to p.
func (m *mover) fitToMove(p hub.ProcessID) bool { return p != m.Process && m.lives(p) }

// begin stops the room between two ticks, and has it handed over.
func (m *mover) begin(r *running, to hub.ProcessID) (*move, error) {
	now := m.now()
	snapshot, err := r.room.Snapshot(now)
	if err != nil {
		return nil, &call.RefusalError{Code: asks.CodeMove, Detail: err.Error()}
	}
	way, rec := &move{to: to, began: now, settled: make(chan error, 1)}, r.rec()
	r.move = way
	m.routines.Go(func() {
		o := m.handOver(r, rec, to, snapshot)
		way.outcome.Store(&o)
		r.inputs.poke()
	})
	return way, nil
}

// handOver has another process go on with a room, and finds out whether it does.
func (m *mover) handOver(r *running, rec *directory.Record, to hub.ProcessID, snapshot []byte) outcome {
	ctx, cancel := context.WithTimeout(context.Background(), restoreTimeout)
	defer cancel()
	ask := asks.Restore{Room: rec.Room, Epoch: rec.Epoch, Made: rec.Made, Class: rec.Class, Snapshot: snapshot}
	var moved asks.Moved
	err := m.ask(ctx, to, asks.MethodRestore, &ask, &moved)
	switch {
	case err == nil:
		now := *rec
		now.Owner, now.Epoch, now.URL = moved.Process, moved.Epoch, moved.URL
		return outcome{moved: &now}
	case notBegun(err):
		return outcome{err: err}
	}
	return m.settle(r, rec, err)
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
func (m *mover) settle(r *running, rec *directory.Record, why error) outcome {
	for {
		if o, ok := m.trySettle(rec, why); ok {
			return o
		}
		select {
		case <-r.gone:
			return outcome{err: why}
		case <-m.drained:
			return outcome{err: why}
		case <-time.After(settlePause):
		}
		if m.Standing() == hub.StandingLost {
			return outcome{err: why}
		}
	}
}

// trySettle reports false when nothing is certain yet.
func (m *mover) trySettle(rec *directory.Record, why error) (o outcome, ok bool) {
	ctx, cancel := context.WithTimeout(context.Background(), restoreTimeout)
	defer cancel()
	epoch, err := m.Directory.TakeOver(ctx, rec, m.Process, m.cfg.URL, true)
	if err == nil {
		return outcome{epoch: epoch, err: why}, true
	}
	if !errors.Is(err, directory.ErrFenced) {
		return o, false
	}
	now, err := m.Directory.Find(ctx, rec.Room)
	switch {
	case err != nil && !errors.Is(err, directory.ErrNotFound):
		return o, false
	case err != nil || now.Epoch < rec.Epoch, now.Owner == m.Process && now.Epoch == rec.Epoch && now.Ended == "":
		// A failover has lost it, or this process has no lease now.
		_, _ = m.Directory.Note(ctx, []*directory.Record{rec}) // it is tried again
		return o, false
	case now.Ended != "":
		return outcome{moved: &now}, true
	case now.Owner == m.Process: // an attempt before was carried out
		return outcome{epoch: now.Epoch, err: why}, true
	}
	return m.settleWith(ctx, &now, why)
}

// settleWith asks the process that owns the room now whether it runs it. When that is
// dead, the room comes back: what it is, is known here.
func (m *mover) settleWith(ctx context.Context, now *directory.Record, why error) (o outcome, ok bool) {
	if m.knownDead(now.Owner) {
		epoch, err := m.Directory.TakeOver(ctx, now, m.Process, m.cfg.URL, false)
		return outcome{epoch: epoch, err: why}, err == nil
	}
	err := m.ask(ctx, now.Owner, asks.MethodInfo, &asks.Room{Room: now.Room}, new(asks.Info))
	return outcome{moved: now}, err == nil
}

// goOn ends the move of r once its outcome is known.
func (m *mover) goOn(r *running) {
	way := r.move
	o := way.outcome.Load()
	if o == nil {
		return
	}
	m.met.moveSeconds.Observe((m.now() - way.began).Seconds())
	if way.moved = o.moved; way.moved == nil {
		m.met.moves.WithLabelValues("refused").Inc()
		m.Log.Warn("room: not moved", "room", r.id, "to", way.to, "err", o.err)
		if r.move = nil; o.epoch != 0 {
			r.epoch.Store(o.epoch)
		}
		way.settled <- o.err
		return
	}
	m.met.moves.WithLabelValues("moved").Inc()
	m.event("room.moved", r.id, Moved{Room: r.id, From: m.Process, To: way.moved.Owner, Epoch: way.moved.Epoch})
	r.room.Move()
	way.settled <- nil
}

// restore goes on with a room that another process hands over.
func (m *mover) restore(ctx context.Context, from hub.ProcessID, ask *asks.Restore) (*asks.Moved, error) {
	class, err := m.starter.hasRoom(ask.Class, 0)
	if err != nil {
		return nil, err
	}
	rec := &directory.Record{Room: ask.Room, Owner: from, Epoch: ask.Epoch}
	r := m.starter.prepare(ask.Room, class, ask.Made)
	if err := m.starter.resume(ctx, r, ask.Snapshot, rec, true, 0); err != nil {
		return nil, refusalOf(err)
	}
	return &asks.Moved{Process: m.Process, Epoch: r.epoch.Load(), URL: m.cfg.URL}, nil
}
