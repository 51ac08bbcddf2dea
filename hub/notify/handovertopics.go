package notify

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/index"
	"github.com/homing/homing/hub/relay"
)

// topicsAgain sends topics to every process that has members of them once more, and
// reports whether that is to be done yet again. Two that are the same, of two processes
// that had no members left, are one.
func (x *Handovers) topicsAgain(ctx context.Context, open []*handover, h *handover, now time.Time) bool {
	e := h.envelope
	if h.tries == 0 {
		same := func(o *handover) bool {
			return o.envelope.ID == e.ID && o.ofTopics() && o != h && slices.Equal(o.envelope.Users, e.Users)
		}
		if slices.ContainsFunc(open, same) {
			return false
		}
	}
	if now.Sub(h.accepted) > handoverWindow {
		return false
	}
	if now.Before(x.lookAfter) {
		return true
	}
	if x.sendToTopics(ctx, h, now) != nil {
		return true
	}
	h.next = now.Add(topicsFirst << h.tries)
	h.tries++
	return true
}

// sendToTopics sends topics to every process that has members of them. It fails when
// nobody can say which do: then nobody is looked for for a moment.
func (x *Handovers) sendToTopics(ctx context.Context, h *handover, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	e := h.envelope
	groups, err := x.membersAt(ctx, e.Users)
	if err != nil {
		x.trouble.Do(func() { x.log.Warn("hand over to topics", "id", e.ID, "err", err) })
		x.lookAfter = time.Now().Add(handoverTick)
		return err
	}
	e.Age = max(time.Millisecond, now.Sub(h.accepted))
	var out []relay.Outgoing
	for _, g := range groups {
		e.Users, e.Shared = g.Users, len(g.Users)
		out = append(out, relay.Outgoing{To: g.Process, Body: e.Append(nil)})
	}
	if err := x.relay.Send(ctx, out); err != nil {
		x.trouble.Do(func() { x.log.Warn("hand over to topics", "id", e.ID, "err", err) })
	}
	return nil
}

// membersAt finds the processes that have members of topics, once in a handoverTick for
// all that are handed over to the same ones.
func (x *Handovers) membersAt(ctx context.Context, topics []hub.UserID) ([]index.Group, error) {
	key := fmt.Sprint(topics)
	now := time.Now()
	if now.Sub(x.places.since) > handoverTick {
		x.places.since, x.places.groups = now, make(map[string][]index.Group)
	}
	if groups, known := x.places.groups[key]; known {
		return groups, nil
	}
	where, err := x.index.Locate(ctx, topics, nil)
	if err != nil {
		return nil, err
	}
	x.places.groups[key] = where.Groups
	return where.Groups, nil
}
