package notify

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/index"
	"github.com/homing/homing/hub/relay"
)

// receipts gathers what the processes of one notification answer.
type receipts struct {
	groups  []index.Group
	answers chan answer // room for every group, so that nobody waits to answer
	open    int         // how many answers are to come
}

type answer struct {
	group    int
	statuses []byte // nil: there will be none
}

// ask has out, which is in the order of groups, ask for receipts.
func ask(out []relay.Outgoing, groups []index.Group) *receipts {
	r := &receipts{groups: groups, answers: make(chan answer, len(out)), open: len(out)}
	for i := range out {
		out[i].Reply = func(statuses []byte) { r.answers <- answer{group: i, statuses: statuses} }
	}
	return r
}

// wait gathers answers until all are there, the time is over or ctx ends. It
// returns the best status of each user that is known; the others are absent.
func (r *receipts) wait(ctx context.Context, limit time.Duration) map[hub.UserID]hub.Status {
	best := make(map[hub.UserID]hub.Status)
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	for range r.open {
		select {
		case a := <-r.answers:
			r.note(best, a)
		case <-timeout.C:
			return best
		case <-ctx.Done():
			return best
		}
	}
	return best
}

func (r *receipts) note(best map[hub.UserID]hub.Status, a answer) {
	users := r.groups[a.group].Users
	if len(a.statuses) != len(users) {
		return
	}
	for i, u := range users {
		s := hub.Status(a.statuses[i])
		if before, known := best[u]; !known || s > before {
			best[u] = s
		}
	}
}

// send sends n to where its users are. With a Wait it then waits for receipts
// and reports; what is not known when the time is over is reported so.
//
// Users at a process that has too much unconfirmed are moved to the unavailable
// ones: nothing was sent to them.
func (d *Dispatcher) send(ctx context.Context, n *hub.Notification, users []hub.UserID, where *index.Placement) (*hub.Report, error) {
	started := time.Now()
	out := envelopes(n, *where)
	if n.Wait == 0 {
		return nil, d.sendCounted(ctx, out, where)
	}
	r := ask(out, where.Groups)
	if err := d.sendWithin(ctx, out, where, n.Wait); err != nil {
		return nil, err
	}
	r.open = len(where.Groups)
	if n.Sent != nil {
		n.Sent()
	}
	best := r.wait(ctx, n.Wait-time.Since(started))
	return d.report(ctx, n, users, *where, best), nil
}

// sendWithin is relay.Send for somebody who does not wait longer than limit
// for the first publish: the relay goes on with it.
func (d *Dispatcher) sendWithin(ctx context.Context, out []relay.Outgoing, where *index.Placement, limit time.Duration) error {
	short, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := d.sendCounted(short, out, where)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return nil
	}
	return err
}

// sendCounted is relay.Send that counts the users in the envelopes of where,
// which are in its order, once the relay has taken them.
func (d *Dispatcher) sendCounted(ctx context.Context, out []relay.Outgoing, where *index.Placement) error {
	err := d.relay.Send(ctx, out)
	if errors.Is(err, relay.ErrFull) {
		return err
	}
	withdraw(out, where)
	users := 0
	for _, g := range where.Groups {
		users += len(g.Users)
	}
	d.metrics.sent.Add(float64(users))
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
		for _, u := range g.Users {
			if !told[u] {
				told[u] = true // once
				where.Unavailable = append(where.Unavailable, u)
				where.Online--
			}
		}
	}
	where.Groups = groups
}

// report counts every user once.
func (d *Dispatcher) report(ctx context.Context, n *hub.Notification, users []hub.UserID, where index.Placement, best map[hub.UserID]hub.Status) *hub.Report {
	rep := &hub.Report{}
	if n.PerUser {
		rep.PerUser = make(map[hub.UserID]string, len(users))
	}
	sent := make(map[hub.UserID]bool, where.Online)
	for _, g := range where.Groups {
		for _, u := range g.Users {
			sent[u] = true
		}
	}
	unavailable := make(map[hub.UserID]bool, len(where.Unavailable))
	for _, u := range where.Unavailable {
		unavailable[u] = true
	}
	elsewhere := d.elsewhere(ctx, n, where, best)
	for _, u := range users {
		fate := fateOf(u, sent, best, elsewhere)
		if unavailable[u] {
			fate = "unavailable"
		}
		if n.Store > 0 && fate != "written" && fate != "queued" {
			fate = "stored"
		}
		rep.Count(u, fate)
	}
	return rep
}

func fateOf(u hub.UserID, sent map[hub.UserID]bool, best map[hub.UserID]hub.Status, elsewhere map[hub.UserID]bool) string {
	status, known := best[u]
	switch {
	case !sent[u]:
		return "offline"
	case !known:
		return "unknown"
	case status == hub.StatusWritten:
		return "written"
	case status == hub.StatusQueued:
		return "queued"
	case status == hub.StatusDropped:
		return "dropped_slow"
	case elsewhere[u]:
		return "moved"
	default:
		return "offline"
	}
}

// elsewhere finds those whom every process missed at processes that were not
// told of them.
func (d *Dispatcher) elsewhere(ctx context.Context, n *hub.Notification, told index.Placement, best map[hub.UserID]hub.Status) map[hub.UserID]bool {
	var missed []hub.UserID
	for u, s := range best {
		if s == hub.StatusMissed {
			missed = append(missed, u)
		}
	}
	if len(missed) == 0 {
		return nil
	}
	now, err := d.index.Locate(ctx, missed, n.Services)
	if err != nil {
		return nil // the report then says offline, which is what was seen
	}
	before := make(map[hub.ProcessID][]hub.UserID, len(told.Groups))
	for _, g := range told.Groups {
		before[g.Process] = g.Users
	}
	found := make(map[hub.UserID]bool)
	for _, g := range now.Groups {
		for _, u := range g.Users {
			if !slices.Contains(before[g.Process], u) {
				found[u] = true
			}
		}
	}
	return found
}
