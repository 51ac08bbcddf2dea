package front

import (
	"fmt"
	"math/rand/v2"
	"net/http"

	"github.com/homing/homing/front/auth"
	"github.com/homing/homing/front/ws"
	"github.com/homing/homing/hub"
)

// What becomes of a connection beyond the limit of its user.
const (
	overflowOldest = "oldest" // the oldest is closed for it
	overflowNewest = "newest" // it is refused
)

// refuseUser refuses a client because of its user. The time to come back is
// drawn, so that a herd does not stay one.
func refuseUser(code, detail string) error {
	return &ws.RequestError{
		Status: http.StatusTooManyRequests, Code: code, Detail: detail,
		Header: fmt.Sprintf("Retry-After: %d", 1+rand.N(2)),
	}
}

var (
	errTooManyConnections = func() error {
		return refuseUser("too_many_connections", "This user has as many connections as it may have.")
	}
	errTooManyConnects = func() error {
		return refuseUser("too_many_connects", "This user connects too often.")
	}
)

// admitUser charges user for one more connection, or refuses it. It returns
// what the user has used then.
func (w *Worker) admitUser(user hub.UserID) (used usage, err error) {
	if w.cfg.UserOverflow == overflowNewest && w.surplus(user) >= 0 {
		w.m.surplus.Inc()
		return used, errTooManyConnections()
	}
	used = w.users.used(user)
	if !used.take(w.now, &w.perUser, useBytes, connectCost) {
		w.m.overBudget.WithLabelValues("connects").Inc()
		return used, errTooManyConnects()
	}
	return used, nil
}

// surplus is how many connections more than it may have a user has; negative
// when there is room. Without a limit there always is.
func (w *Worker) surplus(user hub.UserID) int {
	if w.cfg.UserConnections == 0 {
		return -1
	}
	return w.users.count(user) - w.cfg.UserConnections
}

// join registers c under its user, who has used what admitUser returned, and
// closes the user's oldest connection if it has too many then.
func (w *Worker) join(c *conn, id auth.Identity, used usage) {
	w.users.add(c, id)
	if c.link != nil {
		c.link.group.used, c.used = used, usage{} // what the handshake took is in connectCost
	} else {
		c.used = used
	}
	if w.surplus(id.User) > 0 {
		w.m.surplus.Inc()
		w.close(w.users.oldest(id.User), closeReplaced, "too many connections of this user")
	}
}
