package notify

import (
	"context"
	"fmt"
	"slices"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/index"
)

// Absent takes users for whom a notification was stored while they were away. It
// returns when they are noted; noting them again changes nothing.
type Absent interface {
	Note(ctx context.Context, id string, users []hub.UserID) error
	// NoteSoon is Note for users who were thought online and were not reached. It
	// does not block, and takes what is not stored too, which is then forgotten.
	NoteSoon(id string, users []hub.UserID)
}

// noteAbsent notes the users of n who were not found, if it is stored for them. It
// costs nothing when nobody wants to hear of them.
func (d *Dispatcher) noteAbsent(ctx context.Context, n *hub.Notification, users []hub.UserID, where index.Placement) error {
	if d.Absent == nil || n.Store == 0 || where.Offline == 0 {
		return nil
	}
	if err := d.Absent.Note(ctx, n.ID, absent(users, where)); err != nil {
		return fmt.Errorf("note %d users who are away: %w", where.Offline, err)
	}
	return nil
}

// absent lists the users whom where has in no process.
func absent(users []hub.UserID, where index.Placement) []hub.UserID {
	found := make(map[hub.UserID]struct{}, where.Online)
	for _, g := range where.Groups {
		for _, u := range g.Users {
			found[u] = struct{}{}
		}
	}
	return slices.DeleteFunc(slices.Clone(users), func(u hub.UserID) bool { _, online := found[u]; return online })
}
