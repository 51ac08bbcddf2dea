package host

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/room"
	"github.com/homing/homing/hub/room/directory"
)

const (
	// adoptPeriod is how often a process looks for rooms of the dead, beside the
	// moments at which somebody dies.
	adoptPeriod  = 5 * time.Second
	adoptTimeout = 3 * time.Second
)

// adopter goes on with the rooms of the dead, or ends them.
type adopter struct {
	*env
	starter   *starter
	saver     *saver
	table     *table
	strangers strangers
}

// run takes over the rooms of dead processes, until ctx ends. All hosts do
// that at once, each in an order of its own: the directory gives each room to one.
func (a *adopter) run(ctx context.Context) {
	if a.Census.WaitReady(ctx) != nil {
		return
	}
	for ctx.Err() == nil {
		changed := a.Census.Changed()
		if a.good() && !a.table.drains() {
			if err := a.adoptAll(ctx); err != nil && ctx.Err() == nil {
				a.Log.Warn("room: looking for rooms of the dead", "err", err)
			}
		}
		select {
		case <-ctx.Done():
		case <-changed:
		case <-time.After(adoptPeriod/2 + rand.N(adoptPeriod)):
		}
	}
}

func (a *adopter) adoptAll(ctx context.Context) error {
	owners, err := a.Directory.Owners(ctx)
	if err != nil {
		return err
	}
	for _, p := range owners {
		if p != a.Process && a.isDead(ctx, p) {
			err = errors.Join(err, a.adoptFrom(ctx, p))
		}
	}
	offers, offersErr := a.Directory.Offers(ctx)
	for _, p := range offers {
		if p != a.Process && a.isDead(ctx, p) {
			offersErr = errors.Join(offersErr, a.Directory.Withdraw(ctx, p))
		}
	}
	return errors.Join(err, offersErr)
}

// isDead reports whether p was declared dead, or has left.
func (a *adopter) isDead(ctx context.Context, p hub.ProcessID) bool {
	roll := a.Census.Roll()
	if roll == nil || !roll.Steady() || !a.Census.Steady() {
		return false
	}
	if !roll.Known(p) {
		var err error
		if roll, err = a.Census.Meet(ctx, []hub.ProcessID{p}); err != nil {
			return false
		}
	}
	return !roll.Lives(p)
}

// adoptFrom takes over what is left of the rooms of a dead process. One that fails
// keeps none of the others waiting.
func (a *adopter) adoptFrom(ctx context.Context, p hub.ProcessID) error {
	records, err := a.Directory.Owned(ctx, p)
	if err != nil {
		return err
	}
	if len(records) == 0 {
		return a.Directory.Forget(ctx, p)
	}
	rand.Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
	for i := range records {
		rec := &records[i]
		if rec.Owner != p { // it is another's, or gone: only the set of rooms names it
			rec.Owner, rec.Epoch = p, 0
			_, endErr := a.Directory.End(ctx, rec, string(room.EndLost), nil, true)
			err = errors.Join(err, endErr)
			continue
		}
		err = errors.Join(err, a.adopt(ctx, rec, true))
		if !pause(ctx, time.Second/time.Duration(a.cfg.AdoptRate)) {
			return ctx.Err()
		}
	}
	return err
}

// strangeFor is how long a room of a class that is not known here is left to others.
const strangeFor = time.Minute

// adopt goes on with a room from its last checkpoint, or ends it. dead says that its
// owner is; else that is this process, which does not run it.
func (a *adopter) adopt(ctx context.Context, rec *directory.Record, dead bool) error {
	class := a.starter.classes[rec.Class]
	if class == nil && !a.strangers.known(rec.Room, strangeFor) {
		return nil
	}
	if class != nil && class.Checkpoint > 0 {
		err := a.goOn(ctx, rec, class, !dead)
		switch {
		case err == nil || errors.Is(err, directory.ErrFenced):
			return nil
		case errors.Is(err, hub.ErrUnavailable):
			return err
		}
		a.met.adopted.WithLabelValues("failed").Inc()
		a.Log.Warn("room: not restored", "room", rec.Room, "err", err)
	}
	ctx, cancel := context.WithTimeout(ctx, adoptTimeout)
	defer cancel()
	ended, err := a.Directory.End(ctx, rec, string(room.EndLost), nil, dead)
	if err != nil || !ended {
		return err
	}
	a.met.adopted.WithLabelValues("lost").Inc()
	a.saver.drop(ctx, class, rec.Room, rec.Made, rec.Epoch)
	a.event("room.ended", rec.Room, Ended{
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

func (a *adopter) goOn(ctx context.Context, rec *directory.Record, class *room.Class, planned bool) error {
	ctx, cancel := context.WithTimeout(ctx, adoptTimeout)
	defer cancel()
	c, err := a.Store.Load(ctx, rec.Room)
	if err != nil {
		return err
	}
	if c == nil || c.Made.UnixMilli() != rec.Made.UnixMilli() { // none, or of another room that has had the id
		return errNoCheckpoint
	}
	r := a.starter.prepare(rec.Room, class, rec.Made)
	if err := a.starter.resume(ctx, r, c.Snapshot, rec, planned, rec.Epoch+1); err != nil {
		return err
	}
	a.met.adopted.WithLabelValues("restored").Inc()
	a.event("room.moved", r.id, Moved{Room: r.id, From: rec.Owner, To: a.Process, Epoch: r.epoch.Load()})
	return nil
}
