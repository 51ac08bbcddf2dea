package front

import (
	"github.com/homing/homing/front/loop"
	"github.com/homing/homing/hub"
)

// absentLimit is how many users are remembered for what they had used when
// they left: about 4 MB.
const absentLimit = 1 << 15

// absentees remembers what users had used when their last connection ended, until
// it is made good, so that to connect again is no way to a full budget. Beyond
// absentLimit those who left first are forgotten early. Owned by the loop.
//
//bound:absent-users
type absentees struct {
	users map[hub.UserID]departure
	order []departed // first come, first forgotten; order[:head] is gone
	head  int
}

type departure struct {
	used usage
	left loop.Tick
}

type departed struct {
	user hub.UserID
	left loop.Tick // the user has come back since if it is not that of its departure
}

func newAbsentees() absentees { return absentees{users: make(map[hub.UserID]departure)} }

// add remembers that a user has left. It returns how many others were forgotten
// early because there are too many.
func (a *absentees) add(user hub.UserID, used usage, now loop.Tick) (evicted int) {
	if used.used == [resourceCount]uint32{} {
		return 0
	}
	if len(a.order)-a.head >= absentLimit {
		evicted = a.forgetFirst()
	}
	a.users[user] = departure{used, now}
	a.order = append(a.order, departed{user, now})
	return evicted
}

// forgetFirst forgets who left first, and returns 1 if that one is still away.
func (a *absentees) forgetFirst() (away int) {
	first := a.order[a.head]
	if a.away(first) {
		delete(a.users, first.user)
		away = 1
	}
	a.order[a.head] = departed{}
	if a.head++; a.head > len(a.order)/2 {
		n := copy(a.order, a.order[a.head:])
		clear(a.order[n:])
		a.order, a.head = a.order[:n], 0
	}
	return away
}

// away reports whether a user has not come back since that departure.
func (a *absentees) away(d departed) bool {
	last, ok := a.users[d.user]
	return ok && last.left == d.left
}

// take forgets a user who has come back, and returns what it had used.
func (a *absentees) take(user hub.UserID) (used usage, ok bool) {
	d, ok := a.users[user]
	delete(a.users, user)
	return d.used, ok
}

// age forgets who has made good what it had used, at most budget users.
func (a *absentees) age(now loop.Tick, of *allowance, budget int) {
	for ; budget > 0 && a.head < len(a.order); budget-- {
		first := a.order[a.head]
		if d := a.users[first.user]; a.away(first) && !d.used.none(now, of) {
			return
		}
		a.forgetFirst()
	}
}
