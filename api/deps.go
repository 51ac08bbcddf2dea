package api

import (
	"context"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/homing/homing/hub"
)

// Dispatcher is what the server needs of the hub. All methods may be called
// at once, return when the context ends, and wrap hub.ErrUnavailable when
// trying again later may help.
type Dispatcher interface {
	// Notify reaches n.Users, counting repeats once. On an error some of
	// them may have been reached.
	Notify(ctx context.Context, n *hub.Notification) (hub.Summary, error)
	// Broadcast reaches every connection, or those of n.Services.
	Broadcast(ctx context.Context, n *hub.Notification) (hub.Summary, error)
	// Presence answers in the order of users.
	Presence(ctx context.Context, users []hub.UserID) ([]hub.Presence, error)
	// Online lists up to limit users who are connected now, in no order.
	Online(ctx context.Context, limit int) ([]hub.UserID, error)
	// Disconnect returns how many processes were asked to close user's
	// connections.
	Disconnect(ctx context.Context, user hub.UserID, reason string) (processes int, err error)
	// Health says what keeps the hub from serving now.
	Health(ctx context.Context) hub.Health
}

// Once remembers requests by their idempotency key and the reply they got.
// Whoever was answered hub.OnceFresh must call Finish or Abort, once. Those
// write the end of a claim later when they cannot do so now; an error says that
// it will not be written.
type Once interface {
	Begin(ctx context.Context, scope, id string, fingerprint [32]byte) (state hub.OnceState, reply []byte, err error)
	Finish(ctx context.Context, scope, id string, fingerprint [32]byte, reply []byte) error
	Abort(ctx context.Context, scope, id string, fingerprint [32]byte) error
}

// Dev is what `homing dev` adds to the server: the page and what it needs.
// None of it is for production: it hands out player tokens to whoever asks
// from the same machine.
type Dev struct {
	// Token makes a player token for user; service may be empty.
	Token func(user hub.UserID, service hub.Service) (string, error)
	// FrontURL is where the page opens its WebSocket, for example
	// ws://127.0.0.1:8081/ws.
	FrontURL string
}

// Deps are the server's collaborators. All but Match, Hooks, Friends and Dev are needed.
type Deps struct {
	Hub   Dispatcher
	Once  Once
	Rooms Rooms
	Match Matchmaker // nil: there is no matchmaking
	Hooks Hooks      // nil: no backend is told of events

	Nodes     Nodes
	Topics    Topics
	Histories Histories
	Log       *slog.Logger
	Reg       prometheus.Registerer
	Dev       *Dev // nil outside development

	Friends Friends // nil: nobody has any
}
