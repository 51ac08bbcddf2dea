package notify

import (
	"context"
	"errors"
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
	// maxHandovers and maxHandoverBytes bound the envelopes that wait for their
	// users. Beyond that, workers keep what they send back, and what the dead had
	// not confirmed is lost.
	maxHandovers     = 16384
	maxHandoverBytes = 128 << 20
	// userOverhead is what one user of a hand-over costs besides its id.
	userOverhead = 16
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
//
//bound:hand-overs
type handover struct {
	envelope hub.Envelope // of the users not found yet; its Payload is shared
	accepted time.Time    // when the notification was
	next     time.Time    // when to look again
	tries    int
	size     int64 // what it keeps in memory
}

// newHandover takes over all users of v, an envelope with the wire form body
// that was sent at the time given.
func newHandover(v *hub.Delivery, body []byte, sent time.Time) *handover {
	users := make([]hub.UserID, 0, v.UserCount())
	for u := range v.Users {
		users = append(users, hub.UserID(u))
	}
	return &handover{
		envelope: v.Envelope(hub.KindNotify, users, v.Shared),
		accepted: sent.Add(-v.Age),
		size:     int64(2*len(body) + userOverhead*len(users)),
	}
}

// takeUp counts h among the hand-overs, or reports false when there are too
// many, or too much in them.
func (d *Dispatcher) takeUp(h *handover) bool {
	count, bytes := d.handovers.Add(1), d.handoverBytes.Add(h.size)
	if count > maxHandovers || bytes > maxHandoverBytes {
		d.layDown(h)
		return false
	}
	return true
}

// layDown undoes takeUp.
func (d *Dispatcher) layDown(h *handover) {
	d.handovers.Add(-1)
	d.handoverBytes.Add(-h.size)
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
	h := newHandover(&v, m.Body, time.Now())
	if v.Age > 0 { // where they were found they are not either: the index is late
		h.next = time.Now().Add(handoverTick)
	}
	if !d.takeUp(h) {
		return false // it comes again
	}
	d.missed <- h // there is room for all that are taken up
	m.Done(nil)
	return true
}

// Run hands over until ctx ends.
func (d *Dispatcher) Run(ctx context.Context) error {
	tick := time.NewTicker(handoverTick)
	defer tick.Stop()
	var open []*handover
	for {
		select {
		case <-ctx.Done():
			d.stop(open)
			return nil
		case h := <-d.missed:
			open = d.round(ctx, open, []*handover{h}, time.Now())
			continue
		case <-tick.C:
		}
		now := time.Now()
		due := append(open, d.orphans(now)...)
		open = d.round(ctx, nil, due, now)
	}
}

// stop gives up what is not handed over.
func (d *Dispatcher) stop(open []*handover) {
	for {
		for _, h := range open {
			d.lose(h.envelope.ID, h.envelope.Users, lostStopped)
			d.layDown(h)
		}
		select {
		case h := <-d.missed:
			open = []*handover{h}
		default:
			return
		}
	}
}

// round attempts what is due. What is left of it joins open.
func (d *Dispatcher) round(ctx context.Context, open, due []*handover, now time.Time) []*handover {
	for _, h := range due {
		if d.attempt(ctx, open, h, now) {
			open = append(open, h)
		} else {
			d.layDown(h)
		}
	}
	return open
}

// orphans takes over what processes that died had not confirmed.
func (d *Dispatcher) orphans(now time.Time) (left []*handover) {
	for to, oldest := range d.relay.Unconfirmed() {
		if now.Sub(oldest) < deadAfter || !d.census.Gone(to, oldest.Add(deadAfter)) {
			continue
		}
		for _, a := range d.relay.Abandon(to) {
			h := d.orphan(a)
			switch {
			case h == nil:
			case d.takeUp(h):
				left = append(left, h)
			default:
				d.lose(h.envelope.ID, h.envelope.Users, lostTooMany)
			}
		}
	}
	return left
}

// orphan is what there is to hand over of one message, or nil. Disconnects are
// not: they were for whoever was connected then.
func (d *Dispatcher) orphan(a relay.Abandoned) *handover {
	v, err := hub.ParseEnvelope(a.Body)
	if err != nil || v.Kind != hub.KindNotify && v.Kind != hub.KindBroadcast {
		return nil
	}
	d.metrics.takenBack.Add(float64(v.UserCount()))
	h := newHandover(&v, a.Body, a.Sent)
	if v.Kind == hub.KindBroadcast {
		h.envelope.Kind = hub.KindBroadcast
		d.metrics.rebroadcast.Inc()
	}
	return h
}

// attempt looks for the users of h, if it is time, and sends them what they
// missed. keep says that something is left of h. While Redis does not answer it
// looks once a handoverTick, for whomever: a look may take a second, and others
// wait for it.
func (d *Dispatcher) attempt(ctx context.Context, open []*handover, h *handover, now time.Time) (keep bool) {
	if now.Before(h.next) {
		return true
	}
	if h.envelope.Kind == hub.KindBroadcast {
		return d.broadcastAgain(ctx, open, h, now)
	}
	if !now.Before(d.lookAfter) {
		found, err := d.reach(ctx, h, now)
		if err != nil {
			d.trouble.Do(func() { d.log.Warn("hand over a notification", "id", h.envelope.ID, "err", err) })
		}
		if err != nil && !errors.Is(err, relay.ErrFull) {
			d.lookAfter = time.Now().Add(handoverTick)
		}
		d.metrics.handedOver.Add(float64(found))
	}
	switch {
	case len(h.envelope.Users) == 0:
		return false
	case now.Sub(h.accepted) > handoverWindow:
		d.lose(h.envelope.ID, h.envelope.Users, lostNotBack)
		return false
	}
	h.next = now.Add(handoverTick << min(h.tries, 3))
	h.tries++
	return true
}

// broadcastAgain sends a broadcast to every process once more, and reports
// whether it is to be sent yet again. Two that are the same, of two processes
// that died, are one.
func (d *Dispatcher) broadcastAgain(ctx context.Context, open []*handover, h *handover, now time.Time) bool {
	same := func(o *handover) bool { return o.envelope.Kind == hub.KindBroadcast && o.envelope.ID == h.envelope.ID }
	if slices.ContainsFunc(open, same) || now.Sub(h.accepted) > handoverWindow {
		return false
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
	return true
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
	for _, g := range where.Groups {
		part := *e
		part.Users, part.Shared = sharedLast(g.Users, shared)
		part.Age = max(time.Millisecond, now.Sub(h.accepted))
		out = append(out, relay.Outgoing{To: g.Process, Body: part.Append(nil)})
	}
	if err := d.sendCounted(ctx, out, &where); err != nil {
		return 0, err
	}
	reached := make(map[hub.UserID]bool, where.Online)
	for _, g := range where.Groups { // without those that were refused
		for _, u := range g.Users {
			reached[u] = true
		}
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
