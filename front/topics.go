package front

import (
	"container/list"
	"errors"

	"github.com/homing/homing/front/auth"
	"github.com/homing/homing/front/loop"
	"github.com/homing/homing/hub"
)

// topics are the groups that this worker's connections are members of. The index is
// told of a topic when its first member comes and when its last one leaves, so those
// between cost Redis nothing. The loop owns it.
type topics struct {
	loop     *loop.Loop[client]
	m        *metrics
	presence Presence
	timeout  loop.Tick // of telling the index

	byName      map[hub.Topic]*topic
	all         []*topic // the same, in no order
	memberships int
	joined      uint64              // memberships that ever began
	marks       [markSeconds]uint64 // what joined was at the beginning of each second, in turn
	marked      loop.Tick           // the last second that has a mark
	telling     list.List           // of *topic: those that somebody waits for, longest first
}

// topic is one that has members here.
type topic struct {
	name    hub.Topic
	place   int // in topics.all
	members []*conn
	found   bool          // others can find it
	waiting []func(error) // joined, and wait for that
	until   loop.Tick     // for how long
	turn    *list.Element // in topics.telling; nil: nobody waits
}

// subscriptions is what a connection has to do with topics.
type subscriptions struct {
	of         []subscription
	met        uint64 // the last delivery that the connection met as a member
	mayJoin    hub.TopicPatterns
	mayPublish hub.TopicPatterns
	publishing int       // messages that wait to be published
	catching   []*resume // with topics, in order: one after the other
	wanted     []string  // asked for with the request; they are subscribed to after hello
}

// subscription is one membership.
type subscription struct {
	topic  *topic
	at     int32  // among its members
	joined uint32 // what topics.joined was then, but for the upper half
}

// markSeconds is for how long it is known when memberships began: longer than a message
// is handed over for.
const markSeconds = 64

// rejoinTime is how soon after it has connected a client that comes back is a member of its
// topics again: what began by then counts from when it connected.
const rejoinTime = 2 * loop.TicksPerSecond

// Why somebody who has joined is not told that others find it.
var (
	errTopicUnfound = errors.New("the index was not told of a topic in time")
	errTopicLeft    = errors.New("the topic was left meanwhile")
)

func newTopics(p *parts, presence Presence, timeout loop.Tick) *topics {
	t := &topics{loop: p.loop, m: p.m, presence: presence, timeout: timeout, byName: make(map[hub.Topic]*topic)}
	t.telling.Init()
	return t
}

// subscriptions is what c has to do with topics; nil: nothing.
func (s *session) subscriptions() *subscriptions {
	if s.extra == nil {
		return nil
	}
	return s.extra.topics
}

// permit notes what c's token says of topics.
func (t *topics) permit(c *conn, rights *auth.Topics) {
	s := &subscriptions{mayJoin: rights.MayJoin, mayPublish: rights.MayPublish}
	if asked := c.State.subscriptions(); asked != nil {
		s.wanted = asked.wanted
	}
	c.State.more().topics = s
}

// size is how many members a topic has, by its Address.
func (t *topics) size(address []byte) int {
	if at := t.byName[hub.Topic(address[1:])]; at != nil {
		return len(at.members)
	}
	return 0
}

// before takes one off at and returns the member there; nil: there is none before.
func (t *topics) before(address []byte, at *int) *conn {
	of := t.byName[hub.Topic(address[1:])]
	if of == nil {
		return nil
	}
	if *at = min(*at, len(of.members)) - 1; *at < 0 {
		return nil
	}
	return of.members[*at]
}

// meant reports whether x, which is handed over, is meant for c, a member of the topic
// with the Address: it became one when more memberships had begun than told, and not
// when it had been connected for a while, after x was sent. sent is when it was at the
// earliest, and ageSlack later at the latest.
func (t *topics) meant(c *conn, address []byte, told uint64, sent loop.Tick) bool {
	s := c.State.subscriptions()
	joined := s.of[s.place(t.byName[hub.Topic(address[1:])])].joined
	if told > 0 && !later(joined, told) {
		return false
	}
	opened := c.State.opened
	return opened >= sent || !later(joined, t.joinedBy(max(opened+rejoinTime, sent+loop.Ticks(ageSlack))))
}

// later reports whether a membership began after so many others. They are less than
// half of all numbers apart.
func later(joined uint32, others uint64) bool {
	return int32(joined-uint32(others)) > 0
}

// joinedBy is how many memberships had begun at a time, or up to a second later.
func (t *topics) joinedBy(then loop.Tick) uint64 {
	const second = loop.TicksPerSecond
	now := t.loop.Now()
	if now/second-then/second >= markSeconds-1 || then/second >= now/second {
		return t.joined
	}
	return t.marks[(then/second+1)%markSeconds]
}

// member reports whether c is a member of the topic.
func (t *topics) member(c *conn, name hub.Topic) bool {
	s := c.State.subscriptions()
	return s != nil && s.place(t.byName[name]) >= 0
}

func (s *subscriptions) place(of *topic) int {
	for i := range s.of {
		if s.of[i].topic == of {
			return i
		}
	}
	return -1
}

// join makes c, which is none yet, a member of the topic. done is called once, by the
// loop, when what is sent to the topic from then on reaches c: at once as a rule, else
// when the index has been told. An error says that it does not; c is a member all the
// same.
func (t *topics) join(c *conn, name hub.Topic, done func(error)) {
	of := t.byName[name]
	if of == nil {
		of = &topic{name: name, place: len(t.all)}
		t.byName[name] = of
		t.all = append(t.all, of)
	}
	e := c.State.more()
	if e.topics == nil {
		e.topics = &subscriptions{}
	}
	t.joined++
	e.topics.of = append(e.topics.of, subscription{of, int32(len(of.members)), uint32(t.joined)})
	of.members = append(of.members, c)
	t.memberships++
	t.whenFound(of, done)
}

// whenFound calls done, by the loop, when others can find the topic, or with an error
// that says that they do not yet.
func (t *topics) whenFound(of *topic, done func(error)) {
	if of.found {
		done(nil)
		return
	}
	of.waiting = append(of.waiting, done)
	if of.turn == nil {
		t.tell(of)
	}
}

// tell has the index name this worker for a topic.
func (t *topics) tell(of *topic) {
	of.until = t.loop.Now() + t.timeout
	of.turn = t.telling.PushBack(of)
	t.presence.Set(of.name.Address(), []hub.ServiceCount{{Count: 1}}, func(err error) {
		t.loop.Post(func() { t.told(of, err) }) // refused: the time is over once
	})
}

// told goes on with those who waited for the index.
func (t *topics) told(of *topic, err error) {
	if of.turn == nil {
		return // too late
	}
	t.telling.Remove(of.turn)
	of.turn, of.found = nil, err == nil
	waiting := of.waiting
	of.waiting = nil
	for _, done := range waiting {
		done(err)
	}
}

// leave ends c's membership and reports whether it had one.
func (t *topics) leave(c *conn, name hub.Topic) bool {
	s := c.State.subscriptions()
	if s == nil {
		return false
	}
	i := s.place(t.byName[name])
	if i < 0 {
		return false
	}
	sub, last := s.of[i], len(s.of)-1
	s.of[i] = s.of[last]
	s.of[last] = subscription{}
	s.of = s.of[:last]
	t.remove(sub) // it calls back, who may end c
	return true
}

// leaveAll ends all memberships of c, which ends.
func (t *topics) leaveAll(c *conn) {
	s := c.State.subscriptions()
	if s == nil {
		return
	}
	c.State.extra.topics = nil
	c.State.spare()
	for _, sub := range s.of {
		t.remove(sub) // it calls back
	}
}

// remove takes a member out of its topic; the last takes its place. When it was the only
// one it calls back those who wait for the index: everything must be in order by then.
func (t *topics) remove(sub subscription) {
	of := sub.topic
	last := len(of.members) - 1
	moved := of.members[last]
	of.members[sub.at] = moved
	of.members[last] = nil
	of.members = of.members[:last]
	t.memberships--
	if s := moved.State.subscriptions(); s != nil {
		if i := s.place(of); i >= 0 {
			s.of[i].at = sub.at
		}
	}
	if last > 0 {
		return
	}
	t.forget(of)
	t.presence.Set(of.name.Address(), nil, nil)
	if of.turn != nil {
		t.told(of, errTopicLeft)
	}
}

// forget takes out a topic without members; the last takes its place.
func (t *topics) forget(of *topic) {
	delete(t.byName, of.name)
	last := len(t.all) - 1
	t.all[of.place] = t.all[last]
	t.all[of.place].place = of.place
	t.all[last] = nil
	t.all = t.all[:last]
}

// mark notes how many memberships have begun by a second, and by those before it in which
// the loop was late and had no tick.
func (t *topics) mark(second loop.Tick) {
	for t.marked < second {
		t.marked = max(t.marked+1, second-min(second, markSeconds-1))
		t.marks[t.marked%markSeconds] = t.joined
	}
}

// tick gives up what the index has not been told in time; the registrar goes on
// trying.
func (t *topics) tick() {
	t.m.topics.Set(float64(len(t.byName)))
	t.m.memberships.Set(float64(t.memberships))
	t.mark(t.loop.Now() / loop.TicksPerSecond)
	for e := t.telling.Front(); e != nil && e.Value.(*topic).until <= t.loop.Now(); e = t.telling.Front() {
		t.told(e.Value.(*topic), errTopicUnfound)
	}
}
