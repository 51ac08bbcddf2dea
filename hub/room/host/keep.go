package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/room"
	"github.com/homing/homing/hub/room/directory"
)

const (
	// notePeriod is how often the directory hears of rooms that have changed, and
	// repairPeriod how often of all.
	notePeriod   = time.Second
	repairPeriod = 10 * time.Second
	startPause   = 50 * time.Millisecond // until the process has a lease
	noteTimeout  = 3 * time.Second
	watchPeriod  = 250 * time.Millisecond
)

// watch ends rooms whose logic does not return, until ctx ends. A room must be seen
// at the same work time and again: a process that stood still knows nothing of how
// long that took.
func (h *Host) watch(ctx context.Context) {
	work := make(map[*running]sighting)
	for pause(ctx, watchPeriod) {
		for _, r := range h.all() {
			s := work[r]
			if s.see(r.busy.Load()); s.since == 0 {
				delete(work, r)
				continue
			}
			work[r] = s
			if time.Duration(s.times)*watchPeriod > h.cfg.Stuck && h.deps.Standing() == hub.StandingGood {
				delete(work, r)
				r.abandon() //nolint:contextcheck // the room's end is told for as long as that takes
			}
		}
		h.met.seats.Set(float64(h.reserved()))
	}
}

// sighting is how often a room was seen at the same work.
type sighting struct {
	since int64 // when it began; 0: it rests
	times int
}

func (s *sighting) see(since int64) {
	if s.since != since {
		*s = sighting{since: since}
	}
	s.times++
}

// abandon ends a room whose logic has not returned. Its goroutine ends when that
// does.
func (r *running) abandon() {
	r.mu.Lock()
	if r.abandoned || r.closed {
		r.mu.Unlock()
		return
	}
	r.abandoned, r.closed = true, true
	b := &Batch{}
	end := &ending{why: room.EndStuck}
	for _, s := range r.seats {
		if s != nil {
			b.Told = append(b.Told, Told{Seat: s, Kind: KindLeft, Note: &Note{
				Room: r.id, Why: string(room.LeftClosed), Reason: string(room.EndStuck),
			}})
			end.members = append(end.members, s.user)
		}
	}
	r.mu.Unlock()
	r.h.met.stuck.Inc()
	r.h.outbox.Tell(b)
	r.h.routines.Go(func() { r.depart(end) })
}

// keepNotes tells the directory how the rooms are, and offers to take more, until
// ctx ends.
func (h *Host) keepNotes(ctx context.Context) {
	if h.deps.Census.WaitReady(ctx) != nil {
		return
	}
	noted := make(map[*running]*shown)
	var epochs uint64 // of the data shards: when they change, a failover may have lost records
	suspects := make(map[string]bool)
	lacking := make(lacks)
	var repaired time.Time
	period := startPause
	for ok := true; ok; ok = pause(ctx, period) {
		if h.deps.Standing() != hub.StandingGood {
			continue
		}
		period = notePeriod
		now := h.deps.Directory.Epochs()
		all := time.Since(repaired) >= repairPeriod || now != epochs
		epochs = now
		err := h.note(ctx, noted, all)
		if all && err == nil {
			repaired = time.Now()
			suspects, err = h.strike(ctx, suspects)
		}
		if err = errors.Join(err, h.offer(ctx), lacking.tell(ctx, h)); err != nil && ctx.Err() == nil {
			h.deps.Log.Warn("room: the directory was not told", "err", err)
		}
	}
}

// note tells of the rooms that differ from what was noted, or of all.
func (h *Host) note(ctx context.Context, noted map[*running]*shown, all bool) error {
	ctx, cancel := context.WithTimeout(ctx, noteTimeout)
	defer cancel()
	var records []*directory.Record
	for _, r := range h.all() {
		if s := r.shown.Load(); all || noted[r] != s {
			records = append(records, r.rec())
			noted[r] = s
		}
	}
	for r := range noted {
		if h.find(r.id) != r {
			delete(noted, r)
		}
	}
	fenced, err := h.deps.Directory.Note(ctx, records)
	for _, rec := range fenced {
		if r := h.find(rec.Room); r != nil {
			r.fence(rec.Epoch)
		}
	}
	if err != nil {
		clear(noted)
	}
	return err
}

// fence ends a room here that is another process's, without a word in its name,
// unless it has a newer epoch. Its members are told where it is.
func (r *running) fence(epoch uint64) {
	r.control(input{kind: inputCommand, do: func() {
		if r.move != nil || r.end.why != "" || r.epoch.Load() != epoch {
			return
		}
		for number, s := range r.seats {
			if s != nil {
				r.seat(number, nil)
				r.h.redirect(s, r.id)
			}
		}
		r.end = ending{why: room.EndMoved, silent: true}
	}})
}

// strike goes on with rooms that this process is said to own and does not run, or
// ends their records. It returns those that it has seen so for the first time: they
// may be opening.
func (h *Host) strike(ctx context.Context, suspects map[string]bool) (map[string]bool, error) {
	ctx, cancel := context.WithTimeout(ctx, noteTimeout)
	defer cancel()
	records, err := h.deps.Directory.Owned(ctx, h.deps.Process)
	if err != nil {
		return suspects, err
	}
	next := make(map[string]bool)
	for i := range records {
		rec := &records[i]
		switch {
		case h.find(rec.Room) != nil:
		case !suspects[rec.Room]:
			next[rec.Room] = true
		default:
			rec.Owner = h.deps.Process
			if err := h.adopt(ctx, rec, false); err != nil {
				return next, err
			}
		}
	}
	return next, nil
}

// offer says how many seats there are, or that this process takes no rooms.
func (h *Host) offer(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, noteTimeout)
	defer cancel()
	h.offers.Lock()
	defer h.offers.Unlock()
	h.mu.Lock()
	takes := !h.draining && len(h.rooms) < h.cfg.MaxRooms
	h.mu.Unlock()
	if !takes {
		return h.deps.Directory.Withdraw(ctx, h.deps.Process)
	}
	return h.deps.Directory.Offer(ctx, h.deps.Process, h.reserved())
}

// recordFile is where a room is recorded.
type recordFile struct{ *os.File }

func newRecordFile(dir, id string) (*recordFile, error) {
	f, err := os.OpenFile(filepath.Join(dir, fmt.Sprintf("%s-%d.ndjson", filepath.Base(id), time.Now().UnixNano())), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) //nolint:gosec // the operator names the folder
	if err != nil {
		return nil, err
	}
	return &recordFile{f}, nil
}

func (f *recordFile) close() { _ = f.File.Close() }
