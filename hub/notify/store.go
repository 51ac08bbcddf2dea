package notify

import (
	"context"
	"fmt"
	"time"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/index"
)

// Storage keeps a notification for distinct users, for ttl. It returns when a
// user who connects and reads from then on finds it. Storing it again changes
// nothing.
type Storage interface {
	Store(ctx context.Context, users []hub.UserID, m *hub.Stored, ttl time.Duration) error
	// Degraded says where nothing can be stored now, and why.
	Degraded() []string
}

// storeAndLookUp stores n and then finds its users. In that order, and on the
// masters, nobody can miss it: who was found is told; who was not registers
// later than this look-up, and so reads the inbox later than n was put there.
func (d *Dispatcher) storeAndLookUp(ctx context.Context, n *hub.Notification, users []hub.UserID) (index.Placement, error) {
	if d.Storage == nil {
		return index.Placement{}, hub.Invalid("store", "this server has no inbox")
	}
	m := hub.Stored{ID: n.ID, Class: n.Class, Services: n.Services, Payload: n.Render(), Account: n.Account}
	if err := d.Storage.Store(ctx, users, &m, n.Store); err != nil {
		return index.Placement{}, err
	}
	where, err := d.Index.LocateNow(ctx, users, n.Services)
	if err != nil {
		return index.Placement{}, fmt.Errorf("look up %d users: %w", len(users), err)
	}
	if missing := len(where.Unavailable); missing > 0 {
		return index.Placement{}, fmt.Errorf("look up %d users: %w: the data shard of %d does not answer", len(users), hub.ErrUnavailable, missing)
	}
	return where, nil
}
