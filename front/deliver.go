package front

import (
	"encoding/binary"
	"errors"
	"log/slog"

	"github.com/homing/homing/front/loop"
	"github.com/homing/homing/hub"
)

// turnBudget is how many targets are written to before the loop looks at its
// sockets again: about 10 ms of work.
const turnBudget = 1000

// deliveries brings envelopes to the connections that they are for. The loop
// owns it, but for queue.
type deliveries struct {
	loop       *loop.Loop[client]
	sessions   *sessions
	topics     *topics
	m          *metrics
	log        *slog.Logger
	queue      *envelopeQueue
	mayDeliver func() bool // whether the worker is in good standing at this moment

	batch      []parcel  // envelopes taken from the queue
	batchAt    int       // the next of them
	current    delivery  // what is being delivered
	wire       wire      // its bytes
	closings   []closing // what is being disconnected
	heard      *heard
	serial     uint64 // deliveries begun
	budget     int    // targets until the loop looks at its sockets again
	closesLeft int    // connections to disconnect until then
}

// delivery is one envelope on its way to the sockets. A long one takes several
// turns of the loop: it is left and continued between two targets.
type delivery struct {
	parcel

	begun   bool // false: there is none
	refused bool // nothing of the envelope can be done
	kept    bool // an inbox or a topic keeps the notification
	what    hub.Delivery
	users   hub.Cursor  // whose turn it is; not of a broadcast
	at      int         // place in the loop whose turn it is; of a broadcast
	to      audience    // of a broadcast
	target  target      // the user whose turn it is; not of a broadcast
	outcome hub.Outcome // so far
}

// target is how far the delivery to one user, or one topic, has come. One with very
// many connections takes several turns.
type target struct {
	within bool // false: the next user has not begun
	topic  bool // it is a topic
	at     int  // of a topic: members before whom it is the turn
	heard  int  // of a topic: members that were given it
	shared bool // it is among those who may be connected elsewhere too
	user   []byte
	told   uint64 // users.joined, of a topic topics.joined, when it had been told before; 0: it was not
	joined uint64 // the same when its turn came
	best   hub.Status
}

// wire is the message of the current delivery as each protocol has it. It is
// encoded when the first connection of the protocol is met. The bytes are the
// delivery's until it ends; the memory is used again by the next one unless
// some connection keeps it.
type wire [maxProtocols]struct {
	loop.Message

	encoded bool
	kept    bool // a connection keeps the bytes
}

// message is the current delivery as c's protocol has it.
func (d *deliveries) message(c *conn) *loop.Message {
	m := &d.wire[c.State.protocol]
	if !m.encoded {
		x := &d.current.what
		m.encoded = true
		ago := loop.Ticks(x.Age)
		m.Key, m.Class, m.Sent = x.Key, classOf(x.Class), max(d.loop.Now(), ago)-ago
		m.Data = d.sessions.protocols.of(c).appendMessage(m.Data[:0], outgoing{id: x.ID, body: x.Payload})
	}
	return &m.Message
}

// classOf is the class of the write queue that a notification's class is.
func classOf(c hub.Class) loop.Class { return loop.Must + loop.Class(c) }

// clear makes the wire ready for the next delivery.
func (w *wire) clear() {
	for i := range w {
		m := &w[i]
		if m.kept {
			m.Data = nil
		}
		m.Key, m.encoded, m.kept = nil, false, false
	}
}

// deliver hands over one envelope, see Worker.Deliver. Any goroutine may call it.
func (d *deliveries) deliver(p parcel) bool {
	first, ok := d.queue.put(p)
	if !ok {
		d.m.refusedEnvelopes.Inc()
		return false
	}
	if first {
		d.loop.Wake()
	}
	return true
}

// turn delivers what waits in the queue, about turnBudget targets of it; the
// rest in the next turn. It looks at the worker's standing right before each
// envelope and when it goes on with one: in doubt everything stays where it is,
// in order, until a later turn.
func (d *deliveries) turn() {
	d.budget, d.closesLeft = turnBudget, closeBudget
	if len(d.closings) > 0 && d.mayDeliver() {
		d.disconnectWaiting()
	}
	for d.mayDeliver() && d.next() {
		if !d.advance(&d.current) {
			d.loop.Wake() // so that the next turn begins at once
			return
		}
	}
}

// next begins the next envelope unless one has begun, and reports whether there
// is any.
func (d *deliveries) next() bool {
	if d.current.begun {
		return true
	}
	if d.batchAt == len(d.batch) {
		d.batch, d.batchAt = d.queue.take(d.batch), 0
	}
	if len(d.batch) == 0 {
		return false
	}
	p := &d.batch[d.batchAt]
	d.begin(*p)
	*p = parcel{}
	d.batchAt++
	return true
}

// errNotForWorkers refuses what only goes the other way.
var errNotForWorkers = errors.New("an envelope of missed users at a worker")

// begin prepares the delivery of p.
func (d *deliveries) begin(p parcel) {
	d.current = delivery{parcel: p, begun: true}
	d.serial++
	x := &d.current
	var err error
	if x.what, err = hub.ParseEnvelope(p.body); err == nil && x.what.Kind == hub.KindMissed {
		err = errNotForWorkers
	}
	if err != nil {
		x.refused = true
		d.m.lostEnvelopes.WithLabelValues("malformed").Inc()
		d.log.Error("read an envelope", "err", err)
		return
	}
	d.m.envelopes[x.what.Kind].Inc()
	x.kept = hub.IsKept(x.what.Payload)
	x.users = x.what.Cursor()
	if x.what.Kind == hub.KindBroadcast {
		x.to = d.audienceOf(x)
		d.noteTold(x, nil, d.sessions.users.joined)
	}
}

// advance goes on with x until it is done or the budget is used up, and reports
// whether some of the budget is left.
func (d *deliveries) advance(x *delivery) bool {
	done := true
	if !x.refused {
		switch x.what.Kind {
		case hub.KindNotify:
			done = d.notify(x)
		case hub.KindBroadcast:
			done = d.broadcast(x)
		case hub.KindDisconnect:
			d.beginDisconnect(x)
			return d.spend()
		case hub.KindMissed: // refused
		}
	}
	if done {
		d.wire.clear()
		d.finish(x)
	}
	return d.spend()
}

// finish confirms x.
func (d *deliveries) finish(x *delivery) {
	ended := *x
	*x = delivery{}
	d.queue.done(ended.body)
	if ended.done != nil {
		ended.done(ended.outcome)
	}
}

// spend takes one target off the turn's budget and reports whether any is left.
func (d *deliveries) spend() bool {
	d.budget--
	return d.budget > 0
}

// notify writes to the connections of the users that are held here.
func (d *deliveries) notify(x *delivery) (done bool) {
	for x.target.within || x.users.Left > 0 {
		if !x.target.within {
			d.beginTarget(x)
		}
		bring := d.notifyTarget
		if x.target.topic {
			bring = d.notifyTopic
		}
		if !bring(x) {
			return false
		}
		d.endTarget(x)
		if !d.spend() && x.users.Left > 0 {
			return false
		}
	}
	d.m.targets.Add(float64(x.what.UserCount()))
	d.m.missed.Add(float64(len(x.outcome.Missed)))
	return true
}

// beginTarget goes on to the next user of x.
func (d *deliveries) beginTarget(x *delivery) {
	users := &d.sessions.users
	shared := x.users.Left <= x.what.Shared
	user := x.users.Next()
	x.target = target{within: true, shared: shared, user: user, told: d.toldBefore(x, user), joined: users.joined}
	if hub.IsTopic(user) {
		x.target.topic, x.target.at, x.target.joined = true, d.topics.size(user), d.topics.joined
		return
	}
	users.delivery.begin(users, user)
}

// notifyTarget writes x to those connections of its present user that it is
// meant for, but for those that have heard it. It reports false when the budget
// is used up and some are left.
func (d *deliveries) notifyTarget(x *delivery) (done bool) {
	t, walk := &x.target, &d.sessions.users.delivery
	for c := walk.next(); c != nil; c = walk.next() {
		switch {
		case !matches(c.State.service, x.what.Services):
		case c.State.joined <= t.told:
			t.best = max(t.best, hub.StatusWritten)
		case x.what.Mix != 0 && (!d.first(c) || d.toldMember(x, c)):
			t.best = max(t.best, hub.StatusWritten)
		default:
			t.best = max(t.best, d.give(c, x)) // may end c
		}
		if walk.at != nil && !d.spend() {
			return false
		}
	}
	return true
}

// notifyTopic writes x to those members of its present topic that it is meant for,
// but for those that have heard it. From the last to the first: one that leaves
// meanwhile has its place taken by the last, which has had its turn.
func (d *deliveries) notifyTopic(x *delivery) (done bool) {
	t := &x.target
	for {
		c := d.topics.before(t.user, &t.at)
		if c == nil {
			return true
		}
		switch {
		case !matches(c.State.service, x.what.Services):
			t.best = max(t.best, hub.StatusDropped) // there are members, which is no miss
		case !d.first(c) || !d.meant(x, c):
			t.best = max(t.best, hub.StatusWritten)
		default:
			s := d.give(c, x) // may end c
			if t.best = max(t.best, s, hub.StatusDropped); s >= hub.StatusQueued {
				t.heard++
			}
		}
		if !d.spend() {
			return false
		}
	}
}

// meant reports whether x is meant for c, a member of its present topic, which has not
// heard it before.
func (d *deliveries) meant(x *delivery, c *conn) bool {
	t := &x.target
	if x.what.Age > 0 && !d.topics.meant(c, t.user, t.told, d.sentAt(x)) {
		return false
	}
	return !d.toldUser(x, c)
}

// sentAt is about when x was sent, of which the age is known.
func (d *deliveries) sentAt(x *delivery) loop.Tick {
	ago := loop.Ticks(x.what.Age + ageSlack)
	return max(d.loop.Now(), ago) - ago
}

// first reports whether c meets the current delivery for the first time, as a member
// of topics. Others can meet it once only.
func (d *deliveries) first(c *conn) bool {
	s := c.State.subscriptions()
	if s == nil {
		return true
	}
	again := s.met == d.serial
	s.met = d.serial
	return !again
}

// toldUser reports whether c was told x in another way, where there may be one, and
// notes that it is told now: x may come again, for its user or another topic.
func (d *deliveries) toldUser(x *delivery, c *conn) bool {
	if x.what.Mix == 0 || x.what.Mix == hub.MixTopics && len(c.State.subscriptions().of) == 1 {
		return false
	}
	if c.State.joined <= d.toldBefore(x, []byte(c.State.user)) || d.toldMember(x, c) {
		return true
	}
	d.noteTold(x, memberKey(c), c.State.joined)
	return false
}

// toldMember reports whether c was told x as a member of a topic.
func (d *deliveries) toldMember(x *delivery, c *conn) bool {
	return x.what.Mix != 0 && d.toldBefore(x, memberKey(c)) > 0
}

// memberKey is what heard knows c by, which is no user's id.
func memberKey(c *conn) []byte { return binary.BigEndian.AppendUint64([]byte{' '}, c.State.joined) }

// give brings x to c.
func (d *deliveries) give(c *conn, x *delivery) hub.Status {
	protocol := c.State.protocol
	status := d.sessions.give(c, d.message(c), original{id: x.what.ID, body: x.what.Payload, kept: x.kept})
	if status == hub.StatusQueued {
		d.wire[protocol].kept = true
	}
	return status
}

// endTarget notes what became of x for its present user.
func (d *deliveries) endTarget(x *delivery) {
	t := &x.target
	t.within = false
	if t.topic && x.report {
		x.outcome.Reached = append(x.outcome.Reached, t.heard)
	}
	if t.topic && x.what.Age > 0 { // its sender goes on by itself
		t.best = max(t.best, hub.StatusDropped)
	}
	if t.best == hub.StatusMissed {
		x.outcome.Missed = append(x.outcome.Missed, hub.UserID(t.user))
		if t.shared {
			x.outcome.Shared++
		}
	} else if t.shared || x.what.Mix != 0 || x.what.Age > 0 {
		d.noteTold(x, t.user, t.joined) // it may come again
	}
	if x.report {
		x.outcome.Statuses = append(x.outcome.Statuses, byte(t.best))
	}
}

// broadcast writes to every connection of its audience. Connections may come and
// go between two turns: whoever is there throughout keeps its place and is met
// once.
func (d *deliveries) broadcast(x *delivery) (done bool) {
	for x.at < d.loop.Places() {
		c := d.loop.At(x.at)
		x.at++
		if c == nil || c.State.user == "" {
			continue
		}
		if x.to.has(c) && matches(c.State.service, x.what.Services) {
			d.give(c, x)
			x.outcome.Heard++
		}
		if !d.spend() {
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
