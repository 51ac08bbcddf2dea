package front

import (
	"strings"
	"time"

	"github.com/homing/homing/front/loop"
	"github.com/homing/homing/hub"
)

// recentMost and recentFor bound what is remembered of moves: for longer than a
// message may be on its way.
//
//bound:presence-recent
const (
	recentMost = 1 << 16
	recentFor  = 45 * loop.TicksPerSecond
)

// recentMoves knows when users made the last move that was told here, so that an older
// one that was held up on its way does not take its place. It forgets in two steps.
type recentMoves struct {
	now, before map[hub.UserID]int64 // in microseconds
	turned      loop.Tick
}

// newer notes a move of user, and reports false when a later one was told.
func (r *recentMoves) newer(user hub.UserID, at time.Time) bool {
	us := at.UnixMicro()
	if r.now[user] > us || r.before[user] > us {
		return false
	}
	if len(r.now) >= recentMost {
		r.before, r.now = r.now, nil
	}
	if r.now == nil {
		r.now = make(map[hub.UserID]int64)
	}
	if _, known := r.now[user]; !known {
		user = hub.UserID(strings.Clone(string(user))) // it may be a small part of a message
	}
	r.now[user] = us
	return true
}

func (r *recentMoves) age(now loop.Tick) {
	if now-r.turned >= recentFor {
		r.before, r.now, r.turned = r.now, nil, now
	}
}
