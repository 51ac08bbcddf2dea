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
	// endAllTimeout is how long those that are left may take to end.
	endAllTimeout = 2 * time.Second
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
		if p != h.deps.Process && h.isDead(ctx, p) {
			err = errors.Join(err, h.adoptFrom(ctx, p))
		}
	}
	offers, offersErr := h.deps.Directory.Offers(ctx)
	for _, p := range offers {
		if p != h.deps.Process && h.isDead(ctx, p) {
			offersErr = errors.Join(offersErr, h.deps.Directory.Withdraw(ctx, p))
		}
	}
	return errors.Join(err, offersErr)
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

// adoptFrom takes over what is left of the rooms of a dead process. One that fails
// keeps none of the others waiting.
func (h *Host) adoptFrom(ctx context.Context, p hub.ProcessID) error {
	records, err := h.deps.Directory.Owned(ctx, p)
	if err != nil {
		return err
	}
	if len(records) == 0 {
		return h.deps.Directory.Forget(ctx, p)
	}
	rand.Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
	for i := range records {
		rec := &records[i]
		if rec.Owner != p { // it is another's, or gone: only the set of rooms names it
			rec.Owner, rec.Epoch = p, 0
			_, endErr := h.deps.Directory.End(ctx, rec, string(room.EndLost), nil, true)
			err = errors.Join(err, endErr)
			continue
		}
		err = errors.Join(err, h.adopt(ctx, rec, true))
		if !pause(ctx, time.Second/time.Duration(h.cfg.AdoptRate)) {
			return ctx.Err()
		}
	}
	return err
}

// strangeFor is how long a room of a class that is not known here is left to others.
const strangeFor = time.Minute

// adopt goes on with a room from its last checkpoint, or ends it. dead says that its
// owner is; else that is this process, which does not run it.
func (h *Host) adopt(ctx context.Context, rec *directory.Record, dead bool) error {
	class := h.classes[rec.Class]
	if class == nil && !h.strangers.known(rec.Room, strangeFor) {
		return nil
	}
	if class != nil && class.Checkpoint > 0 {
		err := h.goOn(ctx, rec, class, !dead)
		switch {
		case err == nil || errors.Is(err, directory.ErrFenced):
			return nil
		case errors.Is(err, hub.ErrUnavailable):
			return err
		}
		h.met.adopted.WithLabelValues("failed").Inc()
		h.deps.Log.Warn("room: not restored", "room", rec.Room, "err", err)
	}
	ctx, cancel := context.WithTimeout(ctx, adoptTimeout)
	defer cancel()
	ended, err := h.deps.Directory.End(ctx, rec, string(room.EndLost), nil, dead)
	if err != nil || !ended {
		return err
	}
	h.met.adopted.WithLabelValues("lost").Inc()
	h.dropCheckpoint(ctx, class, rec.Room)
	h.event("room.ended", rec.Room, Ended{
		Room: rec.Room, Class: rec.Class, Reason: string(room.EndLost), Members: []hub.UserID{}, Seconds: time.Since(rec.Made).Seconds(),
	})
	return nil
}

// strangers are rooms of classes that are not known here, and since when they were
// seen. Owned by whoever adopts.
type strangers struct {
	mu    sync.Mutex
	since map[string]time.Time
}

// maxStrangers bounds them: those beyond are left alone until there is room.
const maxStrangers = 4096

// known reports whether a room was seen before, for so long.
func (s *strangers) known(id string, long time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, at := range s.since {
		if time.Since(at) > 10*long {
			delete(s.since, id)
		}
	}
	at, seen := s.since[id]
	if !seen && len(s.since) < maxStrangers {
		s.since[id] = time.Now()
	}
	return seen && time.Since(at) >= long
}

// errNoCheckpoint says that a room of the dead cannot go on.
var errNoCheckpoint = errors.New("there is no checkpoint of the room")

func (h *Host) goOn(ctx context.Context, rec *directory.Record, class *room.Class, planned bool) error {
	ctx, cancel := context.WithTimeout(ctx, adoptTimeout)
	defer cancel()
	b, err := h.deps.Store.Load(ctx, rec.Room)
	if err != nil {
		return err
	}
	snapshot := unseal(rec, b)
	if snapshot == nil {
		return errNoCheckpoint
	}
	r := h.prepare(rec.Room, class, rec.Made)
	open := func() (*room.Room, error) { return room.Recover(snapshot, class, outlet{r}, h.now(), rec.Epoch+1) }
	if err := h.resume(ctx, r, open, rec, planned); err != nil {
		return err
	}
	h.met.adopted.WithLabelValues("restored").Inc()
	h.event("room.moved", r.id, Moved{Room: r.id, From: rec.Owner, To: h.deps.Process, Epoch: r.epoch.Load()})
	return nil
}

// drain hands the rooms over to other processes, and ends those that do not go. Rooms
// that begin meanwhile are no exception.
func (h *Host) drain(ctx context.Context) {
	h.mu.Lock()
	h.draining = true
	h.mu.Unlock()
	moving, cancel := context.WithTimeout(ctx, h.cfg.DrainTimeout)
	defer cancel()
	if err := h.offer(moving); err != nil {
		h.deps.Log.Warn("room: the process still stands among those that take rooms", "err", err)
	}
	for all := h.all(); len(all) > 0; all = h.all() {
		h.sendAllAway(moving, all)
		if !pause(moving, drainPause) { // some take longer to end, and rooms may have begun
			break
		}
	}
	h.mu.Lock()
	h.over = true
	h.mu.Unlock()
	h.endAll()
}

func (h *Host) sendAllAway(ctx context.Context, all []*running) {
	rooms := make(chan *running)
	var wg sync.WaitGroup
	for range drainers {
		wg.Go(func() {
			for r := range rooms {
				h.sendAway(ctx, r)
			}
		})
	}
	for _, r := range all {
		rooms <- r
	}
	close(rooms)
	wg.Wait()
}

// endAll ends the rooms that are left, and waits for a moment.
func (h *Host) endAll() {
	left := h.all()
	for _, r := range left {
		h.deps.Log.Warn("room: ends with its process", "room", r.id)
		r.control(input{kind: inputCommand, do: func() { r.room.Lose() }})
	}
	end := time.After(endAllTimeout)
	for _, r := range left {
		select {
		case <-r.gone:
		case <-end:
			return
		}
	}
}

// sendAway moves a room, unless ctx ends before that works.
func (h *Host) sendAway(ctx context.Context, r *running) {
	for h.deps.Standing() != hub.StandingLost {
		_, err := h.moveAway(ctx, "", &asks.Move{Room: r.id})
		var refused *call.RefusalError
		if err == nil || errors.As(err, &refused) && refused.Code == asks.CodeNotHere {
			return
		}
		if errors.Is(err, directory.ErrNoProcess) { // one may have been born just now
			_ = h.deps.Census.Refresh(ctx) // it is tried again
		}
		if !pause(ctx, drainPause) {
			return
		}
	}
}
