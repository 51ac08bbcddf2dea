package host

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/room"
	"github.com/homing/homing/hub/room/directory"
)

const (
	// maxSaves is how many rooms wait for their checkpoint. What is saved is made when
	// its turn comes.
	//
	//bound:room-checkpoints
	maxSaves    = 4096
	saveTimeout = 3 * time.Second
)

// checkpoint has the room be saved when that is due. Where too many wait it is asked
// for again at the next tick.
func (r *running) checkpoint(now time.Duration) {
	if r.class.Checkpoint == 0 || now < r.saveAt || r.end.why != "" {
		return
	}
	select {
	case r.h.saves <- r:
		r.saveAt = now + r.class.Checkpoint
	default:
		r.h.met.checkpoints.WithLabelValues("delayed").Inc()
	}
}

// writeCheckpoints writes what waits, no faster than it may, until ctx ends.
func (h *Host) writeCheckpoints(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case r := <-h.saves:
			size := h.save(ctx, r)
			pause(ctx, time.Duration(size)*time.Second/time.Duration(h.cfg.CheckpointRate))
		}
	}
}

// save writes a checkpoint, and returns its bytes.
func (h *Host) save(ctx context.Context, r *running) int {
	ctx, cancel := context.WithTimeout(ctx, saveTimeout)
	defer cancel()
	b, err := get(ctx, r, func() ([]byte, error) {
		snapshot, err := r.room.Snapshot(h.now())
		return seal(r.rec(), snapshot), err
	})
	if err == nil && h.deps.Standing() != hub.StandingGood {
		err = errDoubt
	}
	if err == nil {
		err = h.deps.Store.Save(ctx, r.id, b)
	}
	switch {
	case h.find(r.id) == nil: // it has ended or moved meanwhile
		h.dropCheckpoint(ctx, r.class, r.id)
	case err != nil:
		h.met.checkpoints.WithLabelValues("failed").Inc()
		h.deps.Log.Warn("room: no checkpoint", "room", r.id, "err", err)
	default:
		h.met.checkpoints.WithLabelValues("written").Inc()
	}
	return len(b)
}

// errDoubt is why a process writes no checkpoint that may have been taken for dead.
var errDoubt = errors.New("another process may run the room")

// seal is a snapshot with when its room was made, which tells it from another room
// that has had the id.
func seal(rec *directory.Record, snapshot []byte) []byte {
	b := make([]byte, 0, len(snapshot)+binary.MaxVarintLen64)
	return append(binary.AppendVarint(b, rec.Made.UnixMilli()), snapshot...)
}

// unseal returns the snapshot that b seals; nil: it is of another room.
func unseal(rec *directory.Record, b []byte) (snapshot []byte) {
	made, n := binary.Varint(b)
	if n <= 0 || made != rec.Made.UnixMilli() {
		return nil
	}
	return b[n:]
}

func (h *Host) dropCheckpoint(ctx context.Context, class *room.Class, id string) {
	if class == nil || class.Checkpoint == 0 {
		return
	}
	if err := h.deps.Store.Drop(ctx, id); err != nil {
		h.deps.Log.Warn("room: a checkpoint was left behind; it lapses", "room", id, "err", err)
	}
}
