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
	topics  map[hub.Topic]int
}

type answer struct {
	group int
	reply []byte // nil: there will be none
}

// ask has out, which is in the order of groups, ask for receipts. heard, which may be
// nil, is told how many members of topics were told, also after the wait.
func ask(out []relay.Outgoing, groups []index.Group, heard func(connections int)) *receipts {
	r := &receipts{groups: groups, answers: make(chan answer, len(out)), open: len(out), topics: make(map[hub.Topic]int)}
	for i := range out {
		out[i].Reply = func(reply []byte) {
			if heard != nil {
				heard(reachedBy(reply, groups[i].Users))
			}
			r.answers <- answer{group: i, reply: reply}
		}
	}
	return r
}

// listen has out, which is in the order of groups, tell heard how many members of
// topics were told.
func listen(out []relay.Outgoing, groups []index.Group, heard func(connections int)) {
	for i := range out {
		users := groups[i].Users
		out[i].Reply = func(reply []byte) { heard(reachedBy(reply, users)) }
	}
}

// reachedBy is how many members of topics a process has told, as it replies.
func reachedBy(reply []byte, users []hub.UserID) (connections int) {
	_, reached, _ := hub.ParseReceipt(reply, users)
	for _, n := range reached {
		connections += n
	}
	return connections
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
	statuses, reached, ok := hub.ParseReceipt(a.reply, users)
	if !ok {
		return
	}
	for i, u := range users {
		if topic, is := u.Topic(); is {
			r.topics[topic] += reached[0]
			reached = reached[1:]
			continue
		}
		s := hub.Status(statuses[i])
		if before, known := best[u]; !known || s > before {
			best[u] = s
		}
	}
}

// sendAndWait sends out, the envelopes of n to where its users are, waits for
// receipts and reports; what is not known when the time is over is reported so.
func (d *Dispatcher) sendAndWait(ctx context.Context, n *hub.Notification, users []hub.UserID, where *index.Placement, out []relay.Outgoing) (*hub.Report, error) {
	started := time.Now()
	r := ask(out, where.Groups, n.Heard)
	if err := d.sendWithin(ctx, out, where, n.Wait); err != nil {
		return nil, err
	}
	r.open = len(where.Groups)
	if n.Sent != nil {
		n.Sent()
	}
	best := r.wait(ctx, n.Wait-time.Since(started))
	rep := d.report(ctx, n, users, *where, best)
	if len(n.Topics) > 0 {
		rep.Topics = r.topics
	}
	return rep, nil
}

// sendWithin sends for somebody who does not wait longer than limit for the
// first publish: the relay goes on with it.
func (d *Dispatcher) sendWithin(ctx context.Context, out []relay.Outgoing, where *index.Placement, limit time.Duration) error {
	short, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := d.publisher.send(short, out, where)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return nil
	}
	return err
}

// report counts every user once.
func (d *Dispatcher) report(ctx context.Context, n *hub.Notification, users []hub.UserID, where index.Placement, best map[hub.UserID]hub.Status) *hub.Report {
	rep := &hub.Report{}
	if n.PerUser {
		rep.PerUser = make(map[hub.UserID]hub.Fate, len(users))
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
			fate = hub.FateUnavailable
		}
		if n.Store > 0 && fate != hub.FateWritten && fate != hub.FateQueued {
			fate = hub.FateStored
		}
		rep.Count(u, fate)
	}
	return rep
}

func fateOf(u hub.UserID, sent map[hub.UserID]bool, best map[hub.UserID]hub.Status, elsewhere map[hub.UserID]bool) hub.Fate {
	status, known := best[u]
	switch {
	case !sent[u]:
		return hub.FateOffline
	case !known:
		return hub.FateUnknown
	case status == hub.StatusWritten:
		return hub.FateWritten
	case status == hub.StatusQueued:
		return hub.FateQueued
	case status == hub.StatusDropped:
		return hub.FateDroppedSlow
	case elsewhere[u]:
		return hub.FateMoved
	default:
		return hub.FateOffline
	}
}

// elsewhere finds the users that every process missed: they may be at processes
// that were not told of them.
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
	now, err := d.Index.Locate(ctx, missed, n.Services)
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
