package notify

import (
	"slices"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/drop"
	"github.com/homing/homing/hub/relay"
)

// loseOf gives up the users of h, or its topics.
func (x *Handovers) loseOf(h *handover, why drop.Reason) {
	x.lose(h.envelope.ID, h.envelope.Users, why)
	x.noteAbsent(h)
}

// lose gives users of an accepted notification up: it counts and names them.
func (x *Handovers) lose(id string, users []hub.UserID, why drop.Reason) {
	if len(users) == 0 {
		return
	}
	if topics := len(users) - hub.CountUsers(users); topics > 0 {
		x.metrics.unreachedTopics.WithLabelValues(why.String()).Add(float64(topics))
		x.log.Warn("members of topics not reached", "id", id, "reason", why.String(), "count", topics, "topics", users[:min(len(users), namedUsers)])
		users = slices.DeleteFunc(slices.Clone(users), func(u hub.UserID) bool { return hub.IsTopic(u) })
	}
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
			for _, h := range present(takeOver(&v, a.Body, a.Sent)) {
				x.loseOf(h, drop.Window)
			}
		case hub.KindBroadcast:
			x.log.Warn("broadcast not confirmed by a process", "id", string(v.ID), "process", a.To)
		case hub.KindDisconnect:
			x.log.Warn("disconnect not confirmed by a process", "users", users, "process", a.To)
		case hub.KindMissed:
		}
	}
}
