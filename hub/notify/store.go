package notify

import (
	"context"
	"fmt"
	"slices"
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

// Histories keeps what topics were told, in the order in which they were. Its
// methods return as Storage.Store does.
type Histories interface {
	// Rule is how long topic keeps what asks for nothing; zero: not at all.
	Rule(topic hub.Topic) hub.Keep
	// Keep adds m to the histories of topics.
	Keep(ctx context.Context, topics []hub.Topic, m *hub.Stored, keep hub.Keep) error
}

// kept is for how long topics keep a notification.
type kept map[hub.Keep][]hub.Topic

// kept returns the topics of n that keep it.
func (d *Dispatcher) kept(n *hub.Notification) kept {
	if d.Histories == nil {
		return nil
	}
	out := make(kept)
	for i, t := range n.Topics {
		if slices.Contains(n.Topics[:i], t) {
			continue
		}
		keep := n.Keep
		if keep.Zero() {
			keep = d.Histories.Rule(t)
		}
		if !keep.Zero() {
			out[keep] = append(out[keep], t)
		}
	}
	return out
}

// withTopics returns users and the Addresses of topics, each once.
func withTopics(users []hub.UserID, topics []hub.Topic) []hub.UserID {
	all := slices.Grow(slices.Clone(users), len(topics))
	for _, t := range topics {
		if a := t.Address(); !slices.Contains(all[len(users):], a) {
			all = append(all, a)
		}
	}
	return all
}

// storeAndLookUp stores n for users and in the topics that keep it, and then finds
// targets, all that it is for. In that order, and on the masters, nobody can miss
// it: who was found is told; who was not registers later than this look-up, and so
// reads the inbox, or the history, later than n was put there.
func (d *Dispatcher) storeAndLookUp(ctx context.Context, n *hub.Notification, users []hub.UserID, kept kept, targets []hub.UserID) (index.Placement, error) {
	if err := d.store(ctx, n, users, kept); err != nil {
		return index.Placement{}, err
	}
	where, err := d.Index.LocateNow(ctx, targets, n.Services)
	if err != nil {
		return index.Placement{}, fmt.Errorf("look up %d users: %w", len(targets), err)
	}
	if missing := len(where.Unavailable); missing > 0 {
		return index.Placement{}, fmt.Errorf("look up %d users: %w: the data shard of %d does not answer", len(targets), hub.ErrUnavailable, missing)
	}
	return where, d.noteAbsent(ctx, n, users, where)
}

func (d *Dispatcher) store(ctx context.Context, n *hub.Notification, users []hub.UserID, kept kept) error {
	m := hub.Stored{ID: n.ID, Class: n.Class, Services: n.Services, Payload: n.Render(), Account: n.Account}
	if n.Store > 0 {
		if d.Storage == nil {
			return hub.Invalid("store", "this server has no inbox")
		}
		if err := d.Storage.Store(ctx, users, &m, n.Store); err != nil {
			return err
		}
	}
	for keep, topics := range kept {
		if err := d.Histories.Keep(ctx, topics, &m, keep); err != nil {
			return fmt.Errorf("keep in topics %v: %w", topics, err)
		}
	}
	return nil
}
