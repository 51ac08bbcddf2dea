package front

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/oklog/ulid/v2"

	"github.com/homing/homing/front/loop"
	"github.com/homing/homing/hub"
)

// Publisher sends a notification to the members of its topics, wherever they are. It
// returns when every process that has some was told, or with an error that wraps
// hub.ErrUnavailable, or is a *hub.FieldError or a *hub.RoomError. It may block until
// ctx ends.
type Publisher interface {
	Publish(ctx context.Context, n *hub.Notification) error
}

const (
	// publishLanes is how many messages are published at once. All of one connection
	// go by the same lane, so that they stay in order.
	publishLanes   = 32
	publishTimeout = 3 * time.Second
	// maxPublishing is how many messages of one connection may be under way, so that it
	// does not keep others from its lane for long.
	maxPublishing = 8
)

// publishes take what clients publish. The loop owns it, but for the lanes.
type publishes struct {
	tracer

	loop      *loop.Loop[client]
	sessions  *sessions
	m         *metrics
	publisher Publisher                     // nil: clients cannot publish
	waiting   int                           // in one lane, at most
	lanes     [publishLanes]chan publishJob // each nil until it is used
	start     func(lane <-chan publishJob)  // has what goes by a lane published
}

// publishJob is a message that waits to be published.
//
//bound:publishes
type publishJob struct {
	c    *conn
	ref  jsontext.Value
	what *hub.Notification
	by   time.Time // when it is given up
}

func newPublishes(cfg *Config, p *parts, trace tracer, publisher Publisher) *publishes {
	return &publishes{
		tracer: trace, loop: p.loop, sessions: p.sessions, m: p.m, publisher: publisher,
		waiting: (cfg.PublishQueue + publishLanes - 1) / publishLanes,
	}
}

// lane is the one by which all that c publishes goes. It is begun when it is used first.
func (x *publishes) lane(c *conn) chan<- publishJob {
	lane := &x.lanes[c.State.joined%publishLanes]
	if *lane == nil {
		*lane = make(chan publishJob, x.waiting)
		x.start(*lane)
	}
	return *lane
}

// run publishes what goes by one lane until ctx ends.
func (x *publishes) run(ctx context.Context, lane <-chan publishJob) {
	for {
		select {
		case <-ctx.Done():
			x.m.publishes.WithLabelValues("stopped").Add(float64(len(lane)))
			return
		case job := <-lane:
			err := x.publish(ctx, &job)
			x.loop.Post(func() { x.done(job, err) }) // refused: the client has no answer, as when the worker dies
		}
	}
}

// publish publishes one message. One that has waited for too long is given up: those
// behind it go on.
func (x *publishes) publish(ctx context.Context, job *publishJob) error {
	ctx, cancel := context.WithDeadline(ctx, job.by)
	defer cancel()
	if ctx.Err() != nil {
		return errPublishLate
	}
	return x.publisher.Publish(ctx, job.what)
}

var errPublishLate = fmt.Errorf("%w: it has waited for too long", hub.ErrUnavailable)

// take takes a message "publish" of c.
func (x *publishes) take(c *conn, in *incoming) {
	if x.publisher == nil {
		x.sessions.answer(c, `{"t":"error","code":"unknown_type"`, in.ref)
		return
	}
	if code := x.begin(c, in); code != "" {
		x.refuse(c, code, in.ref)
	}
}

// begin has in published, in its turn, or returns the code of why not.
func (x *publishes) begin(c *conn, in *incoming) (code string) {
	topic := hub.Topic(in.topic.value)
	s := c.State.subscriptions()
	switch {
	case c.State.stage != stageOpen:
		return "too_early"
	case in.topic.faulty || topic.Check() != nil:
		return "bad_topic"
	case in.typ.faulty || in.ack.faulty || len(in.ack.ids) > 1 || len(in.data) == 0:
		return "bad_json"
	case len(in.data) > hub.MaxPublish:
		return "too_large"
	case s == nil || !s.mayPublish.Match(topic):
		return "not_allowed"
	case s.publishing >= maxPublishing || x.sessions.charge(c, usePublish, 1) != "":
		return "rate_limited"
	}
	n := &hub.Notification{
		ID: publishID(c.State.user, topic, in.ack.ids), Topics: []hub.Topic{topic}, Sender: c.State.user,
		Type: in.typ.value, From: c.State.service.name(), Data: []byte(in.data),
	}
	select {
	case x.lane(c) <- publishJob{c, in.ref, n, time.Now().Add(publishTimeout)}:
		s.publishing++
		return ""
	default:
		return "unavailable"
	}
}

// publishID is the id of what a user publishes. It follows from the id that the client
// has given the message, if it has: whoever hears it again after the client has repeated
// it, not knowing whether it had arrived, is told the same id. Nobody else's client can
// make the same one.
func publishID(user hub.UserID, topic hub.Topic, given []string) string {
	if len(given) == 0 {
		return ulid.Make().String()
	}
	sum := sha256.Sum256([]byte(string(user) + "\x00" + string(topic) + "\x00" + given[0])) // no name has a zero byte
	return "p-" + base64.RawURLEncoding.EncodeToString(sum[:publishIDBytes])
}

// publishIDBytes of a hash tell messages apart.
const publishIDBytes = 18

// done answers the client of a message that was published, or was not.
func (x *publishes) done(job publishJob, err error) {
	if s := job.c.State.subscriptions(); s != nil {
		s.publishing--
	}
	if err != nil {
		x.trace(job.c, "publish", "topic", string(job.what.Topics[0]), "err", err)
		x.refuse(job.c, publishCode(err), job.ref)
		return
	}
	x.m.publishes.WithLabelValues("ok").Inc()
	if job.c.State.stage == stageOpen {
		x.sessions.answer(job.c, `{"t":"published","id":"`+job.what.ID+`"`, job.ref)
	}
}

func (x *publishes) refuse(c *conn, code string, ref jsontext.Value) {
	x.m.publishes.WithLabelValues(code).Inc()
	if c.State.stage < stageClosing {
		x.sessions.answer(c, `{"t":"error","of":"publish","code":"`+code+`"`, ref)
	}
}

// publishCode is the code of a refusal of publishing.
func publishCode(err error) string {
	if _, full := errors.AsType[*hub.RoomError](err); full {
		return "no_room"
	}
	if errors.Is(err, hub.ErrInvalid) {
		return "bad_json"
	}
	return "unavailable"
}
