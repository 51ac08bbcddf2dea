package notify

import (
	"context"
	"errors"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/index"
	"github.com/homing/homing/hub/relay"
)

// publisher gives envelopes to the relay and counts the users in them.
type publisher struct {
	relay *relay.Relay
	users prometheus.Counter
}

// send sends out, one envelope for each group of where, in its order. Users at a
// process that has too much unconfirmed are moved to the unavailable ones:
// nothing was sent to them.
func (p *publisher) send(ctx context.Context, out []relay.Outgoing, where *index.Placement) error {
	err := p.relay.Send(ctx, out)
	if errors.Is(err, relay.ErrFull) {
		return err
	}
	withdraw(out, where)
	users := 0
	for _, g := range where.Groups {
		users += len(g.Users)
	}
	p.users.Add(float64(users))
	return err
}

// withdraw takes the groups off where whose envelopes were refused. Users that
// no other group has are unavailable then.
func withdraw(out []relay.Outgoing, where *index.Placement) {
	if !slices.ContainsFunc(out, func(o relay.Outgoing) bool { return o.Refused }) {
		return
	}
	told := make(map[hub.UserID]bool, where.Online)
	var groups, refused []index.Group
	for i, g := range where.Groups {
		if out[i].Refused {
			refused = append(refused, g)
			continue
		}
		groups = append(groups, g)
		for _, u := range g.Users {
			told[u] = true
		}
	}
	for _, g := range refused {
		where.Refused += min(1, len(g.Users)-hub.CountUsers(g.Users))
		for _, u := range g.Users {
			if !told[u] {
				told[u] = true // once
				where.Unavailable = append(where.Unavailable, u)
				if hub.IsTopic(u) {
					where.Topics--
				} else {
					where.Online--
				}
			}
		}
	}
	where.Groups = groups
}
