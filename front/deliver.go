package front

import (
	"errors"

	"github.com/homing/homing/front/ws"
	"github.com/homing/homing/hub"
)

// delivery is one envelope on its way to the sockets. A long one takes several
// turns of the loop: it is left and continued between two targets. Owned by the
// loop.
type delivery struct {
	parcel

	begun   bool // false: there is none
	refused bool // nothing of the envelope can be done
	what    hub.Delivery
	users   hub.Cursor  // whose turn it is; not of a broadcast
	at      int         // place in the table whose turn it is; of a broadcast
	to      audience    // of a broadcast
	target  target      // the user whose turn it is; not of a broadcast
	message message     // shared by all targets; its bytes are this delivery's until it ends
	outcome hub.Outcome // so far
}

// target is how far the delivery to one user has come. One with very many
// connections takes several turns.
type target struct {
	within bool // false: the next user has not begun
	shared bool // it is among those who may be connected elsewhere too
	user   []byte
	told   uint64 // users.joined when the user had been told before; 0: it was not
	joined uint64 // users.joined when its turn came
	best   hub.Status
}

// deliverWaiting delivers what waits in the inbox, about turnBudget targets of
// it; the rest in the next turn. It looks at the worker's standing right before
// each envelope and when it goes on with one: in doubt everything stays where
// it is, in order, until a later turn.
func (w *Worker) deliverWaiting() {
	w.budget, w.closesLeft = turnBudget, closeBudget
	if len(w.closings) > 0 && w.mayDeliver() {
		w.disconnectWaiting()
	}
	for w.mayDeliver() && w.nextDelivery() {
		if !w.advance(&w.delivery) {
			w.poller.Wake() // so that the next turn begins at once
			return
		}
	}
}

// nextDelivery begins the next envelope unless one has begun, and reports
// whether there is any.
func (w *Worker) nextDelivery() bool {
	if w.delivery.begun {
		return true
	}
	if w.batchAt == len(w.batch) {
		w.batch, w.batchAt = w.inbox.take(w.batch), 0
	}
	if len(w.batch) == 0 {
		return false
	}
	p := &w.batch[w.batchAt]
	w.begin(*p)
	*p = parcel{}
	w.batchAt++
	return true
}

// errNotForWorkers refuses what only goes the other way.
var errNotForWorkers = errors.New("an envelope of missed users at a worker")

// begin prepares the delivery of p.
func (w *Worker) begin(p parcel) {
	w.delivery = delivery{parcel: p, begun: true}
	x := &w.delivery
	var err error
	if x.what, err = hub.ParseEnvelope(p.body); err == nil && x.what.Kind == hub.KindMissed {
		err = errNotForWorkers
	}
	if err != nil {
		x.refused = true
		w.m.lostEnvelopes.WithLabelValues("malformed").Inc()
		w.log.Error("read an envelope", "err", err)
		return
	}
	w.m.envelopes[x.what.Kind].Inc()
	x.users = x.what.Cursor()
	if x.what.Kind == hub.KindBroadcast {
		x.to = w.audienceOf(x)
		w.noteTold(x, nil, w.users.joined)
	}
	if x.what.Kind != hub.KindDisconnect {
		w.frame = ws.AppendFrame(w.frame[:0], ws.OpText, x.what.Payload)
		w.retained = false
		x.message = message{data: w.frame, key: x.what.Key, class: x.what.Class}
	}
}

// advance goes on with x until it is done or the budget is used up, and reports
// whether some of the budget is left.
func (w *Worker) advance(x *delivery) bool {
	done := true
	if !x.refused {
		switch x.what.Kind {
		case hub.KindNotify:
			done = w.notify(x)
		case hub.KindBroadcast:
			done = w.broadcast(x)
		case hub.KindDisconnect:
			w.beginDisconnect(x)
			return w.spend()
		case hub.KindMissed: // refused
		}
	}
	if done {
		w.finish(x)
	}
	return w.spend()
}

// finish confirms x. The memory of its frame is used again unless some outbox
// holds it.
func (w *Worker) finish(x *delivery) {
	if w.retained {
		w.frame = nil
	}
	ended := *x
	*x = delivery{}
	w.inbox.done(ended.body)
	if ended.done != nil {
		ended.done(ended.outcome)
	}
}

// spend takes one target off the turn's budget and reports whether any is left.
func (w *Worker) spend() bool {
	w.budget--
	return w.budget > 0
}

// notify writes to the connections of the users that are held here.
func (w *Worker) notify(x *delivery) (done bool) {
	for x.target.within || x.users.Left > 0 {
		if !x.target.within {
			w.beginTarget(x)
		}
		if !w.notifyTarget(x) {
			return false
		}
		w.endTarget(x)
		if !w.spend() && x.users.Left > 0 {
			return false
		}
	}
	w.m.targets.Add(float64(x.what.UserCount()))
	w.m.missed.Add(float64(len(x.outcome.Missed)))
	return true
}

// beginTarget goes on to the next user of x.
func (w *Worker) beginTarget(x *delivery) {
	shared := x.users.Left <= x.what.Shared
	user := x.users.Next()
	x.target = target{within: true, shared: shared, user: user, told: w.toldBefore(x, user), joined: w.users.joined}
	w.users.delivery.begin(&w.users, user)
}

// notifyTarget writes x to those connections of its present user that it is
// meant for, but for those that have heard it. It reports false when the budget
// is used up and some are left.
func (w *Worker) notifyTarget(x *delivery) (done bool) {
	t := &x.target
	for c := w.users.delivery.next(); c != nil; c = w.users.delivery.next() {
		switch {
		case !matches(c.service, x.what.Services):
		case c.joined <= t.told:
			t.best = max(t.best, hub.StatusWritten)
		default:
			t.best = max(t.best, w.give(c, &x.message, x.what.ID)) // may close c
		}
		if w.users.delivery.at != nil && !w.spend() {
			return false
		}
	}
	return true
}

// endTarget notes what became of x for its present user.
func (w *Worker) endTarget(x *delivery) {
	t := &x.target
	t.within = false
	if t.best == hub.StatusMissed {
		x.outcome.Missed = append(x.outcome.Missed, hub.UserID(t.user))
		if t.shared {
			x.outcome.Shared++
		}
	} else if t.shared || x.what.Age > 0 {
		w.noteTold(x, t.user, t.joined) // it may come again
	}
	if x.report {
		x.outcome.Statuses = append(x.outcome.Statuses, byte(t.best))
	}
}

// broadcast writes to every connection of its audience. The table may change
// between two turns: whoever is in it throughout keeps its place and is met
// once.
func (w *Worker) broadcast(x *delivery) (done bool) {
	for x.at < len(w.table.conns) {
		c := w.table.conns[x.at]
		x.at++
		if c == nil || c.user == "" {
			continue
		}
		if x.to.has(c) && matches(c.service, x.what.Services) {
			w.give(c, &x.message, x.what.ID)
			x.outcome.Heard++
		}
		if !w.spend() {
			return false
		}
	}
	return true
}

// matches reports whether a delivery limited to services, if to any, is meant
// for a connection of service s.
func matches(s serviceName, services [][]byte) bool {
	if len(services) == 0 {
		return true
	}
	name := s.name()
	for _, want := range services {
		if string(want) == string(name) {
			return true
		}
	}
	return false
}
