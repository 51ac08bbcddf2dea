package host

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/homing/homing/hub/call"
	"github.com/homing/homing/hub/room"
	"github.com/homing/homing/hub/room/asks"
	"github.com/homing/homing/hub/room/directory"
)

// maxStarting is how many rooms begin at once; each may be stuck in its logic.
const maxStarting = 256

// starter has rooms begin here: new ones, and such as were another process's.
type starter struct {
	*env
	classes map[string]*room.Class
	table   *table
	guide   *guide
	saver   *saver
	mover   *mover

	starting atomic.Int64 // rooms that begin
}

// hasRoom returns a class of which one more room can be opened with so many seats
// taken.
func (s *starter) hasRoom(name string, users int) (*room.Class, error) {
	class := s.classes[name]
	switch {
	case class == nil:
		return nil, &call.RefusalError{Code: asks.CodeClass, Detail: name}
	case users > class.Seats:
		return nil, &call.RefusalError{Code: asks.CodeFull}
	}
	return class, s.table.mayOpen(users)
}

// prepare returns a room that start has begin.
func (s *starter) prepare(id string, class *room.Class, made time.Time) *running {
	r := &running{
		env: s.env, table: s.table, guide: s.guide, saver: s.saver, mover: s.mover,
		id: id, class: class, made: made, gone: make(chan struct{}),
		inputs: inputs{wake: make(chan struct{}, 1)},
		seats:  seats{all: make([]*Seat, class.Seats)},
	}
	r.telling.done = r.written
	r.shown.Store(opening)
	return r
}

// start has a room run that open makes and claim makes this process's own, and
// waits until it does. What fails leaves nothing behind.
func (s *starter) start(ctx context.Context, r *running, open func() (*room.Room, error), claim func(context.Context) (uint64, error)) error {
	started := make(chan error, 1)
	if s.starting.Add(1) > maxStarting {
		s.starting.Add(-1)
		return &call.RefusalError{Code: asks.CodeTooMany, Detail: "too many rooms begin"}
	}
	go func() { // nobody waits for it when the process stops: its logic may not return
		opened, err := open()
		s.starting.Add(-1)
		if err == nil {
			r.room = opened
			err = s.register(ctx, r, claim)
		}
		if err != nil {
			r.record.discard()
		}
		started <- err
		if err == nil {
			r.run() //nolint:contextcheck // the room outlives whoever asked for it
		}
	}()
	select {
	case err := <-started:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-started:
		return err
	default:
		return ctx.Err()
	}
}

// register claims r and enters it among the rooms of the host.
func (s *starter) register(ctx context.Context, r *running, claim func(context.Context) (uint64, error)) error {
	if err := ctx.Err(); err != nil {
		return err // whoever waits has given up: nobody would hear of the room
	}
	epoch, err := claim(ctx)
	if err != nil {
		return err
	}
	r.epoch.Store(epoch)
	return s.table.add(r)
}

// open has a new room begin, whose record is rec.
func (s *starter) open(ctx context.Context, r *running, rec *directory.Record) error {
	return s.start(ctx, r, func() (*room.Room, error) { return s.create(r) }, func(ctx context.Context) (uint64, error) {
		return 1, s.Directory.Open(ctx, rec)
	})
}

// create makes a new room.
func (s *starter) create(r *running) (*room.Room, error) {
	seed := rand.Uint64()
	if s.cfg.RecordDir == "" {
		return room.New(r.id, r.class, seed, outlet{r}, s.now()), nil
	}
	file, err := newRecordFile(s.cfg.RecordDir, r.id)
	if err != nil {
		return nil, err
	}
	r.record = file
	return room.NewRecorded(r.id, r.class, seed, outlet{r}, s.now(), room.NewRecorder(file.file)), nil
}

// resume has r go on from a snapshot, as the owner after that of rec. planned says
// that rec's owner hands it over, else that is dead; lostBy is for restore.
func (s *starter) resume(ctx context.Context, r *running, snapshot []byte, rec *directory.Record, planned bool, lostBy uint64) error {
	open := func() (*room.Room, error) { return s.restore(r, snapshot, lostBy) }
	return s.start(ctx, r, open, func(ctx context.Context) (uint64, error) { return s.takeOver(ctx, rec, planned) })
}

// restore makes a room from a snapshot. lostBy is the epoch of an owner that goes on
// with less than there was; 0: the snapshot is all there was.
func (s *starter) restore(r *running, snapshot []byte, lostBy uint64) (opened *room.Room, err error) {
	now := s.now()
	if lostBy == 0 {
		opened, err = room.Restore(snapshot, r.class, outlet{r}, now)
	} else {
		opened, err = room.Recover(snapshot, r.class, outlet{r}, now, lostBy)
	}
	if err != nil || s.cfg.RecordDir == "" {
		return opened, err
	}
	file, err := newRecordFile(s.cfg.RecordDir, r.id)
	if err != nil { // the room must not be lost for want of a record
		s.Log.Warn("room: is not recorded", "room", r.id, "err", err)
		return opened, nil
	}
	r.record = file
	room.NewRecorder(file.file).Restored(opened, snapshot, now, lostBy)
	return opened, nil
}

// takeOver makes a room this process's, and knows in the end whether it is: also when
// Redis has not answered at first.
func (s *starter) takeOver(ctx context.Context, rec *directory.Record, planned bool) (uint64, error) {
	for {
		epoch, err := s.Directory.TakeOver(ctx, rec, s.Process, s.cfg.URL, planned)
		if errors.Is(err, directory.ErrFenced) {
			now, findErr := s.Directory.Find(ctx, rec.Room)
			if findErr == nil && now.Owner == s.Process && now.Epoch == rec.Epoch+1 && now.Ended == "" {
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
