package host

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/homing/homing/hub/room/directory"
)

const (
	// notePeriod is how often the directory hears of rooms that have changed, and
	// repairPeriod how often of all.
	notePeriod   = time.Second
	repairPeriod = 10 * time.Second
	startPause   = 50 * time.Millisecond // until the process has a lease
	noteTimeout  = 3 * time.Second
)

// keeper keeps the directory true to what runs here.
type keeper struct {
	*env
	table   *table
	adopter *adopter

	offers sync.Mutex // held while the directory hears whether this process takes rooms
}

// run tells the directory how the rooms are, and offers to take more, until
// ctx ends.
func (k *keeper) run(ctx context.Context) {
	if k.Census.WaitReady(ctx) != nil {
		return
	}
	noted := make(map[*running]*shown)
	var epochs uint64 // of the data shards: when they change, a failover may have lost records
	suspects := make(map[string]bool)
	lacking := lacks{env: k.env, table: k.table, told: make(map[*running]lackTold)}
	var repaired time.Time
	period := startPause
	for ok := true; ok; ok = pause(ctx, period) {
		if !k.good() {
			continue
		}
		period = notePeriod
		now := k.Directory.Epochs()
		all := time.Since(repaired) >= repairPeriod || now != epochs
		epochs = now
		err := k.note(ctx, noted, all)
		if all && err == nil {
			repaired = time.Now()
			suspects, err = k.strike(ctx, suspects)
		}
		if err = errors.Join(err, k.offer(ctx), lacking.tell(ctx)); err != nil && ctx.Err() == nil {
			k.Log.Warn("room: the directory was not told", "err", err)
		}
	}
}

// note tells of the rooms that differ from what was noted, or of all.
func (k *keeper) note(ctx context.Context, noted map[*running]*shown, all bool) error {
	ctx, cancel := context.WithTimeout(ctx, noteTimeout)
	defer cancel()
	var records []*directory.Record
	for _, r := range k.table.all() {
		if s := r.shown.Load(); s != opening && (all || noted[r] != s) {
			records = append(records, r.rec())
			noted[r] = s
		}
	}
	for r := range noted {
		if k.table.find(r.id) != r {
			delete(noted, r)
		}
	}
	fenced, err := k.Directory.Note(ctx, records)
	for _, rec := range fenced {
		if r := k.table.find(rec.Room); r != nil {
			r.fence(rec.Epoch)
		}
	}
	if err != nil {
		clear(noted)
	}
	return err
}

// strike goes on with rooms that this process is said to own and does not run, or
// ends their records. It returns those that it has seen so for the first time: they
// may be opening.
func (k *keeper) strike(ctx context.Context, suspects map[string]bool) (map[string]bool, error) {
	ctx, cancel := context.WithTimeout(ctx, noteTimeout)
	defer cancel()
	records, err := k.Directory.Owned(ctx, k.Process)
	if err != nil {
		return suspects, err
	}
	next := make(map[string]bool)
	for i := range records {
		rec := &records[i]
		switch {
		case k.table.find(rec.Room) != nil:
		case !suspects[rec.Room]:
			next[rec.Room] = true
		default:
			rec.Owner = k.Process
			if err := k.adopter.adopt(ctx, rec, false); err != nil {
				return next, err
			}
		}
	}
	return next, nil
}

// offer says how many seats there are, or that this process takes no rooms.
func (k *keeper) offer(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, noteTimeout)
	defer cancel()
	k.offers.Lock()
	defer k.offers.Unlock()
	if !k.table.takesRooms() {
		return k.Directory.Withdraw(ctx, k.Process)
	}
	return k.Directory.Offer(ctx, k.Process, k.table.reserved())
}
