package host

import (
	"context"
	"errors"
	"time"

	"github.com/homing/homing/hub/room"
)

// lackPeriod is how often matchmaking is told that a room still lacks players, well
// within the time for which it believes that.
const lackPeriod = 5 * time.Second

// lacks are the rooms of which matchmaking was told that they lack players.
type lacks struct {
	*env
	table *table
	told  map[*running]lackTold
}

type lackTold struct {
	lack *room.Lack
	at   time.Time
}

// tell tells matchmaking what the rooms lack.
func (l *lacks) tell(ctx context.Context) (err error) {
	if l.Lack == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, noteTimeout)
	defer cancel()
	for _, r := range l.table.all() {
		err = errors.Join(err, l.tellOf(ctx, r))
	}
	for r := range l.told {
		if l.table.find(r.id) != r {
			delete(l.told, r) // it lapses
		}
	}
	return err
}

func (l *lacks) tellOf(ctx context.Context, r *running) error {
	now, was := r.shown.Load().lack, l.told[r]
	switch {
	case now == nil && was.lack == nil:
		return nil
	case now == was.lack && time.Since(was.at) < lackPeriod:
		return nil
	}
	queue := ""
	if now != nil {
		queue = now.Queue
	}
	if was.lack != nil && was.lack.Queue != queue {
		if err := l.Lack(ctx, r.id, r.epoch.Load(), was.lack.Queue, nil); err != nil {
			return err
		}
		delete(l.told, r)
	}
	if now == nil {
		return nil
	}
	l.told[r] = lackTold{now, time.Now()}
	return l.Lack(ctx, r.id, r.epoch.Load(), queue, now)
}
