package front

import (
	"github.com/go-json-experiment/json/jsontext"

	"github.com/homing/homing/front/loop"
	"github.com/homing/homing/hub"
)

// subscribeCost is what joining a topic takes from what a user may have done at Redis:
// the index may have to be told.
const subscribeCost = 10

// subscribes take what clients ask of topics. The loop owns it.
type subscribes struct {
	tracer

	loop     *loop.Loop[client]
	sessions *sessions
	topics   *topics
	resumes  *resumes
	m        *metrics
}

// subscribe takes a message "subscribe" of c.
func (s *subscribes) subscribe(c *conn, in *incoming) {
	topic := hub.Topic(in.topic.value)
	if code := s.refusal(c, topic, in); code != "" {
		s.refuse(c, "subscribe", code, in.ref)
		return
	}
	var catch *resume
	member := s.topics.member(c, topic)
	if in.after.given {
		catch = s.resumes.promise(c, topic, in.after.value, in.ref)
		catch.made = !member
	}
	done := func(err error) { s.joined(c, topic, in.ref, catch, err) }
	if member {
		s.topics.whenFound(s.topics.byName[topic], done)
		return
	}
	s.topics.join(c, topic, done)
}

// subscribeAsked is subscribe for all topics that c has asked for with its request, which
// it cannot ask for later. The answers have the topic as it was written for their ref.
func (s *subscribes) subscribeAsked(c *conn) {
	x := c.State.subscriptions()
	if x == nil {
		return
	}
	wanted := x.wanted
	x.wanted = nil
	for _, name := range wanted {
		if c.State.stage != stageOpen {
			return // an answer has ended it
		}
		ref, err := jsontext.AppendQuote(nil, name[:min(len(name), hub.MaxTopic)])
		if err != nil {
			ref = []byte(`""`) // it is not UTF-8
		}
		s.subscribe(c, &incoming{topic: text{value: name, given: true, faulty: name == ""}, ref: ref})
	}
}

// refusal is the code of why c cannot join a topic; empty: it can.
func (s *subscribes) refusal(c *conn, topic hub.Topic, in *incoming) (code string) {
	switch {
	case c.State.stage != stageOpen:
		return "too_early"
	case in.topic.faulty || topic.Check() != nil:
		return "bad_topic"
	case in.after.faulty:
		return "bad_json"
	}
	cost := subscribeCost
	if in.after.given {
		if code := s.noCatchUp(c, topic); code != "" {
			return code
		}
		cost = resumeCost
	}
	if code := s.noMember(c, topic); code != "" {
		return code
	}
	if exceeded := s.sessions.charge(c, useInbox, cost); exceeded != "" {
		s.m.overBudget.WithLabelValues(exceeded).Inc()
		return "rate_limited"
	}
	return ""
}

// noCatchUp is the code of why c cannot be told what it has missed; empty: it can.
func (s *subscribes) noCatchUp(c *conn, topic hub.Topic) (code string) {
	switch x := c.State.subscriptions(); {
	case s.resumes.kept == nil:
		return "no_history"
	case c.State.catchesUp(topic):
		return "already_subscribed"
	case x != nil && len(x.catching) >= hub.MaxTopics:
		return "rate_limited" // what was replayed is remembered for a while
	}
	return ""
}

// noMember is the code of why c may not be a member; empty: it is one, or may be.
func (s *subscribes) noMember(c *conn, topic hub.Topic) (code string) {
	switch x := c.State.subscriptions(); {
	case s.topics.member(c, topic):
	case x == nil || !x.mayJoin.Match(topic):
		return "not_allowed"
	case len(x.of) >= hub.MaxTopics:
		return "too_many_topics"
	}
	return ""
}

// joined answers c, which is a member now, unless it has left meanwhile. What it has
// missed follows, if it asked for that.
func (s *subscribes) joined(c *conn, topic hub.Topic, ref jsontext.Value, catch *resume, err error) {
	switch {
	case c.State.stage != stageOpen:
		return
	case !s.topics.member(c, topic):
		s.refuse(c, "subscribe", "not_subscribed", ref)
		s.resumes.giveUp(catch)
		return
	case err != nil:
		s.trace(c, "subscribe", "topic", string(topic), "err", err)
		s.topics.leave(c, topic)
		s.refuse(c, "subscribe", "unavailable", ref)
		s.resumes.giveUp(catch)
		return
	}
	s.m.subscribes.WithLabelValues("ok").Inc()
	if catch != nil {
		s.resumes.beginCatchUp(catch)
		return
	}
	s.tell(c, "subscribed", topic, ref)
}

// unsubscribe takes a message "unsubscribe" of c.
func (s *subscribes) unsubscribe(c *conn, in *incoming) {
	topic := hub.Topic(in.topic.value)
	switch {
	case c.State.stage != stageOpen:
		s.refuse(c, "unsubscribe", "too_early", in.ref)
	case in.topic.faulty || topic.Check() != nil:
		s.refuse(c, "unsubscribe", "bad_topic", in.ref)
	case !s.topics.leave(c, topic):
		s.refuse(c, "unsubscribe", "not_subscribed", in.ref)
	default:
		s.resumes.endCatchUp(c, topic)
		s.tell(c, "unsubscribed", topic, in.ref)
	}
}

// tell tells c what has become of its membership in a topic.
func (s *subscribes) tell(c *conn, t string, topic hub.Topic, ref jsontext.Value) {
	body := appendRef([]byte(`{"t":"`+t+`","topic":"`+string(topic)+`"`), ref) // a topic needs no quoting
	s.sessions.send(c, s.sessions.message(c, outgoing{kind: kindTopic, body: body}, loop.Must))
}

func (s *subscribes) refuse(c *conn, of, code string, ref jsontext.Value) {
	if of == "subscribe" {
		s.m.subscribes.WithLabelValues(code).Inc()
	}
	s.sessions.answer(c, `{"t":"error","of":"`+of+`","code":"`+code+`"`, ref)
}
