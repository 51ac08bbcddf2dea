package front

import (
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/homing/homing/hub"
)

// subscribeFailed tells a client that asked for what it has missed of a topic that it
// cannot be told now. It is no member then.
const subscribeFailed = `{"t":"error","of":"subscribe","code":"unavailable"`

// promise has c catch up with a topic once it is a member. What arrives from now on is
// held until then. What was replayed of the topic before is not forgotten, unless it is
// much.
func (r *resumes) promise(c *conn, topic hub.Topic, after string, ref jsontext.Value) *resume {
	x := &resume{c: c, topic: topic, after: after, ref: ref}
	e := c.State.more()
	if e.topics == nil {
		e.topics = &subscriptions{}
	}
	for _, old := range e.topics.catching {
		if old.topic == topic { // it is done
			x.replayed = old.replayed[:min(len(old.replayed), maxRemembered)]
			r.sessions.forgetResume(old)
			break
		}
	}
	c.State.more().topics.catching = append(e.topics.catching, x)
	return x
}

// maxRemembered is how much of what was replayed earlier is remembered beside a replay.
const maxRemembered = 2000

// beginCatchUp has x begin, which was promised, or wait for its turn on its connection.
func (r *resumes) beginCatchUp(x *resume) {
	if r.budget.waiting.Len() >= r.cfg.queue {
		r.m.resumes.WithLabelValues("busy").Inc()
		r.inVain(x)
		return
	}
	x.member = true
	r.next(x.c)
}

// next begins the next of what c is to catch up with, if nothing is under way: one after
// the other, so that a replay is whole.
func (r *resumes) next(c *conn) {
	all := c.State.allResumes()
	if slices.ContainsFunc(all, func(x *resume) bool { return x.active() && x.phase > resumePromised }) {
		return
	}
	if i := slices.IndexFunc(all, func(x *resume) bool { return x.phase == resumePromised && x.member }); i >= 0 {
		r.join(all[i])
	}
}

// giveUp ends a promise; nil: there was none.
func (r *resumes) giveUp(x *resume) {
	if x != nil {
		r.sessions.forgetResume(x)
		r.sessions.release(x.c)
	}
}

// endCatchUp ends what c has to do with a topic's history.
func (r *resumes) endCatchUp(c *conn, topic hub.Topic) {
	for _, x := range c.State.allResumes() {
		if x.topic == topic && x.active() {
			r.giveUp(x)
		}
	}
	r.next(c)
}

// catchesUp reports whether s is being told, or waits to be told, what it has missed of
// a topic.
func (s *session) catchesUp(topic hub.Topic) bool {
	t := s.subscriptions()
	return t != nil && slices.ContainsFunc(t.catching, func(x *resume) bool { return x.topic == topic && x.active() })
}
