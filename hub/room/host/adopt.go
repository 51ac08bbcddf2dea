package host

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/call"
	"github.com/homing/homing/hub/room"
	"github.com/homing/homing/hub/room/asks"
	"github.com/homing/homing/hub/room/directory"
)

const (
	// adoptPeriod is how often a process looks for rooms of the dead, beside the
	// moments at which somebody dies.
	adoptPeriod  = 5 * time.Second
	adoptTimeout = 3 * time.Second
	// drainers is how many rooms move at once when the process stops.
	drainers   = 16
	drainPause = 100 * time.Millisecond
)

// lives reports whether p is taken to live, as far as is known.
func (h *Host) lives(p hub.ProcessID) bool {
	roll := h.deps.Census.Roll()
	return roll != nil && roll.Lives(p)
}

// knownDead reports whether p is known not to live.
func (h *Host) knownDead(p hub.ProcessID) bool {
	roll := h.deps.Census.Roll()
	return roll != nil && roll.Known(p) && !roll.Lives(p)
}

// adoptOrphans takes over the rooms of dead processes, until ctx ends. All hosts do
// that at once, each in an order of its own: the directory gives each room to one.
func (h *Host) adoptOrphans(ctx context.Context) {
	if h.deps.Census.WaitReady(ctx) != nil {
		return
	}
	for ctx.Err() == nil {
		changed := h.deps.Census.Changed()
		if h.deps.Standing() == hub.StandingGood {
			if err := h.adoptAll(ctx); err != nil && ctx.Err() == nil {
				h.deps.Log.Warn("room: looking for rooms of the dead", "err", err)
			}
		}
		select {
		case <-ctx.Done():
		case <-changed:
		case <-time.After(adoptPeriod/2 + rand.N(adoptPeriod)):
		}
	}
}

func (h *Host) adoptAll(ctx context.Context) error {
	owners, err := h.deps.Directory.Owners(ctx)
	if err != nil {
		return err
	}
	for _, p := range owners {
		if p == h.deps.Process || !h.isDead(ctx, p) {
			continue
		}
		if err := h.adoptFrom(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// isDead reports whether p was declared dead, or has left.
func (h *Host) isDead(ctx context.Context, p hub.ProcessID) bool {
	roll := h.deps.Census.Roll()
	if roll == nil || !roll.Steady() || !h.deps.Census.Steady() {
		return false
	}
	if !roll.Known(p) {
		var err error
		if roll, err = h.deps.Census.Meet(ctx, []hub.ProcessID{p}); err != nil {
			return false
		}
	}
	return !roll.Lives(p)
}

// adoptFrom takes over what is left of the rooms of a dead process.
func (h *Host) adoptFrom(ctx context.Context, p hub.ProcessID) error {
	records, err := h.deps.Directory.Owned(ctx, p)
	if err != nil {
		return err
	}
	rand.Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
	for i := range records {
		rec := &records[i]
		if rec.Owner == "" {
			rec.Owner = p // its record is gone: it is struck
		}
		if rec.Owner != p {
			continue
		}
		if err := h.adopt(ctx, rec); err != nil {
			return err
		}
		if !pause(ctx, time.Second/time.Duration(h.cfg.AdoptRate)) {
			return ctx.Err()
		}
	}
	if len(records) == 0 {
		return h.deps.Directory.Forget(ctx, p)
	}
	return nil
}

// adopt goes on with a room from its last checkpoint, or ends it.
func (h *Host) adopt(ctx context.Context, rec *directory.Record) error {
	ctx, cancel := context.WithTimeout(ctx, adoptTimeout)
	defer cancel()
	if class := h.classes[rec.Class]; class != nil && class.Checkpoint > 0 {
		err := h.goOn(ctx, rec, class)
		if err == nil || errors.Is(err, directory.ErrFenced) || errors.Is(err, hub.ErrUnavailable) {
			return unlessFenced(err)
		}
		h.met.adopted.WithLabelValues("failed").Inc()
		h.deps.Log.Warn("room: not restored", "room", rec.Room, "err", err)
	}
	ended, err := h.deps.Directory.End(ctx, rec, string(room.EndLost), nil, true)
	if err != nil || !ended {
		return err
	}
	h.met.adopted.WithLabelValues("lost").Inc()
	h.event("room.ended", rec.Room, Ended{
		Room: rec.Room, Class: rec.Class, Reason: string(room.EndLost), Members: []hub.UserID{}, Seconds: time.Since(rec.Made).Seconds(),
	})
	return nil
}

// unlessFenced is err, but that another host was first is none.
func unlessFenced(err error) error {
	if errors.Is(err, directory.ErrFenced) {
		return nil
	}
	return err
}

// errNoCheckpoint says that a room of the dead cannot go on.
var errNoCheckpoint = errors.New("there is no checkpoint of the room")

func (h *Host) goOn(ctx context.Context, rec *directory.Record, class *room.Class) error {
	b, err := h.deps.Store.Load(ctx, rec.Room)
	switch {
	case err != nil:
		return err
	case b == nil:
		return errNoCheckpoint
	}
	_, snapshot := unsealed(b)
	r := h.prepare(rec.Room, class, rec.Made)
	if err := h.resume(ctx, r, func() (*room.Room, error) { return room.Recover(snapshot, class, outlet{r}, h.now(), rec.Epoch+1) }, rec, false); err != nil {
		return err
	}
	h.met.adopted.WithLabelValues("restored").Inc()
	h.event("room.moved", r.id, Moved{Room: r.id, From: rec.Owner, To: h.deps.Process, Epoch: r.epoch.Load()})
	return nil
}

// drain hands the rooms over to other processes, and ends those that do not go.
func (h *Host) drain(ctx context.Context) {
	h.mu.Lock()
	h.draining = true
	h.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, h.cfg.DrainTimeout)
	defer cancel()
	if err := h.offer(ctx); err != nil {
		h.deps.Log.Warn("room: the process still stands among those that take rooms", "err", err)
	}
	rooms := make(chan *running)
	var wg sync.WaitGroup
	for range drainers {
		wg.Go(func() {
			for r := range rooms {
				h.sendAway(ctx, r)
			}
		})
	}
	for _, r := range h.all() {
		rooms <- r
	}
	close(rooms)
	wg.Wait()
}

// sendAway moves a room, or ends it when ctx ends before that works.
func (h *Host) sendAway(ctx context.Context, r *running) {
	for h.deps.Standing() != hub.StandingLost {
		_, err := h.moveAway(ctx, "", &asks.Move{Room: r.id})
		var refused *call.RefusalError
		if err == nil || errors.As(err, &refused) && refused.Code == asks.CodeNotHere {
			return
		}
		if errors.Is(err, directory.ErrNoProcess) { // one may have been born just now
			err = h.deps.Census.Refresh(ctx)
		}
		if !pause(ctx, drainPause) {
			h.deps.Log.Warn("room: ends with its process", "room", r.id, "err", err)
			break
		}
	}
	r.control(input{kind: inputCommand, do: func() {
		if r.room.Ended() == "" {
			r.room.Lose()
		}
	}})
	select {
	case <-r.gone:
	case <-time.After(drainPause * 10):
	}
}
