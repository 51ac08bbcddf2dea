// Package notify takes a notification from "these users" to "these processes
// were told": it looks the users up, groups them by process, and sends each
// process one envelope.
package notify

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/index"
	"github.com/homing/homing/hub/lease"
	"github.com/homing/homing/hub/relay"
	"github.com/homing/homing/hub/rights"
	"github.com/homing/homing/redisx"
)

// Dispatcher sends notifications, and hands over those whose receivers died or
// no longer have the users. It is safe for concurrent use.
type Dispatcher struct {
	census  *lease.Census
	index   *index.Index
	relay   *relay.Relay
	storage Storage // nil: nothing is stored
	log     *slog.Logger
	metrics metrics
	missed  chan *handover // given back by workers

	// What is handed over, given back or not confirmed by the dead.
	handovers     atomic.Int64
	handoverBytes atomic.Int64

	// Owned by Run.
	lookAfter time.Time      // Redis did not answer: nobody is looked for before
	trouble   rate.Sometimes // logs what fails for many alike

	troubles func() []redisx.Trouble
	agreed   func() error
	rights   *rights.Check // nil: not asked
}

// New returns a dispatcher that finds users with ix and reaches their
// processes, of which the census says who lives, through the relay that connect
// returns: the dispatcher is its handler, and the census asks through it. All
// three must be running, and Run.
func New(census *lease.Census, ix *index.Index, connect func(relay.Handler) *relay.Relay, log *slog.Logger, reg prometheus.Registerer) *Dispatcher {
	d := &Dispatcher{census: census, index: ix, log: log, missed: make(chan *handover, maxHandovers)}
	d.metrics = newMetrics(reg, &d.handovers, &d.handoverBytes)
	d.trouble = rate.Sometimes{First: 1, Interval: time.Second}
	d.troubles = func() []redisx.Trouble { return nil }
	d.agreed = func() error { return nil }
	d.relay = connect(d.Handle)
	d.relay.GivenUp(d.givenUp)
	d.relay.JudgeFor(census)
	census.AskThrough(d.relay)
	return d
}

// blindAfter is how long no message of this process may have come back through
// any shard before notifications are refused: they would most likely be given
// up later, when nobody can be told any more.
const blindAfter = 10 * time.Second

// Notify tells every process that holds one of n's users. n must have passed
// CheckBody and CheckUsers. A user named twice counts once. With a Store, n is
// in the users' inboxes before anybody is told.
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
	users := distinct(n.Users)
	where, err := d.place(ctx, n, users)
	if err != nil {
		return hub.Summary{}, err
	}
	report, err := d.send(ctx, n, users, &where)
	if err != nil {
		return hub.Summary{}, fmt.Errorf("notification %s: %w", n.ID, err)
	}
	d.metrics.seconds.Observe(time.Since(started).Seconds())
	d.metrics.found(&where)
	return hub.Summary{
		ID:          n.ID,
		Targets:     len(users),
		Online:      where.Online,
		Offline:     where.Offline,
		Unavailable: len(where.Unavailable),
		Processes:   len(where.Groups),
		Report:      report,
	}, nil
}

// able says why nothing must be accepted now: whom it is for could not be found,
// or would most likely not be reached.
func (d *Dispatcher) able() error {
	if err := d.agreed(); err != nil {
		return err
	}
	if silence := d.relay.Silence(); silence > blindAfter {
		return fmt.Errorf("%w: no pub/sub shard has brought a message back for %v", hub.ErrUnavailable, silence.Round(time.Second))
	}
	return nil
}

// Disconnect asks every process that holds user to close the user's
// connections, telling them reason (up to 123 bytes), and returns how many
// processes were asked. It looks the user up on the master: somebody who is to
// go must not stay because a replica is behind.
func (d *Dispatcher) Disconnect(ctx context.Context, user hub.UserID, reason string) (int, error) {
	where, err := d.index.LocateNow(ctx, []hub.UserID{user}, nil)
	if err != nil {
		return 0, fmt.Errorf("look up user %s: %w", user, err)
	}
	var out []relay.Outgoing
	for _, g := range where.Groups {
		e := hub.Envelope{Kind: hub.KindDisconnect, Users: g.Users, Payload: []byte(reason)}
		out = append(out, relay.Outgoing{To: g.Process, Body: e.Append(nil)})
	}
	if err := d.relay.Send(ctx, out); err != nil {
		return 0, fmt.Errorf("disconnect user %s: %w", user, err)
	}
	if slices.ContainsFunc(out, func(o relay.Outgoing) bool { return o.Refused }) {
		return 0, fmt.Errorf("disconnect user %s: %w: a process has too much unconfirmed", user, hub.ErrUnavailable)
	}
	return len(out), nil
}

// Presence says where each of users is connected, in their order.
func (d *Dispatcher) Presence(ctx context.Context, users []hub.UserID) ([]hub.Presence, error) {
	return d.index.Presence(ctx, users)
}

// Online returns up to limit users who are connected now, in no order. It
// scans the index and is meant for pages and operators, not for traffic.
func (d *Dispatcher) Online(ctx context.Context, limit int) ([]hub.UserID, error) {
	return d.index.Online(ctx, limit)
}

// envelopes builds one message for each group of users, around one rendering
// of n.
func envelopes(n *hub.Notification, where index.Placement) []relay.Outgoing {
	if len(where.Groups) == 0 {
		return nil
	}
	out := make([]relay.Outgoing, len(where.Groups))
	e := envelope(hub.KindNotify, n, n.Render())
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

// sharedUsers returns the users that more than one process holds; as a rule
// there are none, and that is seen from the counts.
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
			if seen[u] {
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

// distinct returns users without repeats. When there are none, which is the
// rule, it returns the very slice it was given.
func distinct(users []hub.UserID) []hub.UserID {
	seen := make(map[hub.UserID]struct{}, len(users))
	for _, u := range users {
		seen[u] = struct{}{}
	}
	if len(seen) == len(users) {
		return users
	}
	out := make([]hub.UserID, 0, len(seen))
	for _, u := range users {
		if _, first := seen[u]; first {
			delete(seen, u)
			out = append(out, u)
		}
	}
	return out
}
