package notify

import (
	"context"
	"slices"
	"time"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/relay"
)

// A handover finds out where users are now whom their process did not reach:
// it died before it confirmed their envelope, or they had left it. It looks
// them up again, at growing intervals, until each is found or the window is
// over, and sends one more envelope to where they are. A user who is found twice
// because two processes missed the same one hears it once: workers know what
// they handed to whom (see Envelope.Age).
//
// A broadcast that a dead process had not confirmed is for players whom nobody
// can name. It goes to every process again, as long as the window lasts, and the
// workers give it to the connections that have not heard it.

const (
	// handoverWindow is how long users may take to be back somewhere.
	handoverWindow = 30 * time.Second
	// handoverTick is the grain of a handover's waits, and how often the
	// dispatcher asks who died.
	handoverTick = 250 * time.Millisecond
	// maxHandovers bounds the envelopes that wait for their users.
	maxHandovers = 16384
	// rebroadcastEvery is how often a broadcast is handed over: each time reaches
	// those who came back since the last.
	rebroadcastEvery = 2 * time.Second
	// namedUsers is how many users a line of the log names at most.
	namedUsers = 50
	// deadAfter is how old an unconfirmed message is before its receiver is
	// held against the leases.
	deadAfter = time.Second
)

// handover is one envelope on its way to users who were not where they were.
type handover struct {
	envelope hub.Envelope // of the users not found yet; its Payload is shared
	accepted time.Time    // when the notification was
	next     time.Time    // when to look again
	tries    int
}

// newHandover takes over all users of v, an envelope that was sent at the time
// given.
func newHandover(v *hub.Delivery, sent time.Time) handover {
	users := make([]hub.UserID, 0, v.UserCount())
	for u := range v.Users {
		users = append(users, hub.UserID(u))
	}
	return handover{envelope: v.Envelope(hub.KindNotify, users, v.Shared), accepted: sent.Add(-v.Age)}
}

// Handle is the handler of the dispatcher's relay: workers send back whom they
// missed.
func (d *Dispatcher) Handle(m *relay.Message) bool {
	v, err := hub.ParseEnvelope(m.Body)
	if err != nil || v.Kind != hub.KindMissed {
		d.log.Warn("message to an API server dropped", "from", m.From, "err", err)
		m.Done(nil)
		return true
	}
	h := newHandover(&v, time.Now())
	if v.Age > 0 { // where they were found they are not either: the index is late
		h.next = time.Now().Add(handoverTick)
	}
	select {
	case d.missed <- h:
	default:
		return false // it comes again
	}
	m.Done(nil)
	return true
}

// Run hands over until ctx ends.
func (d *Dispatcher) Run(ctx context.Context) error {
	tick := time.NewTicker(handoverTick)
	defer tick.Stop()
	var open []handover
	for {
		select {
		case <-ctx.Done():
			for _, h := range open {
				d.lose(h.envelope.ID, h.envelope.Users, lostStopped)
			}
			return nil
		case h := <-d.missed:
			open = d.attempt(ctx, open, h, time.Now())
			continue
		case <-tick.C:
		}
		now := time.Now()
		due := append(open, d.orphans(now)...)
		open = nil
		for _, h := range due {
			open = d.attempt(ctx, open, h, now)
		}
	}
}

// orphans takes over what processes that died had not confirmed.
func (d *Dispatcher) orphans(now time.Time) (left []handover) {
	for to, oldest := range d.relay.Unconfirmed() {
		if now.Sub(oldest) < deadAfter || !d.census.Gone(to, oldest.Add(deadAfter)) {
			continue
		}
		for _, a := range d.relay.Abandon(to) {
			if h, ok := d.orphan(a); ok {
				left = append(left, h)
			}
		}
	}
	return left
}

// orphan is what there is to hand over of one message. Disconnects are not:
// they were for whoever was connected then.
func (d *Dispatcher) orphan(a relay.Abandoned) (handover, bool) {
	v, err := hub.ParseEnvelope(a.Body)
	if err != nil || v.Kind != hub.KindNotify && v.Kind != hub.KindBroadcast {
		return handover{}, false
	}
	d.metrics.takenBack.Add(float64(v.UserCount()))
	h := newHandover(&v, a.Sent)
	if v.Kind == hub.KindBroadcast {
		h.envelope.Kind = hub.KindBroadcast
		d.metrics.rebroadcast.Inc()
	}
	return h, true
}

// attempt looks for the users of h, if it is time, and sends them what they
// missed. What is left of h joins open.
func (d *Dispatcher) attempt(ctx context.Context, open []handover, h handover, now time.Time) []handover {
	if now.Before(h.next) {
		return append(open, h)
	}
	if h.envelope.Kind == hub.KindBroadcast {
		return d.broadcastAgain(ctx, open, h, now)
	}
	found, err := d.reach(ctx, &h, now)
	if err != nil {
		d.log.Warn("hand over a notification", "id", h.envelope.ID, "err", err)
	}
	d.metrics.handedOver.Add(float64(found))
	switch {
	case len(h.envelope.Users) == 0:
		return open
	case now.Sub(h.accepted) > handoverWindow:
		d.lose(h.envelope.ID, h.envelope.Users, lostNotBack)
		return open
	case len(open) >= maxHandovers:
		d.lose(h.envelope.ID, h.envelope.Users, lostTooMany)
		return open
	}
	h.next = now.Add(handoverTick << min(h.tries, 3))
	h.tries++
	return append(open, h)
}

// broadcastAgain sends a broadcast to every process once more. Two that are the
// same, of two processes that died, are one.
func (d *Dispatcher) broadcastAgain(ctx context.Context, open []handover, h handover, now time.Time) []handover {
	same := func(o handover) bool { return o.envelope.Kind == hub.KindBroadcast && o.envelope.ID == h.envelope.ID }
	if slices.ContainsFunc(open, same) || now.Sub(h.accepted) > handoverWindow {
		return open
	}
	e := h.envelope
	e.Age = max(time.Millisecond, now.Sub(h.accepted))
	body := e.Append(nil)
	var out []relay.Outgoing
	for _, p := range d.census.Processes(hub.RoleFront) {
		out = append(out, relay.Outgoing{To: p.ID, Body: body})
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if err := d.relay.Send(ctx, out); err != nil {
		d.log.Warn("hand over a broadcast", "id", e.ID, "err", err)
	}
	h.next = now.Add(rebroadcastEvery)
	return append(open, h)
}

// reach sends h to those of its users that are found, takes them out of h, and
// returns how many that were.
func (d *Dispatcher) reach(ctx context.Context, h *handover, now time.Time) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	e := &h.envelope
	where, err := d.index.Locate(ctx, e.Users, e.Services)
	if err != nil || where.Online == 0 {
		return 0, err
	}
	shared := make(map[hub.UserID]bool, e.Shared)
	for _, u := range e.Users[len(e.Users)-e.Shared:] {
		shared[u] = true
	}
	var out []relay.Outgoing
	reached := make(map[hub.UserID]bool, where.Online)
	for _, g := range where.Groups {
		part := *e
		part.Users, part.Shared = sharedLast(g.Users, shared)
		part.Age = max(time.Millisecond, now.Sub(h.accepted))
		out = append(out, relay.Outgoing{To: g.Process, Body: part.Append(nil)})
		for _, u := range g.Users {
			reached[u] = true
		}
	}
	if err := d.sendCounted(ctx, out, &where); err != nil {
		return 0, err
	}
	left := slices.DeleteFunc(e.Users, func(u hub.UserID) bool { return reached[u] })
	e.Users, e.Shared = sharedLast(left, shared)
	return len(reached), nil
}

// sharedLast returns users with those that are shared at the end, and how many
// these are.
func sharedLast(users []hub.UserID, shared map[hub.UserID]bool) (sorted []hub.UserID, n int) {
	var last []hub.UserID
	for _, u := range users {
		if shared[u] {
			last = append(last, u)
		} else {
			sorted = append(sorted, u)
		}
	}
	return append(sorted, last...), len(last)
}
