package front

import (
	"github.com/homing/homing/front/ws"
	"github.com/homing/homing/hub"
)

// deliverWaiting delivers every envelope that waits in the inbox.
func (w *Worker) deliverWaiting() {
	w.batch = w.inbox.take(w.batch)
	for i, p := range w.batch {
		outcome := w.deliver(p.body)
		w.inbox.done(p.body)
		if p.done != nil {
			p.done(outcome)
		}
		w.batch[i] = parcel{}
		w.breathe()
	}
}

// deliver does what one envelope asks.
func (w *Worker) deliver(body []byte) (o hub.Outcome) {
	d, err := hub.ParseEnvelope(body)
	if err != nil {
		w.m.lostEnvelopes.WithLabelValues("malformed").Inc()
		w.log.Error("read an envelope", "err", err)
		return o
	}
	w.m.envelopes[d.Kind].Inc()
	switch d.Kind {
	case hub.KindNotify:
		o.Missed = w.notify(&d)
	case hub.KindBroadcast:
		w.broadcast(&d)
	case hub.KindDisconnect:
		w.disconnect(&d)
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

// notify writes to the connections of the users that are held here, and
// returns the users that are not.
func (w *Worker) notify(d *hub.Delivery) (missed []hub.UserID) {
	m := w.frameOf(d)
	for user := range d.Users {
		c := w.users.first[hub.UserID(user)]
		if c == nil {
			missed = append(missed, hub.UserID(user))
		}
		for c != nil {
			next := c.next // send may close c
			if matches(c.service, d.Services) {
				w.send(c, &m)
			}
			c = next
		}
		w.breathe()
	}
	w.sent()
	w.m.targets.Add(float64(d.UserCount()))
	w.m.missed.Add(float64(len(missed)))
	return missed
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
			w.send(c, &m)
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
