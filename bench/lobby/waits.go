package lobby

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// lookEvery is how often the waits are read; Redis keeps those of the last 2,000.
	lookEvery = 200 * time.Millisecond
	lookLimit = time.Second
	// overlap is how much of what was read is read again: those who have ended in
	// the same moment.
	overlap = time.Second
)

// Watch enters when players were told of their matches, until ctx ends. It costs the
// system one read in 200 ms.
func (l *Lobby) Watch(ctx context.Context) {
	w := watcher{lobby: l}
	defer w.leave()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			w.look(context.WithoutCancel(ctx))
			return
		case <-tick.C:
			w.look(ctx)
		}
	}
}

// watcher reads from whoever is the master.
type watcher struct {
	lobby  *Lobby
	master *redis.Client // nil: to be found
	last   time.Time     // of those that were read
}

func (w *watcher) leave() {
	if w.master != nil {
		_ = w.master.Close() // nothing is written
		w.master = nil
	}
}

// look reads who was told since the last look. What fails is read the next time, from
// the master of that time.
func (w *watcher) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	if w.master == nil {
		var err error
		if w.master, err = w.lobby.opts.Master(ctx); err != nil {
			w.master = nil
			return
		}
	}
	entries, err := w.master.ZRangeArgsWithScores(ctx, redis.ZRangeArgs{
		Key: w.lobby.opts.Recent, Start: strconv.FormatInt(w.last.Add(-overlap).UnixMilli(), 10), Stop: "+inf", ByScore: true,
	}).Result()
	if err != nil {
		w.leave()
		return
	}
	for _, e := range entries {
		at := time.UnixMilli(int64(e.Score))
		member, _ := e.Member.(string)
		w.lobby.enter(member, at)
		w.last = at
	}
}

// enter notes when the players of a ticket were told: "<wait> <rating> <ticket>".
func (l *Lobby) enter(member string, at time.Time) {
	fields := strings.Fields(member)
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.byID[fields[len(fields)-1]]
	if t != nil && t.Told.IsZero() {
		t.Told = at
		l.told++
	}
}
