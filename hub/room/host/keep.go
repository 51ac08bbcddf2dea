package host

import (
	"context"
	"encoding/binary"
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
	// maxSaves is how many checkpoints wait to be written.
	maxSaves    = 1024
	saveTimeout = 3 * time.Second
)

// watch ends rooms whose logic does not return, until ctx ends. A room must be seen
// at the same work time and again: a process that stood still knows nothing of how
// long that took.
func (h *Host) watch(ctx context.Context) {
	work := make(map[*running]sighting)
	for pause(ctx, watchPeriod) {
		seats := 0
		for _, r := range h.all() {
			seats += r.shown.Load().taken
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
		h.met.seats.Set(float64(seats))
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
	suspects := make(map[string]bool)
	lacking := make(lacks)
	var repaired time.Time
	period := startPause
	for ok := true; ok; ok = pause(ctx, period) {
		if h.deps.Standing() != hub.StandingGood {
			continue
		}
		period = notePeriod
		all := time.Since(repaired) >= repairPeriod
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
		if r := h.find(rec.Room); r != nil && r.epoch.Load() == rec.Epoch {
			r.fence()
		}
	}
	if err != nil {
		clear(noted)
	}
	return err
}

// fence ends a room here that is another process's, without a word in its name. Its
// members are told where it is.
func (r *running) fence() {
	r.control(input{kind: inputCommand, do: func() {
		if r.move != nil || r.end.why != "" {
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

// strike ends the records of rooms that this process is said to own and does not
// run. It returns those that it has seen so for the first time: they may be opening.
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
			if _, err := h.deps.Directory.End(ctx, rec, string(room.EndLost), nil, false); err != nil {
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
	h.mu.Lock()
	takes := !h.draining && len(h.rooms) < h.cfg.MaxRooms
	h.mu.Unlock()
	if !takes {
		return h.deps.Directory.Withdraw(ctx, h.deps.Process)
	}
	return h.deps.Directory.Offer(ctx, h.deps.Process, h.reserved())
}

// save is a checkpoint that waits to be written.
//
//bound:room-checkpoints
type save struct {
	room string
	data []byte
}

// checkpoint has the room be saved when that is due. Where too many wait it is
// left out: the one before stands.
func (r *running) checkpoint(now time.Duration) {
	if r.class.Checkpoint == 0 || now < r.saveAt || r.end.why != "" {
		return
	}
	r.saveAt = now + r.class.Checkpoint
	snapshot, err := r.room.Snapshot(now)
	if err != nil {
		r.h.met.checkpoints.WithLabelValues("failed").Inc()
		r.h.deps.Log.Warn("room: no checkpoint", "room", r.id, "err", err)
		return
	}
	select {
	case r.h.saves <- save{r.id, sealed(r.epoch.Load(), snapshot)}:
	default:
		r.h.met.checkpoints.WithLabelValues("skipped").Inc()
	}
}

// sealed is a snapshot with the epoch that it is of.
func sealed(epoch uint64, snapshot []byte) []byte {
	return append(binary.AppendUvarint(make([]byte, 0, len(snapshot)+binary.MaxVarintLen64), epoch), snapshot...)
}

// unsealed is the inverse of sealed.
func unsealed(b []byte) (epoch uint64, snapshot []byte) {
	epoch, n := binary.Uvarint(b)
	return epoch, b[max(0, n):]
}

// writeCheckpoints writes what waits, no faster than it may, until ctx ends.
func (h *Host) writeCheckpoints(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-h.saves:
			result := "written"
			if h.deps.Standing() != hub.StandingGood || !h.write(ctx, s) {
				result = "failed"
			}
			h.met.checkpoints.WithLabelValues(result).Inc()
			pause(ctx, time.Duration(len(s.data))*time.Second/time.Duration(h.cfg.CheckpointRate))
		}
	}
}

// write writes a checkpoint, unless its room has ended meanwhile.
func (h *Host) write(ctx context.Context, s save) bool {
	if h.find(s.room) == nil {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, saveTimeout)
	defer cancel()
	err := h.deps.Store.Save(ctx, s.room, s.data)
	if err != nil {
		h.deps.Log.Warn("room: a checkpoint was not written", "room", s.room, "err", err)
	}
	return err == nil
}

func (h *Host) dropCheckpoint(ctx context.Context, class *room.Class, id string) {
	if class.Checkpoint == 0 {
		return
	}
	if err := h.deps.Store.Drop(ctx, id); err != nil {
		h.deps.Log.Warn("room: a checkpoint was left behind; it lapses", "room", id, "err", err)
	}
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
