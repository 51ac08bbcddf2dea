package notify

import (
	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/drop"
	"github.com/homing/homing/hub/relay"
)

// lose gives users of an accepted notification up: it counts and names them.
// Whoever wants to tell a backend begins here.
func (x *Handovers) lose(id string, users []hub.UserID, why drop.Reason) {
	if len(users) == 0 {
		return
	}
	x.metrics.unreached.WithLabelValues(why.String()).Add(float64(len(users)))
	x.log.Warn("users not reached", "id", id, "reason", why.String(), "count", len(users), "users", users[:min(len(users), namedUsers)])
}

// GivenUp takes what the relay could not deliver within its window.
func (x *Handovers) GivenUp(gone []relay.Abandoned) {
	for _, a := range gone {
		v, err := hub.ParseEnvelope(a.Body)
		if err != nil {
			continue // nothing that a dispatcher has sent
		}
		users := make([]hub.UserID, 0, v.UserCount())
		for u := range v.Users {
			users = append(users, hub.UserID(u))
		}
		x.metrics.givenUp.Add(float64(len(users)))
		switch v.Kind {
		case hub.KindNotify:
			x.lose(string(v.ID), users, drop.Window)
		case hub.KindBroadcast:
			x.log.Warn("broadcast not confirmed by a process", "id", string(v.ID), "process", a.To)
		case hub.KindDisconnect:
			x.log.Warn("disconnect not confirmed by a process", "users", users, "process", a.To)
		case hub.KindMissed:
		}
	}
}
