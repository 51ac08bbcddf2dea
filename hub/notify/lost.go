package notify

import (
	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/relay"
)

// lostReason says why users of an accepted notification were not reached. Its
// values are those of the label "reason".
type lostReason string

const (
	lostNotBack lostReason = "not_back" // nowhere to be found for as long as a hand-over lasts
	lostTooMany lostReason = "too_many" // more hand-overs under way than there is room for
	lostStopped lostReason = "stopped"  // the server stopped meanwhile
	lostWindow  lostReason = "window"   // their process lives, and did not confirm within the relay's window
)

// lose gives users of an accepted notification up: it counts and names them.
// Whoever wants to tell a backend begins here.
func (d *Dispatcher) lose(id string, users []hub.UserID, why lostReason) {
	if len(users) == 0 {
		return
	}
	d.metrics.unreached.WithLabelValues(string(why)).Add(float64(len(users)))
	d.log.Warn("users not reached", "id", id, "reason", string(why), "count", len(users), "users", users[:min(len(users), namedUsers)])
}

// givenUp takes what the relay could not deliver within its window.
func (d *Dispatcher) givenUp(gone []relay.Abandoned) {
	for _, a := range gone {
		v, err := hub.ParseEnvelope(a.Body)
		if err != nil {
			continue // nothing that this dispatcher has sent
		}
		users := make([]hub.UserID, 0, v.UserCount())
		for u := range v.Users {
			users = append(users, hub.UserID(u))
		}
		d.metrics.givenUp.Add(float64(len(users)))
		switch v.Kind {
		case hub.KindNotify:
			d.lose(string(v.ID), users, lostWindow)
		case hub.KindBroadcast:
			d.log.Warn("broadcast not confirmed by a process", "id", string(v.ID), "process", a.To)
		case hub.KindDisconnect:
			d.log.Warn("disconnect not confirmed by a process", "users", users, "process", a.To)
		case hub.KindMissed:
		}
	}
}
