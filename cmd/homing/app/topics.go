package app

import (
	"context"
	"fmt"
	"log/slog"
	"maps"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/homing/homing/front"
	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/call"
	"github.com/homing/homing/hub/notify"
	"github.com/homing/homing/hub/relay"
	"github.com/homing/homing/hub/room/host"
	"github.com/homing/homing/hub/topic"
)

// publisher sends what players publish.
type publisher struct{ dispatcher *notify.Dispatcher }

// players is whose account is charged for what topics keep of players: a share of what may
// be stored, as an API key has one. No key has such a name.
var players = hub.Account{Name: "~players"}

func (p publisher) Publish(ctx context.Context, n *hub.Notification) error {
	n.Account = players
	sent, err := p.dispatcher.Notify(ctx, n)
	if err == nil && sent.Untold > 0 {
		err = fmt.Errorf("%w: %d processes have too much unconfirmed", hub.ErrUnavailable, sent.Untold)
	}
	return err
}

// newPeer has other processes ask w for what it knows of topics, and of its rooms.
func newPeer(w *front.Worker, polls *front.Exchange, rooms *gameRooms, log *slog.Logger, reg prometheus.Registerer) *call.Peer {
	methods := topic.Methods(w)
	maps.Copy(methods, rooms.methods())
	maps.Copy(methods, polls.Methods())
	return call.NewPeer(methods, host.Urgent, log, reg)
}

// byKind gives users that a worker has missed to missed, who sent the notification, and
// all other envelopes to deliver.
func byKind(deliver, missed relay.Handler) relay.Handler {
	return func(m *relay.Message) bool {
		if hub.KindOf(m.Body) == hub.KindMissed {
			return missed(m)
		}
		return deliver(m)
	}
}
