// Package notify takes a notification from "these users" to "these processes
// were told": it looks the users up, groups them by process, and sends each
// process one envelope.
package notify

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/index"
	"github.com/homing/homing/hub/lease"
	"github.com/homing/homing/hub/relay"
	"github.com/homing/homing/hub/rights"
	"github.com/homing/homing/redisx"
)

// Deps is what a dispatcher works with. All of it must be running.
type Deps struct {
	Census  *lease.Census // who lives
	Index   *index.Index  // where users are
	Relay   *relay.Relay  // the way to their processes
	Storage Storage       // nil: what is to be stored is refused
	Absent  Absent        // nil: nobody wants to hear of those whom a stored notification misses

	Histories Histories // nil: topics keep nothing

	Agreed   func() error            // says why this process must accept nothing: it uses Redis otherwise than the others; nil: it may
	Hooks    func() []string         // what is not told to game backends; nil: not asked
	Troubles func() []redisx.Trouble // the commands that Redis refuses for a reason that another try does not mend; nil: not asked
	Rights   *rights.Check           // those that it would refuse; nil: not asked

	Log      *slog.Logger
	Registry prometheus.Registerer // may be nil
}

// Dispatcher sends notifications. It is safe for concurrent use.
type Dispatcher struct {
	Deps

	publisher *publisher
	metrics   metrics
}

// New returns a dispatcher, and what hands over those of its notifications whose
// receivers died or no longer have the users.
func New(d Deps) (*Dispatcher, *Handovers) {
	m := newMetrics(d.Registry)
	p := &publisher{relay: d.Relay, users: m.sent}
	return &Dispatcher{Deps: d, publisher: p, metrics: m}, newHandovers(&d, p)
}

// blindAfter is how long no message of this process may have come back through
// any shard before notifications are refused: they would most likely be given
// up later, when nobody can be told any more.
const blindAfter = 10 * time.Second

// Notify tells every process that holds one of n's users, or members of one of its
// topics. n must have passed CheckBody, CheckUsers if it has any, and CheckTopics. A
// user named twice counts once. With a Store, n is in the users' inboxes before
// anybody is told, and in the histories of topics that keep it.
//
// It returns when every envelope was published. On an error some processes
// may have been told and others not; the error wraps hub.ErrUnavailable when
// Redis was the cause, and trying again may help.
//
// Users whose data shard does not answer are counted as unavailable, and
// nothing is sent to them; when that is all of them, or when n is to be stored,
// it is an error. So are users whose process has too much unconfirmed (see
// relay.Relay.Send); that is an error only when it is all of them.
func (d *Dispatcher) Notify(ctx context.Context, n *hub.Notification) (hub.Summary, error) {
	started := time.Now()
	if err := d.able(); err != nil {
		return hub.Summary{}, fmt.Errorf("notification %s: %w", n.ID, err)
	}
	users := hub.Distinct(n.Users)
	where, err := d.lookUp(ctx, n, users)
	if err != nil {
		return hub.Summary{}, err
	}
	out := envelopes(n, where)
	var report *hub.Report
	if n.Wait > 0 {
		report, err = d.sendAndWait(ctx, n, users, &where, out)
	} else {
		if n.Heard != nil {
			listen(out, where.Groups, n.Heard)
		}
		err = d.publisher.send(ctx, out, &where)
	}
	if err != nil {
		return hub.Summary{}, fmt.Errorf("notification %s: %w", n.ID, err)
	}
	d.metrics.seconds.Observe(time.Since(started).Seconds())
	d.metrics.found(&where)
	summary := hub.Summary{
		ID:          n.ID,
		Targets:     len(users),
		Online:      where.Online,
		Offline:     where.Offline,
		Unavailable: where.UnavailableUsers(),
		Processes:   len(where.Groups),
		Report:      report,
	}
	if len(n.Topics) > 0 {
		summary.Topics, summary.Untold = &where.Topics, where.Refused
	}
	return summary, nil
}

// able says why nothing must be accepted now: its users could not be found, or
// would most likely not be reached.
func (d *Dispatcher) able() error {
	if err := d.agreed(); err != nil {
		return err
	}
	if silence := d.Relay.Silence(); silence > blindAfter {
		return fmt.Errorf("%w: no pub/sub shard has brought a message back for %v", hub.ErrUnavailable, silence.Round(time.Second))
	}
	return nil
}

func (d *Deps) agreed() error {
	if d.Agreed == nil {
		return nil
	}
	return d.Agreed()
}

// lookUp finds n's users and topics, after it has stored n, if n asks for that or a
// topic keeps it.
func (d *Dispatcher) lookUp(ctx context.Context, n *hub.Notification, users []hub.UserID) (index.Placement, error) {
	targets, kept := users, kept(nil)
	if len(n.Topics) > 0 {
		targets, kept = withTopics(users, n.Topics), d.kept(n)
		n.Kept = len(kept) > 0
	}
	if n.Store != 0 || len(kept) > 0 {
		return d.storeAndLookUp(ctx, n, users, kept, targets)
	}
	where, err := d.Index.Locate(ctx, targets, n.Services)
	if err != nil {
		return index.Placement{}, fmt.Errorf("look up %d users: %w", len(users), err)
	}
	return where, nil
}

// Disconnect asks every process that holds user to close the user's
// connections, telling them reason (up to 123 bytes), and returns how many
// processes were asked. It looks the user up on the master: somebody who is to
// go must not stay because a replica is behind.
func (d *Dispatcher) Disconnect(ctx context.Context, user hub.UserID, reason string) (int, error) {
	where, err := d.Index.LocateNow(ctx, []hub.UserID{user}, nil)
	if err != nil {
		return 0, fmt.Errorf("look up user %s: %w", user, err)
	}
	var out []relay.Outgoing
	for _, g := range where.Groups {
		e := hub.Envelope{Kind: hub.KindDisconnect, Users: g.Users, Payload: []byte(reason)}
		out = append(out, relay.Outgoing{To: g.Process, Body: e.Append(nil)})
	}
	if err := d.Relay.Send(ctx, out); err != nil {
		return 0, fmt.Errorf("disconnect user %s: %w", user, err)
	}
	if slices.ContainsFunc(out, func(o relay.Outgoing) bool { return o.Refused }) {
		return 0, fmt.Errorf("disconnect user %s: %w: a process has too much unconfirmed", user, hub.ErrUnavailable)
	}
	return len(out), nil
}

// Presence says where each of users is connected, in their order.
func (d *Dispatcher) Presence(ctx context.Context, users []hub.UserID) ([]hub.Presence, error) {
	return d.Index.Presence(ctx, users)
}

// Online returns up to limit users who are connected now, in no order. It
// scans the index and is meant for pages and operators, not for traffic.
func (d *Dispatcher) Online(ctx context.Context, limit int) ([]hub.UserID, error) {
	return d.Index.Online(ctx, limit)
}

// envelopes builds one message for each group of users, around one rendering
// of n.
func envelopes(n *hub.Notification, where index.Placement) []relay.Outgoing {
	if len(where.Groups) == 0 {
		return nil
	}
	out := make([]relay.Outgoing, len(where.Groups))
	e := envelope(hub.KindNotify, n, n.Render())
	if len(n.Topics) > 1 {
		e.Mix |= hub.MixTopics
	}
	if len(n.Topics) > 0 && len(n.Users) > 0 {
		e.Mix |= hub.MixUsers
	}
	shared := sharedUsers(where)
	for i, g := range where.Groups {
		e.Users = g.Users
		if len(shared) > 0 {
			e.Users, e.Shared = sharedLast(g.Users, shared)
			where.Groups[i].Users = e.Users // receipts come in this order
		}
		out[i] = relay.Outgoing{To: g.Process, Body: e.Append(make([]byte, 0, size(&e)))}
	}
	return out
}

// sharedUsers returns the users that more than one process holds, and all topics,
// which may have members anywhere; as a rule there are none, and that is seen from
// the counts.
func sharedUsers(where index.Placement) map[hub.UserID]bool {
	total := 0
	for _, g := range where.Groups {
		total += len(g.Users)
	}
	if total == where.Online {
		return nil
	}
	seen := make(map[hub.UserID]bool, where.Online)
	shared := make(map[hub.UserID]bool)
	for _, g := range where.Groups {
		for _, u := range g.Users {
			if seen[u] || hub.IsTopic(u) {
				shared[u] = true
			}
			seen[u] = true
		}
	}
	return shared
}

func envelope(kind hub.Kind, n *hub.Notification, payload []byte) hub.Envelope {
	return hub.Envelope{Kind: kind, Class: n.Class, ID: n.ID, Key: n.Key, Services: n.Services, Payload: payload}
}

// size guesses e's length on the wire from above for usual user ids, so that
// building it allocates once.
func size(e *hub.Envelope) int {
	return 64 + len(e.ID) + len(e.Key) + len(e.Payload) + 24*(len(e.Users)+len(e.Services))
}
