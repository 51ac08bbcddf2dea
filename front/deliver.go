package front

import (
	"errors"

	"github.com/homing/homing/front/ws"
	"github.com/homing/homing/hub"
)

// deliverWaiting delivers every envelope that waits in the inbox.
func (w *Worker) deliverWaiting() {
	w.batch = w.inbox.take(w.batch)
	for i, p := range w.batch {
		outcome := w.deliver(p.body, p.report)
		w.inbox.done(p.body)
		if p.done != nil {
			p.done(outcome)
		}
		w.batch[i] = parcel{}
		w.breathe()
	}
}

// errNotForWorkers refuses what only goes the other way.
var errNotForWorkers = errors.New("an envelope of missed users at a worker")

// deliver does what one envelope asks.
func (w *Worker) deliver(body []byte, report bool) (o hub.Outcome) {
	d, err := hub.ParseEnvelope(body)
	if err == nil && d.Kind == hub.KindMissed {
		err = errNotForWorkers
	}
	if err != nil {
		w.m.lostEnvelopes.WithLabelValues("malformed").Inc()
		w.log.Error("read an envelope", "err", err)
		return o
	}
	w.m.envelopes[d.Kind].Inc()
	switch d.Kind {
	case hub.KindNotify:
		o = w.notify(&d, report)
	case hub.KindBroadcast:
		w.broadcast(&d)
	case hub.KindDisconnect:
		w.disconnect(&d)
	case hub.KindMissed: // refused above
	}
	return o
}

// frameOf builds the frame that every target of d shares.
func (w *Worker) frameOf(d *hub.Delivery) message {
	w.frame = ws.AppendFrame(w.frame[:0], ws.OpText, d.Payload)
	w.retained = false
	return message{data: w.frame, key: d.Key, class: d.Class}
}

// sent ends what frameOf began: the frame's memory is used again unless some
// outbox holds it.
func (w *Worker) sent() {
	if w.retained {
		w.frame = nil
	}
}

// notify writes to the connections of the users that are held here.
func (w *Worker) notify(d *hub.Delivery, report bool) (o hub.Outcome) {
	m := w.frameOf(d)
	i := 0
	for user := range d.Users {
		i++
		shared := i > d.UserCount()-d.Shared
		best := w.notifyUser(w.users.first[hub.UserID(user)], d, &m, shared)
		if best == hub.StatusMissed {
			o.Missed = append(o.Missed, hub.UserID(user))
			if shared {
				o.Shared++
			}
		}
		if report {
			o.Statuses = append(o.Statuses, byte(best))
		}
		w.breathe()
	}
	w.sent()
	w.m.targets.Add(float64(i))
	w.m.missed.Add(float64(len(o.Missed)))
	return o
}

// notifyUser writes m to those connections of one user, of which c is the
// first, that d is meant for, and returns the best that became of it.
func (w *Worker) notifyUser(c *conn, d *hub.Delivery, m *message, shared bool) (best hub.Status) {
	for c != nil {
		next := c.next // send may close c
		switch {
		case !matches(c.service, d.Services):
		case shared && d.Age > 0 && w.toldBefore(c, d):
			best = max(best, hub.StatusWritten)
		default:
			best = max(best, w.give(c, m, d.ID))
		}
		c = next
	}
	return best
}

// toldBefore reports whether c was open when d was sent first, so that the
// envelope for this process told it then.
func (w *Worker) toldBefore(c *conn, d *hub.Delivery) bool {
	return c.opened+uint32(d.Age/tickLength) < w.now
}

// broadcast writes to every connection. The table may change meanwhile:
// whoever is in it throughout keeps its place and is met once.
func (w *Worker) broadcast(d *hub.Delivery) {
	m := w.frameOf(d)
	for i := 0; i < len(w.table.conns); i++ {
		c := w.table.conns[i]
		if c == nil || c.user == "" {
			continue
		}
		if matches(c.service, d.Services) {
			w.give(c, &m, d.ID)
		}
		w.breathe()
	}
	w.sent()
}

// disconnect closes every connection of the users.
func (w *Worker) disconnect(d *hub.Delivery) {
	reason := string(d.Payload)
	for user := range d.Users {
		for c := w.users.first[hub.UserID(user)]; c != nil; c = w.users.first[hub.UserID(user)] {
			w.close(c, closeDisconnected, reason)
		}
		w.breathe()
	}
}

// matches reports whether a delivery limited to services, if to any, is meant
// for a connection of service s.
func matches(s hub.Service, services [][]byte) bool {
	if len(services) == 0 {
		return true
	}
	for _, want := range services {
		if string(want) == string(s) {
			return true
		}
	}
	return false
}
