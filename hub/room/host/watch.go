package host

import (
	"context"
	"time"
)

const watchPeriod = 250 * time.Millisecond

// watcher finds rooms whose logic does not return.
type watcher struct {
	*env
	table *table
}

// run ends rooms whose logic does not return, until ctx ends. A room must be seen
// at the same work time and again: a process that stood still knows nothing of how
// long that took.
func (w *watcher) run(ctx context.Context) {
	work := make(map[*running]sighting)
	for pause(ctx, watchPeriod) {
		for _, r := range w.table.all() {
			s := work[r]
			if s.see(r.busy.Load()); s.since == 0 {
				delete(work, r)
				continue
			}
			work[r] = s
			if time.Duration(s.times)*watchPeriod > w.cfg.Stuck && w.good() {
				delete(work, r)
				r.abandon() //nolint:contextcheck // the room's end is told for as long as that takes
			}
		}
		w.met.seats.Set(float64(w.table.reserved()))
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
