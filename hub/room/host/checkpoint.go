package host

import (
	"context"
	"errors"
	"time"

	"github.com/homing/homing/hub/room"
)

const (
	// maxSaves is how many rooms wait for their checkpoint. What is saved is made when
	// its turn comes.
	//
	//bound:room-checkpoints
	maxSaves    = 4096
	saveTimeout = 3 * time.Second
)

// saver writes checkpoints of rooms, no faster than it may.
type saver struct {
	*env
	table   *table
	waiting chan *running
}

// ask has r be saved when that is due. Where too many wait it is asked for again at
// the next tick.
func (s *saver) ask(r *running, now time.Duration) {
	if r.class.Checkpoint == 0 || now < r.saveAt || r.end.why != "" {
		return
	}
	select {
	case s.waiting <- r:
		r.saveAt = now + r.class.Checkpoint
	default:
		s.met.checkpoints.WithLabelValues("delayed").Inc()
	}
}

// run writes what waits, until ctx ends.
func (s *saver) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case r := <-s.waiting:
			size := s.save(ctx, r)
			pause(ctx, time.Duration(size)*time.Second/time.Duration(s.cfg.CheckpointRate))
		}
	}
}

// save writes a checkpoint, and returns its bytes.
func (s *saver) save(ctx context.Context, r *running) int {
	ctx, cancel := context.WithTimeout(ctx, saveTimeout)
	defer cancel()
	c, err := get(ctx, r, func() (*Checkpoint, error) {
		snapshot, err := r.room.Snapshot(s.now())
		return &Checkpoint{Made: r.made, Epoch: r.epoch.Load(), Tick: r.room.TickNumber(), Snapshot: snapshot}, err
	})
	if err == nil && !s.good() {
		err = errDoubt
	}
	saved := false
	if err == nil {
		saved, err = s.Store.Save(ctx, r.id, c)
	}
	switch {
	case s.table.find(r.id) == nil: // it has ended or moved meanwhile
		s.drop(ctx, r.class, r.id, r.made, r.epoch.Load())
	case err != nil:
		s.met.checkpoints.WithLabelValues("failed").Inc()
		s.Log.Warn("room: no checkpoint", "room", r.id, "err", err)
	case !saved:
		s.met.checkpoints.WithLabelValues("late").Inc()
	default:
		s.met.checkpoints.WithLabelValues("written").Inc()
	}
	if c == nil {
		return 0
	}
	return len(c.Snapshot)
}

// errDoubt is why a process writes no checkpoint that may have been taken for dead.
var errDoubt = errors.New("another process may run the room")

// drop drops the checkpoint of a room that has ended, or that has not gone on from it.
func (s *saver) drop(ctx context.Context, class *room.Class, id string, made time.Time, epoch uint64) {
	if class == nil || class.Checkpoint == 0 {
		return
	}
	if err := s.Store.Drop(ctx, id, made, epoch); err != nil {
		s.Log.Warn("room: a checkpoint was left behind; it lapses", "room", id, "err", err)
	}
}
