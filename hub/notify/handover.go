package notify

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/drop"
	"github.com/homing/homing/hub/index"
	"github.com/homing/homing/hub/lease"
	"github.com/homing/homing/hub/relay"
)

// A handover finds users whom their process did not reach: the process died
// before it confirmed their envelope, or the users had left it. It looks
// them up again, at growing intervals, until each is found or the window is
// over, and sends one more envelope to where they are. A user who is found twice
// because two processes missed the same one hears it once: workers know what
// they handed to whom (see Envelope.Age).
//
// Topics are handed over apart from users, because their members cannot be named: one
// that a process had no member of, or died with, goes to wherever it has members, a few
// times until the window is over, and the workers give it to the connections that have
// not heard it. What nobody is left to hear is not lost.
//
// A broadcast that a dead process had not confirmed is for players that nobody
// can name, either. It goes to every process again, as long as the window lasts, and the
// workers give it to the connections that have not heard it.

const (
	// handoverWindow is how long users may take to be back somewhere.
	handoverWindow = 30 * time.Second
	// handoverTick is the grain of a handover's waits, and how often the census is
	// asked who died.
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
	// topicsFirst is after how long topics are handed over for the second time; each
	// further time takes twice as long.
	topicsFirst = 3 * time.Second
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
	noted    bool  // its users are looked for later, if a backend wants to hear of them
}

// takeOver takes over all users of v, an envelope with the wire form body that was
// sent at the time given, and all its topics; nil where there are none.
func takeOver(v *hub.Delivery, body []byte, sent time.Time) (ofUsers, ofTopics *handover) {
	users := make([]hub.UserID, 0, v.UserCount())
	var topics []hub.UserID
	shared := 0
	for at := v.Cursor(); at.Left > 0; {
		last := at.Left <= v.Shared
		u := hub.UserID(at.Next())
		switch {
		case hub.IsTopic(u):
			topics = append(topics, u)
		case last:
			shared++
			fallthrough
		default:
			users = append(users, u)
		}
	}
	of := func(users []hub.UserID, shared int) *handover {
		return &handover{
			envelope: v.Envelope(hub.KindNotify, users, shared),
			accepted: sent.Add(-v.Age),
			size:     int64(2*len(body) + userOverhead*len(users)),
		}
	}
	if len(topics) > 0 {
		ofTopics = of(topics, len(topics))
	}
	if len(users) > 0 || ofTopics == nil {
		ofUsers = of(users, shared)
	}
	return ofUsers, ofTopics
}

// ofTopics reports whether h is of topics.
func (h *handover) ofTopics() bool {
	return len(h.envelope.Users) > 0 && hub.IsTopic(h.envelope.Users[0])
}

// Handovers are all that are under way. Handle and GivenUp are for the relay's
// Upper.
type Handovers struct {
	census    *lease.Census
	index     *index.Index
	relay     *relay.Relay
	publisher *publisher
	absent    Absent // may be nil
	log       *slog.Logger
	metrics   handoverMetrics
	missed    chan *handover // given back by workers
	count     atomic.Int64   // under way, given back or not confirmed by the dead
	bytes     atomic.Int64   // that those keep

	// Owned by Run.
	places    places
	lookAfter time.Time      // Redis did not answer: nobody is looked for before
	trouble   rate.Sometimes // logs what fails for many alike
}

func newHandovers(d *Deps, p *publisher) *Handovers {
	h := &Handovers{
		census: d.Census, index: d.Index, relay: d.Relay, publisher: p, absent: d.Absent, log: d.Log,
		missed:  make(chan *handover, maxHandovers),
		trouble: rate.Sometimes{First: 1, Interval: time.Second},
	}
	h.metrics = newHandoverMetrics(d.Registry, &h.count, &h.bytes)
	return h
}

// takeUp counts h among the hand-overs, or reports false when there are too
// many, or too much in them.
func (x *Handovers) takeUp(h *handover) bool {
	count, bytes := x.count.Add(1), x.bytes.Add(h.size)
	if count > maxHandovers || bytes > maxHandoverBytes {
		x.layDown(h)
		return false
	}
	return true
}

// layDown undoes takeUp.
func (x *Handovers) layDown(h *handover) {
	x.count.Add(-1)
	x.bytes.Add(-h.size)
}

// Handle is a relay.Handler. It takes the users that a worker did not hold and
// sends back.
func (x *Handovers) Handle(m *relay.Message) bool {
	v, err := hub.ParseEnvelope(m.Body)
	if err != nil || v.Kind != hub.KindMissed {
		x.log.Warn("not users who were missed: message dropped", "from", m.From, "err", err)
		m.Done(nil)
		return true
	}
	if !x.take(&v, m.Body, time.Now()) {
		return false // it comes again
	}
	m.Done(nil)
	return true
}

// take takes up what a worker sends back in v, with the wire form body: all of it, or
// nothing where that would be too much.
func (x *Handovers) take(v *hub.Delivery, body []byte, now time.Time) bool {
	users, topics := takeOver(v, body, now)
	if v.Age > 0 {
		topics = nil // they are handed over already
	}
	if users != nil && v.Age > 0 { // where they were found they are not either: the index is late
		users.next, users.noted = now.Add(handoverTick), true
	}
	var taken []*handover
	for _, h := range present(users, topics) {
		if !x.takeUp(h) {
			for _, other := range taken {
				x.layDown(other)
			}
			return false
		}
		taken = append(taken, h)
	}
	for _, h := range taken {
		x.noteAbsent(h)
		x.missed <- h // there is room for all that are taken up
	}
	return true
}

// present leaves out what is not there.
func present(all ...*handover) []*handover {
	return slices.DeleteFunc(all, func(h *handover) bool { return h == nil })
}

// noteAbsent has the users of h looked for later, if h is stored for them: whoever is
// there by then, or has acknowledged it, is forgotten. So that they are also looked for
// when this process dies before they are found.
func (x *Handovers) noteAbsent(h *handover) {
	if x.absent == nil || h.noted || h.ofTopics() || h.envelope.Kind != hub.KindNotify || !hub.IsStored(h.envelope.Payload) {
		return
	}
	h.noted = true
	x.absent.NoteSoon(h.envelope.ID, slices.Clone(h.envelope.Users))
}

// Run hands over until ctx ends.
func (x *Handovers) Run(ctx context.Context) error {
	tick := time.NewTicker(handoverTick)
	defer tick.Stop()
	changed := x.census.Changed() // somebody died, perhaps
	var open []*handover
	for {
		select {
		case <-ctx.Done():
			x.stop(open)
			return nil
		case h := <-x.missed:
			open = x.round(ctx, open, []*handover{h}, time.Now())
			continue
		case <-changed:
			changed = x.census.Changed()
		case <-tick.C:
		}
		now := time.Now()
		due := append(open, x.orphans(ctx, now)...)
		open = x.round(ctx, nil, due, now)
	}
}

// stop gives up what is not handed over.
func (x *Handovers) stop(open []*handover) {
	for {
		for _, h := range open {
			x.loseOf(h, drop.Stopped)
			x.layDown(h)
		}
		select {
		case h := <-x.missed:
			open = []*handover{h}
		default:
			return
		}
	}
}

// round attempts what is due. What is left of it joins open.
func (x *Handovers) round(ctx context.Context, open, due []*handover, now time.Time) []*handover {
	for _, h := range due {
		if x.attempt(ctx, open, h, now) {
			open = append(open, h)
		} else {
			x.layDown(h)
		}
	}
	return open
}

// orphans takes over what processes that died had not confirmed.
func (x *Handovers) orphans(ctx context.Context, now time.Time) (left []*handover) {
	for to, oldest := range x.relay.Unconfirmed() {
		if now.Sub(oldest) < deadAfter || !x.census.Gone(to, oldest.Add(deadAfter)) {
			continue
		}
		for _, a := range x.relay.Abandon(to) {
			for _, h := range x.orphan(a) {
				if x.adopt(ctx, h, now) {
					left = append(left, h)
				}
			}
		}
	}
	return left
}

// adopt takes h up, which nobody else has any more. Where that would be too much, topics
// go at once to where they have members now, and not again to those who come back;
// users are lost.
func (x *Handovers) adopt(ctx context.Context, h *handover, now time.Time) bool {
	if x.takeUp(h) {
		x.noteAbsent(h)
		return true
	}
	if !h.ofTopics() || now.Before(x.lookAfter) || x.sendToTopics(ctx, h, now) != nil {
		x.loseOf(h, drop.TooMany)
		return false
	}
	x.metrics.topicsOnce.Add(float64(len(h.envelope.Users)))
	return false
}

// orphan is what there is to hand over of one message. A disconnect is not handed over:
// it was for the connections of that moment.
func (x *Handovers) orphan(a relay.Abandoned) []*handover {
	v, err := hub.ParseEnvelope(a.Body)
	if err != nil || v.Kind != hub.KindNotify && v.Kind != hub.KindBroadcast {
		return nil
	}
	x.metrics.takenBack.Add(float64(v.UserCount()))
	users, topics := takeOver(&v, a.Body, a.Sent)
	if v.Kind == hub.KindBroadcast {
		users.envelope.Kind = hub.KindBroadcast
		x.metrics.rebroadcast.Inc()
	}
	return present(users, topics)
}

// attempt looks for the users of h, if it is time, and sends them what they
// missed. keep says that something is left of h. While Redis does not answer it
// looks once a handoverTick, for whomever: a look may take a second, and others
// wait for it.
func (x *Handovers) attempt(ctx context.Context, open []*handover, h *handover, now time.Time) (keep bool) {
	if now.Before(h.next) {
		return true
	}
	if h.envelope.Kind == hub.KindBroadcast {
		return x.broadcastAgain(ctx, open, h, now)
	}
	if h.ofTopics() {
		return x.topicsAgain(ctx, open, h, now)
	}
	if !now.Before(x.lookAfter) {
		found, err := x.reach(ctx, h, now)
		if err != nil {
			x.trouble.Do(func() { x.log.Warn("hand over a notification", "id", h.envelope.ID, "err", err) })
		}
		if err != nil && !errors.Is(err, relay.ErrFull) {
			x.lookAfter = time.Now().Add(handoverTick)
		}
		x.metrics.handedOver.Add(float64(found))
	}
	switch {
	case len(h.envelope.Users) == 0:
		return false
	case now.Sub(h.accepted) > handoverWindow:
		x.loseOf(h, drop.NotBack)
		return false
	}
	h.next = now.Add(handoverTick << min(h.tries, 3))
	h.tries++
	return true
}

// broadcastAgain sends a broadcast to every process once more, and reports
// whether it is to be sent yet again. Two that are the same, of two processes
// that died, are one.
func (x *Handovers) broadcastAgain(ctx context.Context, open []*handover, h *handover, now time.Time) bool {
	same := func(o *handover) bool { return o.envelope.Kind == hub.KindBroadcast && o.envelope.ID == h.envelope.ID }
	if slices.ContainsFunc(open, same) || now.Sub(h.accepted) > handoverWindow {
		return false
	}
	e := h.envelope
	e.Age = max(time.Millisecond, now.Sub(h.accepted))
	body := e.Append(nil)
	var out []relay.Outgoing
	for _, p := range x.census.Processes(hub.RoleFront) {
		out = append(out, relay.Outgoing{To: p.ID, Body: body})
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if err := x.relay.Send(ctx, out); err != nil {
		x.log.Warn("hand over a broadcast", "id", e.ID, "err", err)
	}
	h.next = now.Add(rebroadcastEvery)
	return true
}

// places is where the topics that are handed over have members.
type places struct {
	since  time.Time
	groups map[string][]index.Group
}

// reach sends h to those of its users that are found, takes them out of h, and
// returns how many that were.
func (x *Handovers) reach(ctx context.Context, h *handover, now time.Time) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	e := &h.envelope
	where, err := x.index.Locate(ctx, e.Users, e.Services)
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
	if err := x.publisher.send(ctx, out, &where); err != nil {
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
